//! What this process image was started with: environment, name, trust.
//!
//! All of it is asked for while the program's first allocation is being served, so nothing here
//! allocates, and nothing calls a function that another preloaded library could have replaced by
//! one that does: `environ` is walked instead of calling `getenv`, and files are opened by system
//! call.

use core::ffi::{CStr, c_char, c_int, c_long};

unsafe extern "C" {
    /// The C library's list of `NAME=value` strings; null before the library is set up.
    static environ: *const *const c_char;
}

/// `errno` of the last failed call of this thread.
pub(crate) fn errno() -> c_int {
    // SAFETY: the C library returns the address of this thread's errno, which is always valid.
    unsafe { *libc::__errno_location() }
}

/// Whether the program runs with more rights than whoever started it (setuid, setgid, file
/// capabilities). Its environment is not to be obeyed then.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Copies the value of an environment variable into `into` and returns its length. `None` if it is
/// not set, is longer than `into`, or the program [is privileged](is_privileged).
pub(crate) fn variable(name: &[u8], into: &mut [u8]) -> Option<usize> {
    if is_privileged() {
        return None;
    }
    // SAFETY: the C library defines `environ`; it is read once, and is null or a list.
    let list = unsafe { environ };
    if list.is_null() {
        return variable_at_exec(name, into);
    }
    let mut at = list;
    loop {
        // SAFETY: the list ends with a null pointer, and `at` has not passed it.
        let entry = unsafe { *at };
        if entry.is_null() {
            return None;
        }
        // SAFETY: entries are strings that end with a zero byte.
        let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if let Some(value) = value_of(entry, name) {
            return copy(value, into);
        }
        // SAFETY: the entry just read was not the final null, so there is another.
        at = unsafe { at.add(1) };
    }
}

/// The part of `entry` after `name=`.
fn value_of<'e>(entry: &'e [u8], name: &[u8]) -> Option<&'e [u8]> {
    entry.strip_prefix(name)?.strip_prefix(b"=")
}

fn copy(value: &[u8], into: &mut [u8]) -> Option<usize> {
    into.get_mut(..value.len())?.copy_from_slice(value);
    Some(value.len())
}

/// The variable as it was when the image was executed. The dynamic loader already calls `malloc`
/// before the C library has set `environ`, so this covers the first moments.
fn variable_at_exec(name: &[u8], into: &mut [u8]) -> Option<usize> {
    let file = File::open(c"/proc/self/environ", libc::O_RDONLY)?;
    let mut strings = Strings { file: &file, buffer: [0; 512], filled: 0, next: 0 };
    // Bytes of the current string that have matched `name=` so far; `None` once one differed.
    loop {
        let mut matched = Some(0);
        let mut length = 0;
        loop {
            let byte = strings.byte()?;
            if byte == 0 {
                break;
            }
            match matched {
                Some(n) if n < name.len() => matched = (byte == name[n]).then_some(n + 1),
                Some(n) if n == name.len() => matched = (byte == b'=').then_some(n + 1),
                Some(_) => {
                    *into.get_mut(length)? = byte;
                    length += 1;
                }
                None => {}
            }
        }
        if matched == Some(name.len() + 1) {
            return Some(length);
        }
    }
}

/// Reads a file byte by byte through a small buffer.
struct Strings<'f> {
    file: &'f File,
    buffer: [u8; 512],
    filled: usize,
    next: usize,
}

impl Strings<'_> {
    /// The next byte; `None` at the end.
    fn byte(&mut self) -> Option<u8> {
        if self.next == self.filled {
            self.filled = self.file.read(&mut self.buffer)?;
            self.next = 0;
            if self.filled == 0 {
                return None;
            }
        }
        self.next += 1;
        Some(self.buffer[self.next - 1])
    }
}

/// Copies the program's first argument, its name, into `into`, cut to fit; returns its length,
/// which is 0 if it is not known.
pub(crate) fn program_name(into: &mut [u8]) -> usize {
    let Some(file) = File::open(c"/proc/self/cmdline", libc::O_RDONLY) else { return 0 };
    let filled = file.read(into).unwrap_or(0);
    into[..filled].iter().position(|b| *b == 0).unwrap_or(filled)
}

/// An open file that closes itself; close-on-exec, and reached by system calls only.
pub(crate) struct File(c_int);

impl File {
    /// Opens or creates (mode 0600, honouring umask) a file.
    pub(crate) fn open(path: &CStr, flags: c_int) -> Option<Self> {
        // SAFETY: `path` is a string; the kernel checks everything else.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat,
                c_long::from(libc::AT_FDCWD),
                path.as_ptr(),
                c_long::from(flags | libc::O_CLOEXEC),
                0o600 as c_long,
            )
        };
        // Not `then_some`: that would make, and so close, a file that is none, and lose `errno`.
        (fd >= 0).then(|| Self(fd as c_int))
    }

    /// One `read`; 0 at the end, `None` on an error.
    pub(crate) fn read(&self, into: &mut [u8]) -> Option<usize> {
        // SAFETY: the kernel writes at most `into.len()` bytes to `into`.
        let got = unsafe {
            libc::syscall(libc::SYS_read, c_long::from(self.0), into.as_mut_ptr(), into.len())
        };
        usize::try_from(got).ok()
    }

    /// One `write`; whether all was written.
    #[must_use]
    pub(crate) fn write(&self, text: &[u8]) -> bool {
        // SAFETY: the kernel reads `text`.
        let written = unsafe {
            libc::syscall(libc::SYS_write, c_long::from(self.0), text.as_ptr(), text.len())
        };
        usize::try_from(written) == Ok(text.len())
    }

    /// Makes sure that `[offset, offset + bytes)` exists and has disk space behind it, so that
    /// writing to a mapping of it cannot raise `SIGBUS`. Where the file system cannot promise
    /// that, the file is only made long enough. `false` when there is no space.
    #[must_use]
    pub(crate) fn provide(&self, offset: u64, bytes: u64) -> bool {
        if !may_have_length(offset + bytes) {
            return false;
        }
        // SAFETY: acts on our own file descriptor.
        let done = unsafe {
            libc::syscall(libc::SYS_fallocate, c_long::from(self.0), 0 as c_long, offset, bytes)
        };
        if done == 0 {
            return true;
        }
        matches!(errno(), libc::EOPNOTSUPP | libc::ENOSYS) && self.extend(offset + bytes)
    }

    /// Sets the length of the file.
    #[must_use]
    pub(crate) fn extend(&self, bytes: u64) -> bool {
        // SAFETY: acts on our own file descriptor.
        may_have_length(bytes)
            && unsafe { libc::syscall(libc::SYS_ftruncate, c_long::from(self.0), bytes) == 0 }
    }

    /// The descriptor, for `mmap`.
    pub(crate) fn descriptor(&self) -> c_int {
        self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and is not used again.
        unsafe { libc::syscall(libc::SYS_close, c_long::from(self.0)) };
    }
}

/// Whether the process may make a file of this length. Trying would raise `SIGXFSZ`, which kills.
fn may_have_length(bytes: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to `limit` only.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
    known && bytes <= limit.rlim_cur
}

/// A path in a buffer of fixed size.
pub(crate) struct Path {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl Path {
    /// Longest path, with its final zero byte.
    const CAPACITY: usize = 1024;

    /// The empty path.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY], length: 0 }
    }

    /// A path that an environment variable holds.
    pub(crate) fn from_variable(name: &[u8]) -> Option<Self> {
        let mut path = Self::new();
        // One byte less than there is: the last stays zero.
        path.length = variable(name, &mut path.bytes[..Self::CAPACITY - 1])?;
        (path.length > 0).then_some(path)
    }

    /// Appends; `false`, with nothing changed, if it does not fit.
    #[must_use]
    pub(crate) fn push(&mut self, more: &[u8]) -> bool {
        let end = self.length + more.len();
        if end >= Self::CAPACITY {
            return false;
        }
        self.bytes[self.length..end].copy_from_slice(more);
        self.length = end;
        true
    }

    /// Appends a number in decimal.
    #[must_use]
    pub(crate) fn push_number(&mut self, number: u64) -> bool {
        self.push(Decimal::of(number).as_bytes())
    }

    /// Cuts the path back to a length it had before.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes[length..self.length].fill(0);
        self.length = length;
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The path as system calls want it.
    pub(crate) fn as_c_str(&self) -> &CStr {
        // The buffer's last byte is always zero, so there is one; the empty string stands in for
        // the impossible.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// A number in decimal digits, without `core::fmt`, which would be most of a small shared object.
pub(crate) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Creates `<directory>/<pid>-<n><suffix>`, with the first `n` that is free: a process that
/// executes another program keeps its id. Returns the file and leaves its path in `path`, which
/// holds the directory when called; it is as before on failure.
pub(crate) fn create_for_process(path: &mut Path, suffix: &[u8]) -> Option<File> {
    let directory = path.len();
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) } as u64;
    for n in 0..1_000_000 {
        let fits = path.push(b"/")
            && path.push_number(pid)
            && path.push(b"-")
            && path.push_number(n)
            && path.push(suffix);
        if fits {
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            if let Some(file) = File::open(path.as_c_str(), flags) {
                return Some(file);
            }
        }
        path.truncate(directory);
        if !fits || errno() != libc::EEXIST {
            return None;
        }
    }
    None
}

/// Writes one line to stderr, in one piece.
pub(crate) fn say(parts: &[&[u8]]) {
    let mut line = [0u8; 256];
    let mut length = 0;
    for part in parts.iter().copied().chain([b"\n".as_slice()]) {
        // Cut what does not fit, but keep room for the line's end.
        let room = line.len() - length - usize::from(part != b"\n");
        let part = &part[..part.len().min(room)];
        line[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    write_to_stderr(&line[..length]);
}

/// Writes text of any length to stderr, part by part.
pub(crate) fn say_long(parts: &[&[u8]]) {
    for part in parts {
        write_to_stderr(part);
    }
}

fn write_to_stderr(text: &[u8]) {
    // SAFETY: the kernel reads `text`. A failure leaves nobody to tell.
    unsafe { libc::syscall(libc::SYS_write, 2 as c_long, text.as_ptr(), text.len()) };
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn a_variable_is_the_same_by_both_ways() {
        let mut a = [0u8; 4096];
        let mut b = [0u8; 4096];
        let n = variable(b"PATH", &mut a).unwrap();
        assert_eq!(std::env::var_os("PATH").unwrap().as_encoded_bytes(), &a[..n]);
        let m = variable_at_exec(b"PATH", &mut b).unwrap();
        assert_eq!(a[..n], b[..m]);
        assert_eq!(variable(b"PATH", &mut a[..n - 1]), None, "too long is not cut");
        assert_eq!(variable(b"PAT", &mut a), None, "a prefix is another name");
        assert_eq!(variable_at_exec(b"PAT", &mut a), None);
    }

    #[test]
    fn a_process_that_executes_again_gets_another_file() {
        use std::os::unix::ffi::OsStrExt;
        let directory = std::env::temp_dir().join(format!("memento-names-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for n in 0..3 {
            let mut path = Path::new();
            assert!(path.push(directory.as_os_str().as_bytes()));
            assert!(create_for_process(&mut path, b".x").is_some());
            let want = directory.join(format!("{}-{n}.x", std::process::id()));
            assert_eq!(path.as_c_str().to_bytes(), want.as_os_str().as_bytes());
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn decimals() {
        for n in [0, 7, 10, 1234567890, u64::MAX] {
            assert_eq!(Decimal::of(n).as_bytes(), format!("{n}").as_bytes());
        }
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_whole() {
        let mut path = Path::new();
        assert!(path.push(&[b'x'; 1000]));
        assert!(!path.push(&[b'y'; 24]));
        assert_eq!(path.as_c_str().to_bytes().len(), 1000);
        path.truncate(3);
        assert_eq!(path.as_c_str(), c"xxx");
    }
}
