//! Published magnitude quantiles, layer by layer.

use crate::policy::check_length;
use crate::{Error, normal};

/// For each layer, the magnitude that a given share of neurons does not exceed, at a few levels.
///
/// Between levels the logarithm of the magnitude is linear in the normal quantile of the level (piecewise
/// log-normal); beyond the first and last level the outermost slope goes on (assumed: for |h2| of
/// Llama-2-70B the slope between levels 0.8, 0.9 and 0.95 changes by a tenth or less in most layers). A magnitude of 0, as
/// of `ReLU`, stays 0 up to the last level that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantileTable {
    /// Normal quantile of each level.
    z: Vec<f64>,
    /// Natural logarithm of each magnitude, layer after layer; −∞ for 0.
    ln: Vec<f64>,
}

impl QuantileTable {
    /// A table of `values[layer · levels.len() + level]`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless there are two levels or more, strictly increasing in (0, 1), and the
    /// values of each layer are finite, non-negative, non-decreasing and not all 0;
    /// [`Error::WrongLength`] unless `values` holds whole layers, one at least.
    pub fn new(levels: &[f64], values: &[f32]) -> Result<Self, Error> {
        let ordered = levels.is_sorted_by(|a, b| a < b);
        let inside = levels.iter().all(|level| (1e-12..=1.0 - 1e-12).contains(level));
        if levels.len() < 2 || !ordered || !inside {
            let wanted = "two or more, strictly increasing in (0, 1)";
            return Err(Error::out_of_range("quantile levels", &format!("{levels:?}"), wanted));
        }
        let whole = values.len().div_ceil(levels.len()).max(1) * levels.len();
        check_length("quantile values", values.len(), whole)?;
        for layer in values.chunks(levels.len()) {
            let finite = layer.iter().all(|value| *value >= 0.0 && value.is_finite());
            if !finite || !layer.is_sorted() || layer[layer.len() - 1] == 0.0 {
                let wanted = "finite, non-negative, non-decreasing and not all 0";
                return Err(Error::out_of_range("quantile values", &format!("{layer:?}"), wanted));
            }
        }
        Ok(Self {
            z: levels.iter().map(|&level| normal::quantile(level)).collect(),
            ln: values.iter().map(|&value| f64::from(value).ln()).collect(),
        })
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.ln.len() / self.z.len()
    }

    /// Natural logarithm of the magnitude of `layer` at the level whose normal quantile is `z`; −∞ for 0.
    pub(crate) fn ln_magnitude(&self, layer: usize, z: f64) -> f64 {
        let ln = &self.ln[layer * self.z.len()..][..self.z.len()];
        // The segment that holds z, or the outermost one.
        let right = self.z.partition_point(|&level| level < z).clamp(1, self.z.len() - 1);
        let left = right - 1;
        if ln[left] == f64::NEG_INFINITY {
            return if z <= self.z[left] || ln[right] == f64::NEG_INFINITY {
                f64::NEG_INFINITY
            } else {
                // From 0: linear in the magnitude, since there is no logarithm to be linear in.
                ln[right] + ((z - self.z[left]) / (self.z[right] - self.z[left])).ln()
            };
        }
        let slope = (ln[right] - ln[left]) / (self.z[right] - self.z[left]);
        ln[left] + slope * (z - self.z[left])
    }

    /// Logarithm of the magnitude at the highest level: the pivot of a change of shape.
    pub(crate) fn ln_highest(&self, layer: usize) -> f64 {
        self.ln[(layer + 1) * self.z.len() - 1]
    }
}
