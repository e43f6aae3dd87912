//! The FFN over a few tokens at once, each with active neurons of its own: rows that several name are read once.
//!
//! ```text
//!   stream   gate_up_batch, down_batch over union 0 │ over union 1 │ ...     a launch each, over one layer and other rows
//! ```
//! The unions are made before; a token alone goes through the operators for one token. Neither is the step's FFN, which is
//! one phase of a launch: what a batch is worth is said against tokens alone through the same operators.

use cost_model::machine::CUDA;
use kernels_cpu::{
    Format,
    synthetic::{Random, Rotation},
};
use kernels_cuda::{Activation, ActiveUnion, Gpu, Matrix, Vector};

use super::{
    chains::are_worth_timing,
    gpu_format,
    layers::{Host, require_memory},
    measure::{BANDWIDTH_BYTES, Other, Roof, run_rounds},
};
use crate::{
    Failure, Result,
    batches::{BATCHES, BatchRow},
    measure::{list, progress_bar},
    timing,
    workload::{SHAPE, record_format},
};

/// Formats, unless somebody asks for others.
pub const FORMATS: [Format; 2] = [Format::Bf16, Format::Q8_0];
/// Densities of each token, unless somebody asks for others.
pub const DENSITIES: [f64; 1] = [0.1];
/// FFNs between two events.
const FFNS: usize = 16;

/// Times every batch size at every density, format by format.
///
/// # Errors
/// Not enough device memory; a batch whose output is not numbers.
pub fn batches(gpu: &Gpu, formats: &[Format], densities: &[f64], rounds: usize) -> Result<Vec<BatchRow>> {
    let mut roof = Roof::new(gpu)?;
    let mut rows = Vec::new();
    let progress = progress_bar((formats.len() * (rounds + 1)) as u64);
    for &format in formats {
        progress.set_message(format!("batches in {}", list(&[format])));
        let layer = Layer::upload(gpu, format)?;
        let mut cases = Vec::new();
        let mut timed = Vec::new();
        for &density in densities {
            for batch in BATCHES {
                let mut ffns = layer.ffns(density, batch)?;
                cases.push((density, batch));
                timed.push(Other::new(ffns.bytes(), move || ffns.seconds()));
            }
        }
        run_rounds(gpu, rounds, &mut [], &mut timed, &mut roof, || progress.inc(1))?;
        for (cases, timed) in cases.chunks(BATCHES.len()).zip(timed.chunks(BATCHES.len())) {
            rows.extend(cases.iter().zip(timed).filter_map(|(&(density, batch), own)| {
                let alone = own.seconds.iter().zip(&timed[0].seconds);
                let per_token: Vec<f64> = alone.map(|(all, one)| all / (batch as f64 * one)).collect();
                Some(BatchRow {
                    isa: CUDA.to_owned(),
                    format: record_format(format),
                    density,
                    batch,
                    threads: 1,
                    bytes: own.bytes,
                    seconds: timing::median(&own.seconds)?,
                    ratio: timing::median(&own.ratios)?,
                    per_token: timing::median(&per_token)?,
                })
            }));
        }
    }
    progress.finish_and_clear();
    Ok(rows)
}

/// The three matrices of a layer, as operators apart from the step read them.
struct Layer<'gpu> {
    gpu: &'gpu Gpu,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

impl<'gpu> Layer<'gpu> {
    fn upload(gpu: &'gpu Gpu, format: Format) -> Result<Self> {
        let (neurons, hidden) = (SHAPE.intermediate, SHAPE.hidden);
        let bytes = record_format(format).bytes(3 * neurons, hidden);
        require_memory(gpu, &format!("batches in {format}"), bytes + BANDWIDTH_BYTES)?;
        let host = Host::new(format)?;
        let part = |turn| {
            let bytes = host.bytes(neurons, hidden, turn * neurons)?;
            Ok::<_, Failure>(gpu.upload(gpu_format(format), neurons, hidden, bytes)?)
        };
        Ok(Self { gpu, gate: part(0)?, up: part(1)?, down: part(2)? })
    }

    /// FFNs of `batch` tokens at a density, run once.
    fn ffns(&self, density: f64, batch: usize) -> Result<Ffns<'_>> {
        let gpu = self.gpu;
        let mut tokens: Vec<Rotation> =
            (0..batch as u64).map(|token| Rotation::new(SHAPE.intermediate, density, 100 + token)).collect();
        let mut unions = Vec::new();
        for _ in 0..FFNS {
            let lists: Vec<&[u32]> = tokens.iter_mut().map(Rotation::next_set).collect();
            let union = gpu.upload_union(&lists)?;
            let h = gpu.zeros(batch * union.len())?;
            unions.push((union, h));
        }
        let x = gpu.upload_vector(&Random::new(2).vector(batch * SHAPE.hidden))?;
        let mut ffns = Ffns { layer: self, unions, x, y: gpu.zeros(batch * SHAPE.hidden)? };
        ffns.enqueue()?;
        let mut values = vec![f32::NAN; batch * SHAPE.hidden];
        gpu.download(&ffns.y, &mut values)?;
        if !are_worth_timing(&values) {
            return Err(Failure::short(format!("FFNs of {batch} tokens make no numbers, or zeros alone: not timed")));
        }
        Ok(ffns)
    }
}

/// As many FFNs as are timed together.
struct Ffns<'layer> {
    layer: &'layer Layer<'layer>,
    /// The rows that any token names, and what gate and up make of them.
    unions: Vec<(ActiveUnion, Vector)>,
    x: Vector,
    y: Vector,
}

impl Ffns<'_> {
    /// Bytes of the rows that any token names, in the mean.
    fn bytes(&self) -> u64 {
        let Layer { gate, up, down, .. } = self.layer;
        let rows: usize = self.unions.iter().map(|(union, _)| union.len()).sum();
        (rows * (gate.row_bytes() + up.row_bytes() + down.row_bytes()) / FFNS) as u64
    }

    fn enqueue(&mut self) -> std::result::Result<(), kernels_cuda::Error> {
        let Layer { gpu, gate, up, down } = self.layer;
        self.unions.iter_mut().try_for_each(|(union, h)| {
            gpu.gate_up_batch_on_device(gate, up, Activation::Relu, &self.x, union, h)?;
            gpu.down_batch_on_device(down, h, union, &mut self.y)
        })
    }

    /// Seconds of one.
    fn seconds(&mut self) -> Result<f64> {
        Ok(self.layer.gpu.time(|| self.enqueue())? / FFNS as f64)
    }
}
