//! Whether a better PER goes with a lower cost.

use rayon::prelude::*;
use serde::Serialize;

use crate::correlation::{CorrelationError, kendall, pearson_log, spearman};
use crate::grid::Scores;
use crate::report::PerForm;

use super::Cost;
use super::draws::{Draws, FEWEST, around};
use super::group::{Group, Grouping};
use super::spread::Spread;

/// One form of PER against one cost, over one group. -1: the better the PER, the cheaper, without exception.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// By what the group was told apart.
    pub grouping: Grouping,
    /// The group.
    pub group: String,
    /// Form of PER.
    pub form: PerForm,
    /// What is paid for.
    pub cost: Cost,
    /// Configurations with both.
    pub rows: usize,
    /// Of ranks.
    pub spearman: Option<Spread>,
    /// Of pairs, tau-b.
    pub kendall: Option<Spread>,
    /// Of logarithms, over those with a PER above 0.
    pub pearson_log: Option<Spread>,
}

/// A grouping that hides something: over all its groups together a correlation has the other sign than within most of them
/// (Simpson's paradox).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reversal {
    /// The grouping.
    pub grouping: Grouping,
    /// Form of PER.
    pub form: PerForm,
    /// What is paid for.
    pub cost: Cost,
    /// Spearman's over all.
    pub overall: f64,
    /// The same within each group.
    pub within: Vec<(String, f64)>,
}

/// Every form against every cost over every group.
pub(super) fn correlations(scores: &Scores, groups: &[Group], draws: &Draws) -> Vec<Correlation> {
    let forms = PerForm::ALL.into_iter().filter(|form| scores.per(*form).is_some());
    let pairs: Vec<(PerForm, Cost)> = forms.flat_map(|form| Cost::ALL.map(|cost| (form, cost))).collect();
    let jobs: Vec<_> = groups.iter().flat_map(|group| pairs.iter().map(move |pair| (group, *pair))).collect();
    jobs.into_par_iter().map(|(group, (form, cost))| correlation(scores, group, form, cost, draws)).collect()
}

fn correlation(scores: &Scores, group: &Group, form: PerForm, cost: Cost, draws: &Draws) -> Correlation {
    let places = draws.places(&group.members);
    let sample = |keep: Keep| Sample {
        all: columns(scores, &group.members, form, cost, keep),
        drawn: places
            .iter()
            .flat_map(|places| draws.scores.iter().map(move |s| columns(s, places, form, cost, keep)))
            .collect(),
    };
    let known = sample(|per, usd| per.is_finite() && usd.is_finite());
    let positive = sample(|per, usd| per > 0.0 && usd > 0.0 && per.is_finite() && usd.is_finite());
    Correlation {
        grouping: group.grouping,
        group: group.name.clone(),
        form,
        cost,
        rows: known.all.0.len(),
        spearman: known.coefficient(spearman),
        kendall: known.coefficient(kendall),
        pearson_log: positive.coefficient(pearson_log),
    }
}

/// Which pairs of PER and cost are looked at.
type Keep = fn(f64, f64) -> bool;

/// PER and costs, pair by pair.
type Columns = (Vec<f64>, Vec<f64>);

/// A group's columns, and those of its members that each draw scores.
struct Sample {
    all: Columns,
    drawn: Vec<Columns>,
}

impl Sample {
    fn coefficient(&self, of: fn(&[f64], &[f64]) -> Result<f64, CorrelationError>) -> Option<Spread> {
        let median = of(&self.all.0, &self.all.1).ok()?;
        let enough = self.drawn.iter().filter(|(per, _)| per.len() >= FEWEST);
        Some(around(median, enough.filter_map(|(per, usd)| of(per, usd).ok()).collect()))
    }
}

/// PER and costs of some positions.
fn columns(scores: &Scores, positions: &[usize], form: PerForm, cost: Cost, keep: Keep) -> Columns {
    let (Some(per), usd) = (scores.per(form), cost.of(scores)) else { return Columns::default() };
    positions.iter().map(|&at| (per[at], usd[at])).filter(|&(per, usd)| keep(per, usd)).unzip()
}

/// Groupings whose groups mostly disagree in sign with all of them together.
pub(super) fn reversals(correlations: &[Correlation]) -> Vec<Reversal> {
    let median = |c: &Correlation| c.spearman.map(|rho| rho.median);
    let mut found = Vec::new();
    for overall in correlations.iter().filter(|c| c.grouping == Grouping::All) {
        let Some(rho) = median(overall) else { continue };
        let mut groupings: Vec<Grouping> = correlations.iter().map(|c| c.grouping).collect();
        groupings.sort_unstable();
        groupings.dedup();
        for grouping in groupings.into_iter().filter(|g| *g != Grouping::All) {
            let same = |c: &&Correlation| (c.grouping, c.form, c.cost) == (grouping, overall.form, overall.cost);
            let within: Vec<(String, f64)> =
                correlations.iter().filter(same).filter_map(|c| Some((c.group.clone(), median(c)?))).collect();
            let against = within.iter().filter(|(_, own)| own * rho < 0.0).count();
            if 2 * against > within.len() {
                found.push(Reversal { grouping, form: overall.form, cost: overall.cost, overall: rho, within });
            }
        }
    }
    found
}
