//! What a process says about itself when it ends, for `memento doctor`.
//!
//! With `MEMENTO_DOCTOR=1` beside `MEMENTO_REPORT`, a process that ends through `exit` leaves a file
//! `<pid>-<number>.domains` beside its counters: who served the memory domains of its language runtime,
//! one JSON document a line. The counters prove that the allocator was loaded and how much it served,
//! however the process ends; this says for whom, in processes that get to say it.

use crate::startup::{self, Path};
use memento_hal::os::KeepErrno;

/// Bytes of a document. The runtimes' are a few hundred.
const DOCUMENT_BYTES: usize = 2048;

/// Writes a document in JSON into a slice, and returns its whole length.
pub type Document = fn(&mut [u8]) -> usize;

/// Leaves the file, if it is asked for. For the function that an object has called at the end.
#[cold]
pub fn leave(documents: &[Document]) {
    let _errno = KeepErrno::new();
    let mut asked = [0; 1];
    if startup::variable(b"MEMENTO_DOCTOR", &mut asked) != Some(1) {
        return;
    }
    let Some(mut path) = Path::from_variable(b"MEMENTO_REPORT") else { return };
    let Some(file) = startup::create_for_process(&mut path, b".domains") else { return };
    for document in documents {
        let mut text = [0; DOCUMENT_BYTES];
        let length = document(&mut text);
        if length < DOCUMENT_BYTES {
            text[length] = b'\n';
            // What is not written is missed by whoever reads it.
            let _ = file.write(&text[..=length]);
        }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_unless_it_is_asked_for() {
        // The test process has none of the variables.
        leave(&[|_| panic!("the document is not made")]);
    }
}
