//! The instructions on a CPU without them: every register survives, whoever executes, and sites
//! that cannot be patched keep working.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]

#[path = "isa/code.rs"]
mod code;

use code::Page;
use memento_hal::FreeFault;
use memento_hal::isa::{self, Device, Execution, Instruction, trap};
use std::sync::{Barrier, Mutex, MutexGuard, Once, PoisonError};

/// What the device of these tests answers to `obj-alloc`.
fn answer(size: usize) -> usize {
    size * 0x1001
}

/// Answers, and leaves as much of the thread's state behind in disorder as Rust and libc might.
fn obj_alloc(size: usize) -> usize {
    let mut buffer = [0xA5u8; 4096];
    // SAFETY: only state that functions of the C ABI may change is changed; `errno` is this
    // thread's own.
    unsafe {
        std::ptr::write_bytes(std::hint::black_box(&mut buffer).as_mut_ptr(), 0x5A, 4096);
        libc::__errno_location().write(libc::ENOMEM);
        if is_x86_feature_detected!("avx512bw") {
            disturb_avx512();
        }
        if is_x86_feature_detected!("avx") {
            disturb_avx();
        }
        // Exceptions of floating point that happened: they stick.
        let mut mxcsr = 0u32;
        std::arch::asm!(
            "stmxcsr [{0}]", "or dword ptr [{0}], 0x3f", "ldmxcsr [{0}]",
            in(reg) &raw mut mxcsr
        );
        std::arch::asm!(
            "pcmpeqd xmm0, xmm0",
            "movdqa xmm5, xmm0",
            "movdqa xmm15, xmm0",
            "xor ecx, ecx",
            "mov r8, -1",
            "mov r11, -1",
            clobber_abi("C")
        );
    }
    answer(size)
}

#[target_feature(enable = "avx512bw")]
fn disturb_avx512() {
    // SAFETY: all vector and mask registers are the callee's to change.
    unsafe {
        std::arch::asm!(
            "kxnorq k1, k1, k1",
            "kmovq k7, k1",
            "vpternlogd zmm1, zmm1, zmm1, 255",
            "vmovdqa64 zmm17, zmm1",
            "vmovdqa64 zmm31, zmm1",
            clobber_abi("C")
        );
    }
}

#[target_feature(enable = "avx")]
fn disturb_avx() {
    // SAFETY: as above.
    unsafe { std::arch::asm!("vzeroall", clobber_abi("C")) };
}

unsafe fn obj_free(va: usize) -> Result<(), FreeFault> {
    match va {
        1 => Err(FreeFault::Outside),
        2 => Err(FreeFault::Misaligned),
        3 => Err(FreeFault::NotAllocated),
        _ => Ok(()),
    }
}

static DEVICE: Device = Device { obj_alloc, obj_free, region: || (0x1000, 0x2000) };

/// Starts the emulation and lets one test run at a time: a site that traps while another thread
/// patches is left for its next trap, and some tests assert that the first one patches.
fn start() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    static ONCE: Once = Once::new();
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| assert_eq!(isa::start(&DEVICE), Some(Execution::Emulated)));
    guard
}

/// Everything that the instruction must leave alone.
#[repr(C, align(64))]
#[derive(Clone, PartialEq, Debug)]
struct State {
    vectors: [[u64; 8]; 32],
    masks: [u64; 8],
    /// By register number; the stack pointer's entry is not used.
    registers: [u64; 16],
    red_zone: [u64; 16],
    flags: u64,
    mxcsr: u64,
    /// 1: xmm, 2: ymm, 3: zmm and masks.
    level: u64,
}

impl State {
    const ZERO: Self = Self {
        vectors: [[0; 8]; 32],
        masks: [0; 8],
        registers: [0; 16],
        red_zone: [0; 16],
        flags: 0,
        mxcsr: 0,
        level: 0,
    };

    /// Different values everywhere, as wide as this CPU's registers are.
    fn filled(seed: u64, flags: u64) -> Self {
        let mut next = seed;
        let mut value = || {
            next = next.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            next
        };
        let mut state = Self::ZERO;
        state.level = if is_x86_feature_detected!("avx512bw") {
            3
        } else if is_x86_feature_detected!("avx") {
            2
        } else {
            1
        };
        let (count, words) = [(16, 2), (16, 4), (32, 8)][state.level as usize - 1];
        for vector in &mut state.vectors[..count] {
            vector[..words].fill_with(&mut value);
        }
        if state.level == 3 {
            state.masks.fill_with(&mut value);
        }
        state.registers.fill_with(&mut value);
        state.registers[4] = 0;
        state.registers[7] = 24;
        state.red_zone.fill_with(&mut value);
        state.flags = flags;
        // All exceptions masked, none happened; another rounding each time.
        state.mxcsr = 0x1F80 | (seed & 3) << 13;
        state
    }
}

/// Loads `before` into the registers, the flags and the red zone, executes `obj-alloc rax, rdi`
/// at a site of its own, which no section lists, and stores everything to `after`.
#[unsafe(naked)]
unsafe extern "sysv64" fn leaf(before: *const State, after: *mut State) {
    std::arch::naked_asm!(
        "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
        "push rsi",
        "mov rax, [rdi + {level}]",
        "mov [rsi + {level}], rax",
        "cmp rax, 2",
        "je 22f",
        "ja 23f",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movdqu xmm\\n, [rdi + 64 * \\n]",
        ".endr",
        "jmp 24f",
        "22:",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqu ymm\\n, [rdi + 64 * \\n]",
        ".endr",
        "jmp 24f",
        "23:",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovdqu64 zmm\\n, [rdi + 64 * \\n]",
        ".endr",
        ".irp n, 0,1,2,3,4,5,6,7",
        "kmovq k\\n, [rdi + {masks} + 8 * \\n]",
        ".endr",
        "24:",
        "ldmxcsr [rdi + {mxcsr}]",
        "push qword ptr [rdi + {flags}]",
        "popfq",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "mov rax, [rdi + {red_zone} + 8 * \\n]",
        "mov [rsp - 128 + 8 * \\n], rax",
        ".endr",
        "mov rax, [rdi + {registers} + 0]",
        "mov rcx, [rdi + {registers} + 8]",
        "mov rdx, [rdi + {registers} + 16]",
        "mov rbx, [rdi + {registers} + 24]",
        "mov rbp, [rdi + {registers} + 40]",
        "mov rsi, [rdi + {registers} + 48]",
        ".irp n, 8,9,10,11,12,13,14,15",
        "mov r\\n, [rdi + {registers} + 8 * \\n]",
        ".endr",
        "mov rdi, [rdi + {registers} + 56]",
        ".p2align 3",
        ".globl isa_test_leaf_site",
        "isa_test_leaf_site:",
        ".byte 0x48, 0x0f, 0xb9, 0x87, 0x01, 0x4d, 0x45, 0x4d",
        // The slot of the pushed pointer takes rdi; no flag changes until they are stored.
        "xchg rdi, [rsp]",
        "mov [rdi + {registers} + 0], rax",
        "mov [rdi + {registers} + 8], rcx",
        "mov [rdi + {registers} + 16], rdx",
        "mov [rdi + {registers} + 24], rbx",
        "mov [rdi + {registers} + 40], rbp",
        "mov [rdi + {registers} + 48], rsi",
        ".irp n, 8,9,10,11,12,13,14,15",
        "mov [rdi + {registers} + 8 * \\n], r\\n",
        ".endr",
        "mov rax, [rsp]",
        "mov [rdi + {registers} + 56], rax",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "mov rax, [rsp - 128 + 8 * \\n]",
        "mov [rdi + {red_zone} + 8 * \\n], rax",
        ".endr",
        "pushfq",
        "pop qword ptr [rdi + {flags}]",
        "cld",
        "stmxcsr [rdi + {mxcsr}]",
        "push 0x1f80",
        "ldmxcsr [rsp]",
        "lea rsp, [rsp + 8]",
        "mov rax, [rdi + {level}]",
        "cmp rax, 2",
        "je 22f",
        "ja 23f",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movdqu [rdi + 64 * \\n], xmm\\n",
        ".endr",
        "jmp 24f",
        "22:",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqu [rdi + 64 * \\n], ymm\\n",
        ".endr",
        "vzeroupper",
        "jmp 24f",
        "23:",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovdqu64 [rdi + 64 * \\n], zmm\\n",
        ".endr",
        ".irp n, 0,1,2,3,4,5,6,7",
        "kmovq [rdi + {masks} + 8 * \\n], k\\n",
        ".endr",
        "vzeroupper",
        "24:",
        "pop rsi",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
        "ret",
        level = const std::mem::offset_of!(State, level),
        masks = const std::mem::offset_of!(State, masks),
        flags = const std::mem::offset_of!(State, flags),
        mxcsr = const std::mem::offset_of!(State, mxcsr),
        red_zone = const std::mem::offset_of!(State, red_zone),
        registers = const std::mem::offset_of!(State, registers),
    )
}

unsafe extern "C" {
    /// The site in [`leaf`].
    static isa_test_leaf_site: [u8; 8];
}

fn leaf_site() -> [u8; 8] {
    // SAFETY: eight readable bytes of text; volatile, since the process patches them.
    unsafe { (&raw const isa_test_leaf_site).read_volatile() }
}

#[test]
fn a_leaf_function_keeps_every_register_by_trap_and_by_patch() {
    let _alone = start();
    assert!(Instruction::decode_x86(leaf_site()).is_some(), "no section lists it");
    // All arithmetic flags and the direction flag set; then none.
    for (round, flags) in [(1u64, 0xED7u64), (2, 0x202), (3, 0xED7)] {
        let before = State::filled(round, flags);
        let mut after = State::ZERO;
        // SAFETY: both states live; the handler is in place.
        unsafe { leaf(&before, &mut after) };
        let mut want = before.clone();
        want.registers[0] = answer(24) as u64;
        assert!(after == want, "round {round}:\n{after:x?}\ninstead of\n{want:x?}");
        assert_eq!(leaf_site()[0], 0xE9, "patched by its first trap");
    }
}

#[test]
fn errno_is_not_the_devices_business() {
    let _alone = start();
    let page = Page::text();
    for _trapped_then_patched in 0..2 {
        // SAFETY: this thread's own `errno`.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { errno.write(libc::EDOM) };
        assert_eq!(page.call(0, 8), answer(8));
        // SAFETY: as above.
        assert_eq!(unsafe { errno.read() }, libc::EDOM);
    }
    assert_eq!(page.first_byte(0), 0xE9);
}

#[test]
fn listed_sites_are_patched_before_they_trap() {
    let _alone = start();
    let traps = trap::traps();
    // SAFETY: the handler is in place, and the device takes any address.
    unsafe {
        assert_eq!(isa::arch::obj_alloc(40).addr(), answer(40));
        for code in 0..4 {
            assert_eq!(isa::arch::obj_free(std::ptr::without_provenance_mut(code)), code);
        }
        assert_eq!(isa::arch::region_start(), 0x1000);
        assert_eq!(isa::arch::region_end(), 0x2000);
        assert_eq!(isa::arch::identify(), isa::identification(true));
    }
    assert_eq!(trap::traps(), traps);
}

/// The bytes of a listed `write-mrs`, which is not executed.
#[inline(never)]
fn supervisor_site() -> [u8; 8] {
    let site: *const [u8; 8];
    // SAFETY: the instruction is jumped over; its eight bytes are readable text.
    unsafe {
        std::arch::asm!(
            "lea {0}, [rip + 770f]",
            "jmp 771f",
            ".p2align 3",
            "770:",
            ".byte 0x48, 0x0f, 0xb9, 0x87, 12, 0x4d, 0x45, 0x4d",
            "771:",
            ".pushsection memento_sites, \"aR?\", @progbits",
            ".p2align 2",
            ".long 770b - .",
            ".popsection",
            out(reg) site
        );
        site.read_volatile()
    }
}

#[test]
fn a_listed_site_of_the_supervisor_is_left_to_fault() {
    let _alone = start();
    assert_eq!(supervisor_site()[0], 0x48);
}

#[test]
fn threads_race_on_unpatched_sites() {
    let _alone = start();
    const THREADS: usize = 4;
    let page = Page::text();
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (page, barrier) = (&page, &barrier);
            scope.spawn(move || {
                for site in 0..Page::FUNCTIONS - 1 {
                    barrier.wait();
                    for round in 0..20 {
                        let size = thread * 1000 + round;
                        assert_eq!(page.call(site, size), answer(size));
                    }
                }
            });
        }
    });
    // A thread that did not get the lock traps again, so in the end all are patched.
    for site in 0..Page::FUNCTIONS - 1 {
        assert_eq!(page.call(site, 1), answer(1));
        assert_eq!(page.call(site, 2), answer(2));
        assert_eq!(page.first_byte(site), 0xE9, "site {site}");
    }
}

#[test]
fn sites_out_of_reach_of_each_other_get_stubs_near_them() {
    let _alone = start();
    let text = libc::PROT_READ | libc::PROT_EXEC;
    for hint in [0x1000_0000_0000, 0x2000_0000_0000, 0x1000_0010_0000] {
        let page = Page::new(hint, libc::MAP_PRIVATE, text, 0);
        assert_eq!(page.call(3, 16), answer(16));
        assert_eq!(page.first_byte(3), 0xE9);
        assert_eq!(page.call(3, 32), answer(32));
    }
}

#[test]
fn code_that_is_not_private_text_keeps_trapping() {
    let _alone = start();
    let text = libc::PROT_READ | libc::PROT_EXEC;
    for (sharing, protection) in
        [(libc::MAP_SHARED, text), (libc::MAP_PRIVATE, text | libc::PROT_WRITE)]
    {
        let page = Page::new(0, sharing, protection, 0);
        for size in [8, 16, 24] {
            assert_eq!(page.call(0, size), answer(size));
            assert_eq!(page.first_byte(0), 0x48);
        }
    }
}
