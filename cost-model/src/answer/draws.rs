//! What is uncertain, drawn anew: times within their intervals, missed masses within theirs, how dear a miss is, and what
//! q4_0 loses.
//!
//! Within a draw an operator of a machine is fast or slow in every configuration alike, as its curve is; what the sum of
//! operators leaves out moves all of a machine's times alike; a policy misses as much in every configuration of it. The
//! configurations themselves are no sample and are not drawn: to keep hundreds of draws cheap each is scored over a fixed choice
//! of them.

use rayon::prelude::*;

use crate::grid::{Assumptions, Draw, GROUPS, Grid, Scores};

use super::spread::{Ends, Spread};

/// Draws. An interval leaves out five at each end.
const DRAWS: u64 = 200;
/// Cells of each draw.
const CELLS: usize = 2000;
/// Fewest cells, among those of a draw, that carry an interval.
pub(crate) const FEWEST: usize = 10;
/// Standard deviation of what a composed token leaves out, in shares of its time: 2.1 % is the median of the absolute error
/// that `thresher validate --measured` first found on two cores of an EPYC, which is 0.6745 standard deviations; later runs
/// found 1 to 2.3 %.
pub(crate) const COMPOSITION_SD: f64 = 0.021 / 0.6745;
/// Standard deviation of the logarithm of kappa: a factor of two either way.
pub(crate) const KAPPA_LN_SD: f64 = std::f64::consts::LN_2;

/// Scores of the same cells, draw by draw.
pub(crate) struct Draws {
    /// Positions among the cells that each draw scores, ascending.
    pub(crate) positions: Vec<usize>,
    pub(crate) scores: Vec<Scores>,
}

impl Draws {
    pub(crate) fn of(grid: &Grid, cells: &[usize], assumptions: &Assumptions) -> Self {
        let positions = chosen(cells.len());
        let own: Vec<usize> = positions.iter().map(|&position| cells[position]).collect();
        let score = |seed| grid.score_drawn(&own, assumptions, &draw(grid, &own, assumptions, seed));
        Self { positions, scores: (1..=DRAWS).into_par_iter().map(score).collect() }
    }

    /// Where the members of a group stand among what each draw scores; none where they are too few to carry an interval.
    pub(crate) fn places(&self, members: &[usize]) -> Option<Vec<usize>> {
        let place = |member: &usize| self.positions.binary_search(member).ok();
        let places: Vec<usize> = members.iter().filter_map(place).collect();
        (places.len() >= FEWEST).then_some(places)
    }
}

/// The middle 95 % of values, both ends; none where there are none.
fn middle(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.retain(|value| value.is_finite());
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(share * last as f64).round() as usize];
    Some((at(0.025), at(0.975)))
}

/// A value with the middle 95 % of its draws, where more than half of them have one. A draw scores fewer cells than there are,
/// which can leave the value of all just outside: then it is an end itself.
pub(crate) fn around(median: f64, drawn: Vec<f64>) -> Spread {
    let enough = 2 * drawn.iter().filter(|value| value.is_finite()).count() as u64 > DRAWS;
    let ends = middle(drawn).filter(|_| enough);
    Spread { median, ends: ends.map(|(low, high)| Ends { low: low.min(median), high: high.max(median) }) }
}

/// As many positions as each draw scores: those whose hash is least, so that no axis is met in step.
fn chosen(cells: usize) -> Vec<usize> {
    let mut by_hash: Vec<(u64, usize)> = (0..cells).map(|position| (mix(position as u64), position)).collect();
    by_hash.sort_unstable();
    let mut positions: Vec<usize> = by_hash.into_iter().take(CELLS).map(|(_, position)| position).collect();
    positions.sort_unstable();
    positions
}

fn draw(grid: &Grid, cells: &[usize], assumptions: &Assumptions, seed: u64) -> Draw {
    let z = |what: u64, index: usize| normal(seed, what, index as u64);
    let operators: Vec<[f64; GROUPS]> = (0..grid.machines.len())
        .map(|machine| std::array::from_fn(|group| z(OPERATOR, machine * GROUPS + group)))
        .collect();
    let ms = |cell: &usize| {
        let cell = &grid.cells[*cell];
        let parts = cell.groups.iter().zip(&operators[cell.machine]);
        let drawn: f64 = parts.map(|((ms, sd), z)| f64::from(*ms) + z * f64::from(*sd)).sum();
        // Far out in the tail of a wide interval a time must still be one.
        drawn.max(0.1 * cell.ms.median) * (COMPOSITION_SD * z(MACHINE, cell.machine)).exp()
    };
    let missed = |cell: &usize| {
        let cell = &grid.cells[*cell];
        let spread = grid.outcome(cell).missed_mass_sd.unwrap_or(0.0);
        (grid.missed(cell, assumptions) + spread * z(POLICY, cell.outcome)).clamp(0.0, 1.0)
    };
    Draw {
        ms: cells.iter().map(ms).collect(),
        missed: cells.iter().map(missed).collect(),
        kappa: assumptions.kappa * (KAPPA_LN_SD * z(KAPPA, 0)).exp(),
        // What is lost, within a factor of two as well.
        q4_0_kept: (1.0 - (1.0 - assumptions.q4_0_kept) * (KAPPA_LN_SD * z(Q4_0, 0)).exp()).max(0.0),
    }
}

/// What a random number is for.
const OPERATOR: u64 = 1;
const MACHINE: u64 = 2;
const POLICY: u64 = 3;
const KAPPA: u64 = 4;
const Q4_0: u64 = 5;

/// A standard normal number that depends on these alone, by Box and Muller.
fn normal(seed: u64, what: u64, index: u64) -> f64 {
    let bits = mix(mix(mix(seed) ^ what) ^ index);
    let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    (-2.0 * uniform(bits).ln()).sqrt() * (std::f64::consts::TAU * uniform(mix(bits))).cos()
}

/// Steele, Lea and Flood's mixing of 64 bits, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_standard_normal() {
        let draws: Vec<f64> = (0..20_000).map(|i| normal(i, OPERATOR, i % 7)).collect();
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        // Four standard errors.
        assert!(mean.abs() < 4.0 / n.sqrt() && (variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "{mean} {variance}");
        let beyond = draws.iter().filter(|x| x.abs() > 1.96).count() as f64 / n;
        assert!((beyond - 0.05).abs() < 0.007, "{beyond}");
    }

    #[test]
    fn the_middle_leaves_out_both_tails() {
        assert_eq!(middle((0..=200).map(f64::from).collect()), Some((5.0, 195.0)));
        assert_eq!(middle(vec![f64::NAN, 3.0]), Some((3.0, 3.0)));
        assert_eq!(middle(Vec::new()), None);
    }

    #[test]
    fn few_draws_have_no_ends() {
        let draws = |count: u32| (0..count).map(f64::from).collect::<Vec<_>>();
        assert_eq!(around(7.0, Vec::new()), Spread { median: 7.0, ends: None });
        assert_eq!(around(7.0, draws(100)).ends, None);
        assert_eq!(around(7.0, draws(200)).ends, Some(Ends { low: 5.0, high: 194.0 }));
        assert_eq!(around(-1.0, draws(200)).ends, Some(Ends { low: -1.0, high: 194.0 }));
        // What is not a number says nothing.
        let mut half = draws(101);
        half[0] = f64::NAN;
        assert_eq!(around(7.0, half).ends, None);
    }

    #[test]
    fn a_choice_is_ascending_without_repeats() {
        assert_eq!(chosen(10), (0..10).collect::<Vec<_>>());
        let many = chosen(30_000);
        assert_eq!(many.len(), CELLS);
        assert!(many.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
