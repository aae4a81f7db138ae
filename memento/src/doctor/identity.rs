//! What a command is, as far as its files tell: which program runs in the end, and which language runtime
//! that is.
//!
//! Follows `PATH`, `#!` lines, `env` in front of the program, and symbolic links (as virtual environments
//! use). What a shell script goes on to start is not guessed; the processes themselves tell.

use crate::env::Runtime;
use object::elf;
use object::read::elf::{Dyn, FileHeader, SectionHeader, Sym};
use object::{Endianness, ReadCache, StringTable};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Longest chain of programs that is followed.
const STEPS: usize = 8;
/// Bytes at a file's start that may hold a `#!` line.
const LINE: u64 = 4096;

/// A command's programs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The files, from the one that was named to the one that runs.
    pub way: Vec<PathBuf>,
    /// What the last one is; `None` if it is no ELF program.
    pub runtime: Option<Runtime>,
}

/// Finds out what `command` is. `find` looks a name up as the kernel or a shell would.
pub fn identify(command: &[OsString], find: &dyn Fn(&OsStr) -> Option<PathBuf>) -> Identity {
    let mut identity = Identity::default();
    let mut words = command.to_vec();
    while let Some(path) = words.first().and_then(|name| find(name)) {
        if identity.way.len() == STEPS {
            break;
        }
        identity.way.push(path.clone());
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if real != path {
            identity.way.push(real.clone());
        }
        if let Some(line) = interpreter_line(&real) {
            // The kernel passes everything behind the interpreter as one argument.
            words = [line, vec![real.into()], words.split_off(1)].concat();
            continue;
        }
        if real.file_name() == Some("env".as_ref()) {
            words = behind_env(&words[1..]);
            continue;
        }
        identity.runtime = runtime(&real);
        break;
    }
    identity
}

/// The words of a file's `#!` line.
fn interpreter_line(path: &Path) -> Option<Vec<OsString>> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?.trim_ascii();
    let mut parts = line.splitn(2, u8::is_ascii_whitespace);
    let words = parts.by_ref().chain([]).map(|part| OsString::from_vec(part.trim_ascii().to_vec()));
    Some(words.filter(|word| !word.is_empty()).collect())
}

/// The command that `env` runs, given its arguments.
fn behind_env(arguments: &[OsString]) -> Vec<OsString> {
    let mut rest = arguments.to_vec();
    while let Some(word) = rest.first().cloned() {
        let bytes = word.as_bytes();
        rest.remove(0);
        if let Some(split) = bytes.strip_prefix(b"-S").or(bytes.strip_prefix(b"--split-string=")) {
            let words = split.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            rest.splice(0..0, words.map(|word| OsString::from_vec(word.to_vec())));
        } else if matches!(bytes, b"-u" | b"--unset" | b"-C" | b"--chdir") {
            rest.drain(..rest.len().min(1));
        } else if !bytes.starts_with(b"-") && !bytes.contains(&b'=') {
            rest.insert(0, word);
            break;
        }
    }
    rest
}

/// The language runtime that an ELF program is: one that offers, or needs a library that offers, the
/// functions by which the shared objects recognise it.
fn runtime(path: &Path) -> Option<Runtime> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let data = &cache;
    let header = elf::FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM).ok()?;
    for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(endian)) {
        match symbol.name(endian, symbols.strings()).unwrap_or_default() {
            b"PyMem_SetAllocator" => return Some(Runtime::Python),
            b"_ZN2v82V810GetVersionEv" => return Some(Runtime::Node),
            _ => {}
        }
    }
    let mut found = Runtime::C;
    for section in sections.iter() {
        let Ok(Some((entries, link))) = section.dynamic(endian, data) else { continue };
        let strings = sections.strings(endian, data, link).unwrap_or(StringTable::default());
        for name in entries.iter().filter(|entry| entry.tag(endian) == elf::DT_NEEDED) {
            let name = name.string(endian, strings).unwrap_or_default();
            if name.starts_with(b"libpython3") {
                found = Runtime::Python;
            } else if name.starts_with(b"libnode.so") {
                found = Runtime::Node;
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Identifies a command; names are looked up in one directory and in the system's.
    fn known(directory: &Path, command: &[&str]) -> Identity {
        let find = |name: &OsStr| {
            let candidates = [directory.join(name), Path::new("/usr/bin").join(name)];
            candidates.into_iter().find(|path| path.is_file())
        };
        let words: Vec<_> = command.iter().map(OsString::from).collect();
        identify(&words, &find)
    }

    /// The interpreter itself, whatever wrappers there are.
    fn executable(program: &str, arguments: &[&str]) -> PathBuf {
        let out = std::process::Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim_end().into()
    }

    #[test]
    fn runtimes_are_known_by_what_they_offer() {
        let directory = tempfile::tempdir().unwrap();
        let python = executable("python3", &["-c", "import sys; print(sys.executable)"]);
        let node = executable("node", &["-p", "process.execPath"]);
        // Under another name, as in a virtual environment.
        symlink(&python, directory.path().join("app")).unwrap();
        symlink(&node, directory.path().join("other")).unwrap();
        let app = known(directory.path(), &["app", "x.py"]);
        assert_eq!(app.runtime, Some(Runtime::Python));
        assert_eq!(*app.way.last().unwrap(), python.canonicalize().unwrap());
        assert_eq!(known(directory.path(), &["other"]).runtime, Some(Runtime::Node));
        assert_eq!(known(directory.path(), &["sh"]).runtime, Some(Runtime::C));
        let words = ["env", "-i", "-u", "X", "Y=1", "other", "app.js"];
        assert_eq!(known(directory.path(), &words).runtime, Some(Runtime::Node));
        fs::write(directory.path().join("tool"), "#!/usr/bin/env -S other --flag\n").unwrap();
        let tool = known(directory.path(), &["tool"]);
        assert_eq!(tool.runtime, Some(Runtime::Node), "{tool:?}");
    }

    #[test]
    fn what_is_not_there_or_turns_in_circles_has_no_runtime() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(known(directory.path(), &["no-such-program"]), Identity::default());
        let path = directory.path().join("circle");
        fs::write(&path, "#!/usr/bin/env circle\n").unwrap();
        let circle = known(directory.path(), &["circle"]);
        assert!(circle.runtime.is_none() && circle.way.len() <= STEPS + 2, "{circle:?}");
    }

    #[test]
    fn env_s_own_words_are_skipped() {
        let behind = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            behind_env(&words).iter().map(|w| w.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(behind(&["-i", "A=1", "prog", "B=2"]), ["prog", "B=2"]);
        assert_eq!(behind(&["-u", "A", "--chdir", "/", "prog"]), ["prog"]);
        assert_eq!(behind(&["-Sprog -x", "y"]), ["prog", "-x", "y"]);
        assert_eq!(behind(&["-S", "prog", "y"]), ["prog", "y"]);
        assert!(behind(&["-u"]).is_empty());
    }
}
