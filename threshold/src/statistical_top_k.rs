//! `statistical-top-k`: a threshold from mean and deviation, as if scores were Gaussian.

use crate::policy::in_layer;
use crate::select::Kernels;
use crate::{Density, Error, Feedback, Policy, Shape, normal};

/// Score ≥ mean + z · deviation of this token's scores, with P(Z > z) = density for a standard normal Z: statistical
/// top-k (You et al. 2025, "Spark Transformer", arXiv 2506.06644).
///
/// Two passes, no ranking. The density is met as far as scores are Gaussian, which magnitudes are not. The largest
/// score is always taken, even where mean + z · deviation is above it; where a score is infinite, and so the mean is
/// none, the layer is dense.
#[derive(Clone, Debug)]
pub struct StatisticalTopK {
    kernels: &'static Kernels,
    shape: Shape,
    z: f64,
    /// Threshold of the last token, per layer.
    last: Vec<Option<f32>>,
}

impl StatisticalTopK {
    /// The share of neurons to take of Gaussian scores; 1 is dense.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, density: Density) -> Self {
        let z = if density.get() == 1.0 { f64::NEG_INFINITY } else { normal::quantile(1.0 - density.get()) };
        Self { kernels, shape, z, last: vec![None; shape.layers()] }
    }

    fn cut(&self, scores: &[f32]) -> Result<f32, crate::select::Fault> {
        let moments = self.kernels.moments(scores)?;
        let mean = moments.sum / scores.len() as f64;
        let variance = (moments.squares / scores.len() as f64 - mean * mean).max(0.0);
        let cut = mean + self.z * variance.sqrt();
        Ok(if cut.is_nan() || self.z == f64::NEG_INFINITY || !mean.is_finite() {
            f32::NEG_INFINITY
        } else {
            (cut as f32).min(moments.largest)
        })
    }
}

impl Policy for StatisticalTopK {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        let cut = self.cut(scores).map_err(in_layer(layer))?;
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
