//! Rows of points with their quantiles marked: where latencies lie, and how far their tail reaches.

use super::plot::{frame, line, round, step, text};
use svg::node::element::{Circle, Group, Title};

/// One row.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Row {
    /// What it is of.
    pub label: String,
    /// Which of the page's colours its points have.
    pub colour: usize,
    /// The values.
    pub points: Vec<f64>,
    /// Quantiles: name and value.
    pub marks: Vec<(&'static str, f64)>,
    /// What is written behind it.
    pub words: String,
}

const LABEL: f64 = 140.0;
const WIDTH: f64 = 900.0;
const WORDS: f64 = 220.0;
const ROW: f64 = 40.0;
const TOP: f64 = 18.0;
const AXIS: f64 = 26.0;
/// Points of a row: more are thinned out evenly, for the page's size.
const MOST: usize = 500;

/// The plot. The axis ends a little beyond the largest quantile; points beyond its end are drawn at its end.
pub fn quantiles(title: &str, rows: &[Row], show: &dyn Fn(f64) -> String) -> String {
    let marks = rows.iter().flat_map(|row| row.marks.iter().map(|(_, value)| *value));
    let largest = 1.1 * marks.fold(0.0, f64::max);
    let step = step(largest);
    let end = (largest / step).ceil().max(1.0) * step;
    let room = WIDTH - LABEL - WORDS;
    let x = |value: f64| LABEL + room * (value / end).min(1.0);
    let bottom = TOP + ROW * rows.len() as f64;
    let mut plot = frame(title, WIDTH, bottom + AXIS);
    for tick in 0..=(end / step).round() as usize {
        let value = tick as f64 * step;
        plot = plot.add(line("grid", x(value), TOP, x(value), bottom));
        let at = text("tick", x(value), bottom + 16.0, &show(value));
        plot = plot.add(at.set("text-anchor", "middle"));
    }
    for (number, row) in rows.iter().enumerate() {
        plot = plot.add(one(row, TOP + ROW * number as f64, &x, show));
    }
    plot.to_string()
}

fn one(row: &Row, top: f64, x: &dyn Fn(f64) -> f64, show: &dyn Fn(f64) -> String) -> Group {
    let middle = top + ROW / 2.0;
    let label = text("label", LABEL - 8.0, middle + 4.0, &row.label).set("text-anchor", "end");
    let mut group = Group::new().set("class", "row").add(label);
    for (number, point) in thinned(&row.points).into_iter().enumerate() {
        // Spread over the row's height, the same way every time, so that they can be told apart.
        let offset = ((number * 7) % 19) as f64 - 9.0;
        let circle = Circle::new().set("class", format!("point c{}", row.colour % 8)).set("r", 1.8);
        group = group.add(circle.set("cx", round(x(point))).set("cy", round(middle + offset)));
    }
    for (name, value) in &row.marks {
        let mark = line("mark", x(*value), middle - 13.0, x(*value), middle + 13.0);
        let words = Title::new(format!("{} {name}: {}", row.label, show(*value)));
        let name = text("tick", x(*value), middle - 14.0, name).set("text-anchor", "middle");
        group = group.add(mark.add(words)).add(name);
    }
    group.add(text("value", WIDTH - WORDS + 12.0, middle + 4.0, &row.words))
}

/// At most [`MOST`] of the values, evenly from the smallest to the largest.
fn thinned(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.len() <= MOST {
        return sorted;
    }
    let last = sorted.len() - 1;
    (0..MOST).map(|number| sorted[number * last / (MOST - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_lie_where_their_values_are() {
        let row = Row {
            label: "<a>".into(),
            points: vec![10.0, 400.0],
            marks: vec![("p50", 100.0), ("p99", 180.0)],
            ..Row::default()
        };
        let svg = quantiles("t", &[row], &|v| format!("{v}"));
        // 540 pixels from 0 to 200; what lies beyond is drawn at the end.
        assert!(svg.contains("x1=\"410\"") && svg.contains("x1=\"626\""), "{svg}");
        assert!(svg.contains("cx=\"167\"") && svg.contains("cx=\"680\""), "{svg}");
        assert_eq!(
            (svg.matches("class=\"mark\"").count(), svg.matches("&lt;a&gt;").count()),
            (2, 3)
        );
    }

    #[test]
    fn many_points_are_thinned_with_their_ends() {
        let values: Vec<f64> = (0..10_000).rev().map(f64::from).collect();
        let few = thinned(&values);
        assert_eq!((few.len(), few[0], few[MOST - 1]), (MOST, 0.0, 9999.0));
        assert_eq!(thinned(&[2.0, 1.0]), [1.0, 2.0]);
    }
}
