//! The policies that show a model's accuracy from lossless to broken.

use threshold::{Calibration, Density, PolicySpec, Threshold};

use crate::Result;

/// Shares of the neurons that policies of one kind after another are set to.
const DENSITIES: [f64; 4] = [0.10, 0.05, 0.03, 0.02];
/// Policies that are told what to miss or keep instead.
const OTHERS: [&str; 6] = [
    "dynamic:miss=0.10",
    "dynamic:miss=0.30",
    "dynamic:miss=0.50",
    "top-p:mass=0.80",
    "top-p:mass=0.60",
    "top-p:mass=0.40",
];

/// `dense`; `fixed` at 0, which loses nothing under ReLU, and at the thresholds that meet four densities on the sample;
/// the kinds that take a density, at each of these; `dynamic` and `top-p`.
///
/// # Errors
/// A calibration without scores.
pub fn policies(calibration: &Calibration) -> Result<Vec<PolicySpec>> {
    let mut all = vec![PolicySpec::Dense, PolicySpec::Fixed(Some(Threshold::new(0.0)?))];
    for density in DENSITIES {
        let threshold = rounded(calibration.global_threshold(Density::new(density)?)?)?;
        // Below zero there is nothing under ReLU that fires.
        let fixed = PolicySpec::Fixed(Some(threshold));
        if threshold.get() > 0.0 && !all.contains(&fixed) {
            all.push(fixed);
        }
    }
    for kind in ["per-layer", "top-k", "budget"] {
        for density in DENSITIES {
            all.push(format!("{kind}:density={density}").parse()?);
        }
    }
    for policy in OTHERS {
        all.push(policy.parse()?);
    }
    Ok(all)
}

/// To two digits, as people spell thresholds.
fn rounded(threshold: f32) -> Result<Threshold> {
    let text = format!("{threshold:.1e}");
    Ok(Threshold::new(text.parse().unwrap_or(threshold))?)
}

#[cfg(test)]
mod tests {
    use kernels_cpu::synthetic::Random;
    use threshold::{CalibrationBuilder, Shape};

    use super::*;

    /// Of gates that are open for `open` of the neurons.
    fn calibration(open: f32) -> Calibration {
        let mut builder = CalibrationBuilder::new(Shape::new(2, 1000).unwrap());
        let mut random = Random::new(5);
        for layer in [0, 1, 0, 1] {
            let scores: Vec<f32> = (0..1000).map(|_| (random.signed() + 1.0) / 2.0 - (1.0 - open)).collect();
            builder.add_scores(layer, &scores).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn thresholds_meet_densities_and_none_is_idle() {
        let own = calibration(0.5);
        let all = policies(&own).unwrap();
        let kinds = ["dense", "fixed", "per-layer", "top-k", "budget", "dynamic", "top-p"];
        let of = |kind: &str| all.iter().filter(|policy| policy.to_string().split(':').next() == Some(kind)).count();
        assert_eq!(kinds.map(of), [1, 5, 4, 4, 4, 3, 3]);
        let thresholds = all.iter().filter_map(|policy| match policy {
            PolicySpec::Fixed(threshold) => *threshold,
            _ => None,
        });
        for (threshold, density) in thresholds.skip(1).zip(DENSITIES) {
            let met = (own.density(0, threshold.get()).unwrap() + own.density(1, threshold.get()).unwrap()) / 2.0;
            assert!((met - density).abs() < 0.01, "{threshold} meets {met}");
        }
        for (index, policy) in all.iter().enumerate() {
            assert!(!all[..index].contains(policy), "{policy} twice");
        }
        // Gates that fire less than the largest density: its threshold would lose nothing, as 0 does.
        assert_eq!(policies(&calibration(0.07)).unwrap().len(), all.len() - 1);
    }
}
