//! Times several things in turn, again and again, and says how sure the medians are.
//!
//! Machines are shared and drift: what is measured a second later is measured on another machine. So everything that
//! is to be compared is timed in the same round, A B C A B C …, and a ratio is taken inside each round before the
//! median is taken over rounds.

use cost_model::estimate::Estimate;

/// Coverage of every interval that has six samples or more.
pub const CONFIDENCE: f64 = 0.95;

/// The median of `samples` with a distribution-free confidence interval: order statistics around the middle, as many
/// as a binomial with p = 1/2 allows (Conover, Practical Nonparametric Statistics, section 3.2). `None` without samples.
///
/// With fewer than six samples no pair of order statistics covers 95 %; the interval is then their whole range, and the
/// confidence what that covers: 1 - 2^(1 - n).
pub fn median(samples: &[f64]) -> Option<Estimate> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let n = sorted.len();
    // Normal approximation of the binomial: ranks n/2 -+ 1.96 sqrt(n)/2, rounded outwards.
    let half = 1.96 * (n as f64).sqrt() / 2.0;
    let at = |rank: f64| sorted[(rank.max(0.0) as usize).min(n - 1)];
    let (low, high, confidence) = match n {
        0..6 => (first, last, 1.0 - 2.0_f64.powi(1 - n as i32)),
        _ => (at((n as f64 / 2.0 - half - 1.0).floor()), at((n as f64 / 2.0 + half).ceil()), CONFIDENCE),
    };
    let middle = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
    Some(Estimate { median: middle, low, high, confidence, samples: n as u64 })
}

/// The value of `sorted` that the share `share` of them do not exceed: the nearest rank. `None` of nothing.
pub fn nearest_rank<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels_cpu::synthetic::Random;

    #[test]
    fn the_median_is_the_middle_and_lies_in_its_interval() {
        assert_eq!(median(&[]), None);
        let e = median(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((e.low, e.median, e.high, e.samples), (1.0, 2.0, 3.0, 3));
        assert_eq!(e.confidence, 0.75);
        assert_eq!(median(&[1.0, 2.0, 3.0, 10.0]).unwrap().median, 2.5);
    }

    #[test]
    fn nearest_ranks_are_values_that_were_there() {
        let sorted = [1, 2, 3, 4];
        assert_eq!(
            [0.0, 0.25, 0.26, 0.5, 0.9, 1.0].map(|share| nearest_rank(&sorted, share)),
            [1, 1, 2, 2, 4, 4].map(Some)
        );
        assert_eq!(nearest_rank::<u8>(&[], 0.5), None);
    }

    #[test]
    fn the_interval_covers_the_true_median_as_often_as_it_says() {
        let mut random = Random::new(11);
        for n in [8, 15, 40, 101] {
            let trials = 4000;
            let covered = (0..trials)
                .filter(|_| {
                    // A skewed distribution whose median is 1/8: the cube of a uniform one.
                    let samples: Vec<f64> = (0..n).map(|_| (f64::from(random.signed()) / 2.0 + 0.5).powi(3)).collect();
                    let e = median(&samples).unwrap();
                    (e.low..=e.high).contains(&0.125)
                })
                .count();
            // Three standard errors below 95 %.
            assert!(covered as f64 / f64::from(trials) > 0.94, "{n} samples: {covered} of {trials}");
        }
    }
}
