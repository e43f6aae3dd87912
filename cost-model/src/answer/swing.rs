//! How far the conclusion moves with each assumption: everything scored again with one of them changed.

use serde::Serialize;

use crate::correlation::spearman;
use crate::format::WeightFormat;
use crate::grid::{Assumptions, Cell, Grid, PriceLevel, Scores};
use crate::report::PerForm;
use crate::scenario::Scenario;

use super::Cost;
use super::decide::{Candidates, Demand, choice};

/// The conclusion under one other value of one assumption.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Swing {
    /// What is assumed otherwise; empty for the scenario itself.
    pub assumption: &'static str,
    /// As what.
    pub value: String,
    /// Spearman's correlation of each form with USD per solved problem, over all configurations.
    pub spearman: Vec<(PerForm, Option<f64>)>,
    /// Regret of each form in USD per solved problem, among configurations that are accurate and fast.
    pub regret: Vec<(PerForm, Option<f64>)>,
    /// The cheapest of those.
    pub cheapest: Option<String>,
    /// What it costs a million tokens.
    pub usd_per_mtok: Option<f64>,
}

/// An assumption and what it is changed to.
type Change = (&'static str, String, Assumptions);

pub(super) fn swings(
    grid: &Grid,
    cells: &[usize],
    candidates: &Candidates,
    scenario: &Scenario,
    assumed: &Assumptions,
) -> Vec<Swing> {
    let model = cells.first().map_or("", |&cell| grid.outcome(&grid.cells[cell]).model);
    let whole: Within = |_| true;
    let own = (("", "as assumed".to_owned(), assumed.clone()), whole);
    let scored = changes(model, assumed).into_iter().map(|change| (change, whole));
    // Who has one user, or many, or does not trust four bits, does not choose among the others.
    let parts: [(&str, &str, Within); 3] = [
        (USERS, ALONE, |cell| cell.batch == 1),
        (USERS, MANY, |cell| cell.batch >= 8),
        ("formats", "without q4_0", |cell| cell.format != WeightFormat::Q4_0),
    ];
    let parts = parts.map(|(assumption, value, within)| ((assumption, value.to_owned(), assumed.clone()), within));
    [own]
        .into_iter()
        .chain(scored)
        .chain(parts)
        .map(|((assumption, value, assumptions), within)| {
            let scores = grid.score(cells, &assumptions);
            let within = |at: &usize| within(&grid.cells[cells[*at]]);
            swing(grid, &scores, candidates, scenario, assumption, value, &within)
        })
        .collect()
}

/// Which cells are looked at.
type Within = fn(&Cell) -> bool;

/// The swing that tells users apart, and its values.
pub(super) const USERS: &str = "users";
pub(super) const ALONE: &str = "one alone";
pub(super) const MANY: &str = "8 or more";

fn changes(model: &str, assumed: &Assumptions) -> Vec<Change> {
    let with = |change: &dyn Fn(&mut Assumptions)| {
        let mut other = assumed.clone();
        change(&mut other);
        other
    };
    let mut all: Vec<Change> = Vec::new();
    for kappa in [0.0, 0.25, 4.0] {
        all.push(("kappa", format!("{kappa}"), with(&|a| a.kappa = kappa)));
    }
    for kept in [1.0, 0.9] {
        all.push(("q4_0_kept", format!("{kept}"), with(&|a| a.q4_0_kept = kept)));
    }
    for miss in [0.005, 0.05] {
        all.push(("predictor_miss", format!("{miss}"), with(&|a| a.predictor_miss = miss)));
    }
    for (level, word) in [(PriceLevel::Low, "the least asked"), (PriceLevel::High, "the most asked")] {
        all.push(("price of GPUs", word.to_owned(), with(&|a| a.gpu_price = level)));
    }
    for (level, word) in [(PriceLevel::Low, "shares of the cheapest instance"), (PriceLevel::High, "twice")] {
        all.push(("price of processors", word.to_owned(), with(&|a| a.cpu_price = level)));
    }
    for utilisation in [0.3, 1.0] {
        all.push(("utilisation", format!("{utilisation}"), with(&|a| a.utilisation = utilisation)));
    }
    for tokens in [50.0, 800.0] {
        all.push(("tokens_per_problem", format!("{tokens}"), with(&|a| a.tokens_per_problem = tokens)));
    }
    if assumed.dense_accuracy(model).is_some() {
        for accuracy in [0.2, 0.8] {
            all.push(("dense_accuracy", format!("{accuracy}"), with(&|a| a.dense_accuracy = Some(accuracy))));
        }
    }
    all
}

fn swing(
    grid: &Grid,
    scores: &Scores,
    candidates: &Candidates,
    scenario: &Scenario,
    assumption: &'static str,
    value: String,
    within: &dyn Fn(&usize) -> bool,
) -> Swing {
    let forms = || PerForm::ALL.into_iter().filter(|form| scores.per(*form).is_some());
    let rho = |form: PerForm| {
        let per = scores.per(form)?;
        let solved = (0..per.len()).filter(within).map(|at| (per[at], scores.usd_per_solved[at]));
        let (per, usd): (Vec<f64>, Vec<f64>) = solved.filter(|(_, usd)| usd.is_finite()).unzip();
        spearman(&per, &usd).ok()
    };
    let mut meeting = candidates.meeting(Demand::AccurateAndFast, scores, scenario);
    meeting.retain(within);
    let best = |form: PerForm| choice(scores, &meeting, form, Cost::Solved);
    let cheapest = forms().find_map(|form| Some(best(form)?.1));
    Swing {
        assumption,
        value,
        spearman: forms().map(|form| (form, rho(form))).collect(),
        regret: forms().map(|form| (form, best(form).map(|b| b.2))).collect(),
        cheapest: cheapest.map(|at| {
            let cell = &grid.cells[scores.cells[at]];
            format!("{} on {}", grid.key(cell), grid.machine(cell).name)
        }),
        usd_per_mtok: cheapest.map(|at| scores.usd_per_mtok[at]),
    }
}
