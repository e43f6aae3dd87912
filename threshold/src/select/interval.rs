//! Two keys that close in on a cut.

use super::order::{key, score};

/// Steps of a narrowing, after which what is left is searched: smooth scores need about six.
const STEPS: usize = 24;

/// The keys of the scores among which the cut is: from `low`, and below `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) low: u32,
    pub(super) end: u32,
    /// Weight of the scores from `low` up: enough.
    pub(super) from_low: f64,
    /// Weight of the scores from `end` up: not enough.
    pub(super) from_end: f64,
}

impl Interval {
    /// Moves both ends towards the cut until no more than `within` lies between them: by interpolation, aiming
    /// `within` / 2 beyond it from either side in turn, and by bisection after two steps that did not halve the keys.
    pub(super) fn narrow(mut self, wanted: f64, within: f64, weigh: impl Fn(f32) -> f64) -> Self {
        let mut aim = wanted;
        let mut slow = 0;
        for _ in 0..STEPS {
            let width = self.end - self.low;
            let between = self.from_low - self.from_end;
            if width <= 1 || between <= within {
                break;
            }
            let step = if slow == 2 { width / 2 } else { (f64::from(width) * (self.from_low - aim) / between) as u32 };
            let middle = self.low + step.clamp(1, width - 1);
            let weight = weigh(score(middle));
            if weight >= wanted {
                (self.low, self.from_low, aim) = (middle, weight, wanted - within / 2.0);
            } else {
                (self.end, self.from_end, aim) = (middle, weight, wanted + within / 2.0);
            }
            slow = if slow < 2 && self.end - self.low > width / 2 { slow + 1 } else { 0 };
        }
        self
    }

    /// The same by bisection alone.
    pub(super) fn halve(mut self, wanted: f64, within: f64, weigh: impl Fn(f32) -> f64) -> Self {
        while self.end - self.low > 1 && self.from_low - self.from_end > within {
            let middle = self.low.midpoint(self.end);
            let weight = weigh(score(middle));
            if weight >= wanted {
                (self.low, self.from_low) = (middle, weight);
            } else {
                (self.end, self.from_end) = (middle, weight);
            }
        }
        self
    }

    /// Its highest score.
    pub(super) fn high(self) -> f32 {
        // Not the score of the key before: before zero that would be negative zero, which equals it.
        if self.end > key(f32::INFINITY) { f32::INFINITY } else { score(self.end).next_down() }
    }
}
