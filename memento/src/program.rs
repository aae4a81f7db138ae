//! Looks at a program file before it is run: can it load a preloaded object at all?
//!
//! The answer is a forecast that gives the *reason*; the proof is the report file that a loaded
//! object leaves behind. Follows `#!` lines, because it is the interpreter that loads.

use nix::unistd::{getegid, geteuid};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest chain of interpreters; the kernel's own limit.
const INTERPRETERS: usize = 5;

/// Why a program will not load a preloaded object.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// No file of that name.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// The file has no execute permission, or is no file.
    #[error("{} is not executable", .0.display())]
    NotExecutable(PathBuf),
    /// The file cannot be read, so nothing is known.
    #[error("{path} cannot be examined: {reason}", path = .0.display(), reason = .1)]
    Unreadable(PathBuf, String),
    /// Neither ELF nor `#!`, or damaged.
    #[error("{path} is not a program that Linux can execute: {reason}", path = .0.display(), reason = .1)]
    Malformed(PathBuf, &'static str),
    /// No dynamic loader takes part.
    #[error(
        "{} is statically linked: there is no dynamic loader that could load a shared object",
        .0.display()
    )]
    Static(PathBuf),
    /// The loader ignores `LD_PRELOAD`.
    #[error(
        "{path} runs with raised privileges ({why}): the dynamic loader ignores LD_PRELOAD",
        path = .0.display(), why = .1
    )]
    Privileged(PathBuf, &'static str),
    /// 32-bit program.
    #[error("{} is a 32-bit program; the shared object is 64-bit", .0.display())]
    ThirtyTwoBit(PathBuf),
    /// Program for another CPU.
    #[error(
        "{path} is built for another CPU ({cpu}) than the shared object ({ours})",
        path = .0.display(), cpu = .1, ours = std::env::consts::ARCH
    )]
    OtherCpu(PathBuf, String),
    /// Program of another C library.
    #[error(
        "{path} uses another C library ({library}) than the shared object was built for",
        path = .0.display(), library = .1
    )]
    OtherLibc(PathBuf, String),
}

/// What keeps `program`, a path or a name to look up in `PATH`, from loading a preloaded object.
/// `None` if nothing that can be seen from outside does.
pub fn obstacle(program: &OsStr) -> Option<Obstacle> {
    let path = match find(program) {
        Ok(path) => path,
        Err(obstacle) => return Some(obstacle),
    };
    examine(&path, INTERPRETERS)
}

/// Where an ELF file says how wide its addresses are: after the four bytes of its magic number.
const EI_CLASS: usize = 4;

/// Finds the file that `execvp` would execute.
fn find(program: &OsStr) -> Result<PathBuf, Obstacle> {
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return match path.metadata() {
            Err(_) => Err(Obstacle::Missing(path)),
            Ok(_) if !is_executable(&path) => Err(Obstacle::NotExecutable(path)),
            Ok(_) => Ok(path),
        };
    }
    let list = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    let mut present = None;
    for directory in std::env::split_paths(&list) {
        let path = directory.join(program);
        if is_executable(&path) {
            return Ok(path);
        }
        if path.is_file() {
            present.get_or_insert(path);
        }
    }
    Err(present.map_or_else(|| Obstacle::Missing(program.into()), Obstacle::NotExecutable))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0)
}

fn examine(path: &Path, interpreters_left: usize) -> Option<Obstacle> {
    let mut bytes = Vec::new();
    // The program headers follow the file header in every linker's output.
    let read = File::open(path).and_then(|f| f.take(1 << 16).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Some(Obstacle::Unreadable(path.into(), error.to_string()));
    }
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let interpreter = interpreter_of(line);
        return match (interpreter, interpreters_left) {
            (None, _) => Some(Obstacle::Malformed(path.into(), "its #! line names nothing")),
            (_, 0) => Some(Obstacle::Malformed(path.into(), "too many interpreters")),
            (Some(interpreter), left) => match find(interpreter.as_os_str()) {
                Ok(_) => examine(&interpreter, left - 1),
                Err(obstacle) => Some(obstacle),
            },
        };
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        // `execvp` gives what the kernel does not know to the shell.
        let text = !bytes.contains(&0) && interpreters_left > 0;
        return if text {
            examine(Path::new("/bin/sh"), interpreters_left - 1)
        } else {
            Some(Obstacle::Malformed(path.into(), "neither ELF nor a script"))
        };
    }
    privileges(path).or_else(|| examine_elf(path, &bytes))
}

/// The interpreter that a `#!` line names, without its argument.
fn interpreter_of(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|b| *b == b'\n').next()?.trim_ascii();
    let name = line.split(|b| b.is_ascii_whitespace()).next().filter(|n| !n.is_empty())?;
    // A name without a slash is relative to the current directory, not looked up.
    let path = PathBuf::from(OsString::from_vec(name.to_vec()));
    Some(if name.contains(&b'/') { path } else { Path::new(".").join(path) })
}

/// Whether the kernel would start the file in secure mode.
fn privileges(path: &Path) -> Option<Obstacle> {
    let metadata = path.metadata().ok()?;
    let secure = |why| Some(Obstacle::Privileged(path.into(), why));
    if metadata.mode() & 0o4000 != 0 && metadata.uid() != geteuid().as_raw() {
        return secure("setuid");
    }
    if metadata.mode() & 0o2000 != 0 && metadata.gid() != getegid().as_raw() {
        return secure("setgid");
    }
    let mut value = [0u8; 64];
    let capabilities = rustix::fs::getxattr(path, "security.capability", &mut value);
    if capabilities.is_ok() && !geteuid().is_root() {
        return secure("file capabilities");
    }
    None
}

fn examine_elf(path: &Path, bytes: &[u8]) -> Option<Obstacle> {
    if bytes.get(EI_CLASS) == Some(&elf::ELFCLASS32) {
        return Some(Obstacle::ThirtyTwoBit(path.into()));
    }
    let malformed = |_| Obstacle::Malformed(path.into(), "its ELF header is damaged");
    interpreter_and_machine(path, bytes).map_err(malformed).unwrap_or_else(Some)
}

fn interpreter_and_machine(path: &Path, bytes: &[u8]) -> object::read::Result<Option<Obstacle>> {
    type Header = elf::FileHeader64<object::Endianness>;
    let header = Header::parse(bytes)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    if machine != native_machine() {
        return Ok(Some(Obstacle::OtherCpu(path.into(), machine_name(machine))));
    }
    for segment in header.program_headers(endian, bytes)? {
        if let Some(interpreter) = segment.interpreter(endian, bytes)? {
            let name = Path::new(OsStr::from_bytes(interpreter));
            if !name.exists() {
                return Ok(Some(Obstacle::Missing(name.into())));
            }
            let file = name.file_name().unwrap_or_default().to_string_lossy();
            let musl = file.starts_with("ld-musl");
            return Ok((musl != cfg!(target_env = "musl")).then(|| {
                Obstacle::OtherLibc(path.into(), if musl { "musl" } else { "glibc" }.into())
            }));
        }
    }
    // The dynamic loader itself has no interpreter and may be run as a program.
    let is_loader = path.file_name().is_some_and(|n| n.as_bytes().starts_with(b"ld-"));
    Ok((!is_loader).then(|| Obstacle::Static(path.into())))
}

fn native_machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "aarch64" => elf::EM_AARCH64,
        "riscv64" => elf::EM_RISCV,
        _ => elf::EM_NONE,
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".into(),
        elf::EM_AARCH64 => "aarch64".into(),
        elf::EM_RISCV => "riscv64".into(),
        elf::EM_PPC64 => "powerpc64".into(),
        elf::EM_S390 => "s390x".into(),
        other => format!("ELF machine {other}"),
    }
}
