//! Reads `MEMENTO_CONF`: `key:value,key:value,…`.
//!
//! Knows the form, not the keys: whoever has parameters passes a function that sets one by name.
//! Nothing here can fail the program: a key that nobody knows, or a value that makes no sense, is
//! named once on stderr and otherwise left out. The variable is ignored in setuid programs.

use crate::startup;

/// Longest value of `MEMENTO_CONF` that is read.
pub const CONF_BYTES: usize = 4096;

/// Keys that are off unless their value is 1, for whoever asks [`flag`]: known in all shared objects,
/// since one value of the variable serves all processes of a tree.
const FLAGS: [&str; 3] = ["python_arenas", "python_count", "python_quiet"];

/// What became of one `key:value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The value is in force.
    Set,
    /// There is no such key.
    UnknownKey,
    /// The key is known, but the value is no number or outside its range.
    BadValue,
}

/// Applies the environment's `MEMENTO_CONF`, and returns whether it asks for the effective values
/// to be printed (`print:1`). `set` is called for each `key:value` from left to right, so the
/// last of several values for a key counts.
pub fn apply_environment(mut set: impl FnMut(&str, &str) -> Outcome) -> bool {
    let mut text = [0u8; CONF_BYTES];
    match startup::variable(b"MEMENTO_CONF", &mut text) {
        Some(length) => apply(&text[..length], &mut set, &mut |problem, key| {
            startup::say(&[b"memento: MEMENTO_CONF: ", problem.as_bytes(), b": ", key]);
        }),
        None => false,
    }
}

/// As [`apply_environment`], for values that were applied before: says nothing of what is wrong with
/// them.
pub fn apply_environment_again(mut set: impl FnMut(&str, &str) -> Outcome) -> bool {
    let mut text = [0u8; CONF_BYTES];
    startup::variable(b"MEMENTO_CONF", &mut text)
        .is_some_and(|length| apply(&text[..length], &mut set, &mut |_, _| {}))
}

/// As [`apply_environment`], on the text given. `complain` gets each problem with the part of the
/// text that it is about.
#[inline(never)]
pub fn apply(
    text: &[u8],
    set: &mut dyn FnMut(&str, &str) -> Outcome,
    complain: &mut dyn FnMut(&'static str, &[u8]),
) -> bool {
    let mut print = false;
    for (index, entry) in entries(text).enumerate() {
        let (key, value) = split(entry);
        let outcome =
            match (core::str::from_utf8(key), value.map(core::str::from_utf8)) {
                (Ok("print"), Some(Ok(value))) => {
                    print = value == "1";
                    if matches!(value, "0" | "1") { Outcome::Set } else { Outcome::BadValue }
                }
                (Ok(key), Some(Ok(value))) if FLAGS.contains(&key) => {
                    if matches!(value, "0" | "1") { Outcome::Set } else { Outcome::BadValue }
                }
                (Ok(key), Some(Ok(value))) => set(key, value),
                (Ok(_), _) => Outcome::BadValue,
                (Err(_), _) => Outcome::UnknownKey,
            };
        let problem = match outcome {
            Outcome::Set => continue,
            Outcome::UnknownKey => "unknown key",
            Outcome::BadValue => "bad value",
        };
        // Once for each key, without remembering: was the key there before?
        if !entries(text).take(index).any(|earlier| split(earlier).0 == key) {
            complain(problem, if outcome == Outcome::UnknownKey { key } else { entry });
        }
    }
    print
}

/// Whether the environment switches one of the flags on.
#[cold]
pub fn flag(name: &str) -> bool {
    let mut text = [0u8; CONF_BYTES];
    startup::variable(b"MEMENTO_CONF", &mut text)
        .is_some_and(|length| flag_in(&text[..length], name))
}

fn flag_in(text: &[u8], name: &str) -> bool {
    debug_assert!(FLAGS.contains(&name));
    let last = entries(text).map(split).filter(|(key, _)| *key == name.as_bytes()).last();
    last.is_some_and(|(_, value)| value == Some(b"1"))
}

/// Writes one line to stderr, in one piece; what is beyond some 250 bytes is cut off.
#[cold]
pub fn say(parts: &[&[u8]]) {
    startup::say(parts);
}

fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// Key and value of an entry; no value if it has no colon.
fn split(entry: &[u8]) -> (&[u8], Option<&[u8]>) {
    match entry.iter().position(|b| *b == b':') {
        Some(at) => (entry[..at].trim_ascii(), Some(entry[at + 1..].trim_ascii())),
        None => (entry, None),
    }
}

/// Writes `key:value` for every effective value, as one line on stderr that can be used as
/// `MEMENTO_CONF` again. For `print:1`.
#[inline(never)]
pub fn print_effective(values: &mut dyn Iterator<Item = (&str, u64)>) {
    let mut line = Line { bytes: [0; CONF_BYTES], length: 0 };
    for (index, (key, value)) in values.enumerate() {
        line.push(if index == 0 { b"" } else { b"," });
        line.push(key.as_bytes());
        line.push(b":");
        line.push(startup::Decimal::of(value).as_bytes());
    }
    startup::say_long(&[b"memento: MEMENTO_CONF=", &line.bytes[..line.length], b"\n"]);
}

struct Line {
    bytes: [u8; CONF_BYTES],
    length: usize,
}

impl Line {
    /// Appends what fits.
    fn push(&mut self, part: &[u8]) {
        let part = &part[..part.len().min(self.bytes.len() - self.length)];
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::prelude::v1::*;

    /// What was set, what was complained of, whether to print.
    fn run(text: &str) -> (Vec<(String, u64)>, Vec<String>, bool) {
        let (mut set, mut complaints) = (Vec::new(), Vec::new());
        let print = apply(
            text.as_bytes(),
            &mut |key, value| match (key, value.parse()) {
                ("hot_cycles" | "dry_stall", Ok(value)) => {
                    set.push((key.to_owned(), value));
                    Outcome::Set
                }
                ("hot_cycles" | "dry_stall", Err(_)) => Outcome::BadValue,
                _ => Outcome::UnknownKey,
            },
            &mut |problem, about| {
                complaints.push(format!("{problem}: {}", String::from_utf8_lossy(about)));
            },
        );
        (set, complaints, print)
    }

    #[test]
    fn known_keys_are_set_in_order() {
        let (set, complaints, print) = run(" hot_cycles:3 , dry_stall : 9,,hot_cycles:4,print:1");
        let want = [("hot_cycles", 3), ("dry_stall", 9), ("hot_cycles", 4)];
        assert_eq!(set, want.map(|(k, v)| (k.to_owned(), v)));
        assert!(complaints.is_empty() && print);
    }

    #[test]
    fn each_problem_is_named_once_and_the_rest_still_counts() {
        let (set, complaints, print) =
            run("fast:1,hot_cycles:many,fast:2,fast,dry_stall:1,print:x");
        assert_eq!(set, [("dry_stall".to_owned(), 1)]);
        assert_eq!(
            complaints,
            ["unknown key: fast", "bad value: hot_cycles:many", "bad value: print:x"]
        );
        assert!(!print);
    }

    #[test]
    fn flags_are_known_to_all_and_set_by_the_last_of_their_values() {
        let (set, complaints, _) = run("python_count:1,python_quiet:2");
        assert_eq!((set, complaints), (vec![], vec!["bad value: python_quiet:2".to_owned()]));
        assert!(flag_in(b"hot_cycles:1, python_count : 1", "python_count"));
        assert!(!flag_in(b"python_count:1,python_count:0", "python_count"));
        assert!(!flag_in(b"python_count:1", "python_quiet"));
    }

    #[test]
    fn nothing_set_is_nothing_said() {
        assert_eq!(run(""), (vec![], vec![], false));
    }
}
