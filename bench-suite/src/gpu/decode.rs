//! Layers of LLaMA-70B's shape with random weights, one token through all of them in one graph.
//!
//! ```text
//!   x ─▶ query, key, value                         10240 x 8192: read, not used
//!   x ─▶ output projection ─▶ a                     8192 x 8192
//!   a ─▶ FFN, dense or over listed rows ─▶ + the first x ─▶ x of the next layer
//!   ...
//!   x ─▶ LM head                                   32000 x 8192
//! ```
//! The output projection takes the layer's input, where a decoder gives it what attention made. Attention over the KV
//! cache, norms, embedding and sampling are not in it, nor are a predictor and a selection.

use std::sync::Arc;

use cost_model::{
    estimate::{Estimate, Interval},
    format::WeightFormat,
    machine::Machine,
    record::{Bandwidth, Provenance},
};
use kernels_cpu::Format;
use kernels_cuda::{Activation, Gpu, PackedMatrix, Rows, StepBuilder};
use serde::Serialize;

use super::{
    chains::{Chain, Sets, check, input},
    gpu_format,
    layers::{Ffn, Host, require_memory},
    measure::{BANDWIDTH_BYTES, Roof, Timed, run_rounds},
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
    layers as u64 * (qkv_rows() + SHAPE.query_width()) as u64 * row
        + layers as u64 * 3 * active * row
        + SHAPE.vocab as u64 * row
}

fn qkv_rows() -> usize {
    SHAPE.query_width() + 2 * SHAPE.kv_width()
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
    let model = Model::upload(gpu, plan.format, plan.layers)?;
    let mut timed = Vec::new();
    for &density in &plan.densities {
        timed.push(Timed::new(model.token(gpu, density)?, bytes(plan.format, plan.layers, density)));
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

/// All weights of a model, at addresses of their own.
struct Model {
    format: Format,
    qkv: Vec<Arc<PackedMatrix>>,
    output: Vec<Arc<PackedMatrix>>,
    ffns: Vec<Ffn>,
    head: Vec<Arc<PackedMatrix>>,
}

impl Model {
    fn upload(gpu: &Gpu, format: Format, layers: usize) -> Result<Self> {
        let host = Host::new(format)?;
        let matrices = |rows, copies| host.upload(gpu, (rows, SHAPE.hidden), 0, copies);
        Ok(Self {
            format,
            qkv: matrices(qkv_rows(), layers)?,
            output: matrices(SHAPE.query_width(), layers)?,
            ffns: host.upload_ffns(gpu, layers)?,
            head: matrices(SHAPE.vocab, 1)?,
        })
    }

    fn token(&self, gpu: &Gpu, density: f64) -> Result<Chain> {
        let mut builder = StepBuilder::new(gpu, gpu_format(self.format))?;
        let mut sets = Sets::new(self.ffns.len(), density);
        let first = builder.input(SHAPE.hidden);
        let (mut x, mut lists) = (first, Vec::new());
        for ((qkv, output), ffn) in self.qkv.iter().zip(&self.output).zip(&self.ffns) {
            builder.project(qkv, x, Activation::Identity)?;
            let attended = builder.project(output, x, Activation::Identity)?;
            let rows = if density == 1.0 {
                Rows::Every
            } else {
                let list = builder.list(SHAPE.intermediate);
                lists.push(list);
                Rows::Listed(list)
            };
            // The first x as residual: eighty layers of random weights on their own sums would leave f32's range.
            x = builder.ffn(&ffn.gate, &ffn.up, &ffn.down, Activation::Relu, attended, rows, Some(first))?;
        }
        let mut read = vec![x];
        for head in &self.head {
            read.push(builder.project(head, x, Activation::Identity)?);
        }
        let step = builder.build(&read)?;
        step.write_input(first, &input())?;
        for (layer, list) in lists.into_iter().enumerate() {
            step.write_list(list, sets.next(layer))?;
        }
        check(&step, x, sets.len())?;
        Ok(Chain { steps: vec![step], count: 1 })
    }
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
