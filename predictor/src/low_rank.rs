//! The low-rank predictor: two small matrices guess at the sign of a large one.

use kernels_cpu::{Cpu, Matrix};

use crate::Error;

/// `scores = fc2 · max(0, fc1 · x)`: no bias, no sigmoid, raw logits.
///
/// ```text
///   x [hidden] ──▶ fc1 [rank x hidden] ──▶ max(0, ·) ──▶ fc2 [neurons x rank] ──▶ scores [neurons]
/// ```
///
/// The shape of PowerInfer's predictors (Song et al., SOSP 2024; `llm_build_ffn_sparse` of PowerInfer d3ebd7c). For
/// LLaMA models PowerInfer feeds it the residual stream before the FFN's norm: what `x` is belongs to the weights and
/// is the caller's to know. The rank is free, layer by layer; formats with blocks need it in whole blocks.
#[derive(Debug)]
pub struct LowRank<'a> {
    fc1: Matrix<'a>,
    fc2: Matrix<'a>,
    /// Rows of both matrices, all of them: dense is the sparse kernel with every row active.
    all: Vec<u32>,
    inner: Vec<f32>,
}

/// What one prediction reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Weights.
    pub parameters: usize,
    /// Bytes of weights, all of them read once a token.
    pub bytes: usize,
}

impl<'a> LowRank<'a> {
    /// A predictor from its two matrices: `fc1` is rank x hidden, `fc2` neurons x rank. They may differ in format.
    ///
    /// # Errors
    /// Ranks that differ.
    pub fn new(fc1: Matrix<'a>, fc2: Matrix<'a>) -> Result<Self, Error> {
        if fc1.rows() != fc2.cols() {
            return Err(Error::Rank { rank: fc1.rows(), given: fc2.cols() });
        }
        let rows = fc1.rows().max(fc2.rows());
        Ok(Self { fc1, fc2, all: (0..rows as u32).collect(), inner: vec![0.0; fc1.rows()] })
    }

    /// Width of the hidden state.
    pub fn hidden(&self) -> usize {
        self.fc1.cols()
    }

    /// Width between the two matrices.
    pub fn rank(&self) -> usize {
        self.fc1.rows()
    }

    /// Neurons that are scored.
    pub fn neurons(&self) -> usize {
        self.fc2.rows()
    }

    /// What one prediction reads.
    pub fn cost(&self) -> Cost {
        Cost {
            parameters: self.rank() * (self.hidden() + self.neurons()),
            bytes: self.fc1.bytes().len() + self.fc2.bytes().len(),
        }
    }

    /// Scores every neuron: `x` is the hidden state, `scores` has one element per neuron.
    ///
    /// # Errors
    /// Slices of another length.
    pub fn scores(&mut self, cpu: &Cpu, x: &[f32], scores: &mut [f32]) -> Result<(), Error> {
        cpu.gemv(&self.fc1, x, &self.all[..self.fc1.rows()], &mut self.inner)?;
        // Not `max`, which would turn NaN into zero and hide a broken hidden state.
        self.inner.iter_mut().filter(|v| **v < 0.0).for_each(|v| *v = 0.0);
        cpu.gemv(&self.fc2, &self.inner, &self.all[..self.fc2.rows()], scores)?;
        Ok(())
    }
}
