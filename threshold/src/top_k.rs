//! `top-k`: the same number of neurons for every token.

use crate::policy::in_layer;
use crate::select::{Kernels, Ranking};
use crate::{Density, Error, Feedback, Policy, Shape};

/// Exactly k = max(1, round(density · neurons)) neurons, those of the largest scores; of equal scores the
/// lowest indices win. Bytes read, hence latency, are the same for every token; quality is not controlled.
#[derive(Clone, Debug)]
pub struct TopK {
    shape: Shape,
    k: usize,
    ranking: Ranking,
    /// Lowest score taken last, per layer.
    lowest: Vec<Option<f32>>,
}

impl TopK {
    /// The share of neurons to take in each layer of a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, density: Density) -> Self {
        Self {
            shape,
            k: density.rows(shape.neurons()),
            ranking: Ranking::with_capacity(kernels, shape.neurons()),
            lowest: vec![None; shape.layers()],
        }
    }
}

impl Policy for TopK {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        let lowest = self.ranking.top_k(scores, self.k, active).map_err(in_layer(layer))?;
        self.lowest[layer] = lowest;
        Ok(())
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.lowest.get(layer).copied().flatten()
    }
}
