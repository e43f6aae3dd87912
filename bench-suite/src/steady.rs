//! Times on a machine whose memory changes speed, as they would have been had it kept one.
//!
//! Shared machines do: reading goes at 35 GB/s in one minute and at 65 in the next, and of two medians one then may come from slow
//! minutes and the other from fast ones. Memory is read just before and just after each run, and the runs of one thing tell
//! by how much memory's speed moves them:
//!
//! ```text
//!   log seconds │ ··                       seconds ∝ (1 / bytes per second)^p      p = 1: waits for memory, nothing else
//!               │    ·· slope p                                                    p = 0: never does
//!               │       ···
//!               └──────────── log bytes per second
//! ```
//! The slope is the median over pairs of runs (Theil and Sen's), so that runs in which the speed changed midway do not set it.
//! Each thing is held by its own runs alone: nothing of one is told to another.

use crate::timing;

/// Pairs of runs whose bandwidths differ by less than this, in logarithms, say nothing of the slope.
const LEAST_APART: f64 = 0.1;

/// By how much memory's speed moves these times: from 0, not at all, to 1, wholly. 0 of runs at one speed, which do not say.
pub(crate) fn share_of_memory(seconds: &[f64], bytes_per_s: &[f64]) -> f64 {
    // What takes no time at all is not moved.
    let runs = seconds.iter().zip(bytes_per_s).filter(|(seconds, _)| **seconds > 0.0);
    let runs: Vec<[f64; 2]> = runs.map(|(s, b)| [s.ln(), b.ln()]).collect();
    let pairs =
        runs.iter().enumerate().flat_map(|(index, one)| runs.iter().skip(index + 1).map(move |other| (one, other)));
    let apart = pairs.map(|(one, other)| [one[0] - other[0], one[1] - other[1]]);
    let slopes: Vec<f64> = apart.filter(|apart| apart[1].abs() > LEAST_APART).map(|[s, b]| -s / b).collect();
    timing::median(&slopes).map_or(0.0, |slope| slope.median.clamp(0.0, 1.0))
}

/// What each run would have taken with memory `at` bytes per second fast.
pub(crate) fn held_at(at: f64, seconds: &[f64], bytes_per_s: &[f64]) -> Vec<f64> {
    let share = share_of_memory(seconds, bytes_per_s);
    seconds.iter().zip(bytes_per_s).map(|(seconds, bytes_per_s)| seconds * (bytes_per_s / at).powf(share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels_cpu::synthetic::Random;

    const FAST: f64 = 65e9;
    const SLOW: f64 = 35e9;

    /// Times of something of which memory bounds a share, on a machine that is slow in so many of its runs, both a few percent noisy.
    fn runs(random: &mut Random, count: usize, share: f64, slow: f64) -> (Vec<f64>, Vec<f64>) {
        let mut noise = |by: f64| 1.0 + by * f64::from(random.signed());
        let mut run = |index: usize| {
            let speed = if (index as f64 * slow).fract() + slow >= 1.0 { SLOW } else { FAST };
            ((FAST / speed).powf(share) * noise(0.03), speed * noise(0.03))
        };
        (0..count).map(&mut run).unzip()
    }

    #[test]
    fn a_machine_that_changes_speed_is_held_at_one() {
        let mut random = Random::new(5);
        for share in [0.0, 0.3, 0.7, 1.0] {
            for slow in [0.2, 0.4, 0.6, 0.8] {
                let (seconds, bytes_per_s) = runs(&mut random, 15, share, slow);
                assert!((share_of_memory(&seconds, &bytes_per_s) - share).abs() < 0.08);
                for (speed, truth) in [(FAST, 1.0), (SLOW, (FAST / SLOW).powf(share))] {
                    let held = timing::median(&held_at(speed, &seconds, &bytes_per_s)).unwrap().median;
                    assert!((held / truth - 1.0).abs() < 0.05, "{share} of memory, {slow} slow: {held} for {truth}");
                }
            }
        }
    }

    /// Memory's share cannot be told, nor does it matter.
    #[test]
    fn a_machine_that_keeps_its_speed_is_left_alone() {
        let (seconds, bytes_per_s) = runs(&mut Random::new(6), 15, 1.0, 0.0);
        assert_eq!(held_at(FAST, &seconds, &bytes_per_s), seconds);
    }

    #[test]
    fn faster_than_memory_or_slower_for_it_is_chance() {
        let speeds = [SLOW, FAST, SLOW, FAST];
        assert_eq!(share_of_memory(&[9.0, 1.0, 9.0, 1.0], &speeds), 1.0);
        assert_eq!(share_of_memory(&[1.0, 2.0, 1.0, 2.0], &speeds), 0.0);
        assert_eq!(share_of_memory(&[0.0; 4], &speeds), 0.0);
        assert_eq!(share_of_memory(&[], &[]), 0.0);
    }
}
