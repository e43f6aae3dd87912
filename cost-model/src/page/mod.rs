//! The report as one self-contained HTML page: no font, script or picture from anywhere else.
//!
//! Plots are inline SVG, coloured by the style sheet for light and dark. The page reads whole
//! without its script, which only sorts tables.

mod accuracy;
mod answer;
mod break_even;
mod chart;
mod figure;
mod history;
mod kind;
mod peers;
mod plots;
mod policies;
mod sections;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::Report;

pub use break_even::break_even_svg;
pub use history::history_html;
pub use peers::{peers_html, peers_svg};
pub use policies::{policies_html, policies_svg};

use figure::Sources;
use plots::Panel;

const STYLE: &str = include_str!("style.css");
const SORT: &str = include_str!("sort.js");

/// The whole page.
///
/// Whatever comes from records and policies is escaped.
pub fn html(report: &Report) -> String {
    let sources = Sources::of(report);
    let models = kind::distinct(report.rows.iter().map(|r| r.configuration.model.as_str()));
    let panels = Panel::shown(report);
    let title = format!("Thresher: {}", models.join(", "));
    document(
        &title,
        &html! {
            (sections::first_screen(report, &sources))
            (answers(report, &sources))
            (figures(report, &models, &panels))
            (section("Every configuration", ALL, &tables::configurations(report, &sources)))
            (section("What accuracy sparse must keep", EVEN, &tables::break_even(report, &sources)))
            (section("How PER ranks against dollars", CORRELATION, &tables::correlations(report, &sources)))
            (section("Self check", CHECK, &tables::self_check(report)))
            (section("The machine, and how it was measured", "", &sections::machines(report)))
            (section("What was assumed", "", &sections::assumptions(report, &sources)))
            (section("How to reproduce this", "", &sections::reproduce(report)))
            (section("What is not known", "", &sections::unknowns(report)))
            @if !sources.is_empty() { (section("Sources", "", &sources.list())) }
        },
    )
}

/// A page around its content.
fn document(title: &str, main: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (main) }
                script { (PreEscaped(SORT)) }
            }
        }
    }
    .into_string()
}

const PER: &str = "Each point is a configuration; lines join the settings of one policy. Up is a better PER, left is \
                   cheaper.";
const TIME: &str = "Time per token, predictor and selection included. Bars are the interval of the composed time; \
                    horizontal lines are dense.";
const ROOF: &str = "Measured time over bytes touched ÷ measured read bandwidth: 1 is as fast as memory delivers. Hollow \
                    points: bandwidth and kernel were timed apart.";
const LAYERS: &str = "A fixed threshold leaves each layer the density that its activations give, a per-layer policy \
                      evens it out, a dynamic one moves each layer by what it misses.";
const ACCURACY: &str = "pass@1 on held-out code tasks, every completion executed. Bars are Wilson's 95 % intervals; the \
                        horizontal line is dense. Policies that learn were settled on training tasks.";
const LOSS: &str = "PER as accuracy falls faster per unit of missed mass. Dots mark the assumed kappa; rings, where \
                    they fall within the plot, mark where a policy is no better than dense.";
const ALL: &str = "Click a column to sort. * marks more memory than the machine has.";
const EVEN: &str = "Against dense in the same format on the same machine. These shares follow from times, bytes and \
                    prices alone: no accuracy is assumed. Dollars per solved problem are equal when the share of \
                    accuracy kept equals the share of the price per token, for answers of equal length. Kappa is the \
                    accuracy lost per unit of missed mass.";
const CORRELATION: &str = "Spearman's rank correlation between PER and USD per million tokens. −1: the better PER is \
                           always the cheaper configuration. PER is computed with accuracy assumed to fall with missed \
                           mass, so this is not yet a finding about real accuracy.";
const CHECK: &str = "gate+up and down, composed from their own curves, against the whole FFN measured in one piece at \
                     the same density: what composition misses or double counts.";

fn section(title: &str, intro: &str, body: &Markup) -> Markup {
    html! { section { h2 { (title) } @if !intro.is_empty() { p.intro { (intro) } } (body) } }
}

fn figures(report: &Report, models: &[&str], panels: &[Panel<'_>]) -> Markup {
    let by_panel = |draw: fn(&Panel<'_>) -> Markup| html! { @for panel in panels { (draw(panel)) } };
    let by_model = |draw: fn(&Report, &str) -> Markup| {
        html! { @for model in models {
            @if models.len() > 1 { p.panel { (model) } }
            (draw(report, model))
        } }
    };
    let kernels = html! { @for panel in one_per_machine(panels) { (plots::kernels(report, panel)) } };
    let sensitivity = html! { @for panel in panels { (plots::sensitivity(report, panel)) } };
    html! {
        (section("One user: every configuration of this report by PER and price", PER, &by_model(plots::per_against_cost)))
        (section("What computing less buys", TIME, &by_panel(plots::time_by_density)))
        (section("Where the milliseconds go", "", &by_panel(plots::milliseconds)))
        (section("How close the kernels come to the roof", ROOF, &kernels))
        (section("How much each layer computes", LAYERS, &by_model(plots::density_by_layer)))
        (section("What computing less costs in accuracy: a small model, measured", ACCURACY, &accuracy::accuracy(report)))
        (section("If sparse loses accuracy, how much is too much?", LOSS, &sensitivity))
    }
}

/// The question itself, before any single configuration.
fn answers(report: &Report, sources: &Sources) -> Markup {
    let Some(own) = &report.answer else { return html! {} };
    let by_model = html! { @for model in &own.models {
        p.panel { (model.model) ", " (crate::number::fixed(model.scores.cells.len() as f64, 0)) " configurations" }
        (answer::answer(report, own, model, sources))
    } };
    section("Does a better PER mean a cheaper deployment?", answer::INTRO, &by_model)
}

fn one_per_machine<'a, 'b>(panels: &'a [Panel<'b>]) -> impl Iterator<Item = &'a Panel<'b>> {
    let first = |i: usize| panels[..i].iter().all(|p| p.machine != panels[i].machine);
    panels.iter().enumerate().filter(move |(i, _)| first(*i)).map(|(_, p)| p)
}
