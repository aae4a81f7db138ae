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
pub(crate) fn find(program: &OsStr) -> Result<PathBuf, Obstacle> {
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
            let musl = name.file_name().is_some_and(|n| n.as_bytes().starts_with(b"ld-musl"));
            if musl != cfg!(target_env = "musl") {
                let library = if musl { "musl" } else { "glibc" };
                return Ok(Some(Obstacle::OtherLibc(path.into(), library.into())));
            }
            return Ok((!name.exists()).then(|| Obstacle::Missing(name.into())));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    /// A directory with one file, `prog`, of these contents and this mode.
    fn file(contents: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prog");
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    /// This test's own executable, with bytes replaced.
    fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut image = fs::read("/proc/self/exe").unwrap();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    }

    fn judge(contents: &[u8]) -> Option<Obstacle> {
        let (_directory, path) = file(contents, 0o755);
        obstacle(path.as_os_str())
    }

    #[test]
    fn a_dynamic_program_has_no_obstacle() {
        assert_eq!(obstacle("/proc/self/exe".as_ref()), None);
        assert_eq!(obstacle("sh".as_ref()), None, "found in PATH");
    }

    #[test]
    fn damaged_and_foreign_programs_are_told_apart() {
        const E_MACHINE: usize = 18;
        let elf32 = changed(EI_CLASS, &[elf::ELFCLASS32]);
        assert!(matches!(judge(&elf32), Some(Obstacle::ThirtyTwoBit(_))));
        let other = changed(E_MACHINE, &elf::EM_S390.to_le_bytes());
        assert!(matches!(judge(&other), Some(Obstacle::OtherCpu(_, cpu)) if cpu == "s390x"));
        assert!(matches!(judge(&other[..40]), Some(Obstacle::Malformed(..))));
        assert!(matches!(judge(b"\0\x01\x02"), Some(Obstacle::Malformed(..))));
    }

    #[test]
    fn musl_is_seen_by_its_loader() {
        let mut image = fs::read("/proc/self/exe").unwrap();
        let name = b"/lib/ld-musl-x.so.1\0";
        let at = image.windows(5).position(|w| w == b"/lib6" || w == b"/lib/").unwrap();
        image[at..at + name.len()].copy_from_slice(name);
        assert!(matches!(judge(&image), Some(Obstacle::OtherLibc(_, l)) if l == "musl"));
    }

    #[test]
    fn interpreters_are_followed() {
        assert_eq!(judge(b"#!/bin/sh\n"), None);
        assert_eq!(judge(b"#! /usr/bin/env sh\n"), None);
        assert_eq!(judge(b"echo no interpreter line\n"), None, "the shell runs it");
        assert!(
            matches!(judge(b"#!/no/such\n"), Some(Obstacle::Missing(p)) if p == Path::new("/no/such"))
        );
        assert!(matches!(judge(b"#!\n"), Some(Obstacle::Malformed(..))));
        let (_directory, path) = file(b"", 0o755);
        fs::write(&path, format!("#!{}\n", path.display())).unwrap();
        assert!(matches!(obstacle(path.as_os_str()), Some(Obstacle::Malformed(..))), "a loop ends");
    }

    #[test]
    fn absence_and_missing_permission() {
        assert!(matches!(obstacle("/no/such".as_ref()), Some(Obstacle::Missing(_))));
        assert!(matches!(obstacle("no-such-program-here".as_ref()), Some(Obstacle::Missing(_))));
        let (directory, path) = file(b"#!/bin/sh\n", 0o644);
        assert!(matches!(obstacle(path.as_os_str()), Some(Obstacle::NotExecutable(_))));
        assert!(matches!(obstacle(directory.path().as_os_str()), Some(Obstacle::NotExecutable(_))));
    }

    #[test]
    fn raised_privileges_are_seen_by_mode_and_owner() {
        let (_directory, path) = file(&fs::read("/proc/self/exe").unwrap(), 0o4755);
        assert_eq!(obstacle(path.as_os_str()), None, "setuid to oneself raises nothing");
        // Giving a file away needs privileges; without them a system program serves.
        let foreign = if chown(&path, Some(12345), None).is_ok() {
            fs::set_permissions(&path, Permissions::from_mode(0o4755)).unwrap();
            path
        } else {
            PathBuf::from("/usr/bin/passwd")
        };
        let got = obstacle(foreign.as_os_str());
        assert!(matches!(&got, Some(Obstacle::Privileged(_, "setuid"))), "{got:?}");
    }
}
