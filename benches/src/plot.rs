//! A plot of time against memory: what each setting, or each allocator, costs of either.

use crate::summary::{Cell, Summary};
use anyhow::{Context, Result, ensure};
use memento::engine::estimate::{Estimate, geometric_mean};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (900, 600);

/// One allocator over all rows: geometric means against the system's.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    /// Its name; of a variant the setting.
    pub label: String,
    /// Peak resident memory ÷ the system's.
    pub memory: f64,
    /// CPU time ÷ the system's.
    pub time: f64,
}

/// The point of every allocator that was measured on all rows.
pub fn points(summary: &Summary) -> Vec<Point> {
    let mean = |allocator: &String, value: fn(&Cell) -> Option<f64>| -> Option<f64> {
        let each = summary.rows.iter().map(|row| row.cell(allocator).and_then(value));
        let ratios = each.map(|ratio| Some(Estimate { ratio: ratio?, interval: None }));
        Some(geometric_mean(&ratios.collect::<Option<Vec<_>>>()?)?.ratio)
    };
    let point = |allocator: &String| {
        let memory = mean(allocator, |cell| cell.peak_ratio)?;
        let time = mean(allocator, |cell| Some(cell.cpu.as_ref()?.ratio))?;
        Some(Point { label: allocator.clone(), memory, time })
    };
    summary.allocators.iter().filter_map(point).collect()
}

/// Draws the points into an SVG file.
///
/// # Errors
/// If there is none, or the file cannot be written.
pub fn draw(points: &[Point], title: &str, path: &Path) -> Result<()> {
    ensure!(!points.is_empty(), "no allocator was measured on every row: nothing to plot");
    let around = |value: fn(&Point) -> f64| {
        let least = points.iter().map(value).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
        let margin = ((most - least) * 0.12).max(0.01);
        least - margin..most + margin
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let drawn = (|| -> Result<(), DrawingAreaErrorKind<_>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(around(|p| p.memory), around(|p| p.time))?;
        chart
            .configure_mesh()
            .x_desc("peak resident memory, glibc = 1")
            .y_desc("CPU time, glibc = 1")
            .draw()?;
        chart.draw_series(points.iter().map(|point| {
            EmptyElement::at((point.memory, point.time))
                + Circle::new((0, 0), 4, BLUE.filled())
                + Text::new(point.label.clone(), (7, -5), ("sans-serif", 12))
        }))?;
        area.present()
    })();
    drawn.map_err(|error| anyhow::anyhow!("{error}")).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_with_its_label() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plot.svg");
        let point = |label: &str, memory, time| Point { label: label.into(), memory, time };
        draw(&[point("a", 1.0, 1.0), point("b", 1.2, 0.8)], "t", &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(text.contains("\nb\n") && text.contains("peak resident memory"), "{text}");
        assert!(draw(&[], "t", &path).is_err());
        assert!(draw(&[point("a", 1.0, 1.0)], "t", &directory.path().join("no/plot.svg")).is_err());
    }
}
