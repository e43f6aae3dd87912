//! How much each layer computes under a fixed, a per-layer and a dynamic policy of like density.

use maud::{Markup, html};

use crate::number::percent;
use crate::report::{PolicyOutcome, Report, policy_kind};

use super::super::chart::{Axis, FULL, Plot, responsive};
use super::super::figure::plain;
use super::super::kind;

const SHOWN: [&str; 3] = ["fixed", "per-layer", "dynamic"];

pub(in super::super) fn density_by_layer(report: &Report, model: &str) -> Markup {
    let shown = alike(report, model);
    html! {
        @if shown.is_empty() {
            p.absent { "No policy was run on " (model) "." }
        } @else {
            ul.legend {
                @for o in &shown {
                    @let origin = &o.densities.origin;
                    li title=(origin) {
                        (kind::swatch(&kind::class(&o.policy)))
                        code { (o.policy) } " mean " (plain(&percent(o.density()), origin))
                    }
                }
            }
            (responsive(FULL, |width| draw(&shown, width)))
        }
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

fn draw(outcomes: &[&PolicyOutcome], width: f64) -> Markup {
    let layers = outcomes.iter().map(|o| o.densities.value.len()).max().unwrap_or(1);
    let x = Axis::linear("layer", [0.0, layers.saturating_sub(1) as f64]);
    let y = Axis::linear("share of neurons computed", [0.0, 1.0]);
    let plot = Plot::new(width, 300.0, x, y);
    plot.svg(
        "Density of each layer under three policies",
        &html! {
            @for o in outcomes {
                @let points = o.densities.value.iter().enumerate().map(|(layer, d)| (layer as f64, *d));
                (plot.line(points, &kind::class(&o.policy)))
            }
        },
    )
}
