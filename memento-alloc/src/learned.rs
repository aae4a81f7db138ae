//! A footprint that is learned: what the first heap of a program had in use in earlier runs gets huge pages at once.
//!
//! `learn:DIRECTORY` in `MEMENTO_CONF` names a directory by its absolute path. Each program has a file in it, named as its
//! executable is, that holds the most bytes so far in decimal digits. It is read with the other keys, and written whenever the heap
//! has outgrown it by a block, so that runs count that are killed; a program that does as before writes nothing.

use crate::conf::{self, Outcome};
use crate::startup::{Decimal, File, Path, say};
use core::sync::atomic::{AtomicUsize, Ordering};

/// The most that is known; where nothing is to be learned, more than there can be.
// Relaxed throughout: the number gives nothing but itself.
static KNOWN: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Digits of a file.
const DIGITS: usize = 20;

/// Learns in a directory from now on. Returns the bytes that are known, 0 if none are; `None` if that is no absolute path,
/// or the program's name is not known.
#[cold]
pub(crate) fn begin(directory: &str) -> Option<usize> {
    let known = read(&path(directory)?).unwrap_or(0);
    KNOWN.store(known, Ordering::Relaxed);
    Some(known)
}

/// Notes that the first heap has so many bytes in use.
#[inline]
pub(crate) fn note(bytes: usize) {
    if bytes > KNOWN.load(Ordering::Relaxed) {
        keep(bytes);
    }
}

#[cold]
fn keep(bytes: usize) {
    if KNOWN.fetch_max(bytes, Ordering::Relaxed) >= bytes {
        return;
    }
    let mut file = None;
    conf::apply_environment_again(|key, value| {
        if key == "learn" {
            file = path(value);
        }
        Outcome::Set
    });
    let Some(file) = file else { return };
    if !write(&file, bytes) {
        KNOWN.store(usize::MAX, Ordering::Relaxed);
        say(&[b"memento: learn: cannot write ", file.as_c_str().to_bytes()]);
    }
}

fn path(directory: &str) -> Option<Path> {
    let mut executable = [0u8; 512];
    // SAFETY: a path that ends with zero, and a buffer of the length given.
    let length = unsafe {
        let link = c"/proc/self/exe".as_ptr();
        let (into, bytes) = (executable.as_mut_ptr(), executable.len());
        libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link, into, bytes)
    };
    let executable = executable.get(..usize::try_from(length).ok()?)?;
    let name = executable.rsplit(|byte| *byte == b'/').next()?;
    let mut path = Path::new();
    let fits = path.push(directory.as_bytes()) && path.push(b"/") && path.push(name);
    (fits && directory.starts_with('/')).then_some(path)
}

fn read(path: &Path) -> Option<usize> {
    let mut digits = [0u8; DIGITS];
    let length = File::open(path.as_c_str(), libc::O_RDONLY)?.read(&mut digits)?;
    core::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

/// In place, with as many digits as any number has: whoever reads meanwhile finds the one or the other.
fn write(path: &Path, bytes: usize) -> bool {
    let number = Decimal::of(bytes as u64);
    let mut digits = [b'0'; DIGITS];
    digits[DIGITS - number.as_bytes().len()..].copy_from_slice(number.as_bytes());
    File::open(path.as_c_str(), libc::O_WRONLY | libc::O_CREAT | libc::O_NOFOLLOW)
        .is_some_and(|file| file.write(&digits))
}
