//! What is run: a program with its environment, and what it must answer.

use std::ffi::OsString;

/// One program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Its name in tables.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables to set.
    pub environment: Vec<(OsString, OsString)>,
    /// What it must write to its standard output, if that is known.
    pub expected: Option<String>,
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
        Self { name, command, environment, expected: None }
    }

    /// The command as text, for documents.
    pub fn words(&self) -> Vec<String> {
        self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        let name =
            |words: &[&str]| Workload::command(words.iter().map(Into::into).collect(), vec![]).name;
        assert_eq!(name(&["/usr/bin/python3", "app.py"]), "python3 app.py");
        assert_eq!(name(&["sh", "-c", &"x".repeat(80)]), "sh -c …");
    }
}
