//! Policies whose thresholds move between tokens against those whose do not: what they cost where they miss as much, and
//! whether PER sees it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compose::Scorer;
use crate::format::WeightFormat;
use crate::grid::{Grid, Scores};
use crate::report::{PerForm, policy_kind};

use super::draws::FEWEST;
use super::spread::{Ends, Spread};

/// Kinds that are compared, and what with: thresholds set once, for the model and for each layer.
const KINDS: [&str; 4] = ["dynamic", "budget", "top-p", "top-k"];
const BASELINES: [&str; 2] = ["fixed", "per-layer"];

/// One kind against a baseline, all else being equal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Versus {
    /// The kind.
    pub kind: &'static str,
    /// The kind whose thresholds stand still.
    pub baseline: &'static str,
    /// Configurations of the kind that miss as much as some mixture of two neighbouring settings of the baseline.
    pub compared: usize,
    /// USD over the baseline's at equal missed mass: the median, and, of ten and more, where nine tenths of them lie between.
    pub usd_ratio: Option<Spread>,
    /// Pairs of a configuration of each, all else being equal.
    pub pairs: usize,
    /// Of those, the share of which PER says the same as USD per solved problem, form by form.
    pub agree: Vec<(PerForm, f64)>,
}

/// What two configurations have in common that differ in their policy alone.
type Bed = (usize, Option<usize>, (bool, usize), usize, usize);

pub(super) fn versus(grid: &Grid, scores: &Scores) -> Vec<Versus> {
    let mut beds: BTreeMap<Bed, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (at, &index) in scores.cells.iter().enumerate() {
        let cell = &grid.cells[index];
        let format = WeightFormat::ALL.iter().position(|format| *format == cell.format);
        let scorer = (cell.scorer == Scorer::Gate, cell.scorer.rank().unwrap_or(0));
        let bed = beds.entry((cell.machine, format, scorer, cell.batch, cell.context)).or_default();
        bed.entry(policy_kind(&grid.outcome(cell).policy)).or_default().push(at);
    }
    let pairs = BASELINES.iter().flat_map(|baseline| KINDS.iter().map(move |kind| (*kind, *baseline)));
    pairs.filter_map(|(kind, baseline)| compare(grid, scores, &beds, kind, baseline)).collect()
}

fn compare(
    grid: &Grid,
    scores: &Scores,
    beds: &BTreeMap<Bed, BTreeMap<&str, Vec<usize>>>,
    kind: &'static str,
    baseline: &'static str,
) -> Option<Versus> {
    let missed = |at: usize| grid.outcome(&grid.cells[scores.cells[at]]).missed_mass.as_ref().map(|m| m.value);
    let usd = |at: usize| scores.usd_per_mtok[at];
    let mut ratios = Vec::new();
    let mut pairs = 0;
    let mut agreeing: Vec<(PerForm, usize)> =
        PerForm::ALL.into_iter().filter(|form| scores.per(*form).is_some()).map(|form| (form, 0)).collect();
    for bed in beds.values() {
        let (Some(own), Some(base)) = (bed.get(kind), bed.get(baseline)) else { continue };
        let mut curve: Vec<(f64, f64)> = base.iter().filter_map(|&at| Some((missed(at)?, usd(at).ln()))).collect();
        curve.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let at_equal = |at: usize| Some((usd(at).ln() - between(&curve, missed(at)?)?).exp());
        ratios.extend(own.iter().filter_map(|&at| at_equal(at)));
        for (&a, &b) in own.iter().flat_map(|a| base.iter().map(move |b| (a, b))) {
            let cost = scores.usd_per_solved[a].total_cmp(&scores.usd_per_solved[b]);
            if cost.is_eq() {
                continue;
            }
            pairs += 1;
            for (form, agreed) in &mut agreeing {
                let per = scores.per(*form).map(|per| per[b].total_cmp(&per[a]));
                *agreed += usize::from(per == Some(cost));
            }
        }
    }
    if pairs == 0 {
        return None;
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| ratios[(share * (ratios.len() - 1) as f64).round() as usize];
    Some(Versus {
        kind,
        baseline,
        compared: ratios.len(),
        usd_ratio: (!ratios.is_empty()).then(|| Spread {
            median: quantile(0.5),
            ends: (ratios.len() >= FEWEST).then(|| Ends { low: quantile(0.05), high: quantile(0.95) }),
        }),
        pairs,
        agree: agreeing.into_iter().map(|(form, agreed)| (form, agreed as f64 / pairs as f64)).collect(),
    })
}

/// The ordinate at `x` on the line between the neighbours of a curve sorted by abscissa; none outside of it.
fn between(curve: &[(f64, f64)], x: f64) -> Option<f64> {
    let right = curve.partition_point(|point| point.0 < x);
    let (x1, y1) = *curve.get(right)?;
    if x1 == x {
        return Some(y1);
    }
    let (x0, y0) = *curve.get(right.checked_sub(1)?)?;
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_neighbours_and_nowhere_else() {
        let curve = [(0.1, 1.0), (0.3, 2.0), (0.3, 5.0), (0.5, 3.0)];
        assert_eq!(between(&curve, 0.1), Some(1.0));
        assert!((between(&curve, 0.2).unwrap() - 1.5).abs() < 1e-12);
        assert!((between(&curve, 0.4).unwrap() - 4.0).abs() < 1e-12);
        assert_eq!(between(&curve, 0.09), None);
        assert_eq!(between(&curve, 0.51), None);
        assert_eq!(between(&[], 0.5), None);
    }
}
