//! Intervals of outcomes, and of their differences, from resampling prompts.

use super::outcome::{Figures, Ordered, Outcome};
use crate::prng::SplitMix64;

/// The central 95 % of what resamples gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th.
    pub high: f64,
}

/// How sure three figures are: the mean miss, the worst layer's, and the 99th percentile of tokens'.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Intervals {
    /// Of [`Figures::miss`].
    pub miss: Interval,
    /// Of [`Figures::worst_layer`].
    pub worst_layer: Interval,
    /// Of [`Figures::p99_token`].
    pub p99_token: Interval,
}

/// Intervals of each outcome, and of each outcome less the one at `reference`, all of the same prompts in the same order.
///
/// Each of `resamples` draws as many prompts as there are, with replacement, the same for all outcomes: differences are
/// paired. What policies learnt in one prompt and took to the next stays with the next, and their numbers stay as they were
/// set on all prompts.
#[must_use]
pub fn bootstrap(outcomes: &[Outcome], reference: usize, resamples: usize, seed: u64) -> Vec<(Intervals, Intervals)> {
    let prompts = outcomes.first().map_or(0, Outcome::prompts);
    let ordered: Vec<Ordered<'_>> = outcomes.iter().map(Outcome::ordered).collect();
    let mut rng = SplitMix64::new(seed);
    let mut own = vec![Vec::with_capacity(resamples); outcomes.len()];
    let mut against = own.clone();
    for _ in 0..resamples {
        let mut times = vec![0; prompts];
        (0..prompts).for_each(|_| times[rng.below(prompts as u64) as usize] += 1);
        let figures: Vec<Figures> = ordered.iter().map(|outcome| outcome.figures(&times)).collect();
        let of = |figures: &Figures| [figures.miss, figures.worst_layer, figures.p99_token];
        let base = figures.get(reference).map_or([f64::NAN; 3], of);
        for ((figures, own), against) in figures.iter().zip(&mut own).zip(&mut against) {
            let values = of(figures);
            own.push(values);
            against.push(std::array::from_fn(|i| values[i] - base[i]));
        }
    }
    own.iter().zip(&against).map(|(own, against)| (intervals(own), intervals(against))).collect()
}

fn intervals(values: &[[f64; 3]]) -> Intervals {
    let [miss, worst_layer, p99_token] = std::array::from_fn(|figure| {
        let mut values: Vec<f64> = values.iter().map(|values| values[figure]).collect();
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| values.get((share * values.len() as f64) as usize).copied().unwrap_or(f64::NAN);
        Interval { low: rank(0.025), high: rank(0.975) }
    });
    Intervals { miss, worst_layer, p99_token }
}
