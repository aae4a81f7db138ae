//! What is run: a program with its environment, and what it must answer.

use crate::engine::client::Driver;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// One program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Workload {
    /// Its name in tables.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables to set.
    pub environment: Vec<(OsString, OsString)>,
    /// What it must write to its standard output, if that is known.
    pub expected: Option<String>,
    /// What talks to it, if it is a server. `{tmp}` in its words and in the program's stands for a
    /// directory of the execution's own.
    pub client: Option<Driver>,
    /// The program is linked with an allocator of its own, so that the system's has to be preloaded.
    pub links_allocator: bool,
    /// The same program with memento built in, which is run instead of preloading it.
    pub on_memento: Option<OsString>,
}

impl Workload {
    /// A program of the user's. Its name is its file's with as many arguments as are short.
    pub fn command(command: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> Self {
        const LONGEST: usize = 40;
        let mut words = command.iter().map(|word| word.to_string_lossy());
        let program = words.next().unwrap_or_default();
        let mut name = program.rsplit('/').next().unwrap_or_default().to_owned();
        for word in words {
            if name.chars().count() + 1 + word.chars().count() > LONGEST {
                name += " …";
                break;
            }
            name = format!("{name} {word}");
        }
        Self { name, command, environment, ..Self::default() }
    }

    /// The program's and the client's words with `{tmp}` replaced.
    pub fn in_directory(&self, directory: &Path) -> (Vec<OsString>, Option<Driver>) {
        if self.client.is_none() {
            return (self.command.clone(), None);
        }
        let filled = |words: &[OsString]| -> Vec<OsString> {
            words.iter().map(|word| fill(word, directory)).collect()
        };
        let client = self.client.as_ref().map(|client| Driver {
            ready: fill(client.ready.as_os_str(), directory).into(),
            commands: client.commands.iter().map(|words| filled(words)).collect(),
        });
        (filled(&self.command), client)
    }

    /// The command as text, for documents.
    pub fn words(&self) -> Vec<String> {
        self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

/// A word with `{tmp}` replaced.
fn fill(word: &std::ffi::OsStr, directory: &Path) -> OsString {
    const TMP: &[u8] = b"{tmp}";
    let (mut out, mut rest) = (Vec::new(), word.as_bytes());
    while let Some(at) = rest.windows(TMP.len()).position(|part| part == TMP) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(directory.as_os_str().as_bytes());
        rest = &rest[at + TMP.len()..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_clients_share_a_directory() {
        let client = Driver {
            ready: "{tmp}/r".into(),
            commands: vec![vec!["c".into(), "a{tmp}{tmp}".into()]],
        };
        let command = vec!["s".into(), "{tmp}/x".into()];
        let mut workload = Workload { command, client: Some(client), ..Workload::default() };
        let (command, client) = workload.in_directory(Path::new("/d"));
        let client = client.unwrap();
        assert_eq!((command[1].to_str(), client.ready.to_str()), (Some("/d/x"), Some("/d/r")));
        assert_eq!(client.commands[0][1], "a/d/d");
        workload.client = None;
        assert_eq!(
            workload.in_directory(Path::new("/d")).0[1],
            "{tmp}/x",
            "a program's own words stay"
        );
    }

    #[test]
    fn names_are_short() {
        let name =
            |words: &[&str]| Workload::command(words.iter().map(Into::into).collect(), vec![]).name;
        assert_eq!(name(&["/usr/bin/python3", "app.py"]), "python3 app.py");
        assert_eq!(name(&["sh", "-c", &"x".repeat(80)]), "sh -c …");
    }
}
