//! PER as the assumed loss of accuracy grows, and where sparse stops being better than dense.

use maud::html;
use serde::Serialize;

use crate::number::{fixed, percent};
use crate::report::{BreakEven, PerForm, Report, Row, SensitivitySeries, TOLERATED_MISS, policy_kind};

use super::super::chart::{Axis, Drawing, FULL, Glyph, HALF, Plot};
use super::super::figure::plain;
use super::super::graph::{Graph, Group};
use super::super::kind;
use super::super::legend::{Key, Sign};
use super::super::tables::per_origin;
use super::Panel;

/// A configuration at one kappa.
#[derive(Serialize)]
struct Point<'a> {
    machine: &'a str,
    model: &'a str,
    policy: &'a str,
    format: &'a str,
    /// Accuracy lost per unit of missed mass: tried, not known.
    kappa: f64,
    per_form: String,
    per: f64,
    per_origin: &'static str,
    mark: Mark,
    #[serde(skip)]
    tip: String,
}

/// What is drawn at a point beside the line through it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    None,
    /// A dot: the kappa that the rest of the report assumes.
    AssumedKappa,
    /// A ring off the line's own points: where the configuration is no better than dense.
    EqualsDense,
}

pub(in super::super) fn sensitivity<'a>(report: &'a Report, panel: &Panel<'a>) -> Group<'a> {
    let shown = representatives(report, panel);
    if shown.len() < 2 {
        let none = Graph::absent(FULL, "No sparse configuration has a known missed mass.");
        return Group { subject: panel.subject(), legend: Vec::new(), graphs: vec![none] };
    }
    let graph = |form: PerForm, heading: &str, absent: &'static str| {
        let points = shown.iter().flat_map(|s| points(report, s, form)).collect();
        Graph::new(format!("per-as-accuracy-falls-{form}"), HALF, points, move |points, width| {
            draw(points, form, width)
        })
        .headed(heading, "")
        .or_say(absent)
    };
    Group {
        subject: panel.subject(),
        legend: shown.iter().map(|s| key(report, s)).collect(),
        graphs: vec![
            graph(PerForm::Ratio, "Ratio PER", "Not defined for these configurations."),
            graph(PerForm::Anchored, "Anchored PER", "Needs the dense accuracy, which is unknown."),
        ],
    }
}

fn key(report: &Report, series: &SensitivitySeries) -> Key {
    let row = &report.rows[series.row];
    let c = &row.configuration;
    let missed = row.missed_mass.as_ref().filter(|_| !row.is_dense());
    let missed = missed.map(|m| format!("misses {}", plain(&percent(m.value), &m.origin)));
    let even = even(report, series).and_then(|b| b.per_kappa);
    let even = even.map(|kappa| format!("equals dense at kappa {}", fixed(kappa, 1)));
    let text = [missed, even].into_iter().flatten().collect::<Vec<_>>().join(", ");
    Key::code(Sign::Fill(kind::class(&c.policy)), format!("{} {}", c.policy, c.format), text)
}

/// Dense, and of each other kind the cheapest row that misses little, else the one that misses least;
/// all in the format of the cheapest such row, or in the first.
fn representatives<'a>(report: &'a Report, panel: &Panel<'_>) -> Vec<&'a SensitivitySeries> {
    let rows = &report.rows;
    let in_panel = |i: &usize| panel.rows.iter().any(|(index, _)| index == i);
    let best = report.cheapest_within(panel.machine, panel.model, TOLERATED_MISS);
    let chosen = best.or(panel.rows.first().map(|(i, _)| *i));
    let Some(format) = chosen.map(|i| rows[i].configuration.format.as_str()) else { return Vec::new() };
    let series = || {
        let all = report.sensitivity.series.iter();
        all.filter(|s| in_panel(&s.row) && rows[s.row].configuration.format == format)
    };
    let kinds = kind::distinct(series().map(|s| policy_kind(&rows[s.row].configuration.policy)));
    let worse = |row: &Row| -> (bool, f64) {
        let c = &row.configuration;
        let missed = c.missed_mass.unwrap_or(1.0);
        if missed <= TOLERATED_MISS { (false, c.usd_per_mtok) } else { (true, missed) }
    };
    let best = |kind: &str| {
        let own = series().filter(|s| policy_kind(&rows[s.row].configuration.policy) == kind);
        own.min_by(|a, b| {
            let (a, b) = (worse(&rows[a.row]), worse(&rows[b.row]));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        })
    };
    kinds.into_iter().filter_map(best).collect()
}

/// The line of a row, and in the ratio form the ring on the dense line where it is no better.
fn points<'a>(report: &'a Report, series: &SensitivitySeries, form: PerForm) -> Vec<Point<'a>> {
    let row = &report.rows[series.row];
    let c = &row.configuration;
    let assumed = report.scenario.kappa.value;
    let own = if form == PerForm::Ratio { &series.ratio } else { &series.anchored };
    let origin = per_origin(row, form).map_or("assumed", |origin| origin.kind());
    let point = |kappa: f64, per: f64, mark: Mark, tip: String| Point {
        machine: &c.machine,
        model: &c.model,
        policy: &c.policy,
        format: &c.format,
        kappa,
        per_form: form.to_string(),
        per,
        per_origin: origin,
        mark,
        tip,
    };
    let line = report.sensitivity.kappa.iter().zip(own).filter_map(|(&kappa, per)| Some((kappa, (*per)?)));
    let mut all: Vec<Point<'a>> = line
        .map(|(kappa, per)| {
            let (mark, tip) = if kappa == assumed {
                let per = fixed(per, 3);
                (Mark::AssumedKappa, format!("{} at kappa {kappa}, as assumed: {form} PER {per}", c.policy))
            } else {
                (Mark::None, String::new())
            };
            point(kappa, per, mark, tip)
        })
        .collect();
    let ring = even(report, series).filter(|_| form == PerForm::Ratio);
    if let Some((even, kappa)) = ring.and_then(|even| Some((even, even.per_kappa?)))
        && let Some(per) = report.rows[even.dense].configuration.per_ratio
    {
        let (at, keep) = (fixed(kappa, 2), percent(even.per_share.value));
        let tip = format!("{} equals dense at kappa {at}: it must keep {keep} of dense accuracy", c.policy);
        all.push(point(kappa, per, Mark::EqualsDense, tip));
    }
    all
}

fn even<'a>(report: &'a Report, series: &SensitivitySeries) -> Option<&'a BreakEven> {
    report.break_even.iter().find(|b| b.row == series.row)
}

fn draw(points: &[Point<'_>], form: PerForm, width: f64) -> Drawing {
    let on_line = || points.iter().filter(|p| p.mark != Mark::EqualsDense);
    let y = Axis::linear("PER", on_line().map(|p| p.per));
    let x = Axis::linear("kappa: accuracy lost per unit of missed mass", on_line().map(|p| p.kappa));
    let plot = Plot::new(width, 330.0, x, y);
    plot.svg(
        &format!("{form} PER against the assumed loss kappa; circles mark where sparse equals dense"),
        &html! {
            @for policy in kind::distinct(points.iter().map(|p| p.policy)) {
                @let class = kind::class(policy);
                (plot.line(on_line().filter(|p| p.policy == policy).map(|p| (p.kappa, p.per)), &class))
            }
            @for p in points.iter().filter(|p| p.mark == Mark::AssumedKappa) {
                (plot.point(p.kappa, p.per, Glyph::DOT, &kind::class(p.policy), &p.tip))
            }
            @for p in points.iter().filter(|p| p.mark == Mark::EqualsDense) {
                (plot.point(p.kappa, p.per, Glyph::DOT, &format!("ring {}", kind::class(p.policy)), &p.tip))
            }
        },
    )
}
