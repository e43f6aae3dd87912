//! Layers of LLaMA-70B's shape with random weights, one token through all of them in one graph.
//!
//! Its rows are listed before: neither a predictor nor a selection is in it. [`stack`](super::stack) draws it.

use cost_model::{
    estimate::{Estimate, Interval},
    format::WeightFormat,
    machine::Machine,
    record::{Bandwidth, Provenance},
};
use kernels_cpu::Format;
use kernels_cuda::Gpu;
use serde::Serialize;

use super::{
    layers::{Host, require_memory},
    measure::{BANDWIDTH_BYTES, Roof, Timed, run_rounds},
    stack::{Choice, QKV_ROWS, Stack},
};
use crate::{
    Failure, Result,
    measure::progress_bar,
    timing,
    workload::{SHAPE, record_format},
};

/// What to decode through.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Format of all weights.
    pub format: Format,
    /// Layers.
    pub layers: usize,
    /// Share of neurons that each layer's FFN computes.
    pub densities: Vec<f64>,
    /// Tokens that are timed at each density.
    pub rounds: usize,
}

/// Tokens at one density.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecodeRow {
    /// Format of all weights.
    pub format: WeightFormat,
    /// Layers.
    pub layers: usize,
    /// Share of neurons computed.
    pub density: f64,
    /// Bytes of weights that a token reads.
    pub bytes: u64,
    /// Seconds of a token.
    pub seconds: Estimate,
    /// Tokens per second.
    pub tok_s: Interval,
    /// Time over that of reading as many bytes, both taken in the same round.
    pub ratio: Estimate,
}

/// What was decoded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decoded {
    /// The GPU.
    pub machine: Machine,
    /// By which build, when.
    pub build: Provenance,
    /// Read bandwidth of the GPU's memory.
    pub bandwidth: Vec<Bandwidth>,
    /// Copy bandwidth, bytes read plus bytes written.
    pub copy_bandwidth: Option<Estimate>,
    /// One per density.
    pub rows: Vec<DecodeRow>,
}

/// Bytes of weights that a token reads.
pub fn bytes(format: Format, layers: usize, density: f64) -> u64 {
    let row = record_format(format).row_bytes(SHAPE.hidden);
    let active = (density * SHAPE.intermediate as f64).round() as u64;
    layers as u64 * (QKV_ROWS + SHAPE.query_width()) as u64 * row
        + layers as u64 * 3 * active * row
        + SHAPE.vocab as u64 * row
}

/// Device memory that a plan takes, bandwidth beside it included.
///
/// # Errors
/// The GPU has less.
pub fn required_bytes(plan: &Plan, gpu: &Gpu) -> Result<u64> {
    let all = bytes(plan.format, plan.layers, 1.0) + BANDWIDTH_BYTES;
    require_memory(gpu, &format!("a model of {} layers in {}", plan.layers, plan.format), all)?;
    Ok(all)
}

/// Decodes.
///
/// # Errors
/// Not enough device memory; a kernel computes something else than it was told.
pub fn decode(plan: &Plan, gpu: &Gpu, machine: &Machine, build: Provenance) -> Result<Decoded> {
    let machine = machine.as_gpu().ok_or_else(|| Failure::short("this machine has no usable GPU"))?;
    required_bytes(plan, gpu)?;
    let progress = progress_bar(plan.rounds as u64 + 1);
    progress.set_message("filling layers with weights");
    let host = Host::new(plan.format)?;
    let stack = Stack::upload(gpu, &host, host.upload_ffns(gpu, plan.layers)?, None)?;
    let mut timed = Vec::new();
    for &density in &plan.densities {
        let choice = if density == 1.0 { Choice::Dense } else { Choice::Listed(density) };
        timed.push(Timed::new(stack.token(gpu, choice)?.chain, bytes(plan.format, plan.layers, density)));
    }
    let mut roof = Roof::new(gpu)?;
    progress.set_message("decoding");
    run_rounds(gpu, plan.rounds, &mut timed, &mut [], &mut roof, || progress.inc(1))?;
    progress.finish_and_clear();
    let row = |(&density, timed): (&f64, &Timed)| {
        let seconds = timing::median(&timed.seconds)?;
        Some(DecodeRow {
            format: record_format(plan.format),
            layers: plan.layers,
            density,
            bytes: bytes(plan.format, plan.layers, density),
            tok_s: seconds.interval().divide(1.0),
            seconds,
            ratio: timing::median(&timed.ratios)?,
        })
    };
    let rows = plan.densities.iter().zip(&timed).filter_map(row).collect();
    let (bandwidth, copy_bandwidth) = roof.bandwidth();
    Ok(Decoded { machine, build, bandwidth, copy_bandwidth, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eighty layers in q8_0: 73.1 GB, of which the FFNs are 59.9.
    #[test]
    fn bytes_of_a_token() {
        let row = 8704;
        assert_eq!(bytes(Format::Q8_0, 80, 1.0), 80 * (18_432 + 3 * 28_672) * row + 32_000 * row);
        assert_eq!(bytes(Format::Q8_0, 80, 0.18), 80 * (18_432 + 3 * 5161) * row + 32_000 * row);
        assert_eq!(bytes(Format::Q8_0, 0, 0.18), 32_000 * row);
    }
}
