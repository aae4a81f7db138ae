//! Writes JSON into a slice, counting what does not fit; without `core::fmt`, which would be most of a
//! small shared object.

use crate::startup::Decimal;

/// A text that is being written.
#[derive(Debug)]
pub struct Json<'a> {
    into: &'a mut [u8],
    len: usize,
    first: bool,
}

impl<'a> Json<'a> {
    /// A text that will be in `into`.
    pub fn new(into: &'a mut [u8]) -> Self {
        Self { into, len: 0, first: true }
    }

    /// Length of the whole, of which `into` has as much as it holds.
    pub fn written(self) -> usize {
        self.len
    }

    /// Text as it is.
    fn raw(&mut self, text: &str) {
        for &b in text.as_bytes() {
            if let Some(at) = self.into.get_mut(self.len) {
                *at = b;
            }
            self.len += 1;
        }
    }

    /// A comma, if something stands before.
    pub fn separate(&mut self) {
        if !core::mem::replace(&mut self.first, false) {
            self.raw(",");
        }
    }

    /// The start of an object or array.
    pub fn open(&mut self, bracket: &str) {
        self.raw(bracket);
        self.first = true;
    }

    /// The end of one.
    pub fn close(&mut self, bracket: &str) {
        self.raw(bracket);
        self.first = false;
    }

    /// A member's name; its value follows.
    pub fn key(&mut self, name: &str) {
        self.separate();
        self.raw("\"");
        self.raw(name);
        self.raw("\":");
    }

    /// A member that is a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.key(name);
        let digits = Decimal::of(value);
        self.raw(core::str::from_utf8(digits.as_bytes()).unwrap_or("0"));
    }

    /// A member that is text. It must need no escapes.
    pub fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.raw("\"");
        self.raw(value);
        self.raw("\"");
    }
}
