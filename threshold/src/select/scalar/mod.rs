//! Plain Rust: the specification of the kernels. Each file has a twin in the other folders.

mod bracket;
mod compact;
mod count;
mod histogram;
mod mass;
mod moments;

pub(super) use bracket::bracket;
pub(super) use compact::compact;
pub(super) use count::count;
pub(super) use histogram::histogram;
pub(super) use mass::mass;
pub(super) use moments::moments;

use super::Kernels;
use crate::Isa;

pub(super) const KERNELS: Kernels = Kernels { isa: Isa::Scalar, compact, bracket, count, mass, moments, histogram };

/// Without an early exit, which would keep the loop from vectorising.
pub(super) fn any_nan(scores: &[f32]) -> bool {
    scores.iter().fold(false, |nan, score| nan | score.is_nan())
}
