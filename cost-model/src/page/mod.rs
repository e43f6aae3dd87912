//! The report as one self-contained HTML page: no font, script or picture from anywhere else.
//!
//! Plots are inline SVG, coloured by the style sheet for light and dark. The page reads whole
//! without its script, which only sorts tables.

mod accuracy;
mod answer;
mod break_even;
mod chart;
mod export;
mod figure;
mod graph;
mod history;
mod kind;
mod legend;
mod peers;
mod plots;
mod policies;
mod sections;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::Report;

pub use break_even::break_even_svg;
pub use export::{FIGURES, Figure, figures};
pub use history::history_html;
pub use peers::{peers_html, peers_svg};
pub use policies::{policies_html, policies_svg};

use figure::Sources;
use graph::{Group, Piece, Section, Subject};
use plots::Panel;

const PALETTE: &str = include_str!("palette.css");
const CHART_STYLE: &str = include_str!("chart.css");
const STYLE: &str = include_str!("style.css");
const SORT: &str = include_str!("sort.js");

/// The whole page.
///
/// Whatever comes from records and policies is escaped.
pub fn html(report: &Report) -> String {
    let sources = Sources::of(report);
    let models = kind::distinct(report.rows.iter().map(|r| r.configuration.model.as_str()));
    let title = format!("Thresher: {}", models.join(", "));
    document(
        &title,
        &html! {
            (sections::first_screen(report, &sources))
            @for Section { title, intro, body } in drawn(report, &sources) {
                (section(title, intro, &html! { @for piece in body { (piece) } }))
            }
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
                style { (PreEscaped(PALETTE)) (PreEscaped(CHART_STYLE)) (PreEscaped(STYLE)) }
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

/// The sections that hold figures, in their order: what the page shows and what is exported.
fn drawn<'a>(report: &'a Report, sources: &Sources) -> Vec<Section<'a>> {
    let models = kind::distinct(report.rows.iter().map(|r| r.configuration.model.as_str()));
    let panels = Panel::shown(report);
    let machines: Vec<&Panel<'_>> = one_per_machine(&panels).collect();
    let subject = |model: &str| Subject::model(model, models.len() == 1);
    let groups = |title, intro, groups: Vec<Group<'a>>| Section {
        title,
        intro,
        body: groups.into_iter().map(Piece::Graphs).collect(),
    };
    let by_model = |draw: fn(&'a Report, &str, Subject) -> Group<'a>| {
        models.iter().map(|model| draw(report, model, subject(model))).collect()
    };
    // The question itself, before any single configuration.
    let question = report.answer.as_ref().map(|own| Section {
        title: "Does a better PER mean a cheaper deployment?",
        intro: answer::INTRO,
        body: own.models.iter().flat_map(|model| answer::answer(report, own, model, sources)).collect(),
    });
    let sections = [
        groups("One user: every configuration of this report by PER and price", PER, by_model(plots::per_against_cost)),
        groups("What computing less buys", TIME, panels.iter().map(plots::time_by_density).collect()),
        groups("Where the milliseconds and the bytes go", "", panels.iter().map(plots::parts).collect()),
        groups(
            "How close the kernels come to the roof",
            ROOF,
            machines.iter().map(|panel| plots::kernels(report, panel, machines.len() == 1)).collect(),
        ),
        groups("How much each layer computes", LAYERS, by_model(plots::density_by_layer)),
        Section {
            title: "What computing less costs in accuracy: a small model, measured",
            intro: ACCURACY,
            body: accuracy::accuracy(report),
        },
        groups(
            "If sparse loses accuracy, how much is too much?",
            LOSS,
            panels.iter().map(|panel| plots::sensitivity(report, panel)).collect(),
        ),
    ];
    question.into_iter().chain(sections).collect()
}

fn one_per_machine<'a, 'b>(panels: &'a [Panel<'b>]) -> impl Iterator<Item = &'a Panel<'b>> {
    let first = |i: usize| panels[..i].iter().all(|p| p.machine != panels[i].machine);
    panels.iter().enumerate().filter(move |(i, _)| first(*i)).map(|(_, p)| p)
}
