//! Performance-Efficiency Ratio, in three forms.
//!
//! Cao et al., "Task-Specific Efficiency Analysis: When Small Language Models Outperform Large
//! Language Models", arXiv 2603.21389v1:
//!
//! ```text
//! PER = (ACC * THR * MEM * LAT)^(1/4)     each axis min-max normalised over the candidate set,
//!                                         MEM and LAT as 1 - (x - min) / (max - min)
//! ```
//!
//! [`paper`] is that formula. Its values belong to the set: drop a candidate and the others move,
//! the worst on any axis scores 0, and two candidates can only score 0 or 1. So it refuses fewer
//! than three, and its result carries the set's hash. [`anchored`] keeps the formula and takes the
//! bounds from a versioned file; [`ratio`] compares with one reference. Both are ours, not the
//! paper's.
//!
//! Min-max undoes every positive affine map of an axis. In particular, if all candidates share one
//! dense accuracy, [`crate::quality::under_loss`] leaves the paper form the same for every
//! kappa > 0 as long as no accuracy is clamped at 0: the paper form cannot see how much a miss
//! costs, only who misses most. The anchored and the ratio form can.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::anchors::Bounds;
use crate::hash::short_hash;

/// Fewest candidates of which min-max says more than better or worse.
const FEWEST: usize = 3;

/// What is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Name, unique enough to recognise.
    pub name: String,
    /// Share of the task solved.
    pub accuracy: f64,
    /// Tokens (classification: samples) per second and device.
    pub throughput: f64,
    /// Milliseconds per token (classification: per sample).
    pub latency_ms: f64,
    /// Megabytes per device.
    pub memory_mb: f64,
}

/// One of the four axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the candidate's field of that name")]
pub enum Axis {
    Accuracy,
    Throughput,
    MemoryMb,
    LatencyMs,
}

impl Axis {
    /// In the paper's order.
    pub const ALL: [Self; 4] = [Self::Accuracy, Self::Throughput, Self::MemoryMb, Self::LatencyMs];

    /// The candidate's value on this axis.
    pub fn of(self, candidate: &Candidate) -> f64 {
        match self {
            Self::Accuracy => candidate.accuracy,
            Self::Throughput => candidate.throughput,
            Self::MemoryMb => candidate.memory_mb,
            Self::LatencyMs => candidate.latency_ms,
        }
    }

    fn lower_is_better(self) -> bool {
        matches!(self, Self::MemoryMb | Self::LatencyMs)
    }

    /// 0 at the worse bound, 1 at the better.
    fn normalise(self, x: f64, (low, high): (f64, f64)) -> f64 {
        let share = (x - low) / (high - low);
        if self.lower_is_better() { 1.0 - share } else { share }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::Throughput => "throughput",
            Self::MemoryMb => "memory_mb",
            Self::LatencyMs => "latency_ms",
        })
    }
}

/// Why there is no PER.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PerError {
    /// Min-max over one or two candidates only says better or worse.
    #[error("PER needs at least 3 candidates, got {0}; add candidates or use the anchored form")]
    TooFew(usize),
    /// All candidates agree on an axis: 0/0.
    #[error("all candidates have {axis} {value}; PER is undefined on such a set; drop or vary it")]
    Degenerate {
        /// Which axis.
        axis: Axis,
        /// The one value.
        value: f64,
    },
    /// NaN, infinite or negative.
    #[error("{axis} of {name} is {value}; wanted a finite number of at least 0")]
    Invalid {
        /// Which axis.
        axis: Axis,
        /// Whose.
        name: String,
        /// What.
        value: f64,
    },
    /// A ratio has no meaning at zero.
    #[error("{axis} of {name} is 0; the ratio form needs it positive; choose another reference")]
    Zero {
        /// Which axis.
        axis: Axis,
        /// Whose.
        name: String,
    },
    /// The anchors count accuracy as a share.
    #[error("accuracy of {name} is {value}; anchors want a share from 0 to 1; divide percent by 100")]
    NotShare {
        /// Whose.
        name: String,
        /// What.
        value: f64,
    },
}

/// The paper's PER of a whole set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PaperPer {
    /// One value per candidate, in the order given; each from 0 to 1.
    pub values: Vec<f64>,
    /// [`set_hash`] of the candidates: values with different hashes do not compare.
    pub set_hash: String,
}

/// The paper's PER: min-max over `set`, then the fourth root of the product.
///
/// # Errors
/// [`PerError::TooFew`], [`PerError::Degenerate`], [`PerError::Invalid`].
pub fn paper(set: &[Candidate]) -> Result<PaperPer, PerError> {
    set.iter().try_for_each(check)?;
    let values = paper_values(&set.iter().map(axes_of).collect::<Vec<_>>())?;
    Ok(PaperPer { values, set_hash: set_hash(set) })
}

/// The four axes of a candidate, in the order of [`Axis::ALL`].
pub(crate) type Axes = [f64; 4];

fn axes_of(candidate: &Candidate) -> Axes {
    Axis::ALL.map(|axis| axis.of(candidate))
}

/// [`paper`] over bare numbers, which are finite and not negative.
pub(crate) fn paper_values(set: &[Axes]) -> Result<Vec<f64>, PerError> {
    if set.len() < FEWEST {
        return Err(PerError::TooFew(set.len()));
    }
    let mut bounds = [(0.0, 0.0); 4];
    for ((at, axis), bound) in Axis::ALL.into_iter().enumerate().zip(&mut bounds) {
        let low = set.iter().map(|axes| axes[at]).fold(f64::INFINITY, f64::min);
        let high = set.iter().map(|axes| axes[at]).fold(f64::NEG_INFINITY, f64::max);
        if low == high {
            return Err(PerError::Degenerate { axis, value: low });
        }
        *bound = (low, high);
    }
    Ok(set.iter().map(|axes| fourth_root(normalised(axes, &bounds))).collect())
}

fn normalised<'a>(axes: &'a Axes, bounds: &'a [(f64, f64); 4]) -> impl Iterator<Item = f64> + 'a {
    Axis::ALL.into_iter().zip(axes).zip(bounds).map(|((axis, x), bound)| axis.normalise(*x, *bound))
}

/// [`anchored`] of bare numbers, which are finite and not negative.
pub(crate) fn anchored_value(axes: &Axes, bounds: &Bounds) -> f64 {
    fourth_root(normalised(axes, &bounds.axes).map(|share| share.clamp(0.0, 1.0)))
}

/// [`ratio`] of bare numbers, of which those of the reference are positive, as are memory and latency.
pub(crate) fn ratio_value(axes: &Axes, reference: &Axes) -> f64 {
    fourth_root(
        Axis::ALL
            .into_iter()
            .zip(axes.iter().zip(reference))
            .map(|(axis, (own, base))| if axis.lower_is_better() { base / own } else { own / base }),
    )
}

/// First 16 hexadecimal digits of a SHA-256 over the candidates, whatever their order.
///
/// Hashed are the JSON objects of the candidates, sorted, one per line.
pub fn set_hash(set: &[Candidate]) -> String {
    let line = |c: &Candidate| serde_json::to_string(c).unwrap_or_else(|_| format!("{c:?}"));
    let mut lines: Vec<String> = set.iter().map(line).collect();
    lines.sort();
    short_hash(&lines.join("\n"))
}

fn check(candidate: &Candidate) -> Result<(), PerError> {
    for axis in Axis::ALL {
        let value = axis.of(candidate);
        if !value.is_finite() || value < 0.0 {
            let name = candidate.name.clone();
            return Err(PerError::Invalid { axis, name, value });
        }
    }
    Ok(())
}

/// Roots first, so that the product of four large ratios cannot overflow.
fn fourth_root(factors: impl Iterator<Item = f64>) -> f64 {
    factors.map(|f| f.sqrt().sqrt()).product()
}

/// PER relative to `reference`: `(A/A0 * T/T0 * M0/M * L0/L)^(1/4)`; 1 for the reference itself.
///
/// # Errors
/// [`PerError::Invalid`]; [`PerError::Zero`] for a zero of the reference, or of the candidate's
/// memory or latency.
pub fn ratio(x: &Candidate, reference: &Candidate) -> Result<f64, PerError> {
    check(x)?;
    check(reference)?;
    let zero = |axis: Axis, c: &Candidate| (axis.of(c) == 0.0).then(|| PerError::Zero { axis, name: c.name.clone() });
    for axis in Axis::ALL {
        let own = if axis.lower_is_better() { zero(axis, x) } else { None };
        if let Some(error) = zero(axis, reference).or(own) {
            return Err(error);
        }
    }
    Ok(ratio_value(&axes_of(x), &axes_of(reference)))
}

/// An anchored PER.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnchoredPer {
    /// From 0 to 1.
    pub value: f64,
    /// Axes on which the candidate lay outside the bounds and was moved to the nearer one.
    pub clamped: Vec<Axis>,
}

/// The paper's formula between fixed bounds, each axis clamped to 0..1.
///
/// # Errors
/// [`PerError::Invalid`], [`PerError::NotShare`].
pub fn anchored(x: &Candidate, bounds: &Bounds) -> Result<AnchoredPer, PerError> {
    check(x)?;
    if x.accuracy > 1.0 {
        return Err(PerError::NotShare { name: x.name.clone(), value: x.accuracy });
    }
    let outside = |(axis, (low, high)): &(Axis, (f64, f64))| !(*low..=*high).contains(&axis.of(x));
    let clamped = Axis::ALL.into_iter().zip(bounds.axes).filter(outside).map(|(axis, _)| axis).collect();
    Ok(AnchoredPer { value: anchored_value(&axes_of(x), bounds), clamped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::Anchors;
    use crate::origin::Origin;
    use proptest::prelude::*;

    fn candidate(name: &str, v: [f64; 4]) -> Candidate {
        Candidate { name: name.to_owned(), accuracy: v[0], throughput: v[1], latency_ms: v[2], memory_mb: v[3] }
    }

    prop_compose! {
        /// On a grid, so that no axis' range is lost beside its offset.
        fn any_candidate()(v in prop::array::uniform4(1_u32..1000)) -> Candidate {
            let [a, t, l, m] = v.map(f64::from);
            candidate("c", [a / 1000.0, t, l, m])
        }
    }

    fn any_set() -> impl Strategy<Value = Vec<Candidate>> {
        let set = prop::collection::vec(any_candidate(), 3..30);
        set.prop_filter("an axis is constant", |set| paper(set).is_ok())
    }

    proptest! {
        #[test]
        fn paper_form_lies_in_0_to_1_with_a_zero_for_every_worst(set in any_set()) {
            let per = paper(&set).unwrap();
            for (c, value) in set.iter().zip(&per.values) {
                prop_assert!((0.0..=1.0).contains(value));
                let slowest = set.iter().all(|o| o.latency_ms <= c.latency_ms);
                prop_assert!(!slowest || *value == 0.0);
            }
        }

        #[test]
        fn order_of_candidates_changes_nothing(set in any_set(), turn in 0_usize..30) {
            let before = paper(&set).unwrap();
            let turn = turn % set.len();
            let mut turned = set.clone();
            turned.rotate_left(turn);
            let mut after = paper(&turned).unwrap();
            after.values.rotate_right(turn);
            prop_assert_eq!(before, after);
        }

        #[test]
        fn paper_form_ignores_positive_affine_maps(
            set in any_set(),
            maps in prop::array::uniform4((0.01..100.0, 0.0..100.0)),
        ) {
            let map = |i: usize, x: f64| maps[i].0 * x + maps[i].1;
            let moved: Vec<_> = set.iter().map(|c| candidate("c", [
                map(0, c.accuracy), map(1, c.throughput), map(2, c.latency_ms), map(3, c.memory_mb),
            ])).collect();
            let (before, after) = (paper(&set).unwrap(), paper(&moved).unwrap());
            for (a, b) in before.values.iter().zip(after.values) {
                // The fourth root turns a rounding error e near 0 into e^(1/4).
                prop_assert!((a.powi(4) - b.powi(4)).abs() < 1e-6);
            }
        }

        #[test]
        fn ratio_is_1_against_itself_and_reciprocal(x in any_candidate(), y in any_candidate()) {
            prop_assert_eq!(ratio(&x, &x).unwrap(), 1.0);
            let product = ratio(&x, &y).unwrap() * ratio(&y, &x).unwrap();
            prop_assert!((product - 1.0).abs() < 1e-12);
        }

        #[test]
        fn anchored_form_lies_in_0_to_1(x in any_candidate()) {
            let anchors = Anchors::own().unwrap();
            for task in ["GSM8K", "HumanEval", "anything else"] {
                let per = anchored(&x, anchors.for_task(task).unwrap()).unwrap();
                prop_assert!((0.0..=1.0).contains(&per.value));
            }
        }

        /// Anchored at a set's own extremes, the two forms are one.
        #[test]
        fn anchored_at_the_extremes_is_the_paper_form(set in any_set()) {
            let axes = Axis::ALL.map(|axis| {
                let values = || set.iter().map(|c| axis.of(c));
                (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max))
            });
            let bounds = Bounds {
                name: "own".into(),
                origin: Origin::derived("the set"),
                tasks: Vec::new(),
                axes,
            };
            for (c, value) in set.iter().zip(paper(&set).unwrap().values) {
                let own = anchored(c, &bounds).unwrap();
                prop_assert_eq!(own.value, value);
                prop_assert!(own.clamped.is_empty());
            }
        }
    }

    #[test]
    fn hash_follows_content() {
        let set: Vec<_> = (1..=3).map(|i| candidate(&i.to_string(), [0.1 * f64::from(i); 4])).collect();
        let mut other = set.clone();
        other[1].memory_mb *= 1.0 + 1e-15;
        assert_eq!(set_hash(&set).len(), 16);
        assert_ne!(set_hash(&set), set_hash(&other));
    }

    #[test]
    fn refusals_name_the_axis() {
        let c = |v| candidate("c", v);
        let set = [c([0.1, 2.0, 3.0, 9.0]), c([0.2, 3.0, 4.0, 9.0]), c([0.3, 4.0, 5.0, 9.0])];
        assert_eq!(paper(&set[..2]), Err(PerError::TooFew(2)));
        let degenerate = PerError::Degenerate { axis: Axis::MemoryMb, value: 9.0 };
        assert_eq!(paper(&set), Err(degenerate));
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let mut set = set.clone();
            set[2].latency_ms = bad;
            let error = paper(&set).unwrap_err();
            assert!(error.to_string().starts_with("latency_ms of c"), "{error}");
        }
        assert!(ratio(&set[0], &c([0.0, 1.0, 1.0, 1.0])).is_err());
        assert!(ratio(&c([1.0, 1.0, 0.0, 1.0]), &set[0]).is_err());
        assert_eq!(ratio(&c([0.0, 1.0, 1.0, 1.0]), &set[0]), Ok(0.0));
        let own = Anchors::own().unwrap();
        let bounds = own.for_task("x").unwrap();
        assert!(matches!(anchored(&c([37.7, 1.0, 1.0, 1.0]), bounds), Err(PerError::NotShare { .. })));
    }
}
