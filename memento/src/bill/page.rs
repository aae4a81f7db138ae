//! The bill as a page: what each model charges, and what each memory size costs and takes.

use super::document::{Document, Priced};
use super::recommend::Choice;
use super::table;
use crate::html::curves::{Curve, Scale, curves};
use crate::html::plot::{Bar, bars};
use crate::units::seconds;
use anyhow::Result;
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    terms: Vec<String>,
    notes: &'a [String],
    workloads: Vec<Section<'a>>,
}

#[derive(Serialize)]
struct Section<'a> {
    name: &'a str,
    skipped: Option<&'a str>,
    memory_mb: u32,
    plots: Vec<(&'static str, String)>,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    advice: Vec<String>,
}

/// The page.
///
/// # Errors
/// If it cannot be made.
pub fn html(document: &Document) -> Result<String> {
    let page = Page {
        title: "memento bill",
        terms: table::terms(&document.terms).lines().map(str::to_owned).collect(),
        notes: &document.notes,
        workloads: document.workloads.iter().map(section).collect(),
    };
    crate::html::render(TEMPLATE, page)
}

fn section(workload: &Priced) -> Section<'_> {
    Section {
        name: &workload.name,
        skipped: workload.skipped.as_deref(),
        memory_mb: workload.memory_mb.unwrap_or_default(),
        plots: if workload.skipped.is_some() { Vec::new() } else { plots(workload) },
        heads: table::heads(workload),
        rows: workload.bills.iter().map(table::row).collect(),
        advice: workload.bills.iter().filter_map(table::advice).collect(),
    }
}

fn plots(workload: &Priced) -> Vec<(&'static str, String)> {
    let models = workload.bills.first().map_or(0, |bill| bill.costs.len());
    let cost = |(model, (colour, bill)): (usize, (usize, &super::document::Bill))| {
        let cost = bill.costs.get(model)?;
        Some(Bar {
            label: format!("{}, {}", cost.model.title(), bill.allocator),
            colour,
            value: Some(cost.million),
            interval: cost.interval,
            points: Vec::new(),
            words: format!("${:.3}", cost.million),
        })
    };
    let each = |model| workload.bills.iter().enumerate().map(move |bill| (model, bill));
    let costs: Vec<Bar> = (0..models).flat_map(each).filter_map(cost).collect();
    let by_size = |value: &dyn Fn(&Choice) -> f64| -> Vec<Curve> {
        let curve = |(colour, bill): (usize, &super::document::Bill)| {
            let advice = bill.recommendation.as_ref()?;
            let point = |choice: &Choice| (f64::from(choice.mb), value(choice));
            Some(Curve {
                label: bill.allocator.clone(),
                colour,
                points: advice.curve.iter().map(point).collect(),
                chosen: Some(point(&advice.balanced)),
            })
        };
        workload.bills.iter().enumerate().filter_map(curve).collect()
    };
    let dollars = |value: f64| format!("${}", (value * 1e4).round() / 1e4);
    let mb = |value: f64| match value {
        _ if value < 1024.0 => format!("{value:.0} MB"),
        _ => format!("{} GB", (value / 102.4).round() / 10.0),
    };
    let time = |value: f64| seconds(value * 1e9);
    vec![
        (
            "Dollars for a million invocations by each model: median and its 95 % interval.",
            bars("Cost by model", &costs, None, &dollars),
        ),
        (
            "Dollars for a million invocations at each memory size (SLIM); the dot is the recommended size.",
            curves(
                "Cost by memory size",
                &by_size(&|choice| choice.million),
                Scale::Doublings,
                (&mb, &dollars),
            ),
        ),
        (
            "Duration at each memory size, to first order; the dot is the recommended size.",
            curves(
                "Duration by memory size",
                &by_size(&|choice| choice.seconds),
                Scale::Doublings,
                (&mb, &time),
            ),
        ),
    ]
}
