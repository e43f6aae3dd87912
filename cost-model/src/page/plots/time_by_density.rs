//! Time per token over the share computed: what less computing buys, predictor and selection paid.

use maud::html;
use serde::Serialize;

use crate::report::Row;

use super::super::chart::{Axis, Drawing, FULL, Plot};
use super::super::graph::{Graph, Group};
use super::super::kind;
use super::{Panel, families, tip};

/// A configuration.
#[derive(Serialize)]
struct Point<'a> {
    machine: &'a str,
    model: &'a str,
    policy: &'a str,
    format: &'a str,
    density: f64,
    density_origin: &'static str,
    ms_per_token: f64,
    ms_low: f64,
    ms_high: f64,
    ms_per_token_origin: &'static str,
    #[serde(skip)]
    row: &'a Row,
}

impl<'a> Point<'a> {
    fn new(row: &'a Row) -> Self {
        let c = &row.configuration;
        Self {
            machine: &c.machine,
            model: &c.model,
            policy: &c.policy,
            format: &c.format,
            density: c.density,
            density_origin: row.density_origin.kind(),
            ms_per_token: c.ms_per_token,
            ms_low: c.ms_low,
            ms_high: c.ms_high,
            ms_per_token_origin: row.ms_per_token.origin.kind(),
            row,
        }
    }
}

pub(in super::super) fn time_by_density<'a>(panel: &Panel<'a>) -> Group<'a> {
    let points = panel.rows.iter().map(|(_, row)| Point::new(row)).collect();
    Group {
        subject: panel.subject(),
        legend: kind::legend(panel.pairs()),
        graphs: vec![Graph::new("time-by-density", FULL, points, draw)],
    }
}

fn draw(points: &[Point<'_>], width: f64) -> Drawing {
    let y = Axis::from_zero("ms per token", points.iter().map(|p| p.ms_high));
    let x = Axis::linear("mean density: share of FFN neurons computed", [0.0, 1.0]);
    let plot = Plot::new(width, if width > 600.0 { 400.0 } else { 340.0 }, x, y);
    let sparse = points.iter().filter(|p| !p.row.is_dense());
    plot.svg(
        "Milliseconds per token against mean density, with intervals; dense as horizontal lines",
        &html! {
            @for p in points.iter().filter(|p| p.row.is_dense()) {
                (plot.rule(p.ms_per_token, kind::dash(p.format), &format!("dense {}", p.format)))
            }
            @for family in families(sparse, |p| p.row) {
                @let class = format!("{} {}", kind::class(family[0].policy), kind::dash(family[0].format));
                (plot.line(family.iter().map(|p| (p.density, p.ms_per_token)), &class))
            }
            @for p in points {
                @let class = kind::class(p.policy);
                (plot.whisker(p.density, (p.ms_low, p.ms_high), &class))
                (plot.point(p.density, p.ms_per_token, kind::glyph(p.policy, p.format), &class, &tip(p.row)))
            }
        },
    )
}
