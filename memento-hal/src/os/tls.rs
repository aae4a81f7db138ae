//! One thread-local pointer per backend, at the cost of two instructions.
//!
//! `thread_local!` in a shared object calls `__tls_get_addr` on every access. A pointer in the
//! initial-exec model is read with two moves instead, but takes space in the static TLS block,
//! which is small and shared by all objects that are loaded: hence one pointer, never more.
//!
//! Stable Rust has no `#[thread_local]` and no way to choose the model, so the pointer is defined
//! by `global_asm!` and read by `asm!`. Miri knows neither, so it gets `thread_local!`.

/// Defines a module with one thread-local `*mut T`.
///
/// `tls_pointer!(pub mod NAME, "symbol", T, INITIAL)` gives `NAME::get()` and `NAME::set(pointer)`.
/// `INITIAL` is the path of a static whose address every thread starts with; null without it. With
/// `+ BIAS` behind it, the thread starts with an address so many bytes above. The symbol is
/// hidden, and must be unique in the program.
macro_rules! tls_pointer {
    (@start) => { core::ptr::null_mut() };
    (@start $initial:path $(, $bias:expr)?) => {
        (&raw const $initial).cast_mut().wrapping_byte_add(0 $(+ $bias)?).cast()
    };
    (@define $symbol:literal, $word:literal $(, $initial:path $(, $bias:expr)?)?) => {
        core::arch::global_asm!(
            concat!(".section .tdata.", $symbol, ",\"awT\",@progbits"),
            ".p2align 3",
            concat!(".globl ", $symbol),
            concat!(".hidden ", $symbol),
            concat!(".type ", $symbol, ", @object"),
            concat!(".size ", $symbol, ", 8"),
            concat!($symbol, ":"),
            $crate::os::tls::tls_pointer!(@word $word $(, $initial $(, $bias)?)?),
            ".text",
            $(initial = sym $initial, $(bias = const $bias,)?)?
        );
    };
    (@word $word:literal) => { concat!($word, " 0") };
    (@word $word:literal, $initial:path) => { concat!($word, " {initial}") };
    (@word $word:literal, $initial:path, $bias:expr) => { concat!($word, " {initial} + {bias}") };
    (
        $(#[$doc:meta])* $vis:vis mod $name:ident, $symbol:literal, $target:ty
        $(, $initial:path $(, + $bias:expr)?)?
    ) => {
        $(#[$doc])*
        $vis mod $name {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            $crate::os::tls::tls_pointer!(@define $symbol, ".quad" $(, $initial $(, $bias)?)?);
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            $crate::os::tls::tls_pointer!(@define $symbol, ".xword" $(, $initial $(, $bias)?)?);

            /// The calling thread's pointer.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            #[inline(always)]
            pub fn get() -> *mut $target {
                let offset: usize;
                let value: *mut $target;
                // SAFETY: the first instruction reads the symbol's offset from the thread pointer
                // out of the GOT, which never changes after loading; the second reads this
                // thread's own copy. `pure` is not claimed for it: `set` changes it.
                unsafe {
                    core::arch::asm!(
                        concat!("mov {0}, qword ptr [rip + ", $symbol, "@GOTTPOFF]"),
                        out(reg) offset,
                        options(nostack, preserves_flags, pure, nomem)
                    );
                    core::arch::asm!(
                        "mov {1}, qword ptr fs:[{0}]",
                        in(reg) offset,
                        out(reg) value,
                        options(nostack, preserves_flags, pure, readonly)
                    );
                }
                value
            }

            /// Sets the calling thread's pointer.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            pub fn set(value: *mut $target) {
                // SAFETY: as in `get`; only this thread's own copy is written.
                unsafe {
                    core::arch::asm!(
                        concat!("mov {0}, qword ptr [rip + ", $symbol, "@GOTTPOFF]"),
                        "mov qword ptr fs:[{0}], {1}",
                        out(reg) _,
                        in(reg) value,
                        options(nostack, preserves_flags)
                    );
                }
            }

            /// The calling thread's pointer.
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            #[inline(always)]
            pub fn get() -> *mut $target {
                let value: *mut $target;
                // SAFETY: reads the symbol's offset from the GOT and this thread's own copy.
                unsafe {
                    core::arch::asm!(
                        concat!("adrp {0}, :gottprel:", $symbol),
                        concat!("ldr {0}, [{0}, :gottprel_lo12:", $symbol, "]"),
                        "mrs {1}, tpidr_el0",
                        "ldr {0}, [{0}, {1}]",
                        out(reg) value,
                        out(reg) _,
                        options(nostack, preserves_flags, pure, readonly)
                    );
                }
                value
            }

            /// Sets the calling thread's pointer.
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            pub fn set(value: *mut $target) {
                // SAFETY: as in `get`; only this thread's own copy is written.
                unsafe {
                    core::arch::asm!(
                        concat!("adrp {0}, :gottprel:", $symbol),
                        concat!("ldr {0}, [{0}, :gottprel_lo12:", $symbol, "]"),
                        "mrs {1}, tpidr_el0",
                        "str {2}, [{0}, {1}]",
                        out(reg) _,
                        out(reg) _,
                        in(reg) value,
                        options(nostack, preserves_flags)
                    );
                }
            }

            #[cfg(miri)]
            extern crate std;
            #[cfg(miri)]
            std::thread_local! {
                static POINTER: core::cell::Cell<*mut $target> = const {
                    core::cell::Cell::new(
                        $crate::os::tls::tls_pointer!(@start $($initial $(, $bias)?)?)
                    )
                };
            }

            /// The calling thread's pointer.
            #[cfg(miri)]
            pub fn get() -> *mut $target {
                POINTER.with(core::cell::Cell::get)
            }

            /// Sets the calling thread's pointer.
            #[cfg(miri)]
            pub fn set(value: *mut $target) {
                POINTER.with(|p| p.set(value));
            }
        }
    };
}

pub(crate) use tls_pointer;

#[cfg(test)]
mod tests {
    static START: u64 = 42;
    super::tls_pointer!(mod plain, "memento_tls_plain", u64);
    super::tls_pointer!(mod probe, "memento_tls_probe", u64, super::START);
    super::tls_pointer!(mod biased, "memento_tls_biased", u64, super::START, + 1 << 24);

    #[test]
    fn every_thread_starts_with_the_initial_value_and_has_its_own() {
        let start = (&raw const START).cast_mut();
        assert!(plain::get().is_null());
        assert_eq!(biased::get(), start.wrapping_byte_add(1 << 24));
        assert_eq!(probe::get(), start);
        let mut mine = 7u64;
        probe::set(&raw mut mine);
        std::thread::spawn(move || assert_eq!(probe::get(), (&raw const START).cast_mut()))
            .join()
            .unwrap();
        assert_eq!(probe::get(), &raw mut mine);
        biased::set(&raw mut mine);
        assert_eq!(biased::get(), &raw mut mine);
        plain::set(&raw mut mine);
        assert_eq!(plain::get(), &raw mut mine);
        probe::set(start);
    }
}
