//! A GPU too small for the model, and the processor beside it: the hottest neurons on the one, the rest on the other.

use rayon::prelude::*;
use serde::Serialize;

use crate::compose::{Composer, Configuration, DENSE, OnASide, Scorer, TermKind};
use crate::estimate::Interval;
use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::model::ModelShape;
use crate::money::{Draw, DrawnBy, Hour, Upkeep};
use crate::placement::{Dense, Layer, Link, Neurons, PlacementError, Problem, Rows};
use crate::report::PolicyOutcome;
use crate::setting::Setting;

use super::cell::{Cell, GROUPS};
use super::projection::Pace;
use super::{Axes, GridError};

/// Neurons that move together: 14 blocks of a 70B's layer, which are placed in some twenty milliseconds; or half as many blocks,
/// in five, with which a token takes 0.4 % longer in the median and 1.4 % at the 90th percentile.
const FINE: usize = 2048;
const COARSE: usize = 4096;
/// What of a GPU's memory weights can have: the rest holds buffers and the desktop.
const FREE: f64 = 0.92;
/// A hidden state's way to the other side, and waiting for each other, seconds; PCIe 4.0's bandwidth.
const HOP_S: f64 = 10e-6;
const SYNC_S: f64 = 10e-6;
const PCIE_BYTES_PER_S: f64 = 25e9;
/// Standard deviation of a hybrid's time, in shares of it: what nobody measured here.
const SD: f64 = 0.1;

/// One side: curves, and times by theirs.
#[derive(Clone, Copy)]
pub(super) struct SideBench<'a> {
    pub(super) composer: &'a Composer<'a>,
    pub(super) pace: Pace,
    pub(super) upkeep: Upkeep<'a>,
}

/// Both.
pub(super) struct Hybrid<'a> {
    pub(super) machine: usize,
    pub(super) gpu: SideBench<'a>,
    pub(super) cpu: SideBench<'a>,
    pub(super) gpu_bytes: u64,
}

/// How many users, the tokens in each one's cache, and how many neurons move together for them.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Users {
    batch: usize,
    context: usize,
    per_block: usize,
}

impl Users {
    /// Few of `axes`, since every row is a search: the fewest users with the context asked for, and, in coarser blocks, with
    /// the longest; and a middling number of users.
    pub(super) fn of(axes: &Axes, context: usize) -> Vec<Self> {
        let few = axes.fewer(context);
        let (near, longest) = (axes.context_near(context), axes.contexts.iter().copied().max().unwrap_or(context));
        let Some((&batch, more)) = few.batches.split_first() else { return Vec::new() };
        let mut users = vec![Self { batch, context: near, per_block: FINE }];
        if longest != near {
            users.push(Self { batch, context: longest, per_block: COARSE });
        }
        users.extend(more.first().map(|&batch| Self { batch, context: near, per_block: COARSE }));
        users
    }
}

/// Where the neurons of a configuration lie, and what that gains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HybridPlacement {
    /// Index of its cell.
    pub cell: usize,
    /// Share of FFN neurons on the GPU.
    pub neurons_on_gpu: f64,
    /// Share of active rows computed there.
    pub active_on_gpu: f64,
    /// Times as fast as whole layers on the GPU and the rest on the processor.
    pub over_layers: f64,
    /// Times as fast as PowerInfer's rule.
    pub over_frequency: f64,
}

impl Hybrid<'_> {
    /// A cell for every policy of `policies`, for each of so many `users` with such a context, where the model does not fit the
    /// GPU.
    pub(super) fn cells(
        &self,
        model: &ModelShape,
        formats: &[WeightFormat],
        outcomes: &[PolicyOutcome],
        policies: &[String],
        rank: usize,
        users: &[Users],
    ) -> Result<Vec<(Cell, HybridPlacement)>, GridError> {
        let skew = model.skew()?;
        let mut jobs = Vec::new();
        for (&format, &Users { batch, context, per_block }) in
            formats.iter().flat_map(|f| users.iter().map(move |u| (f, u)))
        {
            let fastest = |side: &SideBench<'_>| Setting::fastest(side.composer, model, format, context, &skew);
            let (Some(gpu), Some(cpu)) = (fastest(&self.gpu)?, fastest(&self.cpu)?) else { continue };
            for (outcome, own) in
                outcomes.iter().enumerate().filter(|(_, o)| o.model == model.name && policies.contains(&o.policy))
            {
                let of = |setting: &Setting| Configuration {
                    policy: own.policy.clone(),
                    densities: own.densities.clone(),
                    scorer: match own.policy.as_str() {
                        DENSE => Scorer::Free,
                        _ => Scorer::LowRank(rank.next_multiple_of(format.block_len())),
                    },
                    batch,
                    ..setting.dense(model, format, context, &skew)
                };
                jobs.push((outcome, of(&gpu), of(&cpu), per_block));
            }
        }
        let cells = jobs.par_iter().filter_map(|(outcome, gpu, cpu, per_block)| {
            match self.cell(*outcome, gpu, cpu, *per_block) {
                // What one side cannot compose, or not in one call, is left out; each side has its note.
                Err(GridError::Compose(_)) => None,
                other => other.transpose(),
            }
        });
        cells.collect()
    }

    fn cell(
        &self,
        outcome: usize,
        gpu: &Configuration,
        cpu: &Configuration,
        per_block: usize,
    ) -> Result<Option<(Cell, HybridPlacement)>, GridError> {
        let memory = Memory::of(gpu);
        let free = (self.gpu_bytes as f64 * FREE) as u64;
        if memory.total() <= free {
            return Ok(None);
        }
        let layers = gpu.model.layers as u64;
        let row = gpu.format.row_bytes(gpu.model.hidden);
        let neurons = Neurons { count: gpu.model.intermediate, bytes: 3 * row, per_block };
        let matrices: u64 = gpu.model.attention().iter().map(|&(rows, cols)| gpu.format.bytes(rows, cols)).sum();
        let [gpu_parts, cpu_parts] = [(&self.gpu, gpu), (&self.cpu, cpu)].map(|(side, c)| side.parts(c));
        let (gpu_parts, cpu_parts) = (gpu_parts?, cpu_parts?);
        let attention = Dense {
            bytes: matrices + (memory.kv_cache + memory.predictors) / layers,
            gpu_s: gpu_parts.layer_s,
            cpu_s: cpu_parts.layer_s,
        };
        let head_bytes = gpu.format.bytes(gpu.model.vocab, gpu.model.hidden);
        let head = Dense { bytes: head_bytes, gpu_s: gpu_parts.head_s, cpu_s: cpu_parts.head_s };
        let [on, off] = [(&self.gpu, gpu), (&self.cpu, cpu)].map(|(side, c)| {
            let pace = side.pace;
            let ffn = side.composer.ffn_on_a_side(c)?;
            Ok::<_, GridError>(ffn.map(|ffn| {
                move |rows: Rows| {
                    let OnASide { seconds, rows_read } = ffn(rows);
                    seconds * pace.times(1e3 * seconds, rows_read * neurons.bytes as f64)
                }
            }))
        });
        let (Some(on), Some(off)) = (on?, off?) else { return Ok(None) };
        let tokens = u32::try_from(gpu.batch).unwrap_or(u32::MAX);
        // Layers of one density are the same layer.
        let mut known: Vec<(f64, Layer)> = Vec::new();
        let mut stack = Vec::with_capacity(gpu.model.layers);
        for &density in &gpu.densities.value {
            if let Some((_, layer)) = known.iter().find(|(own, _)| *own == density) {
                stack.push(layer.clone());
                continue;
            }
            let firing = gpu.skew.at(density)?;
            let layer = Layer::new(attention, neurons, &firing, tokens, &on, &off)?;
            known.push((density, layer.clone()));
            stack.push(layer);
        }
        let link = Link::over(gpu.model.hidden * gpu.batch, HOP_S, PCIE_BYTES_PER_S, SYNC_S)?;
        let solution = Problem::new(stack, head, link, free)?.solve();
        let ms = 1e3 * solution.best.time.total_s();
        let blocks: usize = solution.best.placement.layers.iter().map(|layer| layer.gpu_blocks).sum();
        let all_blocks = gpu.model.intermediate.div_ceil(per_block) * gpu.model.layers;
        let mut active_on_gpu = 0.0;
        for (layer, &density) in solution.best.placement.layers.iter().zip(&gpu.densities.value) {
            let hottest = (layer.gpu_blocks * per_block).min(neurons.count) as f64 / neurons.count as f64;
            active_on_gpu += gpu.skew.at(density)?.active_of_hottest(hottest);
        }
        let mut groups = [(0.0, 0.0); GROUPS];
        groups[GROUPS - 1] = (ms as f32, (SD * ms) as f32);
        let cell = Cell {
            machine: self.machine,
            outcome,
            format: gpu.format,
            scorer: gpu.scorer,
            context: gpu.context_tokens,
            batch: gpu.batch,
            threads: cpu.threads,
            ms: Interval { median: ms, low: ms * (1.0 - 2.0 * SD), high: ms * (1.0 + 2.0 * SD) },
            memory_bytes: memory.total(),
            hour: self.hour(memory.total(), free)?,
            draw: self.draw(),
            extrapolated: true,
            groups,
        };
        let placement = HybridPlacement {
            cell: 0,
            neurons_on_gpu: blocks as f64 / all_blocks as f64,
            active_on_gpu: active_on_gpu / gpu.densities.value.iter().sum::<f64>().max(f64::MIN_POSITIVE),
            over_layers: solution.gain_over_layers(),
            over_frequency: solution.gain_over_frequency(),
        };
        Ok(Some((cell, placement)))
    }

    /// What both draw, where their owner says it of both: of each other no counter knows.
    fn draw(&self) -> Option<Draw> {
        let [gpu, cpu] =
            [self.gpu, self.cpu].map(|side| side.upkeep.draw(1).filter(|draw| draw.by == DrawnBy::Machine));
        Some(Draw { watts: Interval::sum_correlated([gpu?.watts, cpu?.watts]), by: DrawnBy::Machine })
    }

    /// One GPU, and as much of a processor as holds what is not on it.
    fn hour(&self, need: u64, free: u64) -> Result<Hour, GridError> {
        let gpu = self.gpu.upkeep.hour(free)?;
        let cpu = self.cpu.upkeep.hour(need - free)?;
        Ok(Hour {
            usual: gpu.usual + cpu.usual,
            low: gpu.low + cpu.low,
            high: gpu.high + cpu.high,
            working: gpu.working + cpu.working,
            devices: 1,
        })
    }
}

/// Seconds of what is placed whole.
struct WholeParts {
    layer_s: f64,
    head_s: f64,
}

impl SideBench<'_> {
    fn parts(&self, c: &Configuration) -> Result<WholeParts, GridError> {
        // The FFN is divided between two sides, its predictor is not.
        let terms = self.composer.terms_apart(c)?;
        let ms = |kinds: &[TermKind]| {
            let own = terms.iter().filter(|term| kinds.contains(&term.kind));
            own.map(|term| self.pace.of(term.ms, term.bytes).median).sum::<f64>()
        };
        let layers = c.model.layers as f64;
        let beside_ffn = [TermKind::AttentionProjections, TermKind::KvCache, TermKind::Predictor, TermKind::Selection];
        Ok(WholeParts { layer_s: ms(&beside_ffn) / 1e3 / layers, head_s: ms(&[TermKind::LmHead]) / 1e3 })
    }
}

impl From<PlacementError> for GridError {
    fn from(error: PlacementError) -> Self {
        Self::Placement(error)
    }
}
