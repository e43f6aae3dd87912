//! Measured accuracy of small models under policies: what it shows, the plots, every row.

use maud::{Markup, html};

use crate::number::{fixed, percent, significant};
use crate::report::{Quality, QualityRow, Report};

use super::figure::{Sources, unknown};
use super::graph::{Piece, Subject};
use super::{kind, plots, tables::cell};

const ABSENT: &str = "No quality record was given: thresher eval --record FILE makes one, thresher compose RECORD… \
                      --quality FILE shows it.";
const NOT_CARRIED: &str = "Nothing of this is carried over to the 70B: its accuracy on code under these policies stays \
                           unknown, here and in the tables below. A small model has little redundancy, was trained for \
                           sparse gates and on one kind of task; a large one may lose less, or break elsewhere. What \
                           carries over is the method: the same command measures any model that fits a machine.";

pub(super) fn accuracy(report: &Report) -> Vec<Piece<'_>> {
    if report.quality.is_empty() {
        return vec![Piece::Words(html! { p.absent { (ABSENT) } })];
    }
    let alone = report.quality.len() == 1;
    let mut pieces = Vec::new();
    for quality in &report.quality {
        pieces.push(Piece::Graphs(plots::accuracy(quality, subject(quality, alone))));
        pieces.push(Piece::Words(table(quality)));
    }
    pieces.push(Piece::Words(html! { p.intro { (NOT_CARRIED) } }));
    pieces
}

/// Two models may have one name, but not one hash.
fn subject(quality: &Quality, alone: bool) -> Subject {
    let model = &quality.model;
    let of = format!("{}: {}", model.name, quality.benchmark);
    Subject {
        heading: html! { h3 { (of) } p { (quality.findings.join(" ")) } },
        tag: if alone {
            String::new()
        } else {
            model.sha256.chars().take(12).chain(['-']).chain(model.name.chars()).collect()
        },
        of,
    }
}

fn table(quality: &Quality) -> Markup {
    // Everything here was measured in one run.
    let sources = Sources::none();
    let figure = |text: &str| sources.figure(text, &quality.origin);
    let share = |share: Option<f64>| {
        cell(share, &share.map_or_else(|| unknown("not seen in this run"), |share| figure(&percent(share))))
    };
    html! {
        div.scroll { table.sortable {
            thead { tr {
                th { "policy" }
                th.number { "density" } th.number { "fired" } th.number { "missed mass" }
                th.number { "passed" } th.number { "pass@1" }
                th.number { "only it" } th.number { "only dense" } th.number { "McNemar p" }
                th.number { "seen families" } th.number { "unseen families" }
            } }
            tbody { @for row in &quality.rows {
                @let rate = &row.pass_at_1;
                tr.dense[row.against_dense.is_none()] {
                    th scope="row" { (kind::swatch(&kind::class(&row.policy))) code { (row.policy) } }
                    (share(Some(row.density))) (share(Some(row.fired_density))) (share(row.missed_mass))
                    (cell(Some(rate.share), &figure(&format!("{} of {}", rate.passed, fixed(rate.total as f64, 0)))))
                    (cell(Some(rate.share), &html! {
                        (figure(&one_decimal(rate.share)))
                        span.interval { (one_decimal(rate.interval_95.0)) "–" (one_decimal(rate.interval_95.1)) }
                    }))
                    (paired(row, &figure))
                    (share(row.seen.map(|rate| rate.share))) (share(row.unseen.map(|rate| rate.share)))
                }
            } }
        } }
    }
}

/// Accuracies differ by less than a per cent.
fn one_decimal(share: f64) -> String {
    format!("{}\u{a0}%", fixed(100.0 * share, 1))
}

fn paired(row: &QualityRow, figure: &impl Fn(&str) -> Markup) -> Markup {
    let Some(paired) = &row.against_dense else {
        return html! { @for _ in 0..3 { (cell(None, &html! { span.blank { "–" } })) } };
    };
    let p = if paired.p < 0.001 { "< 0.001".to_owned() } else { significant(paired.p, 2) };
    html! {
        (cell(Some(paired.gained as f64), &figure(&paired.gained.to_string())))
        (cell(Some(paired.lost as f64), &figure(&paired.lost.to_string())))
        (cell(Some(paired.p), &figure(&p)))
    }
}
