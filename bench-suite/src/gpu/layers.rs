//! Weights of layers in device memory: one set of random weights, at as many addresses as a measurement walks through.
//!
//! ```text
//!   host     | gate | up | down |        one layer of random weights
//!                 │ upload, pack
//!   device   | layer 0 | layer 1 | layer 2 | layer 3 | ...     copies: the same numbers, other bytes to read
//! ```

use std::sync::Arc;

use kernels_cpu::{Format, synthetic::OwnedMatrix};
use kernels_cuda::{Gpu, PackedMatrix};

use super::gpu_format;
use crate::{Failure, Result, workload::SHAPE};

/// What is read again must not lie in the cache any more: copies fill it this many times.
const CACHES: u64 = 4;
/// As few copies as there are where one fills any cache.
const LEAST_COPIES: usize = 4;
/// Phases of a chain at least.
const LEAST_PHASES: usize = 32;

/// Gate, up and down in device memory.
#[derive(Debug, Clone)]
pub struct Ffn {
    /// Row per neuron.
    pub gate: Arc<PackedMatrix>,
    /// Row per neuron.
    pub up: Arc<PackedMatrix>,
    /// Row per neuron, too.
    pub down: Arc<PackedMatrix>,
}

/// Random weights of one layer on the host.
pub struct Host {
    format: Format,
    neurons: usize,
    hidden: usize,
    weights: OwnedMatrix,
}

impl Host {
    /// A 70B layer.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn new(format: Format) -> Result<Self> {
        Self::of(format, SHAPE.intermediate, SHAPE.hidden)
    }

    fn of(format: Format, neurons: usize, hidden: usize) -> Result<Self> {
        Ok(Self { format, neurons, hidden, weights: OwnedMatrix::layer(format, neurons, hidden, 1)? })
    }

    /// Format of the weights.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bytes of a matrix of that shape, which begins with the `row`-th row of the layer.
    ///
    /// # Errors
    /// The layer does not hold as many from there.
    pub fn bytes(&self, rows: usize, cols: usize, row: usize) -> Result<&[u8]> {
        let all = self.weights.view()?.bytes();
        let start = row.saturating_mul(self.format.row_bytes(self.hidden)?);
        let len = rows * self.format.row_bytes(cols)?;
        let fault = || Failure::input(format!("no {rows} x {cols} weights from row {row} of a layer on"));
        all.get(start..).and_then(|rest| rest.get(..len)).ok_or_else(fault)
    }

    /// Copies of one matrix at `copies` addresses.
    ///
    /// # Errors
    /// Not enough device memory.
    pub fn upload(
        &self,
        gpu: &Gpu,
        (rows, cols): (usize, usize),
        row: usize,
        copies: usize,
    ) -> Result<Vec<Arc<PackedMatrix>>> {
        let first = gpu.upload_packed(gpu_format(self.format), rows, cols, self.bytes(rows, cols, row)?)?;
        let mut all = vec![first];
        while all.len() < copies {
            all.push(gpu.duplicate_packed(&all[0])?);
        }
        Ok(all)
    }

    /// `copies` FFNs.
    ///
    /// # Errors
    /// Not enough device memory.
    pub fn upload_ffns(&self, gpu: &Gpu, copies: usize) -> Result<Vec<Ffn>> {
        let part = |turn| self.upload(gpu, (self.neurons, self.hidden), turn * self.neurons, copies);
        let (gates, ups, downs) = (part(0)?, part(1)?, part(2)?);
        Ok(gates.into_iter().zip(ups).zip(downs).map(|((gate, up), down)| Ffn { gate, up, down }).collect())
    }
}

/// Copies of something of `bytes` that fill the cache of the GPU often enough.
pub fn copies(l2_bytes: u64, bytes: u64) -> usize {
    LEAST_COPIES.max(usize::try_from((CACHES * l2_bytes).div_ceil(bytes.max(1))).unwrap_or(usize::MAX))
}

/// Phases that read `bytes` each: enough that the cache has forgotten the first when the chain is replayed, and enough
/// that the launch counts for little.
pub fn phases(l2_bytes: u64, bytes: u64) -> usize {
    LEAST_PHASES.max(copies(l2_bytes, bytes))
}

/// Fails unless device memory holds that much.
///
/// # Errors
/// It does not.
pub fn require_memory(gpu: &Gpu, what: &str, bytes: u64) -> Result<()> {
    let has = gpu.device().memory_bytes;
    if bytes <= has {
        return Ok(());
    }
    let gb = |bytes: u64| bytes as f64 / 1e9;
    Err(Failure::input(format!(
        "{what} takes {:.1} GB of device memory and {} has {:.1}: measure less, or on a larger GPU",
        gb(bytes),
        gpu.device().name,
        gb(has)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However small a phase is: what a replay reads again was four caches ago.
        #[test]
        fn copies_and_phases_leave_nothing_in_the_cache(l2 in 0_u64..1 << 30, bytes in 1_u64..1 << 32) {
            let (copies, phases) = (copies(l2, bytes) as u64, phases(l2, bytes) as u64);
            prop_assert!(copies >= 4 && copies.saturating_mul(bytes) >= 4 * l2);
            prop_assert!(phases >= 32 && phases >= copies);
        }
    }

    #[test]
    fn a_layer_has_the_bytes_of_every_matrix_that_is_measured() {
        let (neurons, hidden) = (28, 64);
        let host = Host::of(Format::Q4_0, neurons, hidden).unwrap();
        for (rows, cols, row) in [(neurons, hidden, 2 * neurons), (3 * neurons, hidden, 0), (neurons, 32, 0)] {
            assert_eq!(host.bytes(rows, cols, row).unwrap().len(), rows * cols / 32 * 18);
        }
        assert!(host.bytes(neurons, hidden, 2 * neurons + 1).is_err());
        assert!(host.bytes(1, hidden, usize::MAX).is_err());
    }
}
