//! Where a report goes and in which form.

use super::{Report, Style, text};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// `--report`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// A page for people
    #[default]
    Text,
    /// The document memento.report/1
    Json,
}

/// An opened destination. It is opened before the program runs, so that a path that cannot be
/// written is known before the time is spent.
#[derive(Debug)]
pub struct Destination {
    /// File and path; stderr if there is none.
    file: Option<(File, PathBuf)>,
    format: Format,
}

impl Destination {
    /// Opens `path` for writing, or stands for stderr.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn open(path: Option<&Path>, format: Format) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::create(path)
                .with_context(|| format!("cannot write the report to {}", path.display()))?;
            anyhow::Ok((file, path.to_owned()))
        };
        Ok(Self { file: path.map(open).transpose()?, format })
    }

    /// Writes the report.
    ///
    /// # Errors
    /// If not all of it could be written.
    pub fn write(self, report: &Report) -> Result<()> {
        let colour = self.file.is_none() && colour_wanted(&std::io::stderr());
        let rendered = match self.format {
            Format::Text => text(report, if colour { Style::Colour } else { Style::Plain }),
            Format::Json => {
                serde_json::to_string_pretty(report).context("cannot make the report")? + "\n"
            }
        };
        match self.file {
            None => std::io::stderr()
                .lock()
                .write_all(rendered.as_bytes())
                .context("cannot write the report to stderr"),
            Some((mut file, path)) => file
                .write_all(rendered.as_bytes())
                .and_then(|()| file.flush())
                .with_context(|| format!("cannot write the report to {}", path.display())),
        }
    }
}

/// Whether `stream` is a terminal whose user has not asked for no colour.
pub fn colour_wanted(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && stream.is_terminal()
}
