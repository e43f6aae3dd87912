//! What predictors are trained on and judged by: hidden states and what each neuron made of them.

use crate::Error;

/// Samples of one layer, one row a token.
///
/// ```text
///   x     tokens x hidden     what the predictor reads: the residual before the FFN's norm
///   mass  tokens x neurons    |act(gate) · up| · ‖down‖: what the neuron adds to the FFN's output; 0 where it is silent
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    hidden: usize,
    neurons: usize,
    x: &'a [f32],
    mass: &'a [f32],
}

impl<'a> Samples<'a> {
    /// Samples from slices of whole rows.
    ///
    /// # Errors
    /// No rows, or not as many of `mass` as of `x`; values that are not finite; masses under zero.
    pub fn new(hidden: usize, neurons: usize, x: &'a [f32], mass: &'a [f32]) -> Result<Self, Error> {
        let rows = x.len().checked_div(hidden).unwrap_or(0);
        if rows == 0 || neurons == 0 || x.len() != rows * hidden || mass.len() != rows * neurons {
            return Err(Error::Samples { x: x.len(), hidden, mass: mass.len(), neurons });
        }
        if let Some(index) = x.iter().position(|v| !v.is_finite()) {
            return Err(Error::Input { index, value: x[index].to_string() });
        }
        check_masses(mass)?;
        Ok(Self { hidden, neurons, x, mass })
    }

    /// Tokens.
    #[allow(clippy::len_without_is_empty)] // there is one at least
    pub fn len(&self) -> usize {
        self.x.len() / self.hidden
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Neurons of the layer.
    pub fn neurons(&self) -> usize {
        self.neurons
    }

    /// The hidden state of a token.
    pub fn x(&self, token: usize) -> &'a [f32] {
        &self.x[token * self.hidden..][..self.hidden]
    }

    /// The masses of a token.
    pub fn mass(&self, token: usize) -> &'a [f32] {
        &self.mass[token * self.neurons..][..self.neurons]
    }

    /// All masses, token after token.
    pub fn masses(&self) -> &'a [f32] {
        self.mass
    }
}

/// Masses are sizes.
pub(crate) fn check_masses(mass: &[f32]) -> Result<(), Error> {
    match mass.iter().position(|m| !(m.is_finite() && *m >= 0.0)) {
        Some(index) => Err(Error::Mass { index, value: mass[index].to_string() }),
        None => Ok(()),
    }
}
