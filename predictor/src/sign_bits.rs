//! Sign bits: whether a gate is positive, guessed from how many of its products are.
//!
//! ```text
//!   gate row   + - - + ...   0 1 1 0      one bit a weight, 64 a word
//!   x          + + - - ...   0 0 1 1
//!   xor                      0 1 0 1  ─▶ popcount: products that are negative
//!   score = products that are not negative - products that are = cols - 2 · popcount
//! ```
//! The rule of SparseInfer (Shin, Yang, Yi 2024, arXiv 2411.12692), as a score: it needs no training and a sixteenth of f16's bytes, and sees no magnitudes.
//! What that costs on real activations is measured in `PERFORMANCE.md`.

use kernels_cpu::{Cpu, Isa, Matrix};

use crate::{Cost, Error, scalar};
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

const BITS: usize = u64::BITS as usize;

/// Signs of a gate's weights, packed.
#[derive(Debug, Clone)]
pub struct SignBits {
    neurons: usize,
    cols: usize,
    /// neurons x words of a row; what is left of the last word is zero.
    bits: Vec<u64>,
    /// Signs of the input.
    x: Vec<u64>,
}

impl SignBits {
    /// The signs of `gate`. Its input is what the gate reads: the hidden state after the FFN's norm.
    pub fn of(gate: &Matrix<'_>) -> Self {
        let (neurons, cols) = (gate.rows(), gate.cols());
        let words = cols.div_ceil(BITS).max(1);
        let mut bits = vec![0; neurons * words];
        for (row, bits) in bits.chunks_exact_mut(words).enumerate() {
            pack(&gate.format().decode_row(gate.row(row).unwrap_or_default()), bits);
        }
        Self { neurons, cols, bits, x: vec![0; words] }
    }

    /// What one prediction reads: an eighth of a byte a weight.
    pub fn cost(&self) -> Cost {
        Cost { parameters: self.neurons * self.cols, bytes: self.bits.len() * size_of::<u64>() }
    }

    /// Scores every neuron: how many more products are not negative than negative.
    ///
    /// # Errors
    /// Slices of another length; an input that is not a number, which has no sign to speak of.
    pub fn scores(&mut self, cpu: &Cpu, x: &[f32], scores: &mut [f32]) -> Result<(), Error> {
        let wrong = |operand, given, wanted| kernels_cpu::Error::Length { operand, given, wanted };
        if x.len() != self.cols {
            return Err(wrong("x", x.len(), self.cols).into());
        }
        if scores.len() != self.neurons {
            return Err(wrong("scores", scores.len(), self.neurons).into());
        }
        if let Some(index) = x.iter().position(|v| v.is_nan()) {
            return Err(Error::Input { index, value: x[index].to_string() });
        }
        pack(x, &mut self.x);
        let (words, kernel, x, cols) = (self.x.len(), Kernel::of(cpu.isa()), &self.x[..], self.cols as f32);
        // Sixteen tasks a thread: the last one decides.
        let rows = self.neurons.div_ceil(16 * cpu.threads()).max(1);
        let parts = self.bits.chunks(rows * words).zip(scores.chunks_mut(rows));
        cpu.each(self.bits.len() * size_of::<u64>(), parts, |(bits, scores)| {
            kernel.differing(bits, x, scores);
            scores.iter_mut().for_each(|score| *score = cols - 2.0 * *score);
        });
        Ok(())
    }
}

/// Sets a bit for each negative value.
fn pack(values: &[f32], bits: &mut [u64]) {
    for (values, word) in values.chunks(BITS).zip(bits) {
        *word = values.iter().enumerate().fold(0, |word, (i, v)| word | u64::from(*v < 0.0) << i);
    }
}

/// Who counts; held only where the processor has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// With VPOPCNTDQ (Ice Lake 2019, Zen 4 2022), which not every AVX-512 has.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The best one no better than `isa`, which this processor has.
    fn of(isa: Isa) -> Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni if is_x86_feature_detected!("avx512vpopcntdq") => Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni => Self::Avx2,
            _ => Self::Scalar,
        }
    }

    fn differing(self, bits: &[u64], x: &[u64], out: &mut [f32]) {
        match self {
            Self::Scalar => scalar::differing::differing(bits, x, out),
            // SAFETY: `of` made sure of the instruction set.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::differing::differing(bits, x, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::differing::differing(bits, x, out) },
        }
    }
}
