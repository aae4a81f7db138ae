//! Plots as SVG, coloured by the page's style sheet.

use svg::Document;
use svg::node::element::{Circle, Group, Line, Rectangle, Text, Title};

/// One bar: a value with its spread.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// Which of the page's colours it has.
    pub colour: usize,
    /// Its length; without one there is only the label and `words`.
    pub value: Option<f64>,
    /// Where the whisker reaches.
    pub interval: Option<(f64, f64)>,
    /// Single values, shown as points.
    pub points: Vec<f64>,
    /// What is written behind it.
    pub words: String,
}

/// Room for labels, at least.
const LABEL: f64 = 140.0;
/// Room for bars.
const BARS: f64 = 320.0;
/// Pixels of a character.
const LETTER: f64 = 6.6;
const WORDS: f64 = 130.0;
const ROW: f64 = 24.0;
const TOP: f64 = 8.0;
const AXIS: f64 = 26.0;

/// Horizontal bars from zero over one axis. `reference` is a vertical line, as at a ratio of 1; `show`
/// writes the axis.
pub fn bars(
    title: &str,
    bars: &[Bar],
    reference: Option<f64>,
    show: &dyn Fn(f64) -> String,
) -> String {
    let reach = |bar: &Bar| {
        let ends = bar.value.into_iter().chain(bar.interval.map(|i| i.1));
        ends.chain(bar.points.iter().copied()).fold(0.0, f64::max)
    };
    let largest = bars.iter().map(reach).chain(reference).fold(0.0, f64::max);
    let step = step(largest);
    let end = (largest / step).ceil().max(1.0) * step;
    let longest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let left = (LETTER * longest as f64 + 16.0).max(LABEL).round();
    let x = |value: f64| left + BARS * value / end;
    let bottom = TOP + ROW * bars.len() as f64;
    let mut plot = frame(title, left + BARS + WORDS, bottom + AXIS);
    for tick in 0..=(end / step).round() as usize {
        let value = tick as f64 * step;
        plot = plot.add(line("grid", x(value), TOP, x(value), bottom));
        let at = text("tick", x(value), bottom + 16.0, &show(value));
        plot = plot.add(at.set("text-anchor", "middle"));
    }
    if let Some(value) = reference {
        plot = plot.add(line("reference", x(value), TOP, x(value), bottom));
    }
    for (row, bar) in bars.iter().enumerate() {
        plot = plot.add(one(bar, TOP + ROW * row as f64, &x, left));
    }
    plot.to_string()
}

fn one(bar: &Bar, top: f64, x: &dyn Fn(f64) -> f64, left: f64) -> Group {
    let middle = top + ROW / 2.0;
    let label = text("label", left - 8.0, middle + 4.0, &bar.label).set("text-anchor", "end");
    let mut group = Group::new().set("class", "row").add(label);
    if let Some(value) = bar.value {
        let width = (x(value) - x(0.0)).max(0.5);
        let bar = Rectangle::new()
            .set("class", format!("bar c{}", bar.colour % 8))
            .set("x", round(x(0.0)))
            .set("y", round(top + 4.0))
            .set("width", round(width))
            .set("height", ROW - 8.0)
            .set("fill-opacity", 0.75);
        group = group.add(bar);
    }
    for (number, point) in bar.points.iter().enumerate() {
        // Spread over the bar's height, the same way every time, so that they can be told apart.
        let offset = ((number * 5) % 7) as f64 - 3.0;
        let circle = Circle::new().set("class", "point").set("r", 1.8);
        group = group.add(circle.set("cx", round(x(*point))).set("cy", round(middle + offset)));
    }
    if let Some((low, high)) = bar.interval {
        group = group.add(line("whisker", x(low), middle, x(high), middle));
        for end in [low, high] {
            group = group.add(line("whisker", x(end), middle - 4.0, x(end), middle + 4.0));
        }
    }
    let words = text("value", left + BARS + 8.0, middle + 4.0, &bar.words);
    group.add(words)
}

/// Vertical bars side by side, one for each label, in shares of their sum; as a histogram.
pub fn columns(
    title: &str,
    columns: &[(String, f64)],
    colour: usize,
    show: &dyn Fn(f64) -> String,
) -> String {
    const HEIGHT: f64 = 180.0;
    const LEFT: f64 = 56.0;
    let each = (640.0 / columns.len().max(1) as f64).clamp(4.0, 48.0);
    let largest = columns.iter().map(|c| c.1).fold(0.0, f64::max);
    let step = step(largest);
    let end = (largest / step).ceil().max(1.0) * step;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / end);
    let right = LEFT + each * columns.len() as f64;
    let mut plot = frame(title, right + 16.0, TOP + HEIGHT + 44.0);
    for tick in 0..=(end / step).round() as usize {
        let value = tick as f64 * step;
        plot = plot.add(line("grid", LEFT, y(value), right, y(value)));
        let at = text("tick", LEFT - 6.0, y(value) + 4.0, &show(value));
        plot = plot.add(at.set("text-anchor", "end"));
    }
    // Labels stand apart.
    let longest = columns.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let every = ((LETTER * longest as f64 + 6.0) / each).ceil().max(1.0) as usize;
    for (index, (label, value)) in columns.iter().enumerate() {
        let left = LEFT + each * index as f64;
        let bar = Rectangle::new()
            .set("class", format!("bar c{}", colour % 8))
            .set("x", round(left + 1.0))
            .set("y", round(y(*value)))
            .set("width", round((each - 2.0).max(1.0)))
            .set("height", round(y(0.0) - y(*value)));
        let words = Title::new(format!("{label}: {}", show(*value)));
        plot = plot.add(bar.add(words));
        if index % every == 0 {
            let at = text("tick", left + each / 2.0, TOP + HEIGHT + 16.0, label);
            plot = plot.add(at.set("text-anchor", "middle"));
        }
    }
    plot.to_string()
}

pub(super) fn frame(title: &str, width: f64, height: f64) -> Document {
    Document::new()
        .set("class", "plot")
        .set("viewBox", (0, 0, width.ceil() as i64, height.ceil() as i64))
        .set("width", width.ceil())
        .set("height", height.ceil())
        .set("role", "img")
        .set("aria-label", title)
        .add(Title::new(title))
}

pub(super) fn line(class: &str, x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    Line::new()
        .set("class", class)
        .set("x1", round(x1))
        .set("y1", round(y1))
        .set("x2", round(x2))
        .set("y2", round(y2))
}

pub(super) fn text(class: &str, x: f64, y: f64, words: &str) -> Text {
    Text::new(words).set("class", class).set("x", round(x)).set("y", round(y))
}

pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A step of 1, 2 or 5 times a power of ten of which four to ten reach `largest`.
pub(super) fn step(largest: f64) -> f64 {
    if largest <= 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let rough = largest / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= rough).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        for (largest, want) in [(10.0, 2.0), (1.0, 0.2), (99.0, 20.0), (3e6, 1e6), (0.0, 1.0)] {
            assert!((step(largest) - want).abs() < want * 1e-9, "{largest}");
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |value: f64| Bar { label: "<a>".into(), value: Some(value), ..Bar::default() };
        let svg = bars("x & y", &[bar(50.0), bar(100.0)], Some(100.0), &|v| format!("{v}"));
        // 320 pixels from 0 to 100.
        assert!(svg.contains("width=\"160\"") && svg.contains("width=\"320\""), "{svg}");
        assert_eq!(svg.matches("class=\"row\"").count(), 2);
        assert!(svg.contains("&lt;a&gt;") && svg.contains("x &amp; y"), "{svg}");
        let none = bars("empty", &[Bar::default()], None, &|v| format!("{v}"));
        assert!(!none.contains("class=\"bar") && !none.contains("NaN"), "{none}");
    }
}
