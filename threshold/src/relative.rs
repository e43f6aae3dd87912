//! `relative`: a fraction of the largest score.

use crate::policy::in_layer;
use crate::select::Kernels;
use crate::{Error, Feedback, Fraction, Policy, Shape};

/// Score ≥ fraction · largest score of this token, as min-p sampling (Nguyen et al. 2024, arXiv 2407.01082) cuts
/// tokens and some gate-first kernels cut gates.
///
/// It follows any change of scale, and one outlier silences all others: density is whatever comes of it. Where no
/// score is positive there is nothing to be a fraction of, and the layer is dense.
#[derive(Clone, Debug)]
pub struct Relative {
    kernels: &'static Kernels,
    shape: Shape,
    fraction: f32,
    /// Threshold of the last token, per layer.
    last: Vec<Option<f32>>,
}

impl Relative {
    /// The same fraction in each layer of a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, fraction: Fraction) -> Self {
        Self { kernels, shape, fraction: fraction.get() as f32, last: vec![None; shape.layers()] }
    }
}

impl Policy for Relative {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        let largest = self.kernels.moments(scores).map_err(in_layer(layer))?.largest;
        // A fraction may round to nothing in f32: the product must not be NaN where the largest is infinite.
        let cut = if largest > 0.0 { largest * self.fraction.max(f32::MIN_POSITIVE) } else { f32::NEG_INFINITY };
        self.last[layer] = Some(cut);
        self.kernels.at_least(scores, cut, active).map_err(in_layer(layer))
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.last.get(layer).copied().flatten()
    }
}
