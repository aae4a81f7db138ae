//! Whether whoever started the interpreter chose its allocators: `PYTHONMALLOC`, `-X dev`.
//!
//! CPython itself obeys these: it sets its allocators while it starts, over whatever was there. So a
//! mistake here changes nothing for the program; it would only be said wrongly who serves it. The
//! rules are those of CPython's `preconfig.c` and `getopt.c`: options come in groups, end at the first
//! argument that is none, and `-E` or `-I` anywhere among them switches the variables off. A
//! program that embeds the interpreter may have other rules; there, too, nothing follows.

use crate::environment::Environment;

/// What was chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Nothing.
    None,
    /// `malloc` for everything, which memento serves without a domain of its own.
    Malloc,
    /// An allocator of CPython's own; how it was asked for.
    Own(&'static str),
}

/// The choice in an environment.
pub(crate) fn choice(environment: Environment) -> Choice {
    let options = Options::of(environment.arguments());
    let variable = |name| if options.ignores_variables { None } else { environment.variable(name) };
    match variable(b"PYTHONMALLOC") {
        Some(b"malloc") => Choice::Malloc,
        Some(b"debug") => Choice::Own("PYTHONMALLOC=debug"),
        Some(b"malloc_debug") => Choice::Own("PYTHONMALLOC=malloc_debug"),
        Some(b"pymalloc_debug") => Choice::Own("PYTHONMALLOC=pymalloc_debug"),
        Some(b"pymalloc") => Choice::Own("PYTHONMALLOC=pymalloc"),
        Some(b"default") => Choice::Own("PYTHONMALLOC=default"),
        // CPython refuses to start.
        Some(_) => Choice::Malloc,
        None if options.development => Choice::Own("-X dev"),
        None if variable(b"PYTHONDEVMODE").is_some() => Choice::Own("PYTHONDEVMODE"),
        None => Choice::None,
    }
}

/// What the command line says of allocators.
#[derive(Default)]
struct Options {
    development: bool,
    ignores_variables: bool,
}

impl Options {
    fn of(mut arguments: impl Iterator<Item = &'static [u8]>) -> Self {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument {
                [b'-', b'-'] | [b'-'] => break,
                b"--check-hash-based-pycs" => {
                    arguments.next();
                }
                // All others are a request for help or a mistake.
                [b'-', b'-', ..] => break,
                [b'-', group @ ..] => {
                    if !options.group(group, &mut arguments) {
                        break;
                    }
                }
                // The script.
                _ => break,
            }
        }
        options
    }

    /// One group of letters. `false` at the last option that there can be.
    fn group(
        &mut self,
        group: &'static [u8],
        arguments: &mut impl Iterator<Item = &'static [u8]>,
    ) -> bool {
        for (index, letter) in group.iter().enumerate() {
            // The rest of the group, or else the next argument.
            let mut value = || match &group[index + 1..] {
                [] => arguments.next().unwrap_or_default(),
                rest => rest,
            };
            match letter {
                b'c' | b'm' => return false,
                b'E' | b'I' => self.ignores_variables = true,
                b'W' => {
                    value();
                    return true;
                }
                b'X' => {
                    let value = value();
                    self.development |= value == b"dev" || value.starts_with(b"dev=");
                    return true;
                }
                _ => {}
            }
        }
        true
    }
}
