//! Tokens of a decoder on the processor, with attention over a KV cache, norms and sampling's logits.

use std::sync::{Arc, Mutex, PoisonError};

use cost_model::{
    compose::{Composer, Scorer},
    format::WeightFormat,
    machine::Machine,
    operator::Operator,
    record::{Provenance, Record},
};
use kernels_cpu::{Cpu, Format};
use threshold::{Calibration, Inputs, PolicySpec};

use super::{Decoded, Held, Validation};
use crate::{
    Failure, Result,
    decode::{Decoder, Part, calibrate, needs_calibration},
    machine::available_memory_bytes,
    measure::{
        self, NO_REST, Placed, Roof, attention_cases, best_per_thread_count, layer_cases, progress_bar, run_rounds,
        selection_cases, timed_of, widest,
    },
    model::Model,
    stack::Stack,
    steady, timing,
    workload::{Case, Layer, SHAPE, Timed, record_format},
};

/// What to decode.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Weight formats, a stack each.
    pub formats: Vec<Format>,
    /// Policies; each but `dense` runs scored by predictors and scored by gates.
    pub policies: Vec<PolicySpec>,
    /// Tokens in the KV cache.
    pub contexts: Vec<usize>,
    /// Thread counts.
    pub threads: Vec<usize>,
    /// Layers at most; memory may hold fewer.
    pub layers: usize,
    /// Rank of the predictors.
    pub rank: usize,
    /// Times that each token and each operator is run.
    pub rounds: usize,
}

/// Memory that stays free for everything else, caches that attention is timed over among it.
const SPARE_BYTES: u64 = 2 << 30;
/// Of free memory, what a stack may take: with less left, the system finds no huge pages for what is allocated last.
const SHARE_OF_FREE: f64 = 0.7;
/// Tokens that a policy is calibrated on, where it needs to be.
const CALIBRATION_TOKENS: [u32; 2] = [1, 2];
/// Tokens before anything is timed, so that policies that learn have begun to.
const WARM_TOKENS: u32 = 2;

/// Carries out a plan.
///
/// # Errors
/// Not enough memory for one layer; a policy that cannot be built.
pub fn validate(plan: &Plan, machine: &Machine, provenance: &Provenance) -> Result<Validation> {
    let mut all = Validation::default();
    for &format in &plan.formats {
        all.join(validate_format(plan, format, machine, provenance)?);
    }
    Ok(all)
}

/// Keys and values of every decoder.
fn cache_bytes_of_a_layer(plan: &Plan) -> u64 {
    let sparse = plan.policies.iter().filter(|policy| **policy != PolicySpec::Dense).count();
    let decoders = plan.threads.len() * (plan.policies.len() + sparse);
    let positions: usize = plan.contexts.iter().map(|context| context + 1).sum();
    (decoders * positions) as u64 * Operator::Attention.weight_bytes(WeightFormat::F32, (1, SHAPE.kv_width()), 1.0, 0)
}

/// Layers that memory holds, at most as many as are wanted.
fn depth(plan: &Plan, format: Format, rank: usize) -> Result<usize> {
    let (weights, once) = Stack::bytes(format, rank);
    let layer = weights + cache_bytes_of_a_layer(plan);
    let free = (SHARE_OF_FREE * available_memory_bytes() as f64) as u64;
    if free == 0 {
        return Ok(plan.layers); // The system does not say.
    }
    super::depth(format, plan.layers, layer, once + SPARE_BYTES, free)
}

/// Seconds of each part, token by token.
type PartTimes = [Vec<f64>; Part::ALL.len()];

/// A token that is timed, and what is to be said of it.
struct Token<'a> {
    pool: usize,
    policy: PolicySpec,
    predictors: bool,
    context: usize,
    /// Layer by layer.
    densities: Vec<f64>,
    /// Of every token that was ever pushed, those not timed among them.
    parts: Arc<Mutex<PartTimes>>,
    timed: Timed<'a>,
}

fn validate_format(plan: &Plan, format: Format, machine: &Machine, provenance: &Provenance) -> Result<Validation> {
    let rank = plan.rank.next_multiple_of(format.block_len());
    let operators = measure::Plan {
        formats: vec![format],
        threads: plan.threads.clone(),
        ranks: vec![rank],
        batches: Vec::new(),
        policies: plan.policies.clone(),
        ..measure::Plan::standard(machine, plan.rounds)
    };
    let cpus = operators.cpus(&operators.threads)?;
    let mut roof = Roof::new(widest(&cpus)?)?;
    let layers = depth(plan, format, rank)?;
    let progress = progress_bar((layers + plan.rounds) as u64);
    progress.set_message(format!("filling {layers} layers with weights: {format}"));
    let stack = Stack::new(widest(&cpus)?, format, layers, rank, || progress.inc(1))?;
    let models = [stack.model(false)?, stack.model(true)?];
    let layers_timed = spread(stack.operators(), plan.rounds);

    progress.set_message(format!("first tokens: {format}"));
    let mut tokens = tokens(plan, &cpus, &models)?;
    let mut cases = over_all(&operators, &cpus, &layers_timed)?;
    cases.extend(attention_cases(&operators, &cpus)?);
    cases.extend(selection_cases(&operators)?);
    progress.set_message(format!("{} tokens, {} operators: {format}", tokens.len(), cases.len()));
    let mut bandwidth = vec![Vec::new(); cpus.len()];
    let mut turns = timed_of(&mut cases);
    turns.extend(tokens.iter_mut().map(|token| (token.pool, &mut token.timed)));
    run_rounds(plan.rounds, &cpus, &mut turns, Some((&mut roof, &mut bandwidth)), NO_REST, &progress)?;
    progress.finish_and_clear();

    let mut record = Record::new(machine.clone(), provenance.clone());
    record.bandwidth = best_per_thread_count(&cpus, &bandwidth);
    let composed = |cases: &[Placed<'_>], tokens: &[Token<'_>]| {
        let measurements = cases.iter().filter_map(|(_, case)| case.measurement()).collect();
        let record = Record { measurements, ..record.clone() };
        let tokens = tokens.iter().map(|token| token.decoded(format, &cpus[token.pool], rank));
        Validation::of(&Composer::new(&record)?, tokens)
    };
    let as_timed = composed(&cases, &tokens)?;
    let held: Option<Vec<Held>> = cpus.iter().zip(bandwidth).map(|(cpu, read)| held(format, cpu, read)).collect();
    let held = held.ok_or_else(|| Failure::input("no rounds to validate with"))?;
    for (pool, timed) in timed_of(&mut cases) {
        timed.hold_at(held[pool].bytes_per_s);
    }
    let shares: Vec<Option<f64>> = tokens.iter_mut().map(|token| token.hold_at(held[token.pool].bytes_per_s)).collect();
    let mut validation = Validation { held, ..composed(&cases, &tokens)? };
    for ((row, as_timed), memory_share) in validation.rows.iter_mut().zip(as_timed.rows).zip(shares) {
        row.error_as_timed = Some(as_timed.error());
        row.memory_share = memory_share;
    }
    Ok(validation)
}

/// At most `most` of the layers, from all over the stack.
fn spread<T>(layers: Vec<T>, most: usize) -> Vec<T> {
    let (all, kept) = (layers.len(), layers.len().min(most));
    let wanted = |&(index, _): &(usize, T)| (index * kept) % all < kept;
    layers.into_iter().enumerate().filter(wanted).map(|(_, layer)| layer).collect()
}

/// Operators, each over the weights of another layer in turn, which tokens read too: one block of memory may be faster than another,
/// and is to the threads that filled it.
fn over_all<'a>(operators: &measure::Plan, cpus: &'a [Cpu], layers: &'a [Layer]) -> Result<Vec<Placed<'a>>> {
    let mut by_layer = Vec::new();
    for layer in layers {
        by_layer.push(layer_cases(operators, cpus, std::slice::from_ref(layer))?.into_iter());
    }
    let mut all = Vec::new();
    loop {
        let turns: Vec<Placed<'a>> = by_layer.iter_mut().filter_map(Iterator::next).collect();
        let Some(&(pool, _)) = turns.first() else { return Ok(all) };
        all.extend(Case::in_turn(turns.into_iter().map(|(_, case)| case).collect()).map(|case| (pool, case)));
    }
}

/// What to hold times at, of what memory gave around them.
fn held(format: Format, cpu: &Cpu, mut read: Vec<f64>) -> Option<Held> {
    read.sort_by(f64::total_cmp);
    let [p10, bytes_per_s, p90] = [0.1, 0.5, 0.9].map(|share| timing::nearest_rank(&read, share));
    Some(Held {
        format: record_format(format),
        threads: cpu.threads(),
        bytes_per_s: bytes_per_s?,
        p10_bytes_per_s: p10?,
        p90_bytes_per_s: p90?,
    })
}

/// Every policy, scored by gates and by predictors, at every context on every pool.
fn tokens<'a>(plan: &Plan, cpus: &'a [Cpu], [by_gate, by_predictor]: &'a [Model<'a>; 2]) -> Result<Vec<Token<'a>>> {
    let mut tokens = Vec::new();
    let calibrated = plan.policies.iter().any(needs_calibration);
    for (predictors, model) in [(false, by_gate), (true, by_predictor)] {
        let calibration = calibrated.then(|| calibrate(model, widest(cpus)?, &CALIBRATION_TOKENS)).transpose()?;
        for &policy in &plan.policies {
            if policy == PolicySpec::Dense && predictors {
                continue;
            }
            for &context in &plan.contexts {
                for (pool, cpu) in cpus.iter().enumerate() {
                    let decoder = decoder(cpu, model, &policy, calibration.as_ref(), context)?;
                    tokens.push(Token::new(pool, policy, predictors, context, decoder)?);
                }
            }
        }
    }
    Ok(tokens)
}

/// A decoder after `context` tokens.
fn decoder<'a>(
    cpu: &'a Cpu,
    model: &'a Model<'a>,
    policy: &PolicySpec,
    calibration: Option<&Calibration>,
    context: usize,
) -> Result<Decoder<'a>> {
    let inputs = Inputs { calibration, ..Inputs::default() };
    let mut decoder = Decoder::new(model, cpu, policy, &inputs, context + 1)?;
    decoder.leave_misses_unknown();
    decoder.pretend(context)?;
    Ok(decoder)
}

impl<'a> Token<'a> {
    /// The token after `context` others, with the density of each layer as it was just before.
    fn new(pool: usize, policy: PolicySpec, predictors: bool, context: usize, decoder: Decoder<'a>) -> Result<Self> {
        let mut decoder = decoder;
        let parts = Arc::new(Mutex::new(PartTimes::default()));
        let seen = Arc::clone(&parts);
        let mut next = 0;
        let mut step = move |decoder: &mut Decoder<'_>| {
            next = (next + 1) % SHAPE.vocab as u32;
            let before = decoder.clock().spent();
            decoder.truncate(context);
            decoder.push(next)?;
            decoder.logits()?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for ((times, before), after) in seen.iter_mut().zip(before).zip(decoder.clock().spent()) {
                times.push((after - before).as_secs_f64());
            }
            Ok(())
        };
        (0..WARM_TOKENS).try_for_each(|_| step(&mut decoder))?;
        let layers = decoder.statistics().iter();
        let densities = layers.map(|layer| layer.density(SHAPE.intermediate)).collect();
        // No bytes: how a token stands to the roof is not asked.
        let timed = Timed::new(0, move || step(&mut decoder));
        Ok(Self { pool, policy, predictors, context, densities, parts, timed })
    }

    /// As if memory had been `bytes_per_s` fast around every token: the whole, and each part. Gives memory's share in the whole.
    fn hold_at(&mut self, bytes_per_s: f64) -> Option<f64> {
        for times in self.parts.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            times.drain(..times.len() - self.timed.seconds.len());
            *times = steady::held_at(bytes_per_s, times, &self.timed.bytes_per_s);
        }
        self.timed.hold_at(bytes_per_s)
    }

    fn decoded(&self, format: Format, cpu: &Cpu, rank: usize) -> Decoded {
        let times = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        Decoded {
            format,
            policy: self.policy,
            scorer: match (self.policy, self.predictors) {
                (PolicySpec::Dense, _) => Scorer::Free,
                (_, true) => Scorer::LowRank(rank),
                (_, false) => Scorer::Gate,
            },
            densities: self.densities.clone(),
            context: self.context,
            attends_to: self.context + 1, // its own too
            isa: cpu.kernel(format).isa().to_string(),
            threads: cpu.threads(),
            seconds: self.timed.seconds.clone(),
            parts_ms: Some(times.each_ref().map(|times| timing::median(times).map_or(0.0, |t| 1e3 * t.median))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as there may be, from the first on, and neighbours as far apart as any others, give or take one.
    #[test]
    fn operators_are_timed_all_over_the_stack() {
        for all in 1..40 {
            for most in 1..40 {
                let kept = spread((0..all).collect(), most);
                assert_eq!((kept.len(), kept[0]), (all.min(most), 0));
                let ends = kept.iter().skip(1).chain([&all]);
                let gaps: Vec<usize> = kept.iter().zip(ends).map(|(one, next)| next - one).collect();
                assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() <= 1, "{most} of {all}: {kept:?}");
            }
        }
    }
}
