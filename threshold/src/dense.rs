//! `dense`: every neuron, every time.

use crate::policy::in_layer;
use crate::{Error, Feedback, Policy, Shape, select::Kernels};

/// Selects every neuron: the baseline that skips nothing.
#[derive(Clone, Debug)]
pub struct Dense {
    kernels: &'static Kernels,
    shape: Shape,
}

impl Dense {
    /// The dense policy for a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape) -> Self {
        Self { kernels, shape }
    }
}

impl Policy for Dense {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        self.kernels.all(scores, active).map_err(in_layer(layer))
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        (layer < self.shape.layers()).then_some(f32::NEG_INFINITY)
    }
}
