//! `per-layer`: a threshold for each layer, calibrated once.

use crate::policy::{check_length, in_layer};
use crate::{Allocation, Calibration, Density, Error, Feedback, Policy, Shape, select::Kernels};

/// One threshold per layer, so that layers have the wanted density, each or on average, on a calibration text.
///
/// The density holds for as long as the scores stay distributed as they were on that text.
#[derive(Clone, Debug)]
pub struct PerLayer {
    kernels: &'static Kernels,
    shape: Shape,
    thresholds: Vec<f32>,
}

impl PerLayer {
    /// From thresholds that are known; −∞ leaves a layer dense.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless there is one threshold per layer; [`Error::OutOfRange`] for NaN and for
    /// +∞, which would silently skip a whole layer.
    pub fn new(kernels: &'static Kernels, shape: Shape, thresholds: Vec<f32>) -> Result<Self, Error> {
        check_length("thresholds", thresholds.len(), shape.layers())?;
        if let Some(&bad) = thresholds.iter().find(|t| t.is_nan() || **t == f32::INFINITY) {
            return Err(Error::out_of_range("threshold", &bad, "a number below infinity"));
        }
        Ok(Self { kernels, shape, thresholds })
    }

    /// From statistics of sample scores.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless the calibration has the layers of `shape`;
    /// [`Error::EmptyCalibration`] for a layer that saw no score; [`Error::NoMasses`] where the allocation
    /// needs masses and a layer has none; [`Error::OutOfRange`] where most of the
    /// sample is +∞.
    pub fn calibrated(
        kernels: &'static Kernels,
        shape: Shape,
        density: Density,
        allocation: Allocation,
        calibration: &Calibration,
    ) -> Result<Self, Error> {
        check_length("calibrated layers", calibration.layers(), shape.layers())?;
        let densities = calibration.densities(density, allocation)?;
        let thresholds = (0..).zip(densities).map(|(layer, density)| calibration.threshold(layer, density));
        Self::new(kernels, shape, thresholds.collect::<Result<_, _>>()?)
    }
}

impl Policy for PerLayer {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        self.kernels.at_least(scores, self.thresholds[layer], active).map_err(in_layer(layer))
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.thresholds.get(layer).copied()
    }
}
