//! Gate first: the gate itself as the score. It is never wrong about who fires, and reads all of gate to know it.

use kernels_cpu::{Cpu, Matrix};

use crate::{Cost, Error};

/// `scores = gate · x`, `x` being what the FFN's gate reads: the hidden state after the FFN's norm.
///
/// ```text
///   x [hidden] ──▶ gate [neurons x hidden] ──▶ scores: whoever is above zero fires under ReLU
/// ```
/// A third of the FFN's bytes are then read whatever the density; what it saves is up and down. Every other predictor is
/// held against this one (SmallThinker's operators work so).
#[derive(Debug)]
pub struct GateFirst<'a> {
    gate: Matrix<'a>,
    /// Every row.
    all: Vec<u32>,
}

impl<'a> GateFirst<'a> {
    /// The gate of a layer as its own predictor.
    pub fn new(gate: Matrix<'a>) -> Self {
        Self { gate, all: (0..gate.rows() as u32).collect() }
    }

    /// What one prediction reads.
    pub fn cost(&self) -> Cost {
        Cost { parameters: self.gate.rows() * self.gate.cols(), bytes: self.gate.bytes().len() }
    }

    /// Scores every neuron; they are the gates, which the FFN need not compute again.
    ///
    /// # Errors
    /// Slices of another length.
    pub fn scores(&self, cpu: &Cpu, x: &[f32], scores: &mut [f32]) -> Result<(), Error> {
        Ok(cpu.gemv(&self.gate, x, &self.all, scores)?)
    }
}
