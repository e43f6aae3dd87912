//! The selection kernels: scores in, strictly ascending indices out, by scalar, AVX2 or AVX-512 code.
//!
//! ```text
//! at_least   scores ─▶ score ≥ threshold ? keep index : drop          one pass, no branch per score
//!
//! top_k      a sample of 512 scores ─▶ low ≤ cut ≤ high, most likely
//!            scores ─▶ count those > high, keep those in low ..= high   one pass
//!            those  ─▶ narrow low ..= high, keep, and again             ~10 passes over a few per cent
//!            scores ─▶ at_least(cut), without the last of its ties      one pass
//!
//! top_p      the same, with sums of scores in place of counts
//! ```
//!
//! Nothing is ever sorted. The sample decides how long a ranking takes, never what it finds: where the cut lies
//! outside of the bracket, the scores on its side are searched instead.
//!
//! [`Kernels`] are the passes, in folders that mirror each other file for file (only the histogram has none of its
//! own in AVX-512); [`Ranking`] puts them together.
//! `PERFORMANCE.md` beside this crate's manifest says how long they take, and why.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512;
mod interval;
mod kernels;
mod order;
mod ranking;
mod scalar;

pub use kernels::{BUCKETS, Kernels, Moments};
pub(crate) use order::{key, score};
pub use ranking::{Cut, Ranking};

/// Why a kernel could not select.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A score that cannot be ordered.
    #[error("score {index} is NaN")]
    Nan {
        /// The first NaN.
        index: usize,
    },
    /// There is no score of that rank.
    #[error("rank {rank} is not in 1 ..= {scores}")]
    Rank {
        /// The rank asked for, the largest score being 1.
        rank: usize,
        /// How many scores there are.
        scores: usize,
    },
    /// A share that is none.
    #[error("share {share} is not in [0, 1]")]
    Share {
        /// What was given.
        share: f64,
    },
}

/// Low bits of a score's [`key`] that share a bucket: 1/4 of an octave.
const BUCKET_SHIFT: u32 = 32 - BUCKETS.ilog2();

/// The bucket of a score in a [histogram](Kernels::histogram). Higher scores never have lower buckets.
#[must_use]
pub fn bucket(score: f32) -> usize {
    (key(score) >> BUCKET_SHIFT) as usize
}

/// The lowest score of a bucket; of a bucket that no score falls into, the infinity beside it.
#[must_use]
pub fn bucket_start(bucket: usize) -> f32 {
    let first = (bucket.min(BUCKETS - 1) as u32) << BUCKET_SHIFT;
    score(first.clamp(key(f32::NEG_INFINITY), key(f32::INFINITY)))
}
