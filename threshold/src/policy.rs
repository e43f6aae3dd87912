//! What every policy does.

use std::fmt;

use crate::select::Fault;
use crate::{Error, Feedback};

/// Turns the scores of one layer and token into the set of neurons to compute, and may learn from what came of it.
///
/// The caller walks the layers of a token in any order: [`select`](Self::select), run the kernels on the
/// active rows, [`observe`](Self::observe). Every policy holds constant memory and allocates nothing per
/// token once `active` has capacity for the layer.
pub trait Policy: fmt::Debug + Send {
    /// The model shape that the policy was built for.
    fn shape(&self) -> Shape;

    /// Replaces `active` by the neurons of `layer` to compute, strictly ascending.
    ///
    /// A neuron is skipped when its score is *below* the threshold; an equal score is active (as in
    /// PowerInfer, `ggml.c:14256` at d3ebd7c). Infinite scores are ordinary: they order.
    /// After an error `active` is empty.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`], [`Error::WrongLength`] unless there is one score per neuron,
    /// [`Error::NanScore`].
    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error>;

    /// Takes in what was seen after the last selection of `layer`. Open-loop policies only check it.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::Feedback`] where the feedback contradicts itself or the selection.
    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error>;

    /// The lowest score that `layer` lets through at present: −∞ when dense. `None` where there is no such
    /// layer, or where the policy sets the threshold per token and has not seen a token yet.
    fn threshold(&self, layer: usize) -> Option<f32>;

    /// Whether the policy learns from audits. Where it does not, auditing rows is wasted work.
    fn needs_audit(&self) -> bool {
        false
    }

    /// Whether [`select`](Self::select) wants true output masses in place of scores, which only a simulation has.
    fn needs_truth(&self) -> bool {
        false
    }
}

/// Layers and neurons per layer (the intermediate size) of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    layers: usize,
    neurons: usize,
}

impl Shape {
    /// # Errors
    /// [`Error::OutOfRange`] where either is 0 or `neurons` does not fit `u32`.
    pub fn new(layers: usize, neurons: usize) -> Result<Self, Error> {
        if layers == 0 {
            return Err(Error::out_of_range("number of layers", &layers, "at least 1"));
        }
        if neurons == 0 || u32::try_from(neurons).is_err() {
            return Err(Error::out_of_range("neurons per layer", &neurons, "in 1 ..= 4294967295"));
        }
        Ok(Self { layers, neurons })
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(self) -> usize {
        self.layers
    }

    /// Neurons per layer.
    #[must_use]
    pub fn neurons(self) -> usize {
        self.neurons
    }

    pub(crate) fn check_layer(self, layer: usize) -> Result<(), Error> {
        if layer < self.layers { Ok(()) } else { Err(Error::LayerOutOfRange { layer, layers: self.layers }) }
    }

    pub(crate) fn check_scores(self, layer: usize, scores: &[f32]) -> Result<(), Error> {
        self.check_layer(layer)?;
        check_length("scores", scores.len(), self.neurons)
    }

    pub(crate) fn check_feedback(self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.check_layer(layer)?;
        if feedback.computed > self.neurons {
            let problem = format!("{} rows computed of {}", feedback.computed, self.neurons);
            return Err(Error::feedback(layer, problem));
        }
        match feedback.useful {
            Some(useful) if useful > feedback.computed => {
                let problem = format!("{useful} rows useful of {} computed", feedback.computed);
                Err(Error::feedback(layer, problem))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_length(what: &'static str, given: usize, wanted: usize) -> Result<(), Error> {
    if given == wanted { Ok(()) } else { Err(Error::WrongLength { what, given, wanted }) }
}

/// A kernel's fault, told with the layer it happened in.
pub(crate) fn in_layer(layer: usize) -> impl Fn(Fault) -> Error {
    move |fault| match fault {
        Fault::Nan { index } => Error::NanScore { layer, index },
        Fault::Share { share } => Error::out_of_range("share", &share, "in [0, 1]"),
        Fault::Rank { rank, .. } => Error::out_of_range("rank", &rank, "in 1 ..= neurons per layer"),
    }
}
