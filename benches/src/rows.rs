//! The programs that are measured, as `rows.toml` lists them.
//!
//! A row says what is run, not how: nothing here touches the system, so a list can be checked on a
//! machine that could not run it.

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a row is evidence for. The order is that of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// At least a fifth of its instructions are the allocator's under glibc.
    Throughput,
    /// Less than that.
    Little,
    /// Programs whose threads share a fixed amount of work, with other numbers of threads.
    Threads,
    /// Programs that do nothing: what loading an allocator costs.
    StartUp,
    /// Functions on Python and Node as users run them.
    Runtime,
}

/// All groups, in the table's order.
pub const GROUPS: [Group; 5] =
    [Group::Throughput, Group::Little, Group::Threads, Group::StartUp, Group::Runtime];

/// The share of instructions from which on a program counts as one of throughput.
pub const THROUGHPUT_SHARE: f64 = 0.2;

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Throughput => "throughput",
            Self::Little => "little",
            Self::Threads => "threads",
            Self::StartUp => "start-up",
            Self::Runtime => "runtime",
        })
    }
}

impl std::str::FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = GROUPS.into_iter().find(|group| group.to_string() == text);
        named.ok_or_else(|| format!("no group is called {text}"))
    }
}

/// What talks to a row that is a server. Its own cost is in no sample.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// A file that is there as soon as the server takes connections.
    pub ready: String,
    /// Run one after the other once it is; the last one ends the server.
    pub commands: Vec<Vec<String>>,
}

/// One program with its input.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name in tables.
    pub name: String,
    /// What it is evidence for.
    pub group: Group,
    /// Whether this project wrote the program.
    #[serde(default)]
    pub ours: bool,
    /// Program and arguments. Words in braces stand for [`Places`].
    pub command: Vec<String>,
    /// Variables that are set for it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Debian packages that provide the program.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Files in `{data}` that it reads.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// Threads that allocate at the same time.
    #[serde(default = "one")]
    pub threads: u32,
    /// Exit codes that are no failure.
    #[serde(default = "zero")]
    pub exit: Vec<i32>,
    /// The allocator's share of the instructions under glibc, as `suite share` measured it.
    pub share: Option<f64>,
    /// The program links an allocator of its own, so that glibc must be preloaded to be measured.
    #[serde(default)]
    pub links_allocator: bool,
    /// Set if the program is a server.
    pub client: Option<Client>,
}

fn one() -> u32 {
    1
}

fn zero() -> Vec<i32> {
    vec![0]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    row: Vec<Row>,
}

/// Reads a list of rows.
///
/// # Errors
/// If it is no such list, or contradicts itself: see [`parse`].
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the rows in {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no list of rows", path.display()))
}

/// Parses a list of rows.
///
/// # Errors
/// If a name occurs twice, a command is empty, or a measured share and a group contradict each other.
pub fn parse(text: &str) -> Result<Vec<Row>> {
    let list: List = toml::from_str(text)?;
    let mut names = BTreeSet::new();
    for row in &list.row {
        ensure!(names.insert(&row.name), "two rows are called {}", row.name);
        ensure!(!row.command.is_empty(), "{} has no command", row.name);
        let wants = match row.share {
            Some(share) if share >= THROUGHPUT_SHARE => Group::Throughput,
            _ => Group::Little,
        };
        match (row.group, row.share) {
            (Group::Throughput | Group::Little, Some(share)) if row.group != wants => {
                bail!("{} spends {share} in the allocator, so its group is {wants}", row.name)
            }
            _ => {}
        }
    }
    Ok(list.row)
}

/// The rows that are asked for, by a pattern for their names and by groups; no group means all.
pub fn select(rows: Vec<Row>, pattern: Option<&Regex>, groups: &[Group]) -> Vec<Row> {
    rows.into_iter()
        .filter(|row| pattern.is_none_or(|p| p.is_match(&row.name)))
        .filter(|row| groups.is_empty() || groups.contains(&row.group))
        .collect()
}

/// Directories that commands name.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `{data}`: generated inputs.
    pub data: String,
    /// `{programs}`: our own programs, built.
    pub programs: String,
    /// `{benches}`: this crate's sources.
    pub benches: String,
    /// `{python}`: the interpreter itself, where `python3` may be a script that looks for one.
    pub python: String,
}

impl Places {
    /// `text` with every placeholder replaced; `tmp` is this execution's own directory.
    pub fn fill(&self, text: &str, tmp: &str) -> String {
        text.replace("{data}", &self.data)
            .replace("{programs}", &self.programs)
            .replace("{benches}", &self.benches)
            .replace("{python}", &self.python)
            .replace("{tmp}", tmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        [[row]]
        name = "a"
        group = "throughput"
        share = 0.3
        command = ["z3", "{data}/x", "-T:{tmp}"]
        [[row]]
        name = "b"
        group = "start-up"
        command = ["true"]
    "#;

    #[test]
    fn a_list_is_read_with_its_defaults() {
        let rows = parse(TWO).unwrap();
        assert_eq!((rows[0].threads, rows[0].exit.as_slice(), rows[0].ours), (1, &[0][..], false));
        assert_eq!(rows[1].group, Group::StartUp);
    }

    #[test]
    fn a_group_that_the_share_belies_is_refused() {
        let error = parse(&TWO.replace("0.3", "0.19")).unwrap_err().to_string();
        assert!(error.contains("its group is little"), "{error}");
        let error = parse(&TWO.replace("throughput", "little")).unwrap_err().to_string();
        assert!(error.contains("its group is throughput"), "{error}");
    }

    #[test]
    fn names_are_unique() {
        let error = parse(&TWO.replace("\"b\"", "\"a\"")).unwrap_err().to_string();
        assert!(error.contains("two rows are called a"), "{error}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(parse(&TWO.replace("share", "shares")).is_err());
    }

    #[test]
    fn selection_by_name_and_group() {
        let select = |pattern: &str, groups: &[Group]| {
            let pattern = Regex::new(pattern).unwrap();
            select(parse(TWO).unwrap(), Some(&pattern), groups).len()
        };
        assert_eq!(select("a|b", &[]), 2);
        assert_eq!(select("^a$", &[]), 1);
        assert_eq!(select("a|b", &[Group::StartUp]), 1);
        assert_eq!(select("^a$", &[Group::StartUp]), 0);
    }

    #[test]
    fn placeholders_are_filled() {
        let [data, programs, benches, python] = ["D", "P", "B", "Y"].map(String::from);
        let places = Places { data, programs, benches, python };
        assert_eq!(places.fill("{data}/{programs}-{benches}{tmp}{python}", "T"), "D/P-BTY");
    }

    #[test]
    fn group_names_are_read_as_they_are_written() {
        for group in GROUPS {
            assert_eq!(group.to_string().parse(), Ok(group));
            assert_eq!(serde_json::to_string(&group).unwrap(), format!("\"{group}\""));
        }
        assert!("fast".parse::<Group>().is_err());
    }
}
