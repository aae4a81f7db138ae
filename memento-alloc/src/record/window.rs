//! An append-only file, written through a mapping that moves along it.
//!
//! What has been appended is in the file at once, so it survives `_exit` and `SIGKILL`. Space on
//! disk is made sure of before it is written to: a full disk ends the recording with a line on
//! stderr. The file's last window ends in zero bytes, which readers take for its end.

use crate::startup::{self, File, Path};
use core::ptr::{NonNull, null_mut};

/// Bytes that are mapped at a time: a multiple of every page size.
const WINDOW_BYTES: usize = 1 << 20;

/// The file of one process image. All zero to begin with.
pub(super) struct Window {
    /// Empty until the file is made, and for ever if there is none.
    path: Path,
    /// The mapped part, or null when nothing is (or is no longer) recorded.
    at: *mut u8,
    /// Where in the file it begins.
    offset: u64,
    /// Bytes of it that are filled.
    filled: usize,
}

impl Window {
    /// No file.
    pub(super) const fn closed() -> Self {
        Self { path: Path::new(), at: null_mut(), offset: 0, filled: 0 }
    }

    /// Makes the file of this process in `directory` and maps its start. A window that was open
    /// before, in the parent of a fork child, is unmapped: its file is the parent's.
    pub(super) fn open(&mut self, directory: &Path) {
        self.close();
        let mut path = Path::new();
        if path.push(directory.as_c_str().to_bytes())
            && let Some(file) = startup::create_for_process(&mut path, b".trace")
        {
            self.path = path;
            self.offset = 0;
            self.map(&file);
        }
    }

    /// Whether lines go anywhere.
    pub(super) fn is_open(&self) -> bool {
        !self.at.is_null()
    }

    /// Appends `bytes`, fewer than a window holds.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let now = bytes.len().min(WINDOW_BYTES - self.filled);
        self.put(&bytes[..now]);
        if now < bytes.len() || self.filled == WINDOW_BYTES {
            self.advance();
            self.put(&bytes[now..]);
        }
    }

    /// Copies bytes that fit.
    fn put(&mut self, bytes: &[u8]) {
        if self.is_open() {
            // SAFETY: `at` maps WINDOW_BYTES for this window alone, and the caller has cut `bytes`
            // to what is left of them.
            unsafe {
                bytes.as_ptr().copy_to_nonoverlapping(self.at.add(self.filled), bytes.len());
            }
            self.filled += bytes.len();
        }
    }

    /// Moves on to the next part of the file.
    fn advance(&mut self) {
        if !self.is_open() {
            return;
        }
        self.close();
        self.offset += WINDOW_BYTES as u64;
        match File::open(self.path.as_c_str(), libc::O_RDWR) {
            Some(file) => self.map(&file),
            None => Self::tell(),
        }
    }

    fn map(&mut self, file: &File) {
        self.filled = 0;
        if !file.provide(self.offset, WINDOW_BYTES as u64) {
            return Self::tell();
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let (fd, offset) = (file.descriptor(), self.offset as libc::off_t);
        // SAFETY: a fresh mapping of our own file touches nothing that exists.
        let at =
            unsafe { libc::mmap(null_mut(), WINDOW_BYTES, prot, libc::MAP_SHARED, fd, offset) };
        match NonNull::new(at) {
            Some(at) if at.as_ptr() != libc::MAP_FAILED => self.at = at.as_ptr().cast(),
            _ => Self::tell(),
        }
    }

    fn close(&mut self) {
        if self.is_open() {
            // SAFETY: the mapping is this window's, and nothing refers to it.
            unsafe { libc::munmap(self.at.cast(), WINDOW_BYTES) };
            self.at = null_mut();
        }
    }

    fn tell() {
        startup::say(&[b"memento: recording stopped: no space for the trace"]);
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::prelude::v1::*;

    #[test]
    fn lines_that_cross_windows_stay_whole() {
        let directory = std::env::temp_dir().join(format!("memento-window-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut path = Path::new();
        assert!(path.push(directory.as_os_str().as_bytes()));
        let mut window = Window::closed();
        window.open(&path);
        let mut want = Vec::new();
        for n in 0..300_000u64 {
            let line = format!("line {n}\n");
            window.append(line.as_bytes());
            want.extend_from_slice(line.as_bytes());
        }
        let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap();
        let got = std::fs::read(file.path()).unwrap();
        assert!(want.len() > 3 * WINDOW_BYTES && got[..want.len()] == want[..]);
        assert!(got[want.len()..].iter().all(|b| *b == 0));
        window.close();
        std::fs::remove_dir_all(directory).unwrap();
    }
}
