//! pass@1 of a small model over what a policy computes, and over what it misses.

use maud::{Markup, html};

use crate::number::{percent, significant};
use crate::report::{Quality, QualityRow, policy_kind};

use super::super::chart::{Axis, FULL, Plot, responsive};
use super::super::kind;

const PASSED: &str = "pass@1, per cent of problems";

pub(in super::super) fn accuracy_by_density(quality: &Quality) -> Markup {
    let x = || Axis::spanning("density: share of neurons computed", sparse(quality).map(|row| row.density));
    let says = "pass@1 against density by policy, with intervals; dense as a horizontal line";
    responsive(FULL, |width| draw(quality, width, x(), says, |row| Some(row.density)))
}

/// `None` where no miss is known.
pub(in super::super) fn accuracy_by_missed_mass(quality: &Quality) -> Option<Markup> {
    let missed = || sparse(quality).filter_map(|row| row.missed_mass);
    missed().any(|m| m > 0.0).then(|| {
        let x = || Axis::from_zero("share of FFN output mass missed", missed());
        let says = "pass@1 against missed mass by policy, with intervals; dense as a horizontal line";
        responsive(FULL, |width| draw(quality, width, x(), says, |row| row.missed_mass))
    })
}

/// Dense is a line, not a point: it computes everything and misses nothing.
fn sparse(quality: &Quality) -> impl Iterator<Item = &QualityRow> {
    quality.rows.iter().filter(|row| row.against_dense.is_some())
}

fn draw(quality: &Quality, width: f64, x: Axis, says: &str, at: impl Fn(&QualityRow) -> Option<f64>) -> Markup {
    let per_cent = |share: f64| 100.0 * share;
    let y = Axis::from_zero(PASSED, quality.rows.iter().map(|row| per_cent(row.pass_at_1.interval_95.1)));
    let plot = Plot::new(width, if width > 600.0 { 400.0 } else { 340.0 }, x, y);
    let placed = |row: &QualityRow| Some((at(row)?, per_cent(row.pass_at_1.share)));
    plot.svg(
        says,
        &html! {
            @if let Some(dense) = quality.dense() {
                @let share = dense.pass_at_1.share;
                (plot.rule(per_cent(share), "", &format!("dense {}", percent(share))))
            }
            @for family in families(quality, &at) {
                (plot.line(family.iter().filter_map(|row| placed(row)), &kind::class(&family[0].policy)))
            }
            @for row in sparse(quality) {
                @if let Some((x, y)) = placed(row) {
                    @let class = kind::class(&row.policy);
                    @let (low, high) = row.pass_at_1.interval_95;
                    (plot.whisker(x, (per_cent(low), per_cent(high)), &class))
                    (plot.point(x, y, kind::glyph(&row.policy, ""), &class, &tip(row)))
                }
            }
        },
    )
}

/// Rows of one kind, left to right.
fn families<'a>(quality: &'a Quality, at: &impl Fn(&QualityRow) -> Option<f64>) -> Vec<Vec<&'a QualityRow>> {
    let kinds = kind::distinct(sparse(quality).map(|row| policy_kind(&row.policy)));
    let of = |kind: &str| {
        let mut rows: Vec<_> = sparse(quality).filter(|row| policy_kind(&row.policy) == kind).collect();
        rows.sort_by(|a, b| at(a).unwrap_or(f64::NAN).total_cmp(&at(b).unwrap_or(f64::NAN)));
        rows
    };
    kinds.into_iter().map(of).collect()
}

fn tip(row: &QualityRow) -> String {
    let rate = &row.pass_at_1;
    let (low, high) = rate.interval_95;
    let missed = row.missed_mass.map_or_else(|| "unknown".to_owned(), percent);
    let paired = row.against_dense.map_or_else(String::new, |paired| {
        format!("; against dense {} gained, {} lost, p {}", paired.gained, paired.lost, significant(paired.p, 2))
    });
    format!(
        "{}: density {}, missed mass {missed}, {} of {} passed, {} ({} to {}){paired}",
        row.policy,
        percent(row.density),
        rate.passed,
        rate.total,
        percent(rate.share),
        percent(low),
        percent(high),
    )
}
