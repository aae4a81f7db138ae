//! Memory management for functions that live for milliseconds, as a Rust program's global allocator.
//!
//! ```
//! use memento_functions::Memento;
//!
//! #[global_allocator]
//! static ALLOCATOR: Memento = Memento::new();
//!
//! fn main() {
//!     let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
//!     assert_eq!(squares[999], 998_001);
//!     // After each response of a function that is frozen between invocations:
//!     ALLOCATOR.invocation_end();
//! }
//! ```
//!
//! On Linux on x86-64 and aarch64, with any C library that Rust supports there, memento serves. **On every other system
//! all requests go to the system's allocator** ([`std::alloc::System`]), [`Memento::serves`] is false, and the other
//! methods do nothing; so a program can name this allocator unconditionally. `RUSTFLAGS="--cfg memento_forward"` has the
//! same effect anywhere, for comparison.

cfg_if::cfg_if! {
    if #[cfg(all(
        target_os = "linux",
        target_pointer_width = "64",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(memento_forward)
    ))] {
        mod served;
        pub use served::Memento;
    } else {
        mod forwarded;
        pub use forwarded::Memento;
    }
}
