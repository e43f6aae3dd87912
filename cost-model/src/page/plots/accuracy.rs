//! pass@1 of a small model over what a policy computes, and over what it misses.

use maud::html;
use serde::Serialize;

use crate::number::{percent, significant};
use crate::report::{Quality, QualityRow, policy_kind};

use super::super::chart::{Axis, Drawing, FULL, Plot};
use super::super::graph::{Graph, Group, Subject};
use super::super::kind;

const PASSED: &str = "pass@1, per cent of problems";

/// A policy.
#[derive(Serialize)]
struct Point<'a> {
    model: &'a str,
    policy: &'a str,
    density: f64,
    missed_mass: Option<f64>,
    passed: u64,
    total: u64,
    /// Share of problems, with Wilson's 95 % interval.
    pass_at_1: f64,
    ci_low: f64,
    ci_high: f64,
    /// Of density, missed mass and pass@1.
    origin: &'static str,
    #[serde(skip)]
    row: &'a QualityRow,
}

impl<'a> Point<'a> {
    fn new(quality: &'a Quality, row: &'a QualityRow) -> Self {
        let rate = &row.pass_at_1;
        Self {
            model: &quality.model.name,
            policy: &row.policy,
            density: row.density,
            missed_mass: row.missed_mass,
            passed: rate.passed,
            total: rate.total,
            pass_at_1: rate.share,
            ci_low: rate.interval_95.0,
            ci_high: rate.interval_95.1,
            origin: quality.origin.kind(),
            row,
        }
    }

    /// Dense is a line, not a point: it computes everything and misses nothing.
    fn is_dense(&self) -> bool {
        self.row.against_dense.is_none()
    }
}

/// Both plots; the second only where some miss is known.
pub(in super::super) fn accuracy(quality: &Quality, subject: Subject) -> Group<'_> {
    let points = || quality.rows.iter().map(|row| Point::new(quality, row));
    let by_density = Graph::new("accuracy-by-density", FULL, points().collect(), |points, width| {
        let x = Axis::spanning("density: share of neurons computed", sparse(points).map(|p| p.density));
        draw(points, width, x, "density", |p| Some(p.density))
    });
    let mut graphs = vec![by_density.headed("By what is computed", "")];
    let known: Vec<Point<'_>> = points().filter(|p| p.is_dense() || p.missed_mass.is_some()).collect();
    if sparse(&known).any(|p| p.missed_mass > Some(0.0)) {
        let by_missed_mass = Graph::new("accuracy-by-missed-mass", FULL, known, |points, width| {
            let x = Axis::from_zero("share of FFN output mass missed", sparse(points).filter_map(|p| p.missed_mass));
            draw(points, width, x, "missed mass", |p| p.missed_mass)
        });
        graphs.push(by_missed_mass.headed("By what is missed", ""));
    }
    Group { subject, legend: kind::kinds(quality.rows.iter().map(|row| row.policy.as_str())), graphs }
}

fn sparse<'p, 'a>(points: &'p [Point<'a>]) -> impl Iterator<Item = &'p Point<'a>> {
    points.iter().filter(|p| !p.is_dense())
}

fn draw(points: &[Point<'_>], width: f64, x: Axis, over: &str, at: impl Fn(&Point<'_>) -> Option<f64>) -> Drawing {
    let per_cent = |share: f64| 100.0 * share;
    let y = Axis::from_zero(PASSED, points.iter().map(|p| per_cent(p.ci_high)));
    let plot = Plot::new(width, if width > 600.0 { 400.0 } else { 340.0 }, x, y);
    let placed = |p: &Point<'_>| Some((at(p)?, per_cent(p.pass_at_1)));
    plot.svg(
        &format!("pass@1 against {over} by policy, with intervals; dense as a horizontal line"),
        &html! {
            @if let Some(dense) = points.iter().find(|p| p.is_dense()) {
                @let share = dense.pass_at_1;
                (plot.rule(per_cent(share), "", &format!("dense {}", percent(share))))
            }
            @for family in families(points, &at) {
                (plot.line(family.iter().filter_map(|p| placed(p)), &kind::class(family[0].policy)))
            }
            @for p in sparse(points) {
                @if let Some((x, y)) = placed(p) {
                    @let class = kind::class(p.policy);
                    (plot.whisker(x, (per_cent(p.ci_low), per_cent(p.ci_high)), &class))
                    (plot.point(x, y, kind::glyph(p.policy, ""), &class, &tip(p.row)))
                }
            }
        },
    )
}

/// Points of one kind, left to right.
fn families<'p, 'a>(points: &'p [Point<'a>], at: &impl Fn(&Point<'_>) -> Option<f64>) -> Vec<Vec<&'p Point<'a>>> {
    let kinds = kind::distinct(sparse(points).map(|p| policy_kind(p.policy)));
    let of = |kind: &str| {
        let mut own: Vec<_> = sparse(points).filter(|p| policy_kind(p.policy) == kind).collect();
        own.sort_by(|a, b| at(a).unwrap_or(f64::NAN).total_cmp(&at(b).unwrap_or(f64::NAN)));
        own
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
