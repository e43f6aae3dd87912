//! The answer in plain sentences.

use crate::grid::Grid;
use crate::number::{correlation as rounded, fixed, listed, percent};
use crate::report::PerForm;

use super::correlate::Correlation;
use super::decide::Demand;
use super::group::Grouping;
use super::swing::{ALONE, MANY, Swing, USERS};
use super::{Answer, Cost, ModelAnswer};

/// Below this a closed loop and a threshold that stands still cost the same, as far as anybody would care.
const NOTABLE: f64 = 0.005;

impl Answer {
    /// What is said first, of the first model.
    pub fn sentences(&self) -> Vec<String> {
        let Some(model) = self.models.first() else { return Vec::new() };
        let all = [
            together(model),
            within(model),
            reversed(model),
            regret(model),
            users(&model.swings),
            thresholds(&self.grid, model),
        ];
        all.into_iter().flatten().collect()
    }
}

fn spearman(c: &Correlation) -> Option<String> {
    let rho = c.spearman?;
    let ends = rho.ends.map_or(String::new(), |e| format!("; {} to {}", rounded(e.low), rounded(e.high)));
    Some(format!("{} ({}{ends})", rounded(rho.median), c.form))
}

fn of_group(model: &ModelAnswer, grouping: Grouping, cost: Cost) -> impl Iterator<Item = &Correlation> {
    model.correlations.iter().filter(move |c| (c.grouping, c.cost) == (grouping, cost))
}

fn together(model: &ModelAnswer) -> Option<String> {
    let forms: Vec<String> = of_group(model, Grouping::All, Cost::Solved).filter_map(spearman).collect();
    if forms.is_empty() {
        return None;
    }
    let rows = fixed(model.scores.cells.len() as f64, 0);
    Some(format!(
        "Over {rows} configurations of {}, a better PER goes with a cheaper solved problem: Spearman {}; \u{2212}1 would be \
         without exception.",
        model.model,
        listed(&forms)
    ))
}

/// The weakest correlation within one machine.
fn within(model: &ModelAnswer) -> Option<String> {
    let known = of_group(model, Grouping::Hardware, Cost::Solved).filter_map(|c| Some((c, c.spearman?.median)));
    let (weakest, rho) = known.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let machine = weakest.group.split_once('=').map_or(weakest.group.as_str(), |(_, name)| name);
    Some(format!("Within one machine it is less sure: {} on {machine} ({}).", rounded(rho), weakest.form))
}

fn reversed(model: &ModelAnswer) -> Option<String> {
    let first = model.reversals.first()?;
    Some(format!(
        "Beware of the whole: told apart by {}, most groups turn the correlation of {} PER with {} round ({} of them all).",
        first.grouping,
        first.form,
        match first.cost {
            Cost::Mtok => "dollars per token",
            Cost::Solved => "dollars per solved problem",
        },
        rounded(first.overall)
    ))
}

fn regret(model: &ModelAnswer) -> Option<String> {
    let asked = |d: &&super::Decision| (d.demand, d.cost) == (Demand::AccurateAndFast, Cost::Solved);
    let more = |d: &super::Decision| format!("{} more by its {} form", percent(d.regret.median), d.form);
    let all: Vec<String> = model.decisions.iter().filter(asked).map(more).collect();
    (!all.is_empty()).then(|| {
        format!(
            "Yet to choose by PER, among those that keep enough accuracy and are fast enough for each user, costs {} than the \
             cheapest: it counts speed twice, in throughput and in latency, and memory that is paid for already, while money \
             counts speed and accuracy once each.",
            listed(&all)
        )
    })
}

fn users(swings: &[Swing]) -> Option<String> {
    let of = |value: &str| swings.iter().find(|s| s.assumption == USERS && s.value == value)?.cheapest.as_deref();
    let alone = of(ALONE).map(|best| format!("For one user alone the cheapest is {best}"));
    let many = of(MANY).map(|best| format!("for eight or more, {best}"));
    let both: Vec<String> = alone.into_iter().chain(many).collect();
    (!both.is_empty()).then(|| format!("{}.", both.join("; ")))
}

fn thresholds(grid: &Grid, model: &ModelAnswer) -> Option<String> {
    let against = |baseline: &str| model.versus.iter().find(|v| (v.kind, v.baseline) == ("dynamic", baseline));
    let (layers, one) = (against("per-layer")?, against("fixed"));
    let cheaper = |ratio: f64| {
        if (ratio - 1.0).abs() < NOTABLE {
            "as much".to_owned()
        } else if ratio < 1.0 {
            format!("{} less", percent(1.0 - ratio))
        } else {
            format!("{} more", percent(ratio - 1.0))
        }
    };
    let first = cheaper(layers.usd_ratio?.median);
    let second = one.and_then(|one| one.usd_ratio).map(|ratio| cheaper(ratio.median));
    let second = second.map_or(String::new(), |than| format!(" and {than} than one threshold for the whole model"));
    let ratio = layers.agree.iter().find(|(form, _)| *form == PerForm::Ratio).map(|(_, share)| *share);
    let agree = ratio.map_or(String::new(), |share| {
        format!(
            " Which of two such configurations costs less per solved problem, PER (ratio) says rightly in {}.",
            percent(share)
        )
    });
    let machines = if grid.machines.len() > 1 { "all machines" } else { "this machine" };
    Some(format!(
        "Where they miss as much, thresholds that move with what they miss (dynamic) cost {first} than thresholds set once for \
         each layer{second}, over {machines}, formats, predictors and batches.{agree}"
    ))
}
