//! One C program, two architectures, one emulator: the counts are the same.
//!
//! On x86-64 the program is loaded into this process; its instructions trap, are patched, and are
//! executed by [`Machine`]. For RISC-V it runs under `qemu-riscv64`; its handler sends every
//! trapped instruction here, where a second `Machine` executes it. (Rust's RISC-V target is not
//! needed for it, which not every machine that builds the project can install.)
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]

#[path = "isa/tools.rs"]
mod tools;

use memento_hal::FreeFault;
use memento_hal::counters::Counters;
use memento_hal::emulator::{CoreId, FixedCosts, Machine, Params, SimMemory};
use memento_hal::geometry::SizeClass;
use memento_hal::isa::{self, Device, Execution, Function, patch, trap};
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use tools::{RISCV, X86_64, manifest, missing, scratch};

/// The emulated hardware of one process with one thread.
struct Hardware {
    machine: Machine<SimMemory, FixedCosts>,
    core: CoreId,
    /// Every instruction executed: code, operand, result.
    log: Vec<(u8, u64, u64)>,
}

impl Hardware {
    fn new() -> Self {
        let params = Params::DEFAULT;
        let costs = FixedCosts::new(&params);
        let mut machine = Machine::new(params, SimMemory::new(), costs).unwrap();
        let core = machine.add_core().unwrap();
        Self { machine, core, log: Vec::new() }
    }

    fn alloc(&mut self, size: usize) -> usize {
        let class = SizeClass::for_request(size, 8);
        let va = class.and_then(|class| self.machine.obj_alloc(self.core, class));
        va.unwrap_or(0) as usize
    }

    fn free(&mut self, va: usize) -> Result<(), FreeFault> {
        self.machine.obj_free(self.core, va as u64)
    }

    fn region(&self) -> (usize, usize) {
        let region = &self.machine.layout().region;
        (region.start() as usize, region.end() as usize)
    }

    fn log(&mut self, function: Function, operand: usize, result: usize) -> usize {
        self.log.push((function.code(), operand as u64, result as u64));
        result
    }
}

/// The hardware behind this process's own instructions.
static LOCAL: Mutex<Option<Hardware>> = Mutex::new(None);

fn local<R>(f: impl FnOnce(&mut Hardware) -> R) -> R {
    f(LOCAL.lock().unwrap().as_mut().unwrap())
}

static DEVICE: Device = Device {
    obj_alloc: |size| {
        local(|hardware| {
            let va = hardware.alloc(size);
            hardware.log(Function::ObjAlloc, size, va)
        })
    },
    obj_free: |va| {
        local(|hardware| {
            let outcome = hardware.free(va);
            hardware.log(Function::ObjFree, va, isa::fault_code(outcome));
            outcome
        })
    },
    region: || local(|hardware| hardware.region()),
};

/// Loads the program into this process and runs it.
fn run_here() -> Hardware {
    *LOCAL.lock().unwrap() = Some(Hardware::new());
    assert_eq!(isa::start(&DEVICE), Some(Execution::Emulated));
    let library = scratch("program.so");
    X86_64.compile(&["-O2", "-shared", "-fPIC"], &[&manifest("tests/isa/program.c")], &library);
    let path = CString::new(library.as_os_str().as_bytes()).unwrap();
    let (traps, patched) = (trap::traps(), patch::patched_sites());
    // SAFETY: the library was built just now, has no constructors, and exports this function.
    let failed = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null());
        let symbol = libc::dlsym(handle, c"program_run".as_ptr());
        assert!(!symbol.is_null());
        std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(symbol)()
    };
    assert_eq!(failed, 0, "the expectation in line {failed} of program.c");
    // This image does not list the library's sites: each trapped, once, and was patched.
    let traps = trap::traps() - traps;
    assert!(traps > 0 && traps < 30, "{traps} traps");
    assert_eq!(traps, patch::patched_sites() - patched);
    LOCAL.lock().unwrap().take().unwrap()
}

/// Runs the program under `qemu-riscv64` and executes what it sends.
fn run_riscv() -> Hardware {
    let program = scratch("program-riscv64");
    let sources = [manifest("tests/isa/program.c"), manifest("tests/isa/forward_riscv.c")];
    RISCV.compile(&["-O2", "-static"], &[&sources[0], &sources[1]], &program);
    let mut command = Command::new("qemu-riscv64");
    command.arg(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| missing(&command, "qemu-user", &error));
    let (mut answers, mut requests) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut hardware = Hardware::new();
    let mut request = [0u8; 16];
    while requests.read_exact(&mut request).is_ok() {
        let (code, operand) = request.split_at(8);
        let code = u64::from_le_bytes(code.try_into().unwrap());
        let operand = u64::from_le_bytes(operand.try_into().unwrap()) as usize;
        let function = u8::try_from(code).ok().and_then(Function::from_code).unwrap();
        let result = match function {
            Function::Identify => isa::identification(true) as usize,
            Function::ReadRegionStart => hardware.region().0,
            Function::ReadRegionEnd => hardware.region().1,
            Function::ObjAlloc => {
                let va = hardware.alloc(operand);
                hardware.log(function, operand, va)
            }
            Function::ObjFree => {
                let outcome = hardware.free(operand);
                hardware.log(function, operand, isa::fault_code(outcome))
            }
            _ => panic!("{function:?} in user mode"),
        };
        answers.write_all(&(result as u64).to_le_bytes()).unwrap();
    }
    drop(answers);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    hardware
}

#[test]
fn the_counts_are_those_of_the_other_architecture() {
    let (x86, riscv) = (run_here(), run_riscv());
    let counters: Counters = x86.machine.counters();
    // The program did what it is for: it left no path out.
    assert_eq!(counters.faults, 3);
    for (name, count) in [
        ("hot_alloc_hits", counters.hot_alloc_hits),
        ("hot_alloc_misses", counters.hot_alloc_misses),
        ("hot_free_hits", counters.hot_free_hits),
        ("hot_free_misses", counters.hot_free_misses),
        ("alloc_list_operations", counters.alloc_list_operations),
        ("free_list_operations", counters.free_list_operations),
        ("aac_hits", counters.aac_hits),
        ("aac_misses", counters.aac_misses),
        ("pages_taken", counters.pages_taken),
        ("bypass_lines", counters.bypass_lines),
        ("cycles_page_management", counters.cycles_page_management),
    ] {
        assert_ne!(count, 0, "{name}");
    }
    assert_eq!(x86.log.len(), riscv.log.len());
    for (step, (x86, riscv)) in x86.log.iter().zip(&riscv.log).enumerate() {
        assert_eq!(x86, riscv, "instruction {step}");
    }
    assert_eq!(counters, riscv.machine.counters());
}
