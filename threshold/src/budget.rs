//! `budget`: holds density, hence bytes and latency, and spends it where the mass is.
//!
//! # The loop
//! One number p for all layers, the share of score mass to hold. A selection takes the fewest neurons that hold it, as
//! [`TopP`](crate::TopP) does; its density d is known at once, and
//!
//! ```text
//! p ← p + η · (δ − d)          δ target, η gain
//! ```
//!
//! Where p ≥ 1 every neuron is taken, where p ≤ 0 one. The first selection takes round(δ · n) neurons, and p starts
//! from the mass that those hold.
//!
//! A threshold that is fixed lets density follow every change of scale; top-k gives every layer and token the same,
//! needed or not. Here scale cancels, layers and tokens share one budget, and each miss is about as large as the other.
//! That is worth what the scores are worth as masses. Where no score is positive, round(δ · n) neurons are taken.
//!
//! # The guarantee
//! After T selections, for any scores in any order, as long as δ ≥ 1/n:
//!
//! ```text
//! |mean(d) − δ|  ≤  (1 + η) / (η T)  +  1/(2n)
//! ```
//!
//! *Proof.* As of [`dynamic`](crate::dynamic#the-guarantee): where p ≥ 1, d = 1 and p does not grow, elsewhere one step
//! adds at most ηδ; where p ≤ 0, d = 1/n ≤ δ and p does not fall, elsewhere one step takes away at most η(1 − δ). So p
//! stays within [−η(1 − δ), 1 + ηδ], and the steps telescope. The last term is what whole rows cost until a
//! selection with mass has set p. ∎
//!
//! # The gain
//! Near 10 % density a layer's d changes by about half of what p does (|h2| of Llama-2-70B), so with η =
//! [`Budget::GAIN`], 0.02, a token of 80 layers takes back half of a surprise, while the differences between layers,
//! which are no surprise, move p little within it.

use crate::policy::in_layer;
use crate::select::{Fault, Kernels, Ranking};
use crate::{Density, Error, Feedback, Policy, Shape};

/// Holds the mean density of all layers at a target. See the [module](self) for the loop and its guarantee.
#[derive(Clone, Debug)]
pub struct Budget {
    shape: Shape,
    density: Density,
    /// p, once a selection with mass has set it.
    mass: Option<f64>,
    ranking: Ranking,
    /// Lowest score taken last, per layer.
    lowest: Vec<Option<f32>>,
}

impl Budget {
    /// η: see [the gain](self#the-gain).
    pub const GAIN: f64 = 0.02;

    /// The density to hold over the layers of a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, density: Density) -> Self {
        let ranking = Ranking::with_capacity(kernels, shape.neurons());
        Self { shape, density, mass: None, ranking, lowest: vec![None; shape.layers()] }
    }

    /// How far at most the mean density of `selections` selections is from the target: the guarantee of the
    /// [module](self).
    #[must_use]
    pub fn bound(&self, selections: u64) -> f64 {
        (1.0 + Self::GAIN) / (Self::GAIN * selections as f64) + 0.5 / self.shape.neurons() as f64
    }

    fn take(&mut self, scores: &[f32], active: &mut Vec<u32>) -> Result<Option<f32>, Fault> {
        let rows = self.density.rows(self.shape.neurons());
        let Some(mass) = self.mass else {
            let lowest = self.ranking.top_k(scores, rows, active)?;
            let share = mass(active.iter().map(|&row| scores[row as usize])) / mass(scores.iter().copied());
            self.mass = share.is_finite().then_some(share);
            return Ok(lowest);
        };
        let lowest = if mass <= 0.0 {
            self.ranking.top_k(scores, 1, active)?
        } else {
            self.ranking.top_p(scores, mass.min(1.0), active)?
        };
        if mass < 1.0 && lowest == Some(f32::NEG_INFINITY) {
            // No mass: as many as the budget has, or a silent stream would move p without end.
            return self.ranking.top_k(scores, rows, active);
        }
        Ok(lowest)
    }
}

fn mass(scores: impl Iterator<Item = f32>) -> f64 {
    scores.map(|score| f64::from(score.max(0.0))).sum()
}

impl Policy for Budget {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        let started = self.mass.is_some();
        self.lowest[layer] = self.take(scores, active).map_err(in_layer(layer))?;
        if started && let Some(mass) = &mut self.mass {
            *mass += Self::GAIN * (self.density.get() - active.len() as f64 / scores.len() as f64);
        }
        Ok(())
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.lowest.get(layer).copied().flatten()
    }
}
