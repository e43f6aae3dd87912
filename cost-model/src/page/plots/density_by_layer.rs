//! How much each layer computes under a fixed, a per-layer and a dynamic policy of like density.

use maud::html;
use serde::Serialize;

use crate::number::percent;
use crate::report::{PolicyOutcome, Report, policy_kind};

use super::super::chart::{Axis, Drawing, FULL, Plot};
use super::super::figure::plain;
use super::super::graph::{Graph, Group, Subject};
use super::super::kind;
use super::super::legend::{Key, Sign};

const SHOWN: [&str; 3] = ["fixed", "per-layer", "dynamic"];

/// A layer under a policy.
#[derive(Serialize)]
struct Point<'a> {
    model: &'a str,
    policy: &'a str,
    /// From 0.
    layer: usize,
    density: f64,
    density_origin: &'static str,
}

pub(in super::super) fn density_by_layer<'a>(report: &'a Report, model: &str, subject: Subject) -> Group<'a> {
    let shown = alike(report, model);
    let key = |o: &&PolicyOutcome| {
        let origin = &o.densities.origin;
        let mean = format!("mean {}", plain(&percent(o.density()), origin));
        Key::code(Sign::Fill(kind::class(&o.policy)), &o.policy, mean).tip(origin.to_string())
    };
    let layers = |o: &&'a PolicyOutcome| {
        let PolicyOutcome { model, policy, densities, .. } = *o;
        let density_origin = densities.origin.kind();
        let point = move |(layer, &density)| Point { model, policy, layer, density, density_origin };
        densities.value.iter().enumerate().map(point)
    };
    let points = shown.iter().flat_map(layers).collect();
    Group {
        subject,
        legend: shown.iter().map(key).collect(),
        graphs: vec![Graph::new("density-by-layer", FULL, points, draw).or_say("No policy was run on this model.")],
    }
}

/// One outcome per kind, each as near as there is to the middle density of the first kind that ran.
fn alike<'a>(report: &'a Report, model: &str) -> Vec<&'a PolicyOutcome> {
    let of = |kind: &str| {
        let own = report.outcomes.iter().filter(|o| o.model == model && policy_kind(&o.policy) == kind);
        let mut own: Vec<&PolicyOutcome> = own.collect();
        own.sort_by(|a, b| a.density().total_cmp(&b.density()));
        own
    };
    let Some(middle) = SHOWN.iter().map(|k| of(k)).find(|own| !own.is_empty()).map(|own| own[own.len() / 2]) else {
        return Vec::new();
    };
    let far = |o: &PolicyOutcome| (o.density() - middle.density()).abs();
    SHOWN.iter().filter_map(|k| of(k).into_iter().min_by(|a, b| far(a).total_cmp(&far(b)))).collect()
}

fn draw(points: &[Point<'_>], width: f64) -> Drawing {
    let last = points.iter().map(|p| p.layer).max().unwrap_or(0);
    let x = Axis::linear("layer", [0.0, last as f64]);
    let y = Axis::linear("share of neurons computed", [0.0, 1.0]);
    let plot = Plot::new(width, 300.0, x, y);
    plot.svg(
        "Density of each layer under three policies",
        &html! {
            @for policy in kind::distinct(points.iter().map(|p| p.policy)) {
                @let own = points.iter().filter(|p| p.policy == policy);
                (plot.line(own.map(|p| (p.layer as f64, p.density)), &kind::class(policy)))
            }
        },
    )
}
