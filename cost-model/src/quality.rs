//! Accuracy on code: what was published, what is unknown, and one assumed family between them.
//!
//! Nobody has published HumanEval for an activation-sparse 70B model. [`Accuracy::Unknown`] says
//! so; [`under_loss`] lets a report show how its conclusion depends on what is unknown.

use serde::{Deserialize, Serialize};

use crate::origin::{Origin, Sourced};

const CODE_LLAMA: &str = "Roziere et al., Code Llama, arXiv 2308.12950, Table 2; pass@1, greedy, \
                          zero-shot";

/// An accuracy, or the admission that there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Accuracy {
    /// Share of problems solved.
    Known {
        /// From 0 to 1.
        value: f64,
        /// Where it came from.
        origin: Origin,
    },
    /// Not measured and not published.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Accuracy {
    /// The share, if known.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Known { value, .. } => Some(*value),
            Self::Unknown { .. } => None,
        }
    }

    /// `measured`, `published`, `assumed`, `derived` or `unknown`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Known { origin, .. } => origin.kind(),
            Self::Unknown { .. } => "unknown",
        }
    }

    fn unknown(why: &str) -> Self {
        Self::Unknown { why: why.to_owned() }
    }
}

impl From<Sourced<f64>> for Accuracy {
    fn from(known: Sourced<f64>) -> Self {
        Self::Known { value: known.value, origin: known.origin }
    }
}

/// HumanEval pass@1 of a model run densely.
pub fn dense_humaneval(model: &str) -> Accuracy {
    let published = |value: f64| Sourced::new(value, Origin::published(CODE_LLAMA)).into();
    match model {
        "llama-2-70b" => published(0.305),
        "code-llama-70b" => published(0.530),
        "llama-3-70b" => Accuracy::unknown("no base-model figure under the same protocol was found"),
        "relu-llama-70b" => Accuracy::unknown("no HumanEval figure was published"),
        _ => Accuracy::unknown("model not in the table"),
    }
}

/// HumanEval pass@1 of a 70B model run sparsely: unknown for every model and policy.
pub fn sparse_humaneval() -> Accuracy {
    Accuracy::unknown("no code accuracy of an activation-sparse 70B model was published")
}

/// Why a loss cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} is {value}; wanted {wanted}")]
pub struct QualityError {
    what: &'static str,
    value: f64,
    wanted: &'static str,
}

/// Accuracy under an assumed loss: `dense * max(0, 1 - kappa * missed_mass)`.
///
/// `missed_mass` is the share of output mass that the policy left out; `kappa` says how much of the
/// accuracy one unit of it costs. Affine in `missed_mass`, so the paper's PER over candidates with
/// one dense accuracy is the same for every `kappa > 0` while nothing is clamped.
///
/// # Errors
/// [`QualityError`] unless `dense` and `missed_mass` lie in 0..=1 and `kappa` is at least 0.
pub fn under_loss(dense: f64, missed_mass: f64, kappa: f64) -> Result<Sourced<f64>, QualityError> {
    let share = |what, value: f64| {
        let wanted = "0 to 1";
        let error = QualityError { what, value, wanted };
        (0.0..=1.0).contains(&value).then_some(()).ok_or(error)
    };
    share("dense accuracy", dense)?;
    share("missed_mass", missed_mass)?;
    if !(kappa.is_finite() && kappa >= 0.0) {
        return Err(QualityError { what: "kappa", value: kappa, wanted: "at least 0" });
    }
    let value = dense * (1.0 - kappa * missed_mass).max(0.0);
    let why = format!("dense accuracy {dense} x (1 - {kappa} x missed mass {missed_mass:.4})");
    Ok(Sourced::new(value, Origin::assumed(why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::per::{Candidate, paper};
    use proptest::prelude::*;

    fn set(dense: f64, kappa: f64, misses: &[f64]) -> Vec<Candidate> {
        let candidate = |(i, miss): (usize, &f64)| Candidate {
            name: i.to_string(),
            accuracy: under_loss(dense, *miss, kappa).unwrap().value,
            throughput: (1 + i * i) as f64,
            latency_ms: 1000.0 / (1 + i * i) as f64,
            memory_mb: 100.0 + (i % 3) as f64,
        };
        misses.iter().enumerate().map(candidate).collect()
    }

    proptest! {
        /// The paper's PER cannot tell a harmless miss from a ruinous one.
        #[test]
        fn paper_per_does_not_depend_on_kappa(
            kappa in 0.01..1.0, other in 0.01..1.0,
            misses in prop::collection::vec((0_u32..1000).prop_map(|m| f64::from(m) / 1000.0), 4..10),
        ) {
            prop_assume!(misses.iter().any(|m| *m != misses[0]));
            let a = paper(&set(0.53, kappa, &misses)).unwrap();
            let b = paper(&set(0.53, other, &misses)).unwrap();
            for (a, b) in a.values.iter().zip(b.values) {
                prop_assert!((a.powi(4) - b.powi(4)).abs() < 1e-9);
            }
        }

        #[test]
        fn loss_is_monotone_and_never_negative(kappa in 0.0..10.0, a in 0.0..1.0, b in 0.0..1.0) {
            let at = |miss: f64| under_loss(0.305, miss, kappa).unwrap().value;
            let (little, much): (f64, f64) = (f64::min(a, b), f64::max(a, b));
            prop_assert!(at(little) >= at(much) && at(much) >= 0.0);
            prop_assert_eq!(at(0.0), 0.305);
        }
    }

    /// Once an accuracy is clamped at 0, kappa does show.
    #[test]
    fn clamping_breaks_the_invariance() {
        let misses = [0.0, 0.1, 0.3, 0.6];
        let a = paper(&set(0.53, 1.0, &misses)).unwrap();
        let b = paper(&set(0.53, 4.0, &misses)).unwrap();
        assert!((a.values[1] - b.values[1]).abs() > 0.01);
    }

    #[test]
    fn sparse_accuracy_is_unknown_and_says_so() {
        assert_eq!(sparse_humaneval().kind(), "unknown");
        assert_eq!(sparse_humaneval().value(), None);
        let json = serde_json::to_string(&sparse_humaneval()).unwrap();
        assert!(json.starts_with(r#"{"state":"unknown","why":"#), "{json}");
        assert_eq!(dense_humaneval("llama-2-70b").value(), Some(0.305));
        assert_eq!(dense_humaneval("code-llama-70b").kind(), "published");
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(under_loss(bad, 0.0, 1.0).is_err());
            assert!(under_loss(0.5, bad, 1.0).is_err());
        }
        assert!(under_loss(0.5, 0.0, -1.0).is_err());
    }
}
