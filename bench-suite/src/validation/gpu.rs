//! Tokens as graphs on a GPU: attention's projections, the FFN and the LM head, without a KV cache.
//!
//! ```text
//!   one round    roof | a token, dense | a token, predicted 0.1 | a token, gate first 0.1 | ... | ffn 0.1 | ffn_predicted 0.1 | ...
//! ```
//! A layer's rows are cut at a threshold within the step, whichever share of its scores that leaves: what `per-layer` does
//! with what it was calibrated to. Operators are timed as `roof` times them, over the first layers of the same stack.

use cost_model::{
    compose::{Composer, Scorer},
    machine::{CUDA, Machine},
    operator::Operator,
    record::{Provenance, Record},
};
use kernels_cpu::Format;
use kernels_cuda::Gpu;
use threshold::{Allocation, PolicySpec};

use super::{Decoded, Validation, depth};
use crate::{
    Failure, Result,
    gpu::{
        layers::Host,
        measure::{self, BANDWIDTH_BYTES, Roof, Timed, Weights, measurements, run_rounds},
        stack::{self, Choice},
    },
    measure::progress_bar,
    stack::Stack,
    workload::{SHAPE, record_format},
};

/// Formats, unless somebody asks for others.
pub const FORMATS: [Format; 2] = [Format::Bf16, Format::Q8_0];
/// Operators that a token is composed of.
const OPERATORS: [Operator; 4] = [Operator::Ffn, Operator::FfnGateFirst, Operator::FfnPredicted, Operator::Gemv];
/// Of the GPU's memory, what weights may take: the rest holds what steps exchange, and what the driver takes.
const SHARE_OF_MEMORY: f64 = 0.9;

/// What to decode.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Weight formats, a stack each.
    pub formats: Vec<Format>,
    /// Policies; each but `dense` runs scored by predictors and scored by gates.
    pub policies: Vec<PolicySpec>,
    /// Layers at most; memory may hold fewer.
    pub layers: usize,
    /// Rank of the predictors.
    pub rank: usize,
    /// Times that each token and each operator is run.
    pub rounds: usize,
}

impl Plan {
    /// Tokens of a stack with predictors of a rank.
    ///
    /// # Errors
    /// A policy that no threshold in a step stands for.
    fn tokens(&self, rank: usize) -> Result<Vec<(PolicySpec, Scorer, Choice)>> {
        let mut tokens = Vec::new();
        for &policy in &self.policies {
            match policy {
                PolicySpec::Dense => tokens.push((policy, Scorer::Free, Choice::Dense)),
                PolicySpec::PerLayer(density, Allocation::Even) => {
                    tokens.push((policy, Scorer::LowRank(rank), Choice::Predicted(density.get())));
                    tokens.push((policy, Scorer::Gate, Choice::GateFirst(density.get())));
                }
                other => {
                    return Err(Failure::input(format!(
                        "a layer on a GPU selects by a threshold within its step: it decodes `dense` and `per-layer:density=D`, not \
                         `{other}`"
                    )));
                }
            }
        }
        Ok(tokens)
    }

    /// Whether it can be carried out, where there is a GPU.
    ///
    /// # Errors
    /// A policy that no threshold in a step stands for.
    pub fn check(&self) -> Result<()> {
        self.tokens(self.rank).map(drop)
    }

    fn operators(&self, format: Format, rank: usize) -> measure::Plan {
        measure::Plan {
            formats: vec![format],
            operators: OPERATORS.to_vec(),
            ranks: vec![rank],
            beside: false,
            power: false,
            ..measure::Plan::standard(self.rounds)
        }
    }
}

/// Carries out a plan.
///
/// # Errors
/// Not enough device memory for one layer; a policy that no threshold in a step stands for; a kernel computes something else
/// than it was told.
pub fn validate(plan: &Plan, gpu: &Gpu, machine: &Machine, provenance: &Provenance) -> Result<Validation> {
    let machine = machine.as_gpu().ok_or_else(|| Failure::short("this machine has no usable GPU"))?;
    // Takes its memory once: what is measured next would find its addresses forgotten after each giving back.
    let mut roof = Roof::new(gpu)?;
    let mut all = Validation::default();
    for &format in &plan.formats {
        all.join(validate_format(plan, format, gpu, &mut roof, Record::new(machine.clone(), provenance.clone()))?);
    }
    Ok(all)
}

fn validate_format(
    plan: &Plan,
    format: Format,
    gpu: &Gpu,
    roof: &mut Roof<'_>,
    mut record: Record,
) -> Result<Validation> {
    let rank = plan.rank.next_multiple_of(format.block_len());
    let (wanted, operators) = (plan.tokens(rank)?, plan.operators(format, rank));
    let (layer, once) = Stack::bytes(format, rank);
    let least = Weights::least_ffns(gpu, format);
    let more =
        least.saturating_sub(plan.layers) as u64 * record_format(format).bytes(3 * SHAPE.intermediate, SHAPE.hidden);
    let taken = once + more + Weights::beside_bytes(gpu, &operators, format) + BANDWIDTH_BYTES;
    let may_take = (SHARE_OF_MEMORY * gpu.device().memory_bytes as f64) as u64;
    let layers = depth(format, plan.layers, layer, taken, may_take)?;

    let progress = progress_bar((wanted.len() + operators.subjects(format).len() + plan.rounds + 1) as u64);
    progress.set_message(format!("filling {layers} layers with weights: {format}"));
    let host = Host::new(format)?;
    let ffns = host.upload_ffns(gpu, layers.max(least))?;
    let stack = stack::Stack::upload(gpu, &host, ffns.iter().take(layers).cloned().collect(), Some(rank))?;
    let weights = Weights::of(gpu, host, ffns.into_iter().take(least).collect());

    progress.set_message(format!("{} tokens through {layers} layers: {format}", wanted.len()));
    let mut densities = Vec::new();
    let mut tokens = Vec::new();
    for &(.., choice) in &wanted {
        let token = stack.token(gpu, choice)?;
        densities.push(token.densities);
        // No bytes: how a token stands to the roof is not asked.
        tokens.push(Timed::new(token.chain, 0));
        progress.inc(1);
    }
    let (subjects, mut timed) = weights.operators(gpu, &operators, || progress.inc(1))?;
    progress.set_message(format!("{} tokens, {} operators: {format}", tokens.len(), timed.len()));
    timed.extend(tokens);
    run_rounds(gpu, plan.rounds, &mut timed, &mut [], roof, || progress.inc(1))?;
    progress.finish_and_clear();

    let (own, tokens) = timed.split_at(subjects.len());
    (record.bandwidth, record.copy_bandwidth) = roof.bandwidth();
    record.measurements = measurements(&subjects, own);
    let decoded =
        wanted.into_iter().zip(densities).zip(tokens).map(|(((policy, scorer, _), densities), token)| Decoded {
            format,
            policy,
            scorer,
            densities,
            context: 0,
            attends_to: 0,
            isa: CUDA.to_owned(),
            threads: 1,
            seconds: token.seconds.clone(),
            parts_ms: None,
        });
    Validation::of(&Composer::new(&record)?, decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gpu::{chains::Chain, stack::QKV_ROWS},
        machine::example_gpu_record,
        workload::Subject,
    };
    use proptest::prelude::*;

    const RANK: usize = 1024;
    const BYTES_PER_S: f64 = 4e12;

    fn plan(policies: &[&str]) -> Plan {
        let policies = policies.iter().map(|policy| policy.parse().unwrap()).collect();
        Plan { formats: FORMATS.to_vec(), policies, layers: 80, rank: RANK, rounds: 6 }
    }

    /// Of a GPU that takes `start_s` for everything, and its bytes over its bandwidth.
    fn record(format: Format, start_s: f64) -> Record {
        let mut record = example_gpu_record(BYTES_PER_S);
        let subjects: Vec<Subject> = plan(&["dense"]).operators(format, RANK).subjects(format);
        let timed = |subject: &Subject| {
            let mut timed = Timed::new(Chain { steps: Vec::new(), count: 1 }, subject.bytes);
            timed.seconds = vec![start_s + subject.bytes as f64 / BYTES_PER_S; 6];
            timed
        };
        record.measurements = measurements(&subjects, &subjects.iter().map(timed).collect::<Vec<_>>());
        record.check("example").unwrap();
        record
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// The operators that are timed are all that a token is made of, three a layer and the LM head: where each takes in it
        /// what it takes alone, the composition is the token.
        #[test]
        fn tokens_are_composed_of_what_is_timed(
            layers in 1_usize..100,
            start_us in 0.0..20.0,
            at in 0_usize..4,
            format in prop::sample::select(FORMATS.to_vec()),
        ) {
            let density = [0.5, 0.25, 0.1, 0.05][at];
            let start_s = start_us * 1e-6;
            let record = record(format, start_s);
            let policy = format!("per-layer:density={density:.2}");
            let weights = record_format(format);
            let ffn = (SHAPE.intermediate, SHAPE.hidden);
            let tokens = plan(&["dense", policy.as_str()]).tokens(RANK).unwrap();
            prop_assert_eq!(tokens.len(), 3);
            let decoded = tokens.into_iter().map(|(policy, scorer, choice)| {
                let (operator, density) = match choice {
                    Choice::Dense => (Operator::Ffn, 1.0),
                    Choice::Listed(density) => (Operator::Ffn, density),
                    Choice::Predicted(density) => (Operator::FfnPredicted, density),
                    Choice::GateFirst(density) => (Operator::FfnGateFirst, density),
                };
                let calls = (3 * layers + 1) as f64;
                let rows = layers * (QKV_ROWS + SHAPE.query_width()) + SHAPE.vocab;
                let bytes = layers as u64 * operator.weight_bytes(weights, ffn, density, RANK)
                    + weights.bytes(rows, SHAPE.hidden);
                Decoded {
                    format,
                    policy,
                    scorer,
                    densities: vec![density; layers],
                    context: 0,
                    attends_to: 0,
                    isa: CUDA.to_owned(),
                    threads: 1,
                    seconds: vec![calls * start_s + bytes as f64 / BYTES_PER_S; 6],
                    parts_ms: None,
                }
            });
            let validation = Validation::of(&Composer::new(&record).unwrap(), decoded).unwrap();
            for row in &validation.rows {
                prop_assert!(row.error().abs() < 1e-9, "{row:?}");
                prop_assert_eq!((row.isa.as_str(), row.threads, row.context, row.layers), (CUDA, 1, 0, layers));
                prop_assert!(row.parts.iter().all(|part| part.measured_ms.is_none()));
                let sum: f64 = row.parts.iter().map(|part| part.composed_ms).sum();
                prop_assert!((sum / row.composed_ms.median - 1.0).abs() < 1e-9);
            }
            let scorers: Vec<_> = validation.rows.iter().map(|row| row.scorer).collect();
            prop_assert_eq!(scorers, ["", "predictor", "gate"]);
            // Affine but for densities that are no whole rows.
            prop_assert!(validation.left_out.iter().all(|error| *error < 2e-3) && !validation.left_out.is_empty());
        }
    }

    #[test]
    fn only_what_a_step_selects_by_itself_is_decoded() {
        for policy in
            ["top-k:density=0.10", "fixed:0.0", "dynamic:miss=0.02", "per-layer:density=0.10,allocation=greedy"]
        {
            let refused = plan(&["dense", policy]).check().unwrap_err();
            assert!(refused.code == 2 && refused.message.contains(policy), "{}", refused.message);
        }
        plan(&["dense", "per-layer:density=1.0"]).check().unwrap();
    }
}
