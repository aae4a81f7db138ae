//! The document `memento.profile/1`.

use super::count::Counts;
use super::time::Time;
use crate::engine::Exit;
use serde::{Deserialize, Serialize};

/// Name and version of the document.
pub const SCHEMA: &str = "memento.profile/1";

/// A program's memory management.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// Sizes and lifetimes.
    pub counts: Counts,
    /// Shares of them, beside the published ones.
    pub shares: Vec<Share>,
    /// What it costs; absent if the program could not be run a second time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// A share of objects.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Of which objects.
    pub what: String,
    /// Of all; absent if there are none.
    pub share: Option<f64>,
    /// As published for functions.
    pub published: String,
}

/// The shares that the paper publishes, of these counts.
pub fn shares(counts: &Counts) -> Vec<Share> {
    let all = counts.allocations;
    let share = |what: &str, part: u64, published: &str| Share {
        what: what.into(),
        share: (all > 0).then(|| part as f64 / all as f64),
        published: published.into(),
    };
    vec![
        share("at most 512 bytes", counts.small, "93 %"),
        share("freed within 16 allocations of their class", counts.short, "71 %"),
        share("alive at exit", counts.alive, "27 %"),
        share("small and short-lived", counts.small_short, "61 %"),
        share("small and not short-lived", counts.small - counts.small_short, "32 %"),
        share("freed by another thread", counts.remote_frees, "not published"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_nothing_are_absent() {
        assert!(shares(&Counts::default()).iter().all(|share| share.share.is_none()));
        let counts = Counts { allocations: 4, small: 3, small_short: 1, ..Counts::default() };
        let got: Vec<_> = shares(&counts).iter().map(|share| share.share.unwrap()).collect();
        assert_eq!(got, [0.75, 0.0, 0.0, 0.25, 0.5, 0.0]);
    }
}
