//! Completions of tasks by a model under a policy.
//!
//! ```text
//!   problems  |0 1 2 ...|...|...|   eight shards, whatever the number of threads
//!   shard     decoder and policy of its own, one thread; a policy learns from problem to problem within its shard
//! ```
//! A model small enough to write hundreds of programs reads its weights out of caches: a program a thread is faster than
//! all threads on one. Policies that learn are settled on training problems before the first one counts.

use kernels_cpu::Cpu;
use threshold::{Calibration, Inputs, PolicySpec};

use super::{
    Problem,
    score::{Completion, STOPS},
    suite,
};
use crate::{
    Failure, Result,
    alone::each_alone,
    decode::{Decoder, LayerStatistics, Sampler, Text, calibrate_on},
    model::Model,
    tokenizer::Tokenizer,
};

/// Parts that problems are dealt into: the same on every machine, so that what policies learn is too.
const SHARDS: usize = 8;
/// Training problems, with their solutions, whose text calibrates policies: about one of each family.
const SAMPLE_PROBLEMS: usize = 70;
const SAMPLE_SEED: u64 = 7;
/// Of these, how many a policy that learns reads before it starts in a shard.
const SETTLING_PROBLEMS: usize = 14;

/// A model that completes code.
#[derive(Debug, Clone, Copy)]
pub struct Author<'m> {
    /// Its weights; down by neuron for any policy but dense.
    pub model: &'m Model<'m>,
    /// Its tokenizer.
    pub tokenizer: &'m Tokenizer,
    /// Tokens of a completion at most.
    pub most: usize,
}

/// Training problems with their solutions, and what scores were like while those were read.
#[derive(Debug)]
pub struct Sample {
    texts: Vec<Text>,
    /// Of all of them.
    pub calibration: Calibration,
}

impl Sample {
    /// How many tokens the solutions have.
    pub fn tokens(&self) -> usize {
        self.texts.iter().map(|text| text.tokens.len() - text.passed_over).sum()
    }
}

/// A function to complete.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'p> {
    /// The problem's name.
    pub task_id: &'p str,
    /// All up to where the function's body begins.
    pub text: &'p str,
}

/// What a model wrote under one policy.
#[derive(Debug)]
pub struct Written {
    /// One a problem, in their order.
    pub completions: Vec<Completion>,
    /// What each layer did meanwhile, prompts aside.
    pub layers: Vec<LayerStatistics>,
}

impl Author<'_> {
    /// The sample that policies are calibrated on.
    ///
    /// # Errors
    /// A hidden state with NaN.
    pub fn sample(&self) -> Result<Sample> {
        let text = |problem: Problem| {
            let passed_over = self.encode(&problem.prompt)?.len();
            Ok(Text { tokens: self.encode(&(problem.prompt + &problem.canonical_solution))?, passed_over })
        };
        let mut texts = suite::training(SAMPLE_SEED).take(SAMPLE_PROBLEMS).map(text).collect::<Result<Vec<_>>>()?;
        texts.retain(|text| (text.passed_over..=self.model.config.context).contains(&text.tokens.len()));
        let cpu = Cpu::with_threads(1)?;
        let calibration = cpu.install(|| calibrate_on(self.model, &cpu, &texts))?;
        Ok(Sample { texts, calibration })
    }

    /// The likeliest completion of every problem under `policy`, on `threads` threads. The density of a completion is that
    /// of the tokens that it was written in, without its prompt, with the policy's audits.
    ///
    /// # Errors
    /// A policy that lacks an input; a problem longer than the model's context.
    pub fn complete(
        &self,
        problems: &[Prompt<'_>],
        policy: &PolicySpec,
        sample: Option<&Sample>,
        threads: usize,
        done: impl Fn() + Sync,
    ) -> Result<Written> {
        let shard = problems.len().div_ceil(SHARDS).max(1);
        let shards: Vec<&[Prompt<'_>]> = problems.chunks(shard).collect();
        let all = each_alone(shards.len(), threads, |index, cpu| {
            // Entered once, not once a token.
            cpu.install(|| self.complete_shard(cpu, shards[index], policy, sample, &done))
        })?;
        let mut layers = vec![LayerStatistics::default(); self.model.config.layers];
        let mut completions = Vec::with_capacity(problems.len());
        for written in all {
            add(&mut layers, &written.layers);
            completions.extend(written.completions);
        }
        Ok(Written { completions, layers })
    }

    fn complete_shard(
        &self,
        cpu: &Cpu,
        problems: &[Prompt<'_>],
        policy: &PolicySpec,
        sample: Option<&Sample>,
        done: &(impl Fn() + Sync),
    ) -> Result<Written> {
        let inputs = Inputs { calibration: sample.map(|sample| &sample.calibration), ..Inputs::default() };
        let mut decoder = Decoder::new(self.model, cpu, policy, &inputs, self.model.config.context)?;
        let settling = sample.filter(|_| learns(policy)).map_or(&[][..], |sample| &sample.texts);
        for text in settling.iter().take(SETTLING_PROBLEMS) {
            decoder.clear();
            text.tokens.iter().try_for_each(|&token| decoder.push(token))?;
        }
        let mut layers = vec![LayerStatistics::default(); self.model.config.layers];
        let mut completions = Vec::with_capacity(problems.len());
        for &problem in problems {
            let prompt = self.encode(problem.text)?;
            let written = self.write(&mut decoder, problem.task_id, &prompt, |decoder, token| decoder.push(token))?;
            let seen = decoder.statistics();
            add(&mut layers, seen);
            completions.push(completion(problem, policy, &written, seen, self));
            done();
        }
        Ok(Written { completions, layers })
    }

    /// The likeliest tokens that follow a problem's prompt, up to where its function ends; the decoder's statistics are then
    /// of these alone. `push` reads each token, those of the prompt first.
    ///
    /// # Errors
    /// A prompt longer than the model's context; whatever `push` refuses.
    pub fn write<'d>(
        &self,
        decoder: &mut Decoder<'d>,
        task_id: &str,
        prompt: &[u32],
        mut push: impl FnMut(&mut Decoder<'d>, u32) -> Result<()>,
    ) -> Result<Vec<u32>> {
        if prompt.len() + self.most > self.model.config.context {
            let (given, context) = (prompt.len(), self.model.config.context);
            return Err(Failure::input(format!(
                "{task_id}: {given} tokens and {} more do not fit the model's context of {context}; choose fewer --tokens",
                self.most
            )));
        }
        let mut greedy = Sampler::new(0.0, 1.0, 0)?;
        decoder.clear();
        prompt.iter().try_for_each(|&token| push(decoder, token))?;
        decoder.clear_statistics();
        let (mut written, mut text) = (Vec::new(), Vec::new());
        while written.len() < self.most {
            let token = greedy.next(decoder.logits()?)?;
            if self.tokenizer.is_end(token) {
                break;
            }
            written.push(token);
            push(decoder, token)?;
            let before = text.len();
            text.extend_from_slice(self.tokenizer.piece(token));
            if ends(&text, before) {
                break;
            }
        }
        Ok(written)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode(text, false)?)
    }
}

/// Whether a policy changes with what it sees.
fn learns(policy: &PolicySpec) -> bool {
    matches!(policy, PolicySpec::Budget(_) | PolicySpec::Dynamic(..))
}

fn add(sum: &mut [LayerStatistics], more: &[LayerStatistics]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.with(more));
}

/// Whether a completion whose first `before` bytes went on has left its function: what follows is cut off by whoever runs
/// it.
fn ends(text: &[u8], before: usize) -> bool {
    let holds = |stop: &str| {
        let from = (before + 1).saturating_sub(stop.len());
        text[from..].windows(stop.len()).any(|window| window == stop.as_bytes())
    };
    STOPS.iter().any(|stop| holds(stop))
}

fn completion(
    problem: Prompt<'_>,
    policy: &PolicySpec,
    written: &[u32],
    seen: &[LayerStatistics],
    author: &Author<'_>,
) -> Completion {
    let neurons = author.model.config.intermediate;
    let decoded = seen.iter().any(|layer| layer.tokens > 0);
    let mean = |share: &dyn Fn(&LayerStatistics) -> f64| {
        decoded.then(|| seen.iter().map(share).sum::<f64>() / seen.len() as f64)
    };
    let misses: Vec<f64> = seen.iter().filter_map(LayerStatistics::miss).collect();
    Completion {
        task_id: problem.task_id.to_owned(),
        completion: String::from_utf8_lossy(&author.tokenizer.decode(written)).into_owned(),
        policy: policy.to_string(),
        density: mean(&|layer| layer.density(neurons)),
        fired_density: mean(&|layer| layer.fired_density(neurons)),
        audit_density: mean(&|layer| layer.audit_density(neurons)),
        missed_mass: (!misses.is_empty()).then(|| misses.iter().sum::<f64>() / misses.len() as f64),
        tokens: Some(written.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in the token that completes it, wherever tokens are cut, and never before.
    #[test]
    fn a_stop_is_found_across_tokens() {
        let text = b"    return 1\n\ndef g():";
        let whole = text.windows(4).position(|window| window == b"\ndef").unwrap() + 4;
        for size in 1..text.len() {
            for first in 0..size {
                let cuts: Vec<usize> = (first..text.len()).step_by(size).chain([text.len()]).collect();
                for pair in cuts.windows(2) {
                    assert_eq!(ends(&text[..pair[1]], pair[0]), pair[1] >= whole && pair[0] < whole, "{pair:?}");
                }
            }
        }
    }
}
