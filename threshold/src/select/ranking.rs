//! Exact selection by rank and by mass, without sorting.

use std::mem;

use super::interval::Interval;
use super::kernels::first_nan;
use super::order::{key, last_reaching, score};
use super::scalar::any_nan;
use super::{Fault, Kernels};

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

/// Exact selection by rank and by mass, without sorting. Holds its scratch memory between calls.
#[derive(Clone, Debug)]
pub struct Ranking {
    kernels: &'static Kernels,
    sample: Vec<f32>,
    /// Scores of the bracket.
    near: Vec<f32>,
    /// Scores of a part of it, in turn with it.
    nearer: Vec<f32>,
}

/// Scores in a sample: 32 pieces of 16, evenly spread.
const SAMPLE: usize = 512;
const PIECE: usize = 16;

/// As few scores as this are searched without a sample.
const FEW: usize = 2 * SAMPLE;

/// Standard deviations of the sample's share on each side of the wanted one that the bracket spans: the cut lies
/// outside of it once in 370 times, where scores are drawn alike.
const SPAN: f64 = 3.0;

/// A narrowing leaves this part of the weight, and what it leaves is gathered before the next.
const NARROWING: f64 = 16.0;

/// As few scores as this are searched by bisection.
const FINALISTS: usize = 64;

/// What a ranking adds up from the top until it has enough.
#[derive(Clone, Copy)]
enum Weight {
    /// One a score.
    Count,
    /// The score itself, where it is positive.
    Mass,
}

impl Weight {
    /// Of the scores that are at least `pivot`.
    fn of(self, kernels: &Kernels, scores: &[f32], pivot: f32) -> f64 {
        match self {
            Self::Count => (kernels.count)(scores, pivot) as f64,
            Self::Mass => (kernels.mass)(scores, pivot.max(SMALLEST)),
        }
    }

    /// Of the scores above `pivot`.
    fn above(self, kernels: &Kernels, scores: &[f32], pivot: f32) -> f64 {
        if pivot == f32::INFINITY { 0.0 } else { self.of(kernels, scores, pivot.next_up()) }
    }
}

/// The smallest positive score.
const SMALLEST: f32 = f32::from_bits(1);

impl Ranking {
    /// Scratch memory for up to `scores` scores; more make it grow.
    #[must_use]
    pub fn with_capacity(kernels: &'static Kernels, scores: usize) -> Self {
        let [near, nearer] = [scores; 2].map(Vec::with_capacity);
        Self { kernels, sample: Vec::with_capacity(SAMPLE), near, nearer }
    }

    /// The kernels that it runs.
    #[must_use]
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Finds the score of rank `rank`, the largest having rank 1. Zeros of either sign are equal.
    ///
    /// # Errors
    /// [`Fault::Rank`] unless `rank` is in `1 ..= scores.len()`; [`Fault::Nan`].
    pub fn kth_largest(&mut self, scores: &[f32], rank: usize) -> Result<Cut, Fault> {
        if any_nan(scores) {
            return Err(first_nan(scores));
        }
        self.cut_at(scores, rank)
    }

    /// The score that a share of the scores does not exceed: that of rank n + 1 − max(1, ⌈share · n⌉) of n.
    ///
    /// # Errors
    /// [`Fault::Share`] outside [0, 1]; [`Fault::Rank`] where there is no score; [`Fault::Nan`].
    pub fn quantile(&mut self, scores: &[f32], share: f64) -> Result<f32, Fault> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Fault::Share { share });
        }
        let below = ((share * scores.len() as f64).ceil() as usize).clamp(1, scores.len().max(1));
        Ok(self.kth_largest(scores, (scores.len() + 1).saturating_sub(below))?.score)
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
            return if any_nan(scores) { Err(first_nan(scores)) } else { Ok(None) };
        }
        let cut = self.cut_at(scores, k)?;
        self.collect(scores, cut, active).map(Some)
    }

    /// Replaces `active` by the indices of the fewest largest scores that hold `share` of the mass, ascending; of
    /// equal scores the lowest indices win. A score's mass is the score itself where it is positive, and nothing
    /// where it is not. Returns the lowest score taken. After an error `active` is empty.
    ///
    /// Sums are in f64: where a share is met to the last bits, one row more or less may be taken. Infinite scores
    /// hold all mass. Where no score has mass, or `share` is 1, every index is taken, and −∞ returned; where
    /// `share` is 0, none, and `None`.
    ///
    /// # Errors
    /// [`Fault::Share`] outside [0, 1]; [`Fault::Nan`].
    pub fn top_p(&mut self, scores: &[f32], share: f64, active: &mut Vec<u32>) -> Result<Option<f32>, Fault> {
        active.clear();
        if !(0.0..=1.0).contains(&share) {
            return Err(Fault::Share { share });
        }
        if share == 0.0 {
            return self.top_k(scores, 0, active);
        }
        let total = (self.kernels.mass)(scores, SMALLEST);
        if share == 1.0 || total == 0.0 || total == f64::INFINITY {
            let cut = if share < 1.0 && total > 0.0 { f32::INFINITY } else { f32::NEG_INFINITY };
            self.kernels.at_least(scores, cut, active)?;
            return Ok(Some(cut));
        }
        let wanted = share * total;
        let (score, above) = self.search(scores, Weight::Mass, wanted, total);
        let ties = self.ties(score);
        let ties_within = (((wanted - above) / f64::from(score)).ceil() as usize).clamp(1, ties.max(1));
        self.collect(scores, Cut { score, ties_within, ties }, active).map(Some)
    }

    /// [`kth_largest`](Self::kth_largest) of scores that may be NaN, which it takes for lower than any other.
    fn cut_at(&mut self, scores: &[f32], rank: usize) -> Result<Cut, Fault> {
        if rank == 0 || rank > scores.len() {
            return Err(Fault::Rank { rank, scores: scores.len() });
        }
        let (score, above) = self.search(scores, Weight::Count, rank as f64, scores.len() as f64);
        Ok(Cut { score, ties_within: rank - above as usize, ties: self.ties(score) })
    }

    /// The highest score from which up the weight is `wanted`, of `total`; and the weight above it. Leaves some
    /// scores in `near`, those that equal it among them.
    fn search(&mut self, scores: &[f32], weight: Weight, wanted: f64, total: f64) -> (f32, f64) {
        let kernels = self.kernels;
        let (low, high) = self.guess(scores, weight, wanted / total);
        let (mut interval, mut above) = self.keep(scores, weight, (low, high));
        // Misled by the sample: at most once, or two sums that round apart could send it to and fro.
        if above >= wanted && high < f32::INFINITY {
            (interval, above) = self.keep(scores, weight, (high.next_up(), f32::INFINITY));
        } else if above + interval.from_low < wanted && low > f32::NEG_INFINITY {
            (interval, above) = self.keep(scores, weight, (f32::NEG_INFINITY, low.next_down()));
        }
        let mut stuck = false;
        loop {
            let scores = self.near.len();
            let wanted = wanted - above;
            let weigh = |pivot| weight.of(kernels, &self.near, pivot);
            if scores <= FINALISTS || stuck {
                let score = last_reaching(score(interval.low), interval.high(), |pivot| weigh(pivot) >= wanted);
                return (score, above + weight.above(kernels, &self.near, score));
            }
            let narrow = interval.narrow(wanted, interval.from_low / NARROWING, weigh);
            self.nearer.clear();
            (kernels.bracket)(&self.near, score(narrow.low), narrow.high(), &mut self.nearer);
            mem::swap(&mut self.near, &mut self.nearer);
            above += narrow.from_end;
            interval = Interval { from_low: narrow.from_low - narrow.from_end, from_end: 0.0, ..narrow };
            stuck = self.near.len() > scores / 2; // ties, most likely
        }
    }

    /// Leaves the scores of `low ..= high` in `near`; the weight above them.
    fn keep(&mut self, scores: &[f32], weight: Weight, (low, high): (f32, f32)) -> (Interval, f64) {
        self.near.clear();
        let above = (self.kernels.bracket)(scores, low, high, &mut self.near);
        let (above, from_low) = match weight {
            Weight::Count => (above as f64, self.near.len() as f64),
            Weight::Mass => (weight.above(self.kernels, scores, high), weight.of(self.kernels, &self.near, low)),
        };
        (Interval { low: key(low), end: key(high) + 1, from_low, from_end: 0.0 }, above)
    }

    /// How many scores equal the last one that was searched for.
    fn ties(&self, score: f32) -> usize {
        let count = |weight: f64| weight as usize;
        count(Weight::Count.of(self.kernels, &self.near, score))
            - count(Weight::Count.above(self.kernels, &self.near, score))
    }

    /// Two scores with the cut most likely between them, from a sample.
    fn guess(&mut self, scores: &[f32], weight: Weight, share: f64) -> (f32, f32) {
        let everywhere = (f32::NEG_INFINITY, f32::INFINITY);
        if scores.len() <= FEW {
            return everywhere;
        }
        self.draw(scores);
        let (lowest, highest) = self
            .sample
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &score| (low.min(score), high.max(score)));
        let weigh = |pivot| weight.of(self.kernels, &self.sample, pivot);
        let total = weigh(lowest);
        // How many equal weights would vary as much (Kish 1965, "Survey sampling").
        let size = match weight {
            Weight::Count => total,
            Weight::Mass => total * total / (self.kernels.moments)(&self.sample).0.squares,
        };
        let span = total * (SPAN * (share * (1.0 - share) / size).sqrt() + 1.0 / size);
        let all = Interval { low: key(lowest), end: key(highest) + 1, from_low: total, from_end: 0.0 };
        let near = |wanted: f64| all.halve(wanted, span / 4.0, weigh);
        let (last, first) = (share * total + span, share * total - span);
        let low = if last < total { score(near(last).low) } else { everywhere.0 };
        let high = if first > 0.0 { near(first).high() } else { everywhere.1 };
        if low <= high { (low, high) } else { everywhere }
    }

    /// Takes a sample: pieces of neighbours, a cache line each.
    fn draw(&mut self, scores: &[f32]) {
        self.sample.clear();
        let stride = scores.len() / (SAMPLE / PIECE);
        for part in scores.chunks_exact(stride).take(SAMPLE / PIECE) {
            self.sample.extend_from_slice(&part[..PIECE]);
        }
    }

    /// The indices of the scores above the cut and of its first ties; the score of the cut.
    fn collect(&self, scores: &[f32], cut: Cut, active: &mut Vec<u32>) -> Result<f32, Fault> {
        let end = if cut.ties == cut.ties_within { scores.len() } else { self.end_of_ties(scores, cut) };
        let (with_ties, without) = scores.split_at(end);
        let above = if cut.score == f32::INFINITY { f32::NAN } else { cut.score.next_up() };
        let nan = (self.kernels.compact)(with_ties, cut.score, 0, active);
        if nan | (self.kernels.compact)(without, above, end as u32, active) {
            active.clear();
            return Err(first_nan(scores));
        }
        Ok(cut.score)
    }

    /// Where the last tie within the cut ends.
    fn end_of_ties(&self, scores: &[f32], cut: Cut) -> usize {
        let mut left = cut.ties_within;
        let mut end = 0;
        for block in scores.chunks(1024) {
            let above = Weight::Count.above(self.kernels, block, cut.score) as usize;
            let ties = (self.kernels.count)(block, cut.score) - above;
            if ties >= left {
                let mut ties = (0..block.len()).filter(|&index| block[index] == cut.score);
                return end + ties.nth(left - 1).map_or(block.len(), |last| last + 1);
            }
            left -= ties;
            end += block.len();
        }
        end
    }
}
