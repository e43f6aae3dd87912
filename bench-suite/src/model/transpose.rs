//! Down neuron by neuron, out of a file that has it output by output.
//!
//! ```text
//!   file: hidden x neurons          copy: neurons x hidden
//!     c0  |n0 n1 n2 ...|              n0  |c0 c1 c2 ...|
//!     c1  |n0 n1 n2 ...|              n1  |c0 c1 c2 ...|
//! ```
//! f32, f16 and bf16 only move. Blocks of q8_0 and q4_0 share a scale among 32 neurons of an output, so in the copy
//! neighbours have different scales, and the weights are rounded anew: to q8_0, both of them. For weights like a
//! Gaussian's that adds an error of 0.5 % of their standard deviation, beside the 7.6 % that q4_0 has of its own
//! (derived: half a step of max / 127 over blocks of 32, uniform; `tests/decode.rs` measures what it does to logits).
//! q4_0 would double its own error; f16 would lose 2^-11 but be read at 64 bytes a block instead of 34.
//!
//! A PowerInfer-layout file made from the original weights has neither this error nor the copy.

use kernels_cpu::{Cpu, Format, Matrix, WeightBuffer};

use crate::share::share;

use super::{Down, Error, Model};

/// Neurons that are gathered at a time: whole blocks, and whole cache lines of the file's rows.
const TILE: usize = 128;

/// A matrix that owns its bytes.
#[derive(Debug)]
pub struct OwnedWeights {
    format: Format,
    rows: usize,
    cols: usize,
    buffer: WeightBuffer,
}

impl OwnedWeights {
    /// The matrix.
    #[allow(clippy::expect_used)] // `transposed` made the buffer for this shape.
    pub fn view(&self) -> Matrix<'_> {
        let bytes = self.format.row_bytes(self.cols).map(|row| row * self.rows).unwrap_or_default();
        Matrix::new(self.format, self.rows, self.cols, &self.buffer.bytes()[..bytes]).expect("a checked shape")
    }

    /// `w` with its rows as columns, on the threads of `cpu`.
    fn transposed(cpu: &Cpu, w: &Matrix<'_>) -> Result<Self, Error> {
        let (rows, cols) = (w.cols(), w.rows());
        let format = match w.format() {
            Format::Q8_0 | Format::Q4_0 if cols.is_multiple_of(Format::Q8_0.block_len()) => Format::Q8_0,
            Format::Q8_0 | Format::Q4_0 => Format::F16,
            format => format,
        };
        let row_bytes = format.row_bytes(cols)?;
        let len = row_bytes.checked_mul(rows).ok_or(kernels_cpu::Error::TooLarge { format, rows, cols })?;
        let mut buffer = WeightBuffer::zeroed(len)?;
        let tiles = buffer.bytes_mut()[..len].chunks_mut((TILE * row_bytes).max(1)).enumerate();
        cpu.install(|| {
            share(tiles, |(tile, out)| {
                let neurons = out.len() / row_bytes;
                let mut values = vec![0.0; neurons * cols];
                let (block, block_bytes) = (w.format().block_len(), w.format().block_bytes());
                let part = tile * TILE / block * block_bytes..(tile * TILE + neurons) / block * block_bytes;
                for output in 0..cols {
                    let row = w.row(output).unwrap_or_default();
                    for (neuron, value) in w.format().decode_row(&row[part.clone()]).into_iter().enumerate() {
                        values[neuron * cols + output] = value;
                    }
                }
                let mut encoded = Vec::with_capacity(out.len());
                for neuron in values.chunks_exact(cols) {
                    format.encode(neuron, &mut encoded)?;
                }
                out.copy_from_slice(&encoded);
                Ok::<(), Error>(())
            })
        })?;
        Ok(Self { format, rows, cols, buffer })
    }
}

impl Model<'_> {
    /// Copies down neuron by neuron where the file has it output by output, as sparse policies need it. Takes the
    /// copy's memory (the file's own down is then read no more) and one pass over it; nothing where it is done already.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn store_down_by_neuron(&mut self, cpu: &Cpu) -> Result<(), Error> {
        for layer in &mut self.layers {
            if let Down::ByOutput(matrix) = &layer.down {
                layer.down = Down::Copied(OwnedWeights::transposed(cpu, matrix)?);
            }
        }
        Ok(())
    }
}
