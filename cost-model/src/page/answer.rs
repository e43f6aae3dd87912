//! What follows over every configuration: pictures, then tables.

use maud::{Markup, html};

use crate::answer::decide::Demand;
use crate::answer::group::Grouping;
use crate::answer::spread::Spread;
use crate::answer::{Answer, Cost, ModelAnswer};
use crate::grid::HybridPlacement;
use crate::number::{correlation, fixed, percent, significant};
use crate::origin::Origin;
use crate::report::{PerForm, Report};

use super::figure::Sources;
use super::graph::{Piece, Subject};
use super::plots;

pub(super) const INTRO: &str = "Every policy × predictor × format × machine × context × batch that the records can answer \
                                for. Accuracy is assumed to fall with missed mass, the predictor to be perfect, and what \
                                is not measured of batches as the notes say: these are statements about costs under \
                                those assumptions, and the sensitivity says which of them matter. Intervals hold the \
                                spread of measurements, what a composed token leaves out, the policies' own spread over \
                                prompts, and a factor of two either way in how dear a miss is and in what q4_0 loses.";

const GROUPS: &str = "All configurations, and then each group by itself. −1: the better PER is always the cheaper.";
const NO_ENDS: &str = "fewer than ten configurations to tell an interval from";
const DECISIONS: &str = "Take the configuration of best PER; pay so much more than the cheapest. Each can be composed \
                         again, part by part, by the command under the table.";
const VERSUS: &str = "All else being equal. At equal missed mass: the cost over that of two neighbouring settings of the \
                      baseline, mixed; of ten and more, where nine tenths lie. Agreement: of all pairs, the share in which the better PER is also the cheaper \
                      solved problem; a coin has 50 %.";
const PLACEMENTS: &str = "The hottest neurons on the GPU, solved exactly, layer by layer; beside it whole layers on the GPU, and \
                          PowerInfer's rule, by the same costs. GPUs by their data sheets; how unevenly neurons fire as \
                          published; ways and waits between the two sides assumed.";
/// Policies whose placement is shown.
const SHOWN: [&str; 4] = ["dense", "fixed:0.0", "top-k:density=0.25", "dynamic:miss=0.05"];

const SWINGS: &str = "Everything scored again with one assumption changed. Regret is in dollars per solved problem, among \
                      configurations that keep enough accuracy and are fast enough.";

/// The pieces about a model.
pub(super) fn answer<'a>(
    report: &Report,
    answer: &'a Answer,
    model: &'a ModelAnswer,
    sources: &Sources,
) -> Vec<Piece<'a>> {
    let of = format!("{}, {} configurations", model.model, fixed(model.scores.cells.len() as f64, 0));
    let subject = |heading| Subject {
        of: of.clone(),
        tag: if answer.models.len() > 1 { model.model.to_owned() } else { String::new() },
        heading,
    };
    vec![
        Piece::Graphs(plots::grid(answer, model, subject(html! { p.panel { (of) } }))),
        Piece::Words(html! {
            h3 { "How PER goes together with costs" }
            p.intro { (GROUPS) }
            (correlations(model, sources))
            (reversals(model))
            h3 { "What it costs to choose by PER" }
            p.intro { (DECISIONS) }
            (decisions(report, answer, model, sources))
            @if !model.versus.is_empty() {
                h3 { "Thresholds that move against thresholds that do not" }
                p.intro { (VERSUS) }
                (versus(model, sources))
            }
            @if !placements(answer, model).is_empty() {
                h3 { "A GPU that does not hold the model, and a processor that does" }
                p.intro { (PLACEMENTS) }
                (placement_table(answer, model, sources))
            }
            h3 { "What if an assumption is another" }
            p.intro { (SWINGS) }
        }),
        Piece::Graphs(plots::swings(model, subject(html! {}))),
        Piece::Words(swings(model, sources)),
    ]
}

/// What every number here rests on.
pub(super) fn rests() -> Origin {
    Origin::assumed("rests on accuracy that falls with missed mass, a perfect predictor, and the prices")
}

fn spread(value: Option<Spread>, show: fn(f64) -> String, sources: &Sources) -> Markup {
    html! {
        @match value {
            Some(v) => td.number data-value=(v.median) {
                (sources.figure(&show(v.median), &rests()))
                span.interval { @match v.ends {
                    Some(ends) => { (show(ends.low)) " to " (show(ends.high)) }
                    None => span.blank title=(NO_ENDS) { "–" },
                } }
            },
            None => td.number { span.blank { "–" } },
        }
    }
}

fn correlations(model: &ModelAnswer, sources: &Sources) -> Markup {
    let mut groups: Vec<(Grouping, &str, usize)> = Vec::new();
    for c in &model.correlations {
        if groups.iter().all(|(_, group, _)| *group != c.group) {
            groups.push((c.grouping, &c.group, c.rows));
        }
    }
    let forms: Vec<PerForm> = PerForm::ALL.into_iter().filter(|f| model.scores.per(*f).is_some()).collect();
    let of = |group: &str, form, cost| model.correlation(group, form, cost);
    let row = |(_, group, rows): &(Grouping, &str, usize)| {
        html! { tr {
            th scope="row" { (group) } td.number { (fixed(*rows as f64, 0)) }
            @for &form in &forms { (spread(of(group, form, Cost::Solved).and_then(|c| c.spearman), correlation, sources)) }
            @for &form in &forms { (spread(of(group, form, Cost::Mtok).and_then(|c| c.spearman), correlation, sources)) }
            @for &form in &forms { (spread(of(group, form, Cost::Solved).and_then(|c| c.kendall), correlation, sources)) }
            @for &form in &forms { (spread(of(group, form, Cost::Solved).and_then(|c| c.pearson_log), correlation, sources)) }
        } }
    };
    let (first, rest): (Vec<_>, Vec<_>) = groups.iter().partition(|(grouping, ..)| *grouping <= Grouping::Policy);
    let heads = ["ρ, $/solved", "ρ, $/Mtok", "τ, $/solved", "r of logarithms, $/solved"];
    let table = |groups: &[&(Grouping, &str, usize)]| {
        html! { div.scroll { table.small {
            thead {
                tr { th { "group" } th.number { "rows" }
                    @for head in heads { @for form in &forms { th.number { (head) " " (form.to_string()) } } } }
            }
            tbody { @for group in groups { (row(group)) } }
        } } }
    };
    html! {
        (table(&first))
        @if !rest.is_empty() { details { summary { "By format, batch and context" } (table(&rest)) } }
        p.intro {
            "ρ: Spearman's; τ: Kendall's; r: Pearson's of logarithms, over configurations whose PER is above 0. "
            "A dash for an interval: each draw scores fewer than ten of the group's configurations, too few to carry one."
        }
    }
}

fn reversals(model: &ModelAnswer) -> Markup {
    let show = |c: &[(String, f64)]| {
        c.iter().map(|(group, rho)| format!("{group} {}", correlation(*rho))).collect::<Vec<_>>().join(", ")
    };
    html! {
        @if model.reversals.is_empty() {
            p { "No grouping turns a correlation round: within most groups of each the sign is that of all together." }
        } @else {
            p { "Turned round: within most of these groups the sign is not that of all together." }
            ul.plain { @for r in &model.reversals {
                li { (r.form.to_string()) " PER with " (r.cost.as_str()) ", " (correlation(r.overall)) " over all; " (show(&r.within)) }
            } }
        }
    }
}

fn demand(demand: Demand, report: &Report) -> String {
    let (kept, pace) = (report.scenario.accuracy_kept.value, report.scenario.tok_s_user.value);
    match demand {
        Demand::Any => "anything".to_owned(),
        Demand::Accurate => format!("keeps {} of accuracy", percent(kept)),
        Demand::AccurateAndFast => format!("and {} tok/s a user", significant(pace, 2)),
    }
}

fn decisions(report: &Report, answer: &Answer, model: &ModelAnswer, sources: &Sources) -> Markup {
    let grid = &answer.grid;
    let key = |at: usize| {
        let cell = &grid.cells[model.scores.cells[at]];
        html! { code { (grid.key(cell).to_string()) } " on " (grid.machine(cell).name) }
    };
    let share = |more: f64| if more < 5e-4 { "nothing".to_owned() } else { percent(more) };
    html! {
        div.scroll { table {
            thead { tr {
                th { "asked" } th { "PER" } th { "paid" } th.number { "more than the cheapest" } th { "best PER" }
                th { "cheapest" } th.number { "candidates" }
            } }
            tbody { @for d in &model.decisions { tr {
                th scope="row" { (demand(d.demand, report)) }
                td { (d.form.to_string()) }
                td { @match d.cost { Cost::Mtok => "$/Mtok", Cost::Solved => "$/solved" } }
                (spread(Some(d.regret), share, sources))
                td { (key(d.chosen)) }
                td { @if d.chosen == d.cheapest { "the same" } @else { (key(d.cheapest)) } }
                td.number { (fixed(d.candidates as f64, 0)) }
            } } }
        } }
        @if let Some(first) = model.decisions.first() {
            @let cell = &grid.cells[model.scores.cells[first.cheapest]];
            pre { code { "thresher compose RECORD… --only " (grid.key(cell).to_string()) } }
        }
    }
}

fn versus(model: &ModelAnswer, sources: &Sources) -> Markup {
    let forms: Vec<PerForm> = PerForm::ALL.into_iter().filter(|f| model.scores.per(*f).is_some()).collect();
    let times = |ratio: f64| format!("{} ×", fixed(ratio, 3));
    html! {
        div.scroll { table {
            thead { tr {
                th { "policy" } th { "against" } th.number { "cost at equal missed mass" } th.number { "compared" }
                @for form in &forms { th.number { (form.to_string()) " agrees" } } th.number { "pairs" }
            } }
            tbody { @for v in &model.versus { tr {
                th scope="row" { (v.kind) } td { (v.baseline) }
                (spread(v.usd_ratio, times, sources))
                td.number { (fixed(v.compared as f64, 0)) }
                @for form in &forms { td.number {
                    @if let Some((_, share)) = v.agree.iter().find(|(own, _)| own == form) {
                        (sources.figure(&percent(*share), &rests()))
                    }
                } }
                td.number { (fixed(v.pairs as f64, 0)) }
            } } }
        } }
    }
}

/// Of the model's hybrids, the fastest of each machine and kind of policy.
fn placements<'a>(answer: &'a Answer, model: &ModelAnswer) -> Vec<&'a HybridPlacement> {
    let grid = &answer.grid;
    let mut best: Vec<&HybridPlacement> = Vec::new();
    for p in grid.placements.iter().filter(|p| grid.outcome(&grid.cells[p.cell]).model == model.model) {
        let own = &grid.cells[p.cell];
        let key = |p: &HybridPlacement| {
            let cell = &grid.cells[p.cell];
            (cell.machine, cell.format, grid.outcome(cell).policy.as_str())
        };
        if !SHOWN.contains(&key(p).2) {
            continue;
        }
        match best.iter_mut().find(|other| key(other) == key(p)) {
            Some(other) if grid.cells[other.cell].ms.median > own.ms.median => *other = p,
            Some(_) => {}
            None => best.push(p),
        }
    }
    best
}

fn placement_table(answer: &Answer, model: &ModelAnswer, sources: &Sources) -> Markup {
    let grid = &answer.grid;
    let number = |value: f64, text: &str| html! { td.number data-value=(value) { (sources.figure(text, &rests())) } };
    html! {
        div.scroll { table {
            thead { tr {
                th { "machine" } th { "configuration" } th.number { "tok/s" } th.number { "neurons on the GPU" }
                th.number { "of active rows" } th.number { "over whole layers" } th.number { "over PowerInfer's rule" }
            } }
            tbody { @for p in placements(answer, model) {
                @let cell = &grid.cells[p.cell];
                tr {
                    th scope="row" { (grid.machine(cell).name) } td { code { (grid.key(cell).to_string()) } }
                    (number(cell.tok_s(), &significant(cell.tok_s(), 3)))
                    (number(p.neurons_on_gpu, &percent(p.neurons_on_gpu))) (number(p.active_on_gpu, &percent(p.active_on_gpu)))
                    (number(p.over_layers, &format!("{} ×", fixed(p.over_layers, 2))))
                    (number(p.over_frequency, &format!("{} ×", fixed(p.over_frequency, 2))))
                }
            } }
        } }
    }
}

fn swings(model: &ModelAnswer, sources: &Sources) -> Markup {
    let forms: Vec<PerForm> = PerForm::ALL.into_iter().filter(|f| model.scores.per(*f).is_some()).collect();
    let regret = |more: f64| if more < 5e-4 { "nothing".to_owned() } else { percent(more) };
    let number = |value: Option<f64>, show: &dyn Fn(f64) -> String| {
        html! { td.number { @match value {
            Some(v) => (sources.figure(&show(v), &rests())),
            None => span.blank { "–" },
        } } }
    };
    html! {
        div.scroll { table.small {
            thead { tr {
                th { "assumption" } th { "value" }
                @for form in &forms { th.number { "ρ " (form.to_string()) } }
                @for form in &forms { th.number { "regret " (form.to_string()) } }
                th.number { "$/Mtok" } th { "cheapest" }
            } }
            tbody { @for s in &model.swings { tr {
                th scope="row" { @if s.assumption.is_empty() { "none" } @else { (s.assumption) } }
                td { (s.value) }
                @for (_, rho) in &s.spearman { (number(*rho, &correlation)) }
                @for _ in s.spearman.len()..forms.len() { td.number { span.blank { "–" } } }
                @for (_, more) in &s.regret { (number(*more, &regret)) }
                @for _ in s.regret.len()..forms.len() { td.number { span.blank { "–" } } }
                (number(s.usd_per_mtok, &|usd| significant(usd, 3)))
                td { @if let Some(best) = &s.cheapest { (best) } }
            } } }
        } }
    }
}
