//! The kernels of each instruction set, in one list: policies, tests and benches walk it.

use std::fmt;

use super::{Fault, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::{Error, Isa};

/// Sums over scores, from which mean and deviation follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Sum of the scores.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// The largest; −∞ where there is none.
    pub largest: f32,
}

/// Buckets of a [histogram](Kernels::histogram).
pub const BUCKETS: usize = 1 << 11;

/// The selection kernels of one instruction set. A reference to one is proof that this processor runs it.
pub struct Kernels {
    pub(crate) isa: Isa,
    /// Appends `first` + i for each `scores[i] >= threshold`, ascending; whether any score was NaN.
    pub(crate) compact: fn(scores: &[f32], threshold: f32, first: u32, active: &mut Vec<u32>) -> bool,
    /// Appends the scores in `low ..= high`, in order; how many are above. `low` is at most `high`.
    pub(crate) bracket: fn(scores: &[f32], low: f32, high: f32, within: &mut Vec<f32>) -> usize,
    /// How many scores are at least `pivot`.
    pub(crate) count: fn(scores: &[f32], pivot: f32) -> usize,
    /// Sum of the scores that are at least `pivot`.
    pub(crate) mass: fn(scores: &[f32], pivot: f32) -> f64,
    /// Sums, and whether any score was NaN.
    pub(crate) moments: fn(scores: &[f32]) -> (Moments, bool),
    /// Adds one to the bucket of each score; whether any was NaN.
    pub(crate) histogram: fn(scores: &[f32], counts: &mut [u32; BUCKETS]) -> bool,
}

/// Every instruction set of this build. On processors other than x86-64 only the scalar one exists.
static KERNELS: &[Kernels] = &[
    scalar::KERNELS,
    #[cfg(target_arch = "x86_64")]
    avx2::KERNELS,
    #[cfg(target_arch = "x86_64")]
    avx512::KERNELS,
];

impl Kernels {
    /// Those of `isa`.
    ///
    /// # Errors
    /// [`Error::IsaUnavailable`] where this processor cannot run them.
    pub fn with(isa: Isa) -> Result<&'static Self, Error> {
        let isa = isa.require()?;
        Ok(KERNELS.iter().find(|kernels| kernels.isa == isa).unwrap_or(&KERNELS[0]))
    }

    /// Those that `THRESHER_ISA` names, or the best that run here.
    ///
    /// # Errors
    /// As [`Isa::from_env`].
    pub fn from_env() -> Result<&'static Self, Error> {
        Self::with(Isa::from_env()?)
    }

    /// The best that run here.
    #[must_use]
    pub fn best() -> &'static Self {
        Self::with(Isa::best()).unwrap_or(&KERNELS[0])
    }

    /// Their instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Replaces `active` by the indices i with `scores[i] >= threshold`, ascending. No score reaches a NaN
    /// threshold. After an error `active` is empty.
    ///
    /// # Errors
    /// [`Fault::Nan`].
    pub fn at_least(&self, scores: &[f32], threshold: f32, active: &mut Vec<u32>) -> Result<(), Fault> {
        active.clear();
        if (self.compact)(scores, threshold, 0, active) {
            active.clear();
            return Err(first_nan(scores));
        }
        Ok(())
    }

    /// Replaces `active` by the index of every score. After an error it is empty.
    ///
    /// # Errors
    /// [`Fault::Nan`].
    pub fn all(&self, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Fault> {
        self.at_least(scores, f32::NEG_INFINITY, active)
    }

    /// Sums of the scores, in f64.
    ///
    /// # Errors
    /// [`Fault::Nan`].
    pub fn moments(&self, scores: &[f32]) -> Result<Moments, Fault> {
        match (self.moments)(scores) {
            (moments, false) => Ok(moments),
            (_, true) => Err(first_nan(scores)),
        }
    }

    /// Adds to `counts` how many scores fall into each bucket. [`bucket`](super::bucket) tells a score's
    /// bucket, [`bucket_start`](super::bucket_start) the lowest score of a bucket.
    ///
    /// # Errors
    /// [`Fault::Nan`], and then `counts` is of no use.
    pub fn histogram(&self, scores: &[f32], counts: &mut [u32; BUCKETS]) -> Result<(), Fault> {
        if (self.histogram)(scores, counts) { Err(first_nan(scores)) } else { Ok(()) }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Kernels({})", self.isa)
    }
}

pub(super) fn first_nan(scores: &[f32]) -> Fault {
    let index = scores.iter().position(|score| score.is_nan()).unwrap_or_default();
    Fault::Nan { index }
}
