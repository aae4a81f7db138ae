//! The results as files: JSON, CSV, Markdown, HTML, by the name's ending.

use super::document::{Cell, Document};
use super::metric::{Metric, Unit};
use super::{page, table};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A form of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Json,
    Csv,
    Markdown,
    Html,
}

/// A file that results will be written to. It is opened before anything is measured, so that a path that
/// cannot be written is known before the time is spent.
#[derive(Debug)]
pub struct Export {
    file: File,
    path: PathBuf,
    form: Form,
}

impl Export {
    /// Opens `path`.
    ///
    /// # Errors
    /// If its ending is unknown, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let form = match path.extension().and_then(|e| e.to_str()) {
            Some("json") => Form::Json,
            Some("csv") => Form::Csv,
            Some("md") => Form::Markdown,
            Some("html") => Form::Html,
            _ => bail!("{}: a file for results ends in .json, .csv, .md or .html", path.display()),
        };
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), form })
    }

    /// Writes the document.
    ///
    /// # Errors
    /// If not all of it could be written.
    pub fn write(mut self, document: &Document) -> Result<()> {
        let text = match self.form {
            Form::Json => serde_json::to_string_pretty(document)? + "\n",
            Form::Csv => csv(document)?,
            Form::Markdown => markdown(document),
            Form::Html => page::html(document)?,
        };
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            // A pipe or a device cannot be synchronised.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
            other => other.with_context(|| format!("cannot write all of {}", self.path.display())),
        }
    }
}

/// Opens all, or none.
///
/// # Errors
/// The first of [`Export::open`].
pub fn open(paths: &[PathBuf]) -> Result<Vec<Export>> {
    paths.iter().map(|path| Export::open(path)).collect()
}

/// One line for each workload and allocator.
fn csv(document: &Document) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header =
        vec!["workload".to_owned(), "allocator".into(), "failed".into(), "rounds".into()];
    for metric in Metric::ALL {
        header.push(metric.name().into());
        header.extend(
            ["low", "high", "ratio", "ratio_low", "ratio_high"]
                .map(|part| format!("{}_{part}", metric.name())),
        );
    }
    writer.write_record(header)?;
    for workload in &document.workloads {
        for cell in &workload.cells {
            let failed = cell.failed.clone().unwrap_or_default();
            let mut line = vec![workload.name.clone(), cell.allocator.clone(), failed];
            line.push(cell.samples.len().to_string());
            for metric in Metric::ALL {
                let number = |n: Option<f64>| n.map_or(String::new(), |n| n.to_string());
                let spread = cell.metrics.get(&metric);
                let interval = spread.and_then(|s| s.interval);
                let ratio = cell.ratios.get(&metric);
                let around = ratio.and_then(|r| r.interval);
                line.extend([
                    number(spread.map(|s| s.median)),
                    number(interval.map(|i| i.0)),
                    number(interval.map(|i| i.1)),
                    number(ratio.map(|r| r.ratio)),
                    number(around.map(|i| i.0)),
                    number(around.map(|i| i.1)),
                ]);
            }
            writer.write_record(line)?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn markdown(document: &Document) -> String {
    let mut out = String::new();
    let columns = [
        Metric::WallNs,
        Metric::UserNs,
        Metric::SystemNs,
        Metric::MinorFaults,
        Metric::PeakRssBytes,
        Metric::MeanRssBytes,
        Metric::VoluntarySwitches,
        Metric::InvoluntarySwitches,
    ];
    out.push_str("| workload | allocator |");
    for metric in columns {
        let _ = write!(out, " {} |", metric.title());
    }
    let _ = writeln!(out, " wall ÷ {0} | CPU ÷ {0} | peak ÷ {0} |", document.baseline);
    let _ = writeln!(out, "| --- | --- |{}", " ---: |".repeat(columns.len() + 3));
    for workload in &document.workloads {
        for cell in &workload.cells {
            let _ = writeln!(
                out,
                "| {} | {} |{}",
                workload.name.replace('|', "\\|"),
                cell.allocator,
                cells(cell, &columns)
            );
        }
        if let Some(why) = &workload.skipped {
            let _ = writeln!(
                out,
                "| {} | not run: {} |{}",
                workload.name,
                why.replace('|', "\\|"),
                " |".repeat(columns.len() + 3)
            );
        }
    }
    for mean in document.means.iter().filter(|mean| mean.workloads > 1) {
        let ratio = |metric| mean.ratios.get(&metric).map_or("–".to_owned(), ToString::to_string);
        let _ = writeln!(
            out,
            "| **geometric mean of {}** | {} |{} {} | {} | {} |",
            mean.workloads,
            mean.allocator,
            " |".repeat(columns.len()),
            ratio(Metric::WallNs),
            ratio(Metric::CpuNs),
            ratio(Metric::PeakRssBytes)
        );
    }
    let host = &document.host;
    let _ = writeln!(
        out,
        "\nMedians; ratios with 95 % intervals. {}, {} processors, Linux {}, huge pages: {}; memento {}.",
        host.processor, host.processors, host.kernel, host.huge_pages, document.memento
    );
    for note in &document.notes {
        let _ = writeln!(out, "{note}.");
    }
    out
}

fn cells(cell: &Cell, columns: &[Metric]) -> String {
    if let Some(why) = &cell.failed {
        return format!(" {} |{}", why.replace('|', "\\|"), " |".repeat(columns.len() + 2));
    }
    let mut out = String::new();
    for metric in columns {
        let shown = cell.metrics.get(metric).map_or("–".to_owned(), |spread| {
            let mut text = table::value(*metric, spread.median);
            if let (Unit::Nanoseconds, Some((low, high))) = (metric.unit(), spread.interval) {
                let _ = write!(
                    text,
                    " ({}–{})",
                    table::value(*metric, low),
                    table::value(*metric, high)
                );
            }
            text
        });
        let _ = write!(out, " {shown} |");
    }
    for metric in [Metric::WallNs, Metric::CpuNs, Metric::PeakRssBytes] {
        let ratio = cell.ratios.get(&metric).map_or("1".to_owned(), ToString::to_string);
        let _ = write!(out, " {ratio} |");
    }
    out
}
