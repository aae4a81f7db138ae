//! Collects what the shared objects counted in the processes of one run.

use anyhow::{Context, Result};
use memento_alloc::report::layout;
use memento_hal::counters::Counters;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One process image that proved that it had loaded the shared object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The process.
    pub pid: u32,
    /// Its parent when counting began.
    pub ppid: u32,
    /// The program's name, as executed.
    pub argv0: String,
    /// What it counted, or why that is not known.
    pub counters: std::result::Result<Counters, String>,
    /// Whether counts are a lower bound, because threads shared a block.
    pub lower_bound: bool,
}

/// A private directory that programs count into.
#[derive(Debug)]
pub struct Collector(tempfile::TempDir);

impl Collector {
    /// Makes the directory.
    ///
    /// # Errors
    /// If the temporary directory cannot be written.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("memento-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a directory for the counters; is TMPDIR writable?")?;
        Ok(Self(directory))
    }

    /// Its path, for `MEMENTO_REPORT` or `MEMENTO_TRACE`.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Everything that was counted: images of process `root` first, then by process and age.
    ///
    /// # Errors
    /// If the directory cannot be read. A damaged file is an [`Image`] that says so.
    pub fn images(&self, root: u32) -> Result<Vec<Image>> {
        let mut files = self.files(".counters")?;
        files.sort_by_key(|file| (file.pid != root, file.pid, file.number));
        files.iter().map(read).collect()
    }

    /// The directory's files of one kind, in no order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn files(&self, suffix: &str) -> Result<Vec<ImageFile>> {
        let mut files = Vec::new();
        let entries = fs::read_dir(self.path()).context("cannot read the directory of counters")?;
        for entry in entries {
            let path = entry.context("cannot read the directory of counters")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let numbers = name.strip_suffix(suffix).and_then(|n| n.split_once('-'));
            if let Some((pid, number)) = numbers
                && let (Ok(pid), Ok(number)) = (pid.parse(), number.parse())
            {
                files.push(ImageFile { pid, number, path });
            }
        }
        Ok(files)
    }
}

/// A file that one process image left behind: `<pid>-<number><suffix>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageFile {
    /// The process.
    pub pid: u32,
    /// Number of the image in the process: each `exec` makes another.
    pub number: u64,
    /// The file.
    pub path: std::path::PathBuf,
}

fn read(file: &ImageFile) -> Result<Image> {
    let bytes =
        fs::read(&file.path).with_context(|| format!("cannot read {}", file.path.display()))?;
    let failed = |reason: String| Image {
        pid: file.pid,
        ppid: 0,
        argv0: String::new(),
        lower_bound: false,
        counters: Err(reason),
    };
    if bytes.iter().all(|b| *b == 0) {
        // Made, but not filled: see `memento_alloc::report::writer`.
        return Ok(failed(
            "it had no space for counters: full disk, or a limit on file sizes".into(),
        ));
    }
    Ok(match layout::parse(&bytes) {
        Ok(image) => Image {
            pid: image.pid,
            ppid: image.ppid,
            argv0: String::from_utf8_lossy(image.argv0).into_owned(),
            lower_bound: image.flags & layout::FLAG_SHARED_BLOCK != 0,
            counters: Ok(image.counters),
        },
        Err(error) => failed(format!("its counters cannot be read: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_named_and_the_order_is_root_first() {
        let collector = Collector::new().unwrap();
        for name in ["9-0.counters", "12-1.counters", "12-0.counters", "x.counters", "3-0.trace"] {
            fs::write(collector.path().join(name), "short").unwrap();
        }
        let images = collector.images(12).unwrap();
        let pids: Vec<u32> = images.iter().map(|i| i.pid).collect();
        assert_eq!(pids, [12, 12, 9]);
        let reason = images[0].counters.as_ref().unwrap_err();
        assert!(reason.contains("not a memento report file"), "{reason}");
    }
}
