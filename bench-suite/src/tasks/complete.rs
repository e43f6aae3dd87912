//! Completions of tasks by a model under a policy.
//!
//! ```text
//!   problems  |0 1 2 ...|...|...|   eight shards, whatever the number of threads
//!   shard     decoder and policy of its own, one thread; a policy learns from problem to problem within its shard
//! ```
//! A model small enough to write hundreds of programs reads its weights out of caches: a program a thread is faster than
//! all threads on one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use kernels_cpu::Cpu;
use threshold::{Calibration, Inputs, PolicySpec};

use super::{
    Problem,
    score::{Completion, STOPS},
    suite,
};
use crate::{
    Failure, Result,
    decode::{Decoder, Sampler, calibrate},
    model::Model,
    tokenizer::Tokenizer,
};

/// Parts that problems are dealt into: the same on every machine, so that what policies learn is too.
const SHARDS: usize = 8;
/// Training problems whose text calibrates policies that learn from a sample of scores.
const CALIBRATION_SEED: u64 = 7;

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

impl Author<'_> {
    /// Score statistics over training problems with their solutions, as many as the model's context holds.
    ///
    /// # Errors
    /// Problems longer than the model's context.
    pub fn calibration(&self, cpu: &Cpu) -> Result<Calibration> {
        let mut tokens = Vec::new();
        for problem in suite::training(CALIBRATION_SEED) {
            let next = self.encode(&(problem.prompt + &problem.canonical_solution))?;
            if tokens.len() + next.len() > self.model.config.context {
                break;
            }
            tokens.extend(next);
        }
        calibrate(self.model, cpu, &tokens)
    }

    /// The likeliest completion of every problem under `policy`, on `threads` threads. The density of a completion is that
    /// of the tokens that it was written in, without its prompt.
    ///
    /// # Errors
    /// A policy that lacks an input; a problem longer than the model's context.
    pub fn complete(
        &self,
        problems: &[Problem],
        policy: &PolicySpec,
        calibration: Option<&Calibration>,
        threads: usize,
        done: impl Fn() + Sync,
    ) -> Result<Vec<Completion>> {
        let shard = problems.len().div_ceil(SHARDS).max(1);
        let shards: Vec<&[Problem]> = problems.chunks(shard).collect();
        let next = AtomicUsize::new(0);
        let worker = || -> Result<Vec<(usize, Vec<Completion>)>> {
            let cpu = Cpu::with_threads(1)?;
            let mut own = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(problems) = shards.get(index) else { return Ok(own) };
                own.push((index, self.complete_shard(&cpu, problems, policy, calibration, &done)?));
            }
        };
        let mut all = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.min(shards.len())).map(|_| scope.spawn(worker)).collect();
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.join().map_err(|_| Failure::input("a thread that decodes has panicked"))??);
            }
            Ok::<_, Failure>(all)
        })?;
        all.sort_unstable_by_key(|(shard, _)| *shard);
        Ok(all.into_iter().flat_map(|(_, completions)| completions).collect())
    }

    fn complete_shard(
        &self,
        cpu: &Cpu,
        problems: &[Problem],
        policy: &PolicySpec,
        calibration: Option<&Calibration>,
        done: &(impl Fn() + Sync),
    ) -> Result<Vec<Completion>> {
        let inputs = Inputs { calibration, ..Inputs::default() };
        let mut decoder = Decoder::new(self.model, cpu, policy, &inputs, self.model.config.context)?;
        let mut greedy = Sampler::new(0.0, 1.0, 0)?;
        let mut complete = |problem: &Problem| {
            let prompt = self.encode(&problem.prompt)?;
            if prompt.len() + self.most > self.model.config.context {
                let (given, context) = (prompt.len(), self.model.config.context);
                return Err(Failure::input(format!(
                    "{}: {given} tokens and {} more do not fit the model's context of {context}",
                    problem.task_id, self.most
                )));
            }
            decoder.clear();
            prompt.iter().try_for_each(|&token| decoder.push(token))?;
            decoder.clear_statistics();
            let mut written = Vec::new();
            while written.len() < self.most {
                let token = greedy.next(decoder.logits()?)?;
                if self.tokenizer.is_end(token) {
                    break;
                }
                written.push(token);
                decoder.push(token)?;
                if ends(&self.tokenizer.decode(&written)) {
                    break;
                }
            }
            done();
            Ok(Completion {
                task_id: problem.task_id.clone(),
                completion: String::from_utf8_lossy(&self.tokenizer.decode(&written)).into_owned(),
                policy: policy.to_string(),
                density: density(&decoder, self.model.config.intermediate),
            })
        };
        problems.iter().map(&mut complete).collect()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode(text, false)?)
    }
}

/// Whether a completion has left its function: what follows is cut off by whoever runs it.
fn ends(completion: &[u8]) -> bool {
    let text = String::from_utf8_lossy(completion);
    STOPS.iter().any(|stop| text.contains(stop))
}

/// Mean over layers; `None` where nothing was decoded.
fn density(decoder: &Decoder<'_>, neurons: usize) -> Option<f64> {
    let layers = decoder.statistics();
    let seen = layers.iter().filter(|layer| layer.tokens > 0).map(|layer| layer.density(neurons));
    (layers.iter().any(|layer| layer.tokens > 0)).then(|| seen.sum::<f64>() / layers.len() as f64)
}
