//! `cart_quotes` on the system's allocator: what is preloaded serves it.

#[path = "../../../benches/functions/rust/cart_quotes.rs"]
mod cart_quotes;

fn main() -> std::process::ExitCode {
    cart_quotes::main(|| ())
}
