//! How sure a pass rate is, and whether two differ: an interval, an estimator and a paired test.

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PassRateError {
    /// More passed than were tried, or none were tried.
    #[error("{passed} of {total} passed; wanted at least one problem, and no more passed than tried")]
    Counts {
        /// Passed.
        passed: u64,
        /// Tried.
        total: u64,
    },
    /// Not a share, or of nothing.
    #[error("a share of {share} of {total} problems; wanted 0 to 1 of at least one")]
    Share {
        /// The share.
        share: f64,
        /// Problems.
        total: u64,
    },
    /// `k` samples cannot be drawn.
    #[error("pass@{k} of {samples} samples; wanted 1 to {samples}")]
    Draws {
        /// Samples to draw.
        k: u64,
        /// Samples there are.
        samples: u64,
    },
}

/// z with 95 % of the standard normal distribution between -z and z.
const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval at 95 % of a share of `total` problems: from its ends' own standard errors, so it stays within
/// 0 and 1 and does not vanish where all or none pass. Of a share that is a mean over several samples of each problem it
/// is too wide rather than too narrow: no variance of a mean within 0 and 1 exceeds that of passes and failures.
///
/// Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
/// Association 22, 209 (1927).
///
/// # Errors
/// [`PassRateError::Share`]
pub fn wilson_95(share: f64, total: u64) -> Result<(f64, f64), PassRateError> {
    if total == 0 || !(0.0..=1.0).contains(&share) {
        return Err(PassRateError::Share { share, total });
    }
    let (n, z2) = (total as f64, Z_95 * Z_95);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // Exactly 0 and 1 at the ends, which rounding may miss.
    let low = if share == 0.0 { 0.0 } else { centre - half };
    let high = if share == 1.0 { 1.0 } else { centre + half };
    Ok((low, high))
}

/// pass@k of one problem, without bias: the chance that `k` of its `samples`, drawn without replacement, hold one that
/// passed, `1 - C(samples - passed, k) / C(samples, k)`. The mean over problems is the benchmark's pass@k.
///
/// Chen et al., "Evaluating large language models trained on code", arXiv 2107.03374, equation 1.
///
/// # Errors
/// [`PassRateError`]
pub fn pass_at_k(samples: u64, passed: u64, k: u64) -> Result<f64, PassRateError> {
    if samples == 0 || passed > samples {
        return Err(PassRateError::Counts { passed, total: samples });
    }
    if k == 0 || k > samples {
        return Err(PassRateError::Draws { k, samples });
    }
    let failed = samples - passed;
    if failed < k {
        return Ok(1.0);
    }
    Ok(1.0 - (failed + 1..=samples).map(|i| 1.0 - k as f64 / i as f64).product::<f64>())
}

/// McNemar's exact test of two pass rates over the same problems: the two-sided probability, were both as good, that
/// the problems which only one of them passes are split as unevenly as they are.
///
/// McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika
/// 12, 153 (1947); exact by the binomial distribution rather than its normal approximation.
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let (n, fewer) = (only_first + only_second, only_first.min(only_second));
    // Of n fair coins at most `fewer` heads, twice; by logarithms, since 2^-n underflows.
    let half_to_n = -(n as f64) * std::f64::consts::LN_2;
    let mut log_choose = 0.0;
    let mut tail = 0.0;
    for heads in 0..=fewer {
        tail += (log_choose + half_to_n).exp();
        log_choose += ((n - heads) as f64).ln() - ((heads + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choose(n: u64, k: u64) -> f64 {
        (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
    }

    /// Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 857 (1998),
    /// table I, method 3.
    #[test]
    fn wilson_agrees_with_published_intervals() {
        for (passed, total, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let (l, h) = wilson_95(f64::from(passed) / total as f64, total).unwrap();
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{passed} of {total}: {l}, {h}");
        }
        assert!(wilson_95(0.0, 0).is_err() && wilson_95(1.5, 2).is_err() && wilson_95(f64::NAN, 2).is_err());
    }

    /// Against the hypergeometric definition.
    #[test]
    fn pass_at_k_agrees_with_counting() {
        for samples in 1..=12 {
            for passed in 0..=samples {
                for k in 1..=samples {
                    let failing = if samples - passed < k { 0.0 } else { choose(samples - passed, k) };
                    let want = 1.0 - failing / choose(samples, k);
                    assert!((pass_at_k(samples, passed, k).unwrap() - want).abs() < 1e-12, "{samples} {passed} {k}");
                }
            }
        }
        assert!(pass_at_k(5, 2, 6).is_err() && pass_at_k(5, 2, 0).is_err() && pass_at_k(5, 6, 1).is_err());
        assert!(pass_at_k(0, 0, 1).is_err());
    }

    #[test]
    fn mcnemar_agrees_with_counting_coins() {
        for n in 0..=20_u64 {
            for first in 0..=n {
                let tail: f64 = (0..=first.min(n - first)).map(|i| choose(n, i)).sum();
                let want = (2.0 * tail / 2f64.powi(n as i32)).min(1.0);
                assert!((mcnemar_exact(first, n - first) - want).abs() < 1e-12, "{first} {}", n - first);
            }
        }
        // Far beyond what 2^-n can say.
        let p = mcnemar_exact(5_000, 5_100);
        assert!((0.31..0.33).contains(&p), "{p}");
        assert!(mcnemar_exact(0, 2_000) >= 0.0);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_narrows(passed in 0_u64..500, more in 0_u64..500) {
            let total = passed + more + 1;
            let share = passed as f64 / total as f64;
            let (low, high) = wilson_95(share, total).unwrap();
            prop_assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
            let (l, h) = wilson_95(share, total * 4).unwrap();
            prop_assert!(h - l < high - low);
        }
    }
}
