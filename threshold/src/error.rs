//! What can be wrong with an input, in one line each.

use crate::Isa;
use crate::spec::FORMS;

/// Why a policy could not be named, built, asked or told.
///
/// Every message names what was given and what was wanted. No call in this crate panics on bad input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy string matches none of the known forms.
    #[error("unknown policy {given:?}: known forms are {}", FORMS.join(", "))]
    UnknownPolicy {
        /// The whole string that was given.
        given: String,
    },

    /// A number outside its range, not finite, or not a number at all.
    #[error("{quantity} is {given}: it must be {wanted}")]
    OutOfRange {
        /// What the number stands for.
        quantity: &'static str,
        /// The number, or the text that should have been one.
        given: String,
        /// The range it must lie in.
        wanted: &'static str,
    },

    /// `fixed` was asked for, but no model file gave a threshold.
    #[error(
        "policy `fixed` takes its threshold from the model file, which gives none: write it out, as in `fixed:0.0`"
    )]
    NoModelThreshold,

    /// The policy needs thresholds calibrated on sample scores.
    #[error("policy `{policy}` needs a calibration: none was given")]
    NoCalibration {
        /// The policy, in its canonical spelling.
        policy: String,
    },

    /// A layer of the calibration never saw a score.
    #[error("calibration of layer {layer} has seen no score")]
    EmptyCalibration {
        /// The layer.
        layer: usize,
    },

    /// The policy shares out rows by output mass, which a layer of the calibration does not tell.
    #[error("calibration of layer {layer} knows no output masses: add them beside the scores")]
    NoMasses {
        /// The layer.
        layer: usize,
    },

    /// A slice does not have the length that the shape asks for.
    #[error("{what}: length {given}, wanted {wanted}")]
    WrongLength {
        /// Which input.
        what: &'static str,
        /// Its length.
        given: usize,
        /// The length it must have.
        wanted: usize,
    },

    /// There is no such layer.
    #[error("layer {layer} is out of range: the policy was built for {layers} layers, numbered from 0")]
    LayerOutOfRange {
        /// The layer asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },

    /// A score that cannot be ordered.
    #[error("score {index} of layer {layer} is NaN")]
    NanScore {
        /// The layer.
        layer: usize,
        /// The neuron: the first NaN of the slice.
        index: usize,
    },

    /// `THRESHER_ISA` or a caller names no instruction set of this crate.
    #[error("unknown instruction set `{given}`: use one of scalar, avx2, avx512")]
    UnknownIsa {
        /// What was given.
        given: String,
    },

    /// The processor cannot run the instruction set asked for.
    #[error("this processor lacks {isa}: unset THRESHER_ISA to use {best}")]
    IsaUnavailable {
        /// What was asked for.
        isa: Isa,
        /// The best that runs here.
        best: Isa,
    },

    /// Feedback that contradicts itself or the selection it answers.
    #[error("feedback for layer {layer}: {problem}")]
    Feedback {
        /// The layer.
        layer: usize,
        /// The contradiction.
        problem: String,
    },
}

impl Error {
    pub(crate) fn out_of_range(quantity: &'static str, given: &impl ToString, wanted: &'static str) -> Self {
        Self::OutOfRange { quantity, given: given.to_string(), wanted }
    }

    pub(crate) fn feedback(layer: usize, problem: impl Into<String>) -> Self {
        Self::Feedback { layer, problem: problem.into() }
    }
}
