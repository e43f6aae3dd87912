//! The grid as two pictures, and how far its conclusion moves.

use maud::html;
use serde::Serialize;

use crate::answer::swing::Swing;
use crate::answer::{Answer, ModelAnswer};
use crate::grid::Basis;
use crate::number::{correlation, fixed, percent, significant};
use crate::report::PerForm;

use super::super::answer::rests;
use super::super::chart::{Axis, Drawing, FULL, Glyph, HALF, Marker, Plot, at, shape};
use super::super::graph::{Graph, Group, Subject};
use super::super::kind;
use super::super::legend::{Key, Sign};

/// Points of a cloud: more would be black.
const POINTS: usize = 1500;
const HEIGHT: f64 = 380.0;

/// A configuration of the grid.
#[derive(Serialize)]
struct Point<'a> {
    machine: &'a str,
    hardware: &'a str,
    /// How its times were come by.
    basis: Basis,
    configuration: String,
    model: &'static str,
    policy: &'a str,
    usd_per_mtok: f64,
    accuracy_kept: f64,
    usd_per_solved: Option<f64>,
    per_ratio: Option<f64>,
    /// Whether nothing beats it both in cost and in accuracy.
    on_front: bool,
    /// Of all four numbers.
    origin: &'static str,
    #[serde(skip)]
    glyph: Glyph,
    #[serde(skip)]
    tip: String,
}

impl<'a> Point<'a> {
    fn new(answer: &'a Answer, model: &'a ModelAnswer, at: usize) -> Self {
        let (grid, scores) = (&answer.grid, &model.scores);
        let cell = &grid.cells[scores.cells[at]];
        let (machine, configuration) = (grid.machine(cell), grid.key(cell).to_string());
        let (usd_per_mtok, accuracy_kept) = (scores.usd_per_mtok[at], scores.kept[at]);
        let tip = format!(
            "{configuration} on {}: {} USD per Mtok, {} of dense accuracy, {} tok/s",
            machine.name,
            significant(usd_per_mtok, 3),
            percent(accuracy_kept),
            significant(cell.tok_s(), 3)
        );
        Self {
            machine: &machine.fingerprint,
            hardware: &machine.name,
            basis: machine.basis,
            configuration,
            model: model.model,
            policy: &grid.outcome(cell).policy,
            usd_per_mtok,
            accuracy_kept,
            usd_per_solved: Some(scores.usd_per_solved[at]).filter(|usd| usd.is_finite()),
            per_ratio: scores.per(PerForm::Ratio).map(|per| per[at]),
            on_front: model.front.contains(&at),
            origin: rests().kind(),
            glyph: Glyph { marker: marker(answer, cell.machine), radius: 2.6 },
            tip,
        }
    }
}

/// PER against dollars per solved problem, and accuracy against dollars per token with what nothing beats.
pub(in super::super) fn grid<'a>(answer: &'a Answer, model: &'a ModelAnswer, subject: Subject) -> Group<'a> {
    let shown = sample(model);
    let points = |at: &[usize]| at.iter().map(|&at| Point::new(answer, model, at)).collect::<Vec<_>>();
    let mut solving = points(&shown);
    let mut legend = kind::kinds(solving.iter().map(|p| p.policy));
    solving.retain(|p| p.usd_per_solved.is_some() && p.per_ratio > Some(0.0));
    let beside: Vec<usize> = model.front.iter().copied().filter(|at| !shown.contains(at)).collect();
    let fronting = points(&[shown, beside].concat());
    legend.extend(machine_keys(answer));
    let graphs = vec![
        Graph::new("grid-per-against-solved", HALF, solving, per_against_solved)
            .headed("PER (ratio) against dollars per solved problem", "")
            .or_say("Not defined."),
        Graph::new("grid-accuracy-against-cost", HALF, fronting, front)
            .headed("Accuracy kept against dollars per token", "the line is what nothing beats"),
    ];
    Group { subject, legend, graphs }
}

/// Each machine that was measured, and the others by how their times were come by.
fn machine_keys(answer: &Answer) -> impl Iterator<Item = Key> {
    let machines = &answer.grid.machines;
    let measured = machines.iter().enumerate().filter(|(_, machine)| machine.basis == Basis::Measured);
    let named = measured.map(|(index, machine)| {
        let name = format!("{} {}", machine.name, machine.fingerprint.get(..4).unwrap_or_default());
        Key::new(Sign::plain(marker(answer, index)), name)
    });
    let others = [(Basis::Projected, "GPUs by their data sheets"), (Basis::Hybrid, "a GPU and a processor")];
    let of = |(basis, name)| {
        let index = machines.iter().position(|machine| machine.basis == basis)?;
        Some(Key::new(Sign::plain(marker(answer, index)), name))
    };
    named.chain(others.into_iter().filter_map(of))
}

/// Evenly over the cells, which are in the order of their axes.
fn sample(model: &ModelAnswer) -> Vec<usize> {
    let cells = model.scores.cells.len();
    let step = (cells as f64 / POINTS as f64).max(1.0);
    // A step that is not whole meets no axis in step.
    let step = if step > 1.0 { step.floor() + 0.618_033_988_749_895 } else { 1.0 };
    (0..cells.min(POINTS)).map(|i| (i as f64 * step) as usize).filter(|at| *at < cells).collect()
}

fn marker(answer: &Answer, machine: usize) -> Marker {
    match answer.grid.machines[machine].basis {
        Basis::Measured => [Marker::Circle, Marker::Diamond, Marker::Square][machine % 3],
        Basis::Projected => Marker::Triangle,
        Basis::Hybrid => Marker::TriangleDown,
    }
}

fn per_against_solved(points: &[Point<'_>], width: f64) -> Drawing {
    let placed = |p: &Point<'_>| p.usd_per_solved.zip(p.per_ratio).unwrap_or((f64::NAN, f64::NAN));
    let x = Axis::spanning("USD per solved problem", points.iter().map(|p| placed(p).0));
    let y = Axis::spanning("PER, 1 = the reference", points.iter().map(|p| placed(p).1));
    let plot = Plot::new(width, HEIGHT, x, y);
    let says = "Ratio PER against USD per solved problem, configurations of the grid, a choice of them";
    plot.svg(says, &html! { @for p in points { (dot(&plot, p, placed(p))) } })
}

fn front(points: &[Point<'_>], width: f64) -> Drawing {
    let placed = |p: &Point<'_>| (p.usd_per_mtok, p.accuracy_kept);
    let x = Axis::spanning("USD per million tokens", points.iter().map(|p| p.usd_per_mtok));
    let y = Axis::from_zero("share of dense accuracy, assumed", points.iter().map(|p| p.accuracy_kept));
    let plot = Plot::new(width, HEIGHT, x, y);
    let mut best: Vec<_> = points.iter().filter(|p| p.on_front).map(placed).collect();
    best.sort_by(|a, b| a.0.total_cmp(&b.0));
    plot.svg(
        "Accuracy kept against USD per million tokens, configurations of the grid, a choice of them; a line through those \
         that nothing beats",
        &html! {
            @for p in points { (dot(&plot, p, placed(p))) }
            (plot.line(best, "kind-dense"))
        },
    )
}

fn dot(plot: &Plot, p: &Point<'_>, (x, y): (f64, f64)) -> maud::Markup {
    plot.point(x, y, p.glyph, &kind::class(p.policy), &p.tip)
}

const ROW: f64 = 24.0;
const LABEL: f64 = 310.0;
const EDGE: f64 = 60.0;
const TICKS: [f64; 5] = [-1.0, -0.75, -0.5, -0.25, 0.0];

/// Spearman's correlation with USD per solved problem under a value of an assumption; of none, as all are assumed.
#[derive(Serialize)]
struct Moved<'a> {
    model: &'static str,
    assumption: &'static str,
    value: &'a str,
    per_form: PerForm,
    spearman: Option<f64>,
    origin: &'static str,
}

impl<'a> Moved<'a> {
    fn of(model: &'static str, swing: &'a Swing) -> impl Iterator<Item = Self> {
        let Swing { assumption, value, spearman, .. } = swing;
        let one =
            move |&(per_form, spearman)| Moved { model, assumption, value, per_form, spearman, origin: rests().kind() };
        spearman.iter().map(one)
    }
}

/// Each form under every other value of every assumption: a line an assumption.
pub(in super::super) fn swings<'a>(model: &'a ModelAnswer, subject: Subject) -> Group<'a> {
    let points = model.swings.iter().flat_map(|swing| Moved::of(model.model, swing)).collect();
    let key = |form| Key::new(Sign::Mark(marker_of(form), class(form).to_owned()), form.to_string());
    Group {
        subject,
        legend: PerForm::ALL.into_iter().map(key).collect(),
        graphs: vec![Graph::new("grid-assumptions", FULL, points, swings_drawing)],
    }
}

fn swings_drawing(points: &[Moved<'_>], width: f64) -> Drawing {
    let known = || points.iter().filter_map(|p| p.spearman);
    let low = known().fold(-1.0, f64::min);
    let high = known().fold(-0.5, f64::max);
    let left = if width < FULL { 150.0 } else { LABEL };
    let px = |rho: f64| left + (rho - low) / (high - low) * (width - left - EDGE);
    let lines: Vec<&[Moved<'_>]> = points.chunk_by(|a, b| (a.assumption, a.value) == (b.assumption, b.value)).collect();
    let height = lines.len() as f64 * ROW + 40.0;
    let ticks = || TICKS.into_iter().filter(|tick| (low..=high).contains(tick));
    let marks = html! {
        g.grid { @for tick in ticks() {
            line x1=(at(px(tick))) x2=(at(px(tick))) y1="0" y2=(at(height - 36.0)) {}
        } }
        @for tick in ticks() {
            text.tick x=(at(px(tick))) y=(at(height - 20.0)) text-anchor="middle" { (fixed(tick, 2)) }
        }
        text.axis x=(at(width - EDGE)) y=(at(height - 4.0)) text-anchor="end" { "Spearman with USD per solved problem" }
        @for (index, line) in lines.iter().enumerate() {
            @let y = index as f64 * ROW + 14.0;
            @let Moved { assumption, value, .. } = &line[0];
            text.tick x=(at(left - 10.0)) y=(at(y + 4.0)) text-anchor="end" {
                @if assumption.is_empty() { (value) } @else { (assumption) ": " (value) }
            }
            @for p in *line {
                @if let Some(rho) = p.spearman {
                    g class={ "point " (class(p.per_form)) } {
                        title { (p.per_form) " " (correlation(rho)) }
                        (shape(marker_of(p.per_form), px(rho), y, 4.6))
                    }
                }
            }
        }
    };
    let says = "Spearman's correlation of PER with USD per solved problem, assumption by assumption";
    Drawing { says: says.to_owned(), width, height, marks }
}

fn class(form: PerForm) -> &'static str {
    match form {
        PerForm::Paper => "kind-fixed",
        PerForm::Anchored => "kind-per-layer",
        PerForm::Ratio => "kind-top-k",
    }
}

fn marker_of(form: PerForm) -> Marker {
    match form {
        PerForm::Paper => Marker::Circle,
        PerForm::Anchored => Marker::Square,
        PerForm::Ratio => Marker::Diamond,
    }
}
