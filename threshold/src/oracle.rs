//! `oracle`: the least that any policy could compute for a miss.

use crate::{Error, Feedback, Mass, Miss, Policy, Shape, TopP, select::Kernels};

/// The fewest neurons that miss no more than the target, given the true output masses in place of scores: the bound
/// that other policies are measured against. No real policy can be asked to know them
/// ([`Policy::needs_truth`]).
#[derive(Clone, Debug)]
pub struct Oracle(TopP);

impl Oracle {
    /// The miss to allow in each layer and token of a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, miss: Miss) -> Self {
        Self(TopP::new(kernels, shape, Mass::without(miss)))
    }
}

impl Policy for Oracle {
    fn shape(&self) -> Shape {
        self.0.shape()
    }

    /// Takes true output masses for `scores`.
    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        self.0.select(layer, scores, active)
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.0.observe(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.0.threshold(layer)
    }

    fn needs_truth(&self) -> bool {
        true
    }
}
