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
//! The slope is the median over pairs of runs (Theil and Sen's). Runs during which the speed changed count for nothing in it, and
//! neither does one run alone at a speed of its own: a machine that keeps its speed is left as it is. Each thing is held by its
//! own runs: nothing of one is told to another.

use crate::timing;

/// Speeds that differ by less, in logarithms, may be one speed, read with the noise of one reading.
const LEAST_APART: f64 = 0.25;

/// What memory gave around a run, in bytes per second: just before and just after.
pub(crate) type Around = [f64; 2];

pub(crate) fn mean([before, after]: Around) -> f64 {
    (before + after) / 2.0
}

fn apart(one: f64, other: f64) -> bool {
    (one / other).ln().abs() > LEAST_APART
}

/// By how much memory's speed moves these times: from 0, not at all, to 1, wholly. `None` where fewer than two runs were at
/// another speed than the others, or the times are none.
pub(crate) fn share_of_memory(seconds: &[f64], bytes_per_s: &[Around]) -> Option<f64> {
    let runs =
        seconds.iter().zip(bytes_per_s).filter(|(seconds, around)| **seconds > 0.0 && !apart(around[0], around[1]));
    let mut runs: Vec<(f64, f64)> = runs.map(|(&seconds, &around)| (seconds, mean(around))).collect();
    runs.sort_by(|one, other| one.1.total_cmp(&other.1));
    let [_, second, .., second_last, _] = runs.as_slice() else { return None };
    if !apart(second.1, second_last.1) {
        return None;
    }
    let pairs = runs.iter().enumerate().flat_map(|(i, slow)| runs.iter().skip(i + 1).map(move |fast| (slow, fast)));
    let pairs = pairs.filter(|(slow, fast)| apart(slow.1, fast.1));
    let slopes: Vec<f64> = pairs.map(|(slow, fast)| (slow.0 / fast.0).ln() / (fast.1 / slow.1).ln()).collect();
    timing::median(&slopes).map(|slope| slope.median.clamp(0.0, 1.0))
}

/// What each run would have taken with memory `at` bytes per second fast; what it took, where memory's share is not known.
pub(crate) fn held_at(at: f64, seconds: &[f64], bytes_per_s: &[Around]) -> Vec<f64> {
    let Some(share) = share_of_memory(seconds, bytes_per_s) else { return seconds.to_vec() };
    seconds.iter().zip(bytes_per_s).map(|(seconds, &around)| seconds * (mean(around) / at).powf(share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels_cpu::synthetic::Random;

    const FAST: f64 = 65e9;
    const SLOW: f64 = 35e9;

    /// Times of something of which memory bounds a share, on a machine that is slow in so many of its runs, both a few percent noisy.
    fn runs(random: &mut Random, count: usize, share: f64, slow: f64) -> (Vec<f64>, Vec<Around>) {
        let mut noisy = |value: f64| value * (1.0 + 0.03 * f64::from(random.signed()));
        let mut run = |index: usize| {
            let speed = if (index as f64 * slow).fract() + slow >= 1.0 { SLOW } else { FAST };
            (noisy((FAST / speed).powf(share)), [noisy(speed), noisy(speed)])
        };
        (0..count).map(&mut run).unzip()
    }

    #[test]
    fn a_machine_that_changes_speed_is_held_at_one() {
        let mut random = Random::new(5);
        for share in [0.0, 0.3, 0.7, 1.0] {
            for slow in [0.2, 0.4, 0.6, 0.8] {
                let (mut seconds, mut bytes_per_s) = runs(&mut random, 15, share, slow);
                // In two runs the speed changed, and what was read around them does not tell when.
                seconds.extend([1.0, 2.0]);
                bytes_per_s.extend([[SLOW, FAST], [FAST, SLOW]]);
                assert!((share_of_memory(&seconds, &bytes_per_s).unwrap() - share).abs() < 0.08);
                for (speed, truth) in [(FAST, 1.0), (SLOW, (FAST / SLOW).powf(share))] {
                    let held = timing::median(&held_at(speed, &seconds, &bytes_per_s)).unwrap().median;
                    assert!((held / truth - 1.0).abs() < 0.05, "{share} of memory, {slow} slow: {held} for {truth}");
                }
            }
        }
    }

    /// One speed, or one run at another: memory's share cannot be told.
    #[test]
    fn a_machine_that_keeps_its_speed_is_left_alone() {
        let (mut seconds, mut bytes_per_s) = runs(&mut Random::new(6), 15, 1.0, 0.0);
        assert_eq!(held_at(FAST, &seconds, &bytes_per_s), seconds);
        seconds.push(3.0);
        bytes_per_s.push([SLOW; 2]);
        assert_eq!(held_at(FAST, &seconds, &bytes_per_s), seconds);
        // Nobody looked.
        assert_eq!(held_at(FAST, &seconds, &[]), seconds);
    }

    #[test]
    fn faster_than_memory_or_slower_for_it_is_chance() {
        let speeds = [SLOW, FAST, SLOW, FAST].map(|speed| [speed; 2]);
        assert_eq!(share_of_memory(&[9.0, 1.0, 9.0, 1.0], &speeds), Some(1.0));
        assert_eq!(share_of_memory(&[1.0, 2.0, 1.0, 2.0], &speeds), Some(0.0));
        assert_eq!(share_of_memory(&[0.0; 4], &speeds), None);
        assert_eq!(share_of_memory(&[], &[]), None);
    }
}
