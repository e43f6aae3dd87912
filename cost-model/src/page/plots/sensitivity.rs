//! PER as the assumed loss of accuracy grows, and where sparse stops being better than dense.

use maud::{Markup, html};

use crate::number::{fixed, percent};
use crate::report::{PerForm, Report, Row, SensitivitySeries, TOLERATED_MISS, policy_kind};

use super::super::chart::{Axis, Glyph, HALF, Plot, responsive};
use super::super::figure::plain;
use super::super::kind;
use super::Panel;

pub(in super::super) fn sensitivity(report: &Report, panel: &Panel<'_>) -> Markup {
    let shown = representatives(report, panel);
    html! {
        (panel.name())
        @if shown.len() < 2 {
            p.absent { "No sparse configuration has a known missed mass." }
        } @else {
            ul.legend {
                @for s in &shown {
                    @let row = &report.rows[s.row];
                    @let c = &row.configuration;
                    li { (kind::swatch(&kind::class(&c.policy))) code { (c.policy) " " (c.format) }
                        @if let Some(m) = row.missed_mass.as_ref().filter(|_| !row.is_dense()) {
                            " misses " (plain(&percent(m.value), &m.origin))
                        }
                        @if let Some(kappa) = kappa(report, s) { ", equals dense at kappa " (fixed(kappa, 1)) }
                    }
                }
            }
            div.pair {
                div { h4 { "Ratio PER" } (responsive(HALF, |width| draw(report, &shown, PerForm::Ratio, width))) }
                div { h4 { "Anchored PER" }
                    @if shown.iter().all(|s| s.anchored.iter().all(Option::is_none)) {
                        p.absent { "Needs the dense accuracy, which is unknown." }
                    } @else { (responsive(HALF, |width| draw(report, &shown, PerForm::Anchored, width))) }
                }
            }
        }
    }
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

fn draw(report: &Report, shown: &[&SensitivitySeries], form: PerForm, width: f64) -> Markup {
    let kappa = &report.sensitivity.kappa;
    let values = |s: &SensitivitySeries| -> Vec<f64> {
        let own = if form == PerForm::Ratio { &s.ratio } else { &s.anchored };
        own.iter().map(|v| v.unwrap_or(f64::NAN)).collect()
    };
    let y = Axis::linear("PER", shown.iter().flat_map(|s| values(s)));
    let x = Axis::linear("kappa: accuracy lost per unit of missed mass", kappa.iter().copied());
    let plot = Plot::new(width, 330.0, x, y);
    let assumed = report.scenario.kappa.value;
    plot.svg(
        &format!("{form} PER against the assumed loss kappa; circles mark where sparse equals dense"),
        &html! {
            @for s in shown {
                @let policy = &report.rows[s.row].configuration.policy;
                (plot.line(kappa.iter().copied().zip(values(s)), &kind::class(policy)))
                @if let Some(at) = kappa.iter().position(|k| *k == assumed) {
                    @let per = values(s)[at];
                    @let says = format!("{policy} at kappa {assumed}, as assumed: {form} PER {}", fixed(per, 3));
                    (plot.point(assumed, per, Glyph::DOT, &kind::class(policy), &says))
                }
            }
            @if form == PerForm::Ratio { @for s in shown { (break_even(report, s, &plot)) } }
        },
    )
}

fn kappa(report: &Report, series: &SensitivitySeries) -> Option<f64> {
    report.break_even.iter().find(|b| b.row == series.row)?.per_kappa
}

/// A ring on the dense line at the kappa where the row's ratio PER meets it.
fn break_even(report: &Report, series: &SensitivitySeries, plot: &Plot) -> Markup {
    let even = report.break_even.iter().find(|b| b.row == series.row);
    let mark =
        even.and_then(|b| Some((b.per_kappa?, b.per_share.value, report.rows[b.dense].configuration.per_ratio?)));
    html! {
        @if let Some((kappa, share, dense)) = mark {
            @let policy = &report.rows[series.row].configuration.policy;
            @let (at, keep) = (fixed(kappa, 2), percent(share));
            @let says = format!("{policy} equals dense at kappa {at}: it must keep {keep} of dense accuracy");
            (plot.point(kappa, dense, Glyph::DOT, &format!("ring {}", kind::class(policy)), &says))
        }
    }
}
