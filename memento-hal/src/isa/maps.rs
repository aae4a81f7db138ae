//! Finds one address in the text of `/proc/self/maps`, a piece at a time and without memory of
//! its own.

/// What a line says about a range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Permissions(pub [u8; 4]);

impl Permissions {
    /// Private text as a loader maps it. Writable code belongs to a compiler that rewrites it
    /// itself; shared code would be changed for other processes too.
    pub const TEXT: Self = Self(*b"r-xp");
}

/// Looks for `address`; fed with the text in pieces of any length.
#[derive(Debug)]
pub(super) struct Scanner {
    address: usize,
    start: usize,
    end: usize,
    permissions: [u8; 4],
    field: Field,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Start,
    End,
    Permission(usize),
    Rest,
}

impl Scanner {
    pub const fn new(address: usize) -> Self {
        Self { address, start: 0, end: 0, permissions: [0; 4], field: Field::Start }
    }

    /// Takes the next piece; the permissions as soon as they are known.
    pub fn feed(&mut self, piece: &[u8]) -> Option<Permissions> {
        for &byte in piece {
            match self.field {
                Field::Start if byte == b'-' => self.field = Field::End,
                Field::Start => self.start = push_digit(self.start, byte),
                Field::End if byte == b' ' => self.field = Field::Permission(0),
                Field::End => self.end = push_digit(self.end, byte),
                Field::Permission(at) => {
                    self.permissions[at] = byte;
                    if at < 3 {
                        self.field = Field::Permission(at + 1);
                    } else if (self.start..self.end).contains(&self.address) {
                        return Some(Permissions(self.permissions));
                    } else {
                        self.field = Field::Rest;
                    }
                }
                Field::Rest if byte == b'\n' => *self = Self::new(self.address),
                Field::Rest => {}
            }
        }
        None
    }
}

/// `value` with a hexadecimal digit appended.
const fn push_digit(value: usize, digit: u8) -> usize {
    let digit = match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0') & 15,
    };
    value << 4 | digit as usize
}

/// The permissions of the mapping around `address`; `None` if there is none or `/proc` is not
/// there. Only system calls: fit for a signal handler.
pub(super) fn permissions(address: usize) -> Option<Permissions> {
    // SAFETY: the path is a C string, and no mode is needed without O_CREAT.
    let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return None;
    }
    let mut scanner = Scanner::new(address);
    let mut buffer = [0u8; 1024];
    let found = loop {
        // SAFETY: the buffer is as long as stated.
        let got = unsafe { libc::read(file, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Some(piece) = usize::try_from(got).ok().and_then(|got| buffer.get(..got)) else {
            break None;
        };
        if piece.is_empty() {
            break None;
        }
        if let Some(found) = scanner.feed(piece) {
            break Some(found);
        }
    };
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"00400000-00452000 r-xp 00000000 08:02 173521  /usr/bin/a-b 7f\n\
        7f00000a0000-7f00000b0000 rw-s 00000000 00:00 0\n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n";

    #[test]
    fn finds_the_line_whatever_the_pieces() {
        for length in 1..TEXT.len() {
            let look = |address| {
                let mut scanner = Scanner::new(address);
                TEXT.chunks(length).find_map(|piece| scanner.feed(piece))
            };
            assert_eq!(look(0x0040_0000), Some(Permissions::TEXT));
            assert_eq!(look(0x0045_1fff), Some(Permissions::TEXT));
            assert_eq!(look(0x0045_2000), None);
            assert_eq!(look(0x7f00_000a_0008), Some(Permissions(*b"rw-s")));
            assert_eq!(look(0xffff_ffff_ff60_0000), Some(Permissions(*b"--xp")));
        }
    }

    #[cfg(not(miri))]
    #[test]
    fn finds_this_function_and_this_stack() {
        let local = 0u8;
        assert_eq!(permissions(TEXT.as_ptr() as usize), Some(Permissions(*b"r--p")));
        assert_eq!(permissions(permissions as *const () as usize), Some(Permissions::TEXT));
        assert_eq!(permissions(&raw const local as usize), Some(Permissions(*b"rw-p")));
        assert_eq!(permissions(0), None);
    }
}
