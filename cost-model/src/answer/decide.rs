//! What it costs to choose by PER: the decision regret.

use serde::Serialize;

use crate::grid::{Grid, Scores};
use crate::report::PerForm;
use crate::scenario::Scenario;

use super::Cost;
use super::draws::{Draws, around};
use super::spread::Spread;

/// What a configuration must do to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Nothing.
    Any,
    /// Keep the scenario's share of dense accuracy.
    Accurate,
    /// Keep it, and be as fast for each user as the scenario asks.
    AccurateAndFast,
}

impl Demand {
    /// All, from the least.
    pub const ALL: [Self; 3] = [Self::Any, Self::Accurate, Self::AccurateAndFast];
}

/// Between which configurations is chosen.
pub(super) struct Candidates {
    /// Positions among the cells: those with the scenario's context, which nobody chooses.
    pub(super) positions: Vec<usize>,
    /// Tokens per second of one user, for each.
    tok_s_user: Vec<f64>,
}

/// A choice by PER, beside the cheapest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What is asked of a configuration.
    pub demand: Demand,
    /// By which PER is chosen.
    pub form: PerForm,
    /// What is paid for.
    pub cost: Cost,
    /// Configurations that do what is asked.
    pub candidates: usize,
    /// Position of the one of best PER.
    pub chosen: usize,
    /// Position of the cheapest.
    pub cheapest: usize,
    /// How much more the chosen one costs, as a share of the cheapest: 0 is no regret.
    pub regret: Spread,
}

pub(super) fn candidates(grid: &Grid, cells: &[usize], scenario: &Scenario) -> Candidates {
    let context = scenario.grid.value.context_near(scenario.context_tokens.value);
    let positions: Vec<usize> = (0..cells.len()).filter(|&at| grid.cells[cells[at]].context == context).collect();
    let tok_s_user = positions.iter().map(|&at| grid.cells[cells[at]].tok_s_user()).collect();
    Candidates { positions, tok_s_user }
}

impl Candidates {
    /// Positions that do what is asked.
    pub(super) fn meeting(&self, demand: Demand, scores: &Scores, scenario: &Scenario) -> Vec<usize> {
        let accurate = |at: usize| scores.kept[at] >= scenario.accuracy_kept.value;
        let each = self.positions.iter().zip(&self.tok_s_user);
        let meets = |at: usize, tok_s: f64| match demand {
            Demand::Any => true,
            Demand::Accurate => accurate(at),
            Demand::AccurateAndFast => accurate(at) && tok_s >= scenario.tok_s_user.value,
        };
        each.filter(|(at, tok_s)| meets(**at, **tok_s)).map(|(at, _)| *at).collect()
    }
}

pub(super) fn decisions(scores: &Scores, candidates: &Candidates, draws: &Draws, scenario: &Scenario) -> Vec<Decision> {
    let mut all = Vec::new();
    for demand in Demand::ALL {
        let meeting = candidates.meeting(demand, scores, scenario);
        let places = draws.places(&meeting);
        for (form, cost) in PerForm::ALL.into_iter().flat_map(|form| Cost::ALL.map(|cost| (form, cost))) {
            let Some((chosen, cheapest, regret)) = choice(scores, &meeting, form, cost) else { continue };
            let again = |drawn: &Scores| Some(choice(drawn, places.as_deref()?, form, cost)?.2);
            let regret = around(regret, draws.scores.iter().filter_map(again).collect());
            all.push(Decision { demand, form, cost, candidates: meeting.len(), chosen, cheapest, regret });
        }
    }
    all
}

/// The position of best PER, the cheapest, and how much more the first costs.
pub(super) fn choice(scores: &Scores, among: &[usize], form: PerForm, cost: Cost) -> Option<(usize, usize, f64)> {
    let (per, usd) = (scores.per(form)?, cost.of(scores));
    let payable = || among.iter().copied().filter(|&at| usd[at].is_finite() && usd[at] > 0.0);
    // Of equals the cheaper.
    let chosen = payable().max_by(|&a, &b| per[a].total_cmp(&per[b]).then(usd[b].total_cmp(&usd[a])))?;
    let cheapest = payable().min_by(|&a, &b| usd[a].total_cmp(&usd[b]))?;
    Some((chosen, cheapest, usd[chosen] / usd[cheapest] - 1.0))
}

/// Positions that nothing beats both in USD per million tokens and in accuracy, cheapest first.
pub(super) fn front(scores: &Scores, positions: &[usize]) -> Vec<usize> {
    let mut by_cost = positions.to_vec();
    let usd = |at: usize| scores.usd_per_mtok[at];
    by_cost.sort_by(|&a, &b| usd(a).total_cmp(&usd(b)).then(scores.kept[b].total_cmp(&scores.kept[a])));
    let mut best = f64::NEG_INFINITY;
    by_cost.retain(|&at| {
        let better = scores.kept[at] > best;
        best = best.max(scores.kept[at]);
        better
    });
    by_cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scores(rows: &[(f64, f64, f64)]) -> Scores {
        let column = |pick: fn(&(f64, f64, f64)) -> f64| rows.iter().map(pick).collect::<Vec<f64>>();
        Scores {
            cells: (0..rows.len()).collect(),
            kept: column(|r| r.2),
            usd_per_mtok: column(|r| r.1),
            usd_per_solved: column(|r| r.1 / r.2),
            per: [Some(column(|r| r.0)), None, None],
            refused: Vec::new(),
        }
    }

    fn any_rows() -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
        prop::collection::vec((0.0..1.0, 0.1..10.0, 0.01..1.0), 1..40)
    }

    proptest! {
        #[test]
        fn nobody_regrets_the_cheapest_and_nobody_gains(rows in any_rows()) {
            let scores = scores(&rows);
            let all: Vec<usize> = (0..rows.len()).collect();
            for cost in Cost::ALL {
                let (chosen, cheapest, regret) = choice(&scores, &all, PerForm::Paper, cost).unwrap();
                prop_assert!(regret >= 0.0);
                prop_assert_eq!(regret == 0.0, cost.of(&scores)[chosen] == cost.of(&scores)[cheapest]);
                prop_assert!(rows.iter().all(|row| row.0 <= rows[chosen].0));
            }
        }

        #[test]
        fn the_front_is_what_nothing_beats(rows in any_rows()) {
            let scores = scores(&rows);
            let all: Vec<usize> = (0..rows.len()).collect();
            let front = front(&scores, &all);
            let beats = |a: usize, b: usize| {
                rows[a].1 <= rows[b].1 && rows[a].2 >= rows[b].2 && (rows[a].1 < rows[b].1 || rows[a].2 > rows[b].2)
            };
            for at in all {
                let beaten = (0..rows.len()).any(|other| beats(other, at));
                let twin = front.iter().any(|f| (rows[*f].1, rows[*f].2) == (rows[at].1, rows[at].2));
                prop_assert_eq!(!beaten, twin, "{}", at);
            }
            prop_assert!(front.windows(2).all(|w| rows[w[0]].1 < rows[w[1]].1));
        }
    }

    #[test]
    fn without_that_form_nothing_is_chosen() {
        assert_eq!(choice(&scores(&[(1.0, 1.0, 1.0)]), &[0], PerForm::Ratio, Cost::Mtok), None);
        assert_eq!(choice(&scores(&[(1.0, 1.0, 1.0)]), &[], PerForm::Paper, Cost::Mtok), None);
    }
}
