//! Policies against each other on the same tokens: a page, and its plots as one picture.

use maud::{Markup, html};

use crate::estimate::Interval;
use crate::number::{fixed, percent};
use crate::origin::Origin;
use crate::policies::{Equal, GoalStudy, PolicyFigures, PolicyStudy};

use super::chart::{Axis, Drawing, FULL, Glyph, HALF, Marker, Plot, responsive};
use super::export::standalone;
use super::figure::{Sources, legend};
use super::{document, kind, section};

const INTRO: &str = "Every policy set in hindsight to the same mean densities, so that what differs is where and when neurons \
                     are computed. Bars are the central 95 % over resampled prompts. Lower is better.";
const HEIGHT: f64 = 330.0;
const TITLE: f64 = 28.0;
const GAP: f64 = 44.0;
const MARGIN: f64 = 16.0;
/// Names in a row of the key.
const KEYS: usize = 6;

/// A figure of a policy and what it is called.
type Figure = (&'static str, fn(&PolicyFigures) -> Interval);

const FIGURES: [Figure; 3] = [
    ("share missed, mean", |own| own.miss),
    ("share missed, worst layer", |own| own.worst_layer),
    ("share missed, 99th percentile of tokens", |own| own.p99_token),
];

/// The studies as a page.
pub fn policies_html(studies: &[PolicyStudy]) -> String {
    document(
        "Thresher: policies on the same tokens",
        &html! {
            header {
                p.brand { strong { "Thresher" } }
                h1 { "What do policies miss, computing equally much?" }
                (legend())
            }
            @for study in studies {
                (section(&title(study), INTRO, &html! {
                    (facts(study))
                    (names(study))
                    div.pair { @for figure in FIGURES { div { (responsive(HALF, |width| draw(study, figure, width))) } } }
                    @for goal in &study.goals { (table(study, goal)) }
                }))
            }
        },
    )
}

/// The plots alone, as a picture that stands by itself: a row for each study.
pub fn policies_svg(studies: &[PolicyStudy]) -> String {
    let width = FULL * 1.5;
    let each = (width - 2.0 * GAP) / 3.0;
    let row = TITLE + HEIGHT + GAP;
    let names = kinds(studies);
    let key = 20.0 * names.len().div_ceil(KEYS) as f64 + 14.0;
    let (full, height) = (width + 2.0 * MARGIN, studies.len() as f64 * row + key);
    standalone(
        full,
        height,
        &html! {
            g transform={ "translate(" (MARGIN) " 0)" } {
                @for (index, name) in names.into_iter().enumerate() {
                    @let (x, y) = ((index % KEYS) as f64 * width / KEYS as f64, 20.0 + (index / KEYS) as f64 * 20.0);
                    g transform={ "translate(" (x) " " (y) ")" } {
                        (sample(name))
                        text.name x="40" y="4" { (name) }
                    }
                }
                @for (index, study) in studies.iter().enumerate() {
                    g transform={ "translate(0 " (key + index as f64 * row) ")" } {
                        text.name x="0" y="18" { (title(study)) }
                        @for (column, figure) in FIGURES.into_iter().enumerate() {
                            g transform={ "translate(" (column as f64 * (each + GAP)) " " (TITLE) ")" } {
                                (draw(study, figure, each).marks)
                            }
                        }
                    }
                }
            }
        },
    )
}

fn title(study: &PolicyStudy) -> String {
    format!("{}, scored by {}", study.source, study.scores)
}

fn facts(study: &PolicyStudy) -> Markup {
    let losses = study.losses();
    html! {
        p {
            (study.layers) " layers of " (study.neurons) " neurons, " (study.tokens) " tokens of " (study.prompts)
            " prompts that no policy was calibrated on. Differences are against " code { (study.reference) } "."
        }
        @if losses.is_empty() {
            p { "At no density has a policy that is set once and for all a worst layer or a p99 token below its, beyond doubt." }
        } @else {
            details {
                summary { "Where a policy that is set once and for all is below it, beyond doubt: " (losses.len()) }
                ul.plain { @for loss in losses { li { (loss) } } }
            }
        }
    }
}

/// The kinds that are drawn: `statistical-top-k` and `relative` would need a plot twice as high.
fn drawn(study: &PolicyStudy) -> impl Iterator<Item = (&str, Vec<(f64, &PolicyFigures)>)> {
    let at_density = || study.goals.iter().filter(|goal| goal.equal == Equal::Density);
    let kinds = kind::distinct(at_density().flat_map(|goal| goal.policies.iter().map(|own| own.kind.as_str())));
    kinds.into_iter().filter(|kind| !["statistical-top-k", "relative"].contains(kind) && !kind.contains("rank")).map(
        move |kind| {
            let own =
                at_density().filter_map(|goal| Some((goal.value, goal.policies.iter().find(|own| own.kind == kind)?)));
            let mut own: Vec<_> = own.collect();
            own.sort_by(|a, b| a.0.total_cmp(&b.0));
            (kind, own)
        },
    )
}

fn kinds(studies: &[PolicyStudy]) -> Vec<&str> {
    kind::distinct(studies.iter().flat_map(|study| drawn(study).map(|(kind, _)| kind)))
}

/// How options of a kind are told apart.
fn dash(kind: &str) -> &'static str {
    match kind.split_once("allocation=") {
        Some((_, "greedy")) => "dash-f32",
        Some((_, "squares")) => "dash-q8_0",
        _ => "",
    }
}

fn class(name: &str) -> String {
    format!("{} {}", kind::class(name.split(',').next().unwrap_or(name)), dash(name))
}

fn marker(name: &str) -> Glyph {
    let marker = match name.split_once("allocation=") {
        Some((_, "greedy")) => Marker::Triangle,
        Some((_, "squares")) => Marker::Diamond,
        _ => Marker::Circle,
    };
    Glyph { marker, ..Glyph::DOT }
}

fn sample(name: &str) -> Markup {
    let class = class(name);
    html! {
        line class={ "line " (class) } x1="0" x2="34" y1="0" y2="0" {}
        g class={ "point " (class) } { (super::chart::shape(marker(name).marker, 17.0, 0.0, 4.6)) }
    }
}

fn names(study: &PolicyStudy) -> Markup {
    html! {
        ul.legend {
            @for (name, _) in drawn(study) {
                li { svg viewBox="0 -7 36 14" width="36" height="14" aria-hidden="true" { (sample(name)) } " " (name) }
            }
        }
    }
}

fn draw(study: &PolicyStudy, (label, figure): Figure, width: f64) -> Drawing {
    let all = || drawn(study).flat_map(|(_, own)| own);
    let x = Axis::spanning("density: share of neurons computed", all().map(|(_, own)| own.density));
    let y = Axis::from_zero(label, all().map(|(_, own)| figure(own).high));
    let plot = Plot::new(width, HEIGHT, x, y);
    let says = format!("{label}, against density, a line for each policy");
    plot.svg(
        &says,
        &html! {
            @for (name, own) in drawn(study) {
                @let class = class(name);
                (plot.line(own.iter().map(|(_, own)| (own.density, figure(own).median)), &class))
                @for (_, own) in own {
                    @let Interval { median, low, high } = figure(own);
                    (plot.whisker(own.density, (low, high), &class))
                    (plot.point(own.density, median, marker(name), &class, &tip(own, label, figure(own))))
                }
            }
        },
    )
}

fn tip(own: &PolicyFigures, label: &str, Interval { median, low, high }: Interval) -> String {
    let [median, low, high, density] = [median, low, high, own.density].map(percent);
    format!("{} at density {density}: {label} {median} ({low} to {high})", own.policy)
}

fn table(study: &PolicyStudy, goal: &GoalStudy) -> Markup {
    let what = if goal.equal == Equal::Density { "density" } else { "mean miss" };
    let sources = Sources::none();
    let measured = Origin::derived("all tokens of the prompts; its interval from resampled prompts");
    let with_interval = |i: Interval, digits: i32| {
        html! {
            (sources.figure(&fixed(100.0 * i.median, digits), &measured))
            span.interval { (fixed(100.0 * i.low, digits)) "\u{2013}" (fixed(100.0 * i.high, digits)) }
        }
    };
    html! {
        h3 { "At a " (what) " of " (percent(goal.value)) }
        div.scroll {
            table.small {
                thead { tr {
                    th { "Policy" }
                    @for name in [
                        "Density, %", "p95 / mean", "Audits, %", "Missed, mean, %", "Worst layer, %", "p99 token, %",
                        "Worst layer less reference", "p99 token less reference", "Selection, \u{b5}s"
                    ] { th.number { (name) } }
                } }
                tbody { @for own in &goal.policies {
                    tr class=(if own.kind == study.reference { "dense" } else { "" }) {
                        th { (own.kind) }
                        td.number title=(own.policy) { (fixed(100.0 * own.density, 2)) }
                        td.number { (fixed(own.density_p95_over_mean, 2)) }
                        td.number { (fixed(100.0 * own.audit_density, 2)) }
                        @for interval in [own.miss, own.worst_layer, own.p99_token] { td.number { (with_interval(interval, 1)) } }
                        @for place in [1, 2] {
                            td.number { @if let Some(less) = own.less_reference { (with_interval(less[place], 1)) } }
                        }
                        td.number { (fixed(1e6 * own.selection_seconds, 2)) }
                    }
                } }
            }
        }
    }
}
