//! `fixed`: one threshold for the whole model.

use crate::policy::in_layer;
use crate::{Error, Feedback, Policy, Shape, Threshold, select::Kernels};

/// One global threshold, set at load, as in PowerInfer (`ggml.c:44` at d3ebd7c, on raw predictor logits).
#[derive(Clone, Debug)]
pub struct Fixed {
    kernels: &'static Kernels,
    shape: Shape,
    threshold: Threshold,
}

impl Fixed {
    /// The same threshold for every layer of a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, threshold: Threshold) -> Self {
        Self { kernels, shape, threshold }
    }
}

impl Policy for Fixed {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        self.kernels.at_least(scores, self.threshold.get(), active).map_err(in_layer(layer))
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        (layer < self.shape.layers()).then_some(self.threshold.get())
    }
}
