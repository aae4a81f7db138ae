//! `cart_quotes` on memento: two lines, and one call after each response.

#[path = "../../../benches/functions/rust/cart_quotes.rs"]
mod cart_quotes;

use memento_functions::Memento;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

fn main() -> std::process::ExitCode {
    cart_quotes::main(|| ALLOCATOR.invocation_end())
}
