//! Composed against real: whole tokens through a stack of layers, beside the operators that they are composed of.
//!
//! ```text
//!   one round    roof | gate_up 0.1 | roof | down 0.1 | roof | ... | roof | a token, top-k 0.1 | roof | a token, dense | roof
//!   afterwards   medians of the operators ─▶ composer ─▶ ms/token      against      median of the tokens
//! ```
//! Both sides are timed in the same rounds. On the processor a token is a decoder's ([`cpu`]), on a GPU one graph ([`gpu`]).
//! Rounds alone do not make up for a processor's memory that changes speed: where it did, an operator or a token is held at one
//! speed, by its own runs and what memory gave around them. How far the composition was off without that is told beside.

pub mod cpu;
pub mod gpu;

use cost_model::{
    compose::{Composer, Composition, Configuration, Scorer, TermKind},
    estimate::Interval,
    format::WeightFormat,
    origin::{Origin, Sourced},
};
use kernels_cpu::Format;
use serde::Serialize;
use threshold::PolicySpec;

use crate::{Failure, Result, decode::Part, stack::Stack, timing, workload::record_format};

/// A token, decoded and composed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Weight format.
    pub format: WeightFormat,
    /// Policy.
    pub policy: String,
    /// `predictor`, `gate`, or nothing for `dense`.
    pub scorer: &'static str,
    /// Share of neurons computed, the mean over layers.
    pub density: f64,
    /// Tokens in the KV cache.
    pub context: usize,
    /// Instruction set; `cuda` on a GPU.
    pub isa: String,
    /// Threads; 1 on a GPU.
    pub threads: usize,
    /// Layers of the stack.
    pub layers: usize,
    /// Milliseconds of a token as decoded.
    pub measured_ms: Interval,
    /// Milliseconds of a token as composed.
    pub composed_ms: Interval,
    /// The relative error with times as they were, not held at one speed of memory. None on a GPU, whose memory keeps its own.
    pub error_as_timed: Option<f64>,
    /// By how much memory's speed moved its times, from 0 to 1. None where it kept its speed, and nothing was to hold.
    pub memory_share: Option<f64>,
    /// Both, part by part.
    pub parts: Vec<PartRow>,
}

/// A part of a token, decoded and composed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartRow {
    /// Which.
    pub part: Part,
    /// Milliseconds as decoded: median over tokens. None on a GPU, which tells no parts of a graph.
    pub measured_ms: Option<f64>,
    /// Milliseconds as composed.
    pub composed_ms: f64,
}

impl Row {
    /// By how much the composition is off, relative to what was measured; below 0 where the real token took longer.
    pub fn error(&self) -> f64 {
        self.composed_ms.median / self.measured_ms.median - 1.0
    }
}

/// How far the composition is from the truth.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Validation {
    /// Every token.
    pub rows: Vec<Row>,
    /// Relative errors of points of the operators' curves, each predicted by the others between its neighbours.
    pub left_out: Vec<f64>,
    /// The speeds of memory that times are held at; none on a GPU.
    pub held: Vec<Held>,
}

/// A speed of memory that all times are held at, of one format on as many threads, in bytes per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    /// Weight format.
    pub format: WeightFormat,
    /// Threads.
    pub threads: usize,
    /// The median of what was read around all runs.
    pub bytes_per_s: f64,
    /// The slowest tenth ends here.
    pub p10_bytes_per_s: f64,
    /// The fastest tenth begins here.
    pub p90_bytes_per_s: f64,
}

impl Validation {
    /// What was decoded, composed from operators that were timed in the same rounds.
    fn of(composer: &Composer<'_>, tokens: impl Iterator<Item = Decoded>) -> Result<Self> {
        let points = composer.curves().flat_map(|(_, curve)| curve.leave_one_out());
        let left_out = points.filter(|point| !point.extrapolated).map(|point| point.error()).collect();
        Ok(Self {
            rows: tokens.map(|token| token.composed(composer)).collect::<Result<_>>()?,
            left_out,
            held: Vec::new(),
        })
    }

    /// What the times of a row are held at.
    pub fn held_of(&self, row: &Row) -> Option<&Held> {
        self.held.iter().find(|held| held.format == row.format && held.threads == row.threads)
    }

    fn join(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.left_out.extend(other.left_out);
        self.held.extend(other.held);
    }
}

/// A token as it was decoded.
struct Decoded {
    format: Format,
    policy: PolicySpec,
    scorer: Scorer,
    /// Layer by layer.
    densities: Vec<f64>,
    /// Tokens in the KV cache before it.
    context: usize,
    /// Tokens whose keys and values it reads.
    attends_to: usize,
    isa: String,
    threads: usize,
    /// Round by round.
    seconds: Vec<f64>,
    /// Milliseconds of each part, where they are told apart.
    parts_ms: Option<[f64; Part::ALL.len()]>,
}

impl Decoded {
    fn composed(self, composer: &Composer<'_>) -> Result<Row> {
        let layers = self.densities.len();
        let measured = timing::median(&self.seconds).ok_or_else(|| Failure::input("no rounds to validate with"))?;
        let density = self.densities.iter().sum::<f64>() / layers as f64;
        let model = Stack::shape(layers);
        let configuration = Configuration {
            model,
            format: record_format(self.format),
            policy: self.policy.to_string(),
            scorer: self.scorer,
            densities: Sourced::new(self.densities, Origin::derived("the tokens that were decoded")),
            context_tokens: self.attends_to,
            batch: 1,
            skew: model.skew().map_err(|e| Failure::input(e.to_string()))?,
            kv_format: WeightFormat::F32,
            threads: self.threads,
            isa: self.isa,
        };
        let composed = composer.compose(&configuration)?;
        Ok(Row {
            format: configuration.format,
            policy: configuration.policy,
            scorer: match configuration.scorer {
                Scorer::Free => "",
                Scorer::LowRank(_) => "predictor",
                Scorer::Gate => "gate",
            },
            density,
            context: self.context,
            isa: configuration.isa,
            threads: configuration.threads,
            layers,
            measured_ms: measured.interval().scale(1e3),
            composed_ms: composed.ms_per_token,
            error_as_timed: None,
            memory_share: None,
            parts: parts(&composed, self.parts_ms),
        })
    }
}

fn parts(composed: &Composition, measured_ms: Option<[f64; Part::ALL.len()]>) -> Vec<PartRow> {
    let row = |(index, part): (usize, Part)| {
        let terms = composed.terms.iter().filter(|term| part_of(term.kind) == part);
        // The sum of nothing is -0.
        let composed_ms = terms.map(|term| term.ms.median).sum::<f64>() + 0.0;
        PartRow { part, measured_ms: measured_ms.map(|parts| parts[index]), composed_ms }
    };
    Part::ALL.into_iter().enumerate().map(row).collect()
}

/// Where a term of a composition is spent.
fn part_of(term: TermKind) -> Part {
    match term {
        TermKind::AttentionProjections => Part::Projections,
        TermKind::KvCache => Part::Cache,
        TermKind::Predictor => Part::Predictor,
        TermKind::Selection => Part::Selection,
        TermKind::LmHead => Part::Head,
        TermKind::Ffn | TermKind::FfnGateFirst | TermKind::FfnPredicted | TermKind::FfnGateUp | TermKind::FfnDown => {
            Part::Ffn
        }
        TermKind::Small => Part::Rest,
    }
}

/// Layers of `layer` bytes that `may_take` bytes hold beside `taken`, at most as many as are wanted.
fn depth(format: Format, wanted: usize, layer: u64, taken: u64, may_take: u64) -> Result<usize> {
    let fit = usize::try_from(may_take.saturating_sub(taken) / layer.max(1)).unwrap_or(usize::MAX);
    match fit.min(wanted) {
        0 => Err(Failure::input(format!(
            "a {format} stack of one layer takes {:.1} GB and it may take {:.1} GB of what memory is free: close something, or validate \
             another format",
            (taken + layer) as f64 / 1e9,
            may_take as f64 / 1e9
        ))),
        layers => Ok(layers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As many as fit and no more, never more than are wanted; where none fits, the message says what one takes.
        #[test]
        fn a_stack_is_as_deep_as_memory_allows(
            wanted in 1_usize..1000,
            layer in 1_u64..1 << 40,
            taken in 0_u64..1 << 40,
            may_take in 0_u64..1 << 45,
        ) {
            match depth(Format::Bf16, wanted, layer, taken, may_take) {
                Ok(layers) => {
                    prop_assert!((1..=wanted).contains(&layers) && taken + layers as u64 * layer <= may_take);
                    prop_assert!(layers == wanted || taken + (layers as u64 + 1) * layer > may_take);
                }
                Err(refused) => {
                    prop_assert_eq!(refused.code, 2);
                    prop_assert!(taken + layer > may_take && refused.message.contains("bf16"));
                }
            }
        }
    }
}
