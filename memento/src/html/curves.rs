//! Curves over a common axis, as a cost over memory sizes.

use super::plot::{frame, line, round, step, text};
use svg::node::element::{Circle, Polyline, Title};

/// One curve.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Curve {
    /// What it is of.
    pub label: String,
    /// Which of the page's colours it has.
    pub colour: usize,
    /// Its points, in the order of x.
    pub points: Vec<(f64, f64)>,
    /// A point that is made stand out.
    pub chosen: Option<(f64, f64)>,
}

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Evenly, from zero.
    Even,
    /// By doublings.
    Doublings,
}

const LEFT: f64 = 64.0;
const TOP: f64 = 26.0;
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 200.0;

/// The plot. `show` writes the axes: x and y.
pub fn curves(
    title: &str,
    curves: &[Curve],
    scale: Scale,
    show: (&dyn Fn(f64) -> String, &dyn Fn(f64) -> String),
) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let along = |value: f64| if scale == Scale::Doublings { value.max(1e-9).log2() } else { value };
    let first = match scale {
        Scale::Even => 0.0,
        Scale::Doublings => {
            all().map(|point| along(point.0)).reduce(f64::min).unwrap_or(0.0).floor()
        }
    };
    let last = all().map(|point| along(point.0)).fold(first, f64::max);
    let last = if scale == Scale::Doublings { last.ceil() } else { last }.max(first + 1.0);
    let largest = all().map(|point| point.1).fold(0.0, f64::max);
    let rise = step(largest);
    let end = (largest / rise).ceil().max(1.0) * rise;
    let x = |value: f64| LEFT + WIDTH * (along(value) - first) / (last - first);
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / end);
    let mut plot = frame(title, LEFT + WIDTH + 36.0, TOP + HEIGHT + 28.0);
    for tick in 0..=(end / rise).round() as usize {
        let value = tick as f64 * rise;
        plot = plot.add(line("grid", LEFT, y(value), LEFT + WIDTH, y(value)));
        let at = text("tick", LEFT - 6.0, y(value) + 4.0, &show.1(value));
        plot = plot.add(at.set("text-anchor", "end"));
    }
    for value in ticks(first, last, scale) {
        let at = text("tick", x(value), TOP + HEIGHT + 16.0, &show.0(value));
        plot = plot.add(at.set("text-anchor", "middle"));
    }
    let mut label = LEFT;
    for curve in curves {
        let at = |&(a, b): &(f64, f64)| format!("{},{}", round(x(a)), round(y(b)));
        let points: Vec<String> = curve.points.iter().map(at).collect();
        let shape = Polyline::new().set("class", format!("curve s{}", curve.colour % 8));
        plot = plot.add(shape.set("points", points.join(" ")).add(Title::new(&*curve.label)));
        if let Some(point) = curve.chosen {
            let words = format!("{}: {}, {}", curve.label, show.0(point.0), show.1(point.1));
            let dot = Circle::new().set("class", "dot").set("r", 4).add(Title::new(words));
            plot = plot.add(dot.set("cx", round(x(point.0))).set("cy", round(y(point.1))));
        }
        plot = plot.add(text(&format!("label c{}", curve.colour % 8), label, 14.0, &curve.label));
        label += 7.5 * curve.label.chars().count() as f64 + 16.0;
    }
    plot.to_string()
}

fn ticks(first: f64, last: f64, scale: Scale) -> Vec<f64> {
    match scale {
        Scale::Even => {
            let step = step(last);
            (0..=(last / step).floor() as usize).map(|tick| tick as f64 * step).collect()
        }
        Scale::Doublings => (first as i32..=last as i32).map(|tick| 2f64.powi(tick)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(scale: Scale) -> String {
        let points = vec![(128.0, 0.0), (256.0, 50.0), (2048.0, 100.0)];
        let curve = Curve { label: "a".into(), chosen: Some((256.0, 50.0)), points, colour: 1 };
        curves("t", &[curve], scale, (&|x| format!("{x} MB"), &|y| format!("{y}")))
    }

    #[test]
    fn points_lie_where_their_values_are() {
        // From 128 to 2048 are four doublings.
        let svg = drawn(Scale::Doublings);
        assert!(svg.contains("points=\"64,226 169,126 484,26\""), "{svg}");
        assert!(svg.contains("cx=\"169\"") && svg.contains("512 MB"), "{svg}");
        // 128 of 2048 are a sixteenth.
        assert!(drawn(Scale::Even).contains("points=\"90.3,226 116.5,126 484,26\""));
    }

    #[test]
    fn nothing_is_an_empty_plot() {
        for scale in [Scale::Even, Scale::Doublings] {
            let svg = curves("t", &[], scale, (&|x| x.to_string(), &|y| y.to_string()));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
