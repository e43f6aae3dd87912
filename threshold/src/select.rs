//! The selection kernels: scores in, strictly ascending indices out. One pass wherever one is enough.
//!
//! ```text
//! at_least   scores ─▶ score ≥ threshold ? keep index : drop     one pass, no branch per score
//!
//! top_k      scores ─▶ order-preserving u32 keys
//!                      bits 31…21  histogram of all scores       ─┐
//!                      bits 20…10  histogram of one bucket        ├▶ cut = k-th largest key
//!                      bits  9… 0  histogram of one bucket of it ─┘
//!            scores ─▶ key > cut, and the first few of key = cut
//! ```
//!
//! These are the scalar kernels, and the specification of any faster one.

/// The instruction set of the kernels that run on this machine.
#[must_use]
pub fn isa() -> &'static str {
    "scalar"
}

/// Why a kernel could not select.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// Indices are gathered in a block on the stack, then appended: writing `active` in place would have to
/// fill it with zeros first.
const BLOCK: usize = 64;

/// Replaces `active` by the indices i with `scores[i] >= threshold`, ascending. No score reaches a NaN
/// threshold. After an error `active` is empty.
///
/// # Errors
/// [`Fault::Nan`].
pub fn at_least(scores: &[f32], threshold: f32, active: &mut Vec<u32>) -> Result<(), Fault> {
    active.clear();
    let nan = gather(scores, active, |score| score >= threshold);
    refuse_nan(nan, scores, active)
}

/// Replaces `active` by the index of every score.
///
/// # Errors
/// [`Fault::Nan`].
pub fn all(scores: &[f32], active: &mut Vec<u32>) -> Result<(), Fault> {
    active.clear();
    active.extend(0..scores.len() as u32);
    refuse_nan(any_nan(scores), scores, active)
}

/// Appends the indices whose score is `wanted`, ascending, and says whether any score was NaN.
fn gather(scores: &[f32], active: &mut Vec<u32>, mut wanted: impl FnMut(f32) -> bool) -> bool {
    let mut nan = false;
    let mut first = 0;
    let mut kept = [0; BLOCK];
    for block in scores.chunks(BLOCK) {
        // A loop of its own: apart from the gathering, which is serial, it vectorises.
        nan |= any_nan(block);
        let mut len = 0;
        for (index, &score) in (first..).zip(block) {
            kept[len % BLOCK] = index;
            len += usize::from(wanted(score));
        }
        active.extend_from_slice(&kept[..len]);
        first += BLOCK as u32;
    }
    nan
}

/// Without an early exit, which would keep the loop from vectorising.
fn any_nan(scores: &[f32]) -> bool {
    scores.iter().fold(false, |nan, score| nan | score.is_nan())
}

fn first_nan(scores: &[f32]) -> Fault {
    let index = scores.iter().position(|score| score.is_nan()).unwrap_or_default();
    Fault::Nan { index }
}

fn refuse_nan(nan: bool, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Fault> {
    if !nan {
        return Ok(());
    }
    active.clear();
    Err(first_nan(scores))
}

/// Where a ranking is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// The score of the wanted rank. Never negative zero.
    pub score: f32,
    /// How many scores equal to it are within the rank, at least 1.
    pub ties_within: usize,
    /// How many scores equal to it there are.
    pub ties: usize,
}

/// Exact selection by rank, without sorting. Holds its scratch memory between calls.
#[derive(Clone, Debug)]
pub struct Ranking {
    histogram: Box<[u32; BUCKETS]>,
    keys: Vec<u32>,
}

const BUCKETS: usize = 1 << 11;

/// Right shifts that bring each digit of a key, top first, into the low 11 bits. The last digit is 10 bits
/// wide; the eleventh is settled by then.
const DIGITS: [u32; 3] = [21, 10, 0];

impl Ranking {
    /// Scratch memory for up to `scores` scores; more make it grow.
    #[must_use]
    pub fn with_capacity(scores: usize) -> Self {
        Self { histogram: Box::new([0; BUCKETS]), keys: Vec::with_capacity(scores) }
    }

    /// Finds the score of rank `rank`, the largest having rank 1. Zeros of either sign are equal.
    ///
    /// # Errors
    /// [`Fault::Rank`] unless `rank` is in `1 ..= scores.len()`; [`Fault::Nan`].
    pub fn kth_largest(&mut self, scores: &[f32], rank: usize) -> Result<Cut, Fault> {
        if rank == 0 || rank > scores.len() {
            return Err(Fault::Rank { rank, scores: scores.len() });
        }
        if any_nan(scores) {
            return Err(first_nan(scores));
        }
        self.keys.clear();
        self.keys.extend(scores.iter().map(|&score| key(score)));
        let mut left = rank;
        for shift in DIGITS {
            left = self.narrow(shift, left);
        }
        // All three digits agree now: what is left of the keys is one key, repeated.
        Ok(Cut { score: score(self.keys[0]), ties_within: left, ties: self.keys.len() })
    }

    /// Keeps the keys whose digit at `shift` is that of the key of rank `rank`; returns its rank among them.
    fn narrow(&mut self, shift: u32, rank: usize) -> usize {
        let digit = |key: u32| (key >> shift) as usize % BUCKETS;
        self.histogram.fill(0);
        for &key in &self.keys {
            self.histogram[digit(key)] += 1;
        }
        let mut above = 0;
        let mut bucket = BUCKETS - 1;
        while above + (self.histogram[bucket] as usize) < rank {
            above += self.histogram[bucket] as usize;
            bucket -= 1;
        }
        // `retain` would branch on each key, and guess wrong where the bucket is crowded.
        let mut len = 0;
        for index in 0..self.keys.len() {
            let key = self.keys[index];
            self.keys[len] = key;
            len += usize::from(digit(key) == bucket);
        }
        self.keys.truncate(len);
        rank - above
    }

    /// Replaces `active` by the indices of the `k` largest scores, ascending; of equal scores the lowest
    /// indices win. `k` 0 gives the empty set. Returns the lowest score taken. After an error `active` is
    /// empty.
    ///
    /// # Errors
    /// [`Fault::Rank`] where `k` is more than `scores.len()`; [`Fault::Nan`].
    pub fn top_k(&mut self, scores: &[f32], k: usize, active: &mut Vec<u32>) -> Result<Option<f32>, Fault> {
        active.clear();
        if k == 0 {
            return refuse_nan(any_nan(scores), scores, active).map(|()| None);
        }
        let cut = self.kth_largest(scores, k)?;
        let mut ties_left = cut.ties_within;
        if cut.ties == ties_left {
            gather(scores, active, |score| score >= cut.score);
        } else {
            gather(scores, active, |score| {
                let tie = (score == cut.score) & (ties_left > 0);
                ties_left -= usize::from(tie);
                tie | (score > cut.score)
            });
        }
        Ok(Some(cut.score))
    }
}

/// An integer that orders as the score does. Adding zero makes negative zero positive: they are equal
/// scores, and must tie.
#[inline]
pub(crate) fn key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    // Negative: all bits flip, so that larger magnitudes come first. Positive: above every negative.
    bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000)
}

/// The score of a key.
#[inline]
pub(crate) fn score(key: u32) -> f32 {
    f32::from_bits(key ^ (((!key as i32) >> 31) as u32 | 0x8000_0000))
}
