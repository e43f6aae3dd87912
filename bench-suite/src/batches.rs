//! The FFN over a few tokens at once, each with active neurons of its own: rows that several name are read once.

use cost_model::{estimate::Estimate, format::WeightFormat, operator::Operator, record::Measurement};
use kernels_cpu::{Cpu, Format};
use serde::Serialize;

use crate::{
    Result,
    measure::{NO_REST, Roof, fitting_layer, progress_bar, run_rounds, timed_of},
    timing,
    workload::{SHAPE, record_format},
};

/// Tokens in a batch.
pub const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// One batch size at one density of each token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchRow {
    /// Instruction set.
    pub isa: String,
    /// Format of the weights.
    pub format: WeightFormat,
    /// Share of neurons that each token names, independently of the others.
    pub density: f64,
    /// Tokens.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Bytes of the rows that any token names, in the mean.
    pub bytes: u64,
    /// Seconds of a call.
    pub seconds: Estimate,
    /// Time over that of reading as many bytes, both taken in the same round.
    pub ratio: Estimate,
    /// Time per token over the time of a token alone, both taken in the same round; below 1 the batch is worth it.
    pub per_token: Estimate,
}

impl BatchRow {
    /// What a record has of it; nothing of a token alone.
    pub fn measurement(&self) -> Option<Measurement> {
        let operator = Operator::FfnBatch;
        (self.batch > 1).then(|| Measurement {
            operator,
            kernel: format!("{operator}/{}/{}", self.isa, self.format),
            isa: self.isa.clone(),
            format: self.format,
            rows: SHAPE.intermediate,
            cols: SHAPE.hidden,
            density: self.density,
            threads: self.threads,
            bytes: self.bytes,
            seconds: self.seconds,
            ratio: Some(self.ratio),
            policy: None,
            rank: None,
            tokens: Some(self.batch),
        })
    }
}

/// Times every batch size at every density, format by format.
///
/// # Errors
/// Not enough memory.
pub fn batches(cpu: &Cpu, formats: &[Format], densities: &[f64], rounds: usize) -> Result<Vec<BatchRow>> {
    let cpus = std::slice::from_ref(cpu);
    let mut roof = Roof::new(cpu)?;
    let mut bandwidth = vec![Vec::new()];
    let mut rows = Vec::new();
    let progress = progress_bar((formats.len() * rounds) as u64);
    for &format in formats {
        progress.set_message(format!("batches in {format}"));
        let layer = fitting_layer(cpu, format)?;
        let mut cases = Vec::new();
        for &density in densities {
            for batch in BATCHES {
                cases.push((0, layer.batched_ffn(cpu, density, batch)?));
            }
        }
        run_rounds(rounds, cpus, &mut timed_of(&mut cases), Some((&mut roof, &mut bandwidth)), NO_REST, &progress)?;
        for (&density, cases) in densities.iter().zip(cases.chunks(BATCHES.len())) {
            let alone = &cases[0].1.timed.seconds;
            rows.extend(BATCHES.iter().zip(cases).filter_map(|(&batch, (_, case))| {
                let per_token = case.timed.seconds.iter().zip(alone).map(|(all, one)| all / (batch as f64 * one));
                Some(BatchRow {
                    isa: case.subject.isa.clone(),
                    format: record_format(format),
                    density,
                    batch,
                    threads: cpu.threads(),
                    bytes: case.subject.bytes,
                    seconds: timing::median(&case.timed.seconds)?,
                    ratio: timing::median(&case.timed.ratios())?,
                    per_token: timing::median(&per_token.collect::<Vec<_>>())?,
                })
            }));
        }
    }
    progress.finish_and_clear();
    Ok(rows)
}
