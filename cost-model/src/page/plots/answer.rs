//! The grid as two pictures, and how far its conclusion moves.

use maud::{Markup, html};

use crate::answer::swing::Swing;
use crate::answer::{Answer, ModelAnswer};
use crate::grid::{Basis, Cell};
use crate::number::{correlation, fixed, percent, significant};
use crate::report::PerForm;

use super::super::chart::{Axis, FULL, Glyph, HALF, Marker, Plot, at, responsive};
use super::super::kind;

/// Points of a cloud: more would be black.
const POINTS: usize = 1500;
const HEIGHT: f64 = 380.0;

/// PER against dollars per solved problem, and accuracy against dollars per token with what nothing beats.
pub(in super::super) fn grid(answer: &Answer, model: &ModelAnswer) -> Markup {
    let shown = sample(model);
    let policy = |at: usize| answer.grid.outcome(cell(answer, model, at)).policy.as_str();
    html! {
        ul.legend {
            (kind::kinds(shown.iter().map(|&at| policy(at))))
            @for (index, machine) in answer.grid.machines.iter().enumerate() {
                @if machine.basis == Basis::Measured {
                    li { (kind::mark(marker(answer, index))) (machine.name) " "
                        code { (machine.fingerprint.get(..4).unwrap_or_default()) } }
                }
            }
            @for (basis, name) in [(Basis::Projected, "GPUs by their data sheets"), (Basis::Hybrid, "a GPU and a processor")] {
                @if let Some(index) = answer.grid.machines.iter().position(|m| m.basis == basis) {
                    li { (kind::mark(marker(answer, index))) (name) }
                }
            }
        }
        div.pair {
            div {
                h4 { "PER (ratio) against dollars per solved problem" }
                (responsive(HALF, |width| per_against_solved(answer, model, &shown, width)))
            }
            div {
                h4 { "Accuracy kept against dollars per token" span.rho { "the line is what nothing beats" } }
                (responsive(HALF, |width| front(answer, model, &shown, width)))
            }
        }
    }
}

/// Evenly over the cells, which are in the order of their axes.
fn sample(model: &ModelAnswer) -> Vec<usize> {
    let cells = model.scores.cells.len();
    let step = (cells as f64 / POINTS as f64).max(1.0);
    // A step that is not whole meets no axis in step.
    let step = if step > 1.0 { step.floor() + 0.618_033_988_749_895 } else { 1.0 };
    (0..cells.min(POINTS)).map(|i| (i as f64 * step) as usize).filter(|at| *at < cells).collect()
}

fn cell<'a>(answer: &'a Answer, model: &ModelAnswer, at: usize) -> &'a Cell {
    &answer.grid.cells[model.scores.cells[at]]
}

fn marker(answer: &Answer, machine: usize) -> Marker {
    match answer.grid.machines[machine].basis {
        Basis::Measured => [Marker::Circle, Marker::Diamond, Marker::Square][machine % 3],
        Basis::Projected => Marker::Triangle,
        Basis::Hybrid => Marker::TriangleDown,
    }
}

fn point(answer: &Answer, model: &ModelAnswer, at: usize) -> (Glyph, String, String) {
    let own = cell(answer, model, at);
    let glyph = Glyph { marker: marker(answer, own.machine), radius: 2.6 };
    let tip = format!(
        "{} on {}: {} USD per Mtok, {} of dense accuracy, {} tok/s",
        answer.grid.key(own),
        answer.grid.machine(own).name,
        significant(model.scores.usd_per_mtok[at], 3),
        percent(model.scores.kept[at]),
        significant(own.tok_s(), 3)
    );
    (glyph, kind::class(&answer.grid.outcome(own).policy), tip)
}

fn per_against_solved(answer: &Answer, model: &ModelAnswer, shown: &[usize], width: f64) -> Markup {
    let Some(per) = model.scores.per(PerForm::Ratio) else { return html! { p.absent { "Not defined." } } };
    let solved = &model.scores.usd_per_solved;
    let shown: Vec<usize> = shown.iter().copied().filter(|&at| solved[at].is_finite() && per[at] > 0.0).collect();
    let x = Axis::spanning("USD per solved problem", shown.iter().map(|&at| solved[at]));
    let y = Axis::spanning("PER, 1 = the reference", shown.iter().map(|&at| per[at]));
    cloud(answer, model, &shown, &Plot::new(width, HEIGHT, x, y), |at| (solved[at], per[at]), &html! {})
}

fn front(answer: &Answer, model: &ModelAnswer, shown: &[usize], width: f64) -> Markup {
    let (usd, kept) = (&model.scores.usd_per_mtok, &model.scores.kept);
    let all = || shown.iter().chain(&model.front);
    let x = Axis::spanning("USD per million tokens", all().map(|&at| usd[at]));
    let y = Axis::from_zero("share of dense accuracy, assumed", all().map(|&at| kept[at]));
    let plot = Plot::new(width, HEIGHT, x, y);
    let line = plot.line(model.front.iter().map(|&at| (usd[at], kept[at])), "kind-dense");
    cloud(answer, model, shown, &plot, |at| (usd[at], kept[at]), &line)
}

fn cloud(
    answer: &Answer,
    model: &ModelAnswer,
    shown: &[usize],
    plot: &Plot,
    place: impl Fn(usize) -> (f64, f64),
    over: &Markup,
) -> Markup {
    plot.svg(
        "One point per configuration of the grid, a choice of them",
        &html! {
            @for &at in shown {
                @let (x, y) = place(at);
                @let (glyph, class, tip) = point(answer, model, at);
                (plot.point(x, y, glyph, &class, &tip))
            }
            (over)
        },
    )
}

const ROW: f64 = 24.0;
const LABEL: f64 = 250.0;
const EDGE: f64 = 60.0;

/// Spearman's correlation of each form under every other value of every assumption: a line an assumption.
pub(in super::super) fn swings(model: &ModelAnswer) -> Markup {
    html! { (responsive(FULL, |width| swings_drawing(&model.swings, width))) }
}

fn swings_drawing(swings: &[Swing], width: f64) -> Markup {
    let known = |s: &Swing| s.spearman.iter().filter_map(|(form, rho)| Some((*form, (*rho)?))).collect::<Vec<_>>();
    let all: Vec<f64> = swings.iter().flat_map(|s| known(s).into_iter().map(|(_, rho)| rho)).collect();
    let low = all.iter().copied().fold(0.0, f64::min).min(-1.0);
    let high = all.iter().copied().fold(-0.5, f64::max);
    let left = if width < FULL { 150.0 } else { LABEL };
    let px = |rho: f64| left + (rho - low) / (high - low) * (width - left - EDGE);
    let height = swings.len() as f64 * ROW + 40.0;
    html! {
        svg viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="img"
            aria-label="Spearman's correlation of PER with USD per solved problem, assumption by assumption" {
            g.grid { @for tick in [-1.0, -0.75, -0.5, -0.25, 0.0] { @if (low..=high).contains(&tick) {
                line x1=(at(px(tick))) x2=(at(px(tick))) y1="0" y2=(at(height - 36.0)) {}
            } } }
            @for tick in [-1.0, -0.75, -0.5, -0.25, 0.0] { @if (low..=high).contains(&tick) {
                text.tick x=(at(px(tick))) y=(at(height - 20.0)) text-anchor="middle" { (fixed(tick, 2)) }
            } }
            text.axis x=(at(width - EDGE)) y=(at(height - 4.0)) text-anchor="end" { "Spearman with USD per solved problem" }
            @for (index, swing) in swings.iter().enumerate() {
                @let y = index as f64 * ROW + 14.0;
                text.tick x=(at(left - 10.0)) y=(at(y + 4.0)) text-anchor="end" {
                    @if swing.assumption.is_empty() { (swing.value) } @else { (swing.assumption) ": " (swing.value) }
                }
                @for (form, rho) in known(swing) {
                    g class={ "point " (class(form)) } {
                        title { (form.to_string()) " " (correlation(rho)) }
                        (super::super::chart::shape(shape(form), px(rho), y, 4.6))
                    }
                }
            }
        }
    }
}

/// The forms, as the drawing tells them apart.
pub(in super::super) fn forms() -> Markup {
    html! {
        ul.legend { @for form in PerForm::ALL {
            li { (kind::colored_mark(shape(form), class(form))) (form.to_string()) }
        } }
    }
}

fn class(form: PerForm) -> &'static str {
    match form {
        PerForm::Paper => "kind-fixed",
        PerForm::Anchored => "kind-per-layer",
        PerForm::Ratio => "kind-top-k",
    }
}

fn shape(form: PerForm) -> Marker {
    match form {
        PerForm::Paper => Marker::Circle,
        PerForm::Anchored => Marker::Square,
        PerForm::Ratio => Marker::Diamond,
    }
}
