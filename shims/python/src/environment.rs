//! The command line and the environment that the process was started with, as the C library hands
//! them to the functions that the loader calls.

use core::ffi::{CStr, c_char};
use memento_shim_abi::runtime::c_int;

/// Arguments and variables.
#[derive(Clone, Copy)]
pub(crate) struct Environment {
    arguments: &'static [*const c_char],
    variables: *const *const c_char,
}

impl Environment {
    /// # Safety
    /// What the C library passed to an `.init_array` function.
    pub unsafe fn new(
        count: c_int,
        arguments: *const *const c_char,
        variables: *const *const c_char,
    ) -> Self {
        let count = usize::try_from(count).unwrap_or(0);
        let arguments = if arguments.is_null() {
            &[]
        } else {
            // SAFETY: the C library's array of `count` strings, which lives as long as the process.
            unsafe { core::slice::from_raw_parts(arguments, count) }
        };
        Self { arguments, variables }
    }

    /// The arguments after the program's name.
    pub fn arguments(self) -> impl Iterator<Item = &'static [u8]> {
        // SAFETY: each is a string that lives as long as the process.
        self.arguments.iter().skip(1).map(|each| unsafe { CStr::from_ptr(*each) }.to_bytes())
    }

    /// A variable's value, if it is set to more than nothing: CPython makes no difference between
    /// a variable that is empty and one that is not there.
    pub fn variable(self, name: &[u8]) -> Option<&'static [u8]> {
        let mut at = self.variables;
        if at.is_null() {
            return None;
        }
        loop {
            // SAFETY: the list ends with a null pointer, and `at` has not passed it.
            let entry = unsafe { *at };
            if entry.is_null() {
                return None;
            }
            // SAFETY: entries are strings, and live as long as the process has not changed them, which
            // nobody does before `main`.
            let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
            if let Some(value) = entry.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")) {
                return (!value.is_empty()).then_some(value);
            }
            // SAFETY: the entry just read was not the final null.
            at = unsafe { at.add(1) };
        }
    }
}
