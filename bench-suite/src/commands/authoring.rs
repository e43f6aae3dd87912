//! A model that completes the held-out tasks under one policy after another, and the quality record of that.

use std::path::PathBuf;

use clap::Args;
use cost_model::{
    atomic::write_atomically,
    evaluation::{EvaluatedModel, Evaluation, FamilyProblems, LayerEvaluation, PolicyEvaluation, SCHEMA},
};
use kernels_cpu::Cpu;
use sha2::{Digest, Sha256};
use threshold::PolicySpec;

use crate::{
    Failure, Result,
    decode::LayerStatistics,
    embedded,
    gguf::Gguf,
    machine::{this_build, this_machine},
    measure::progress_bar,
    model::Model,
    tasks::{
        Problem,
        complete::{Author, Prompt, Written},
        curve,
        outcome::Outcome,
        score::{Completion, Score},
        suite,
    },
};

use super::models::{ModelFile, load, open, required};

const BENCHMARK: &str = "thresher tasks, held out";

/// Which model completes which tasks under which policies.
#[derive(Debug, Args)]
pub(crate) struct AuthorArguments {
    /// A model that completes the held-out tasks: GGUF file, as llama.cpp or PowerInfer writes it; `embedded` is the small
    /// code model that this program carries
    #[arg(long, value_name = "FILE.gguf", default_value = embedded::NAME)]
    model: PathBuf,
    /// Policies that it runs under, compared with the first `dense` among them [default: dense, fixed, per-layer, top-k,
    /// budget, dynamic and top-p, each from lossless to broken]
    #[arg(long, value_name = "POLICY", value_delimiter = ' ', num_args = 1..)]
    policy: Vec<PolicySpec>,
    /// Only one task in so many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Tokens of a completion at most
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Threads [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Write the completions of the model after each policy, JSON lines as --completions reads them
    #[arg(long, value_name = "FILE.jsonl")]
    save: Option<PathBuf>,
}

/// What a model wrote.
pub(super) struct Authored {
    /// Problems that were completed under each policy.
    problems: usize,
    written: Vec<(PolicySpec, Written)>,
    model: EvaluatedModel,
    calibration_tokens: u64,
}

impl AuthorArguments {
    /// Makes sure that there is a dense run to compare with.
    pub(super) fn has_dense(&self) -> Result<()> {
        if self.policy.is_empty() || self.policy.contains(&PolicySpec::Dense) {
            return Ok(());
        }
        Err(Failure::input("a quality record compares with dense: add dense to --policy"))
    }

    /// One in so many of `problems`.
    pub(super) fn some<T>(&self, problems: Vec<T>) -> Vec<T> {
        problems.into_iter().step_by(self.every as usize).collect()
    }

    /// Completions of every problem under every policy.
    pub(super) fn complete(&self, problems: &[Prompt<'_>]) -> Result<Authored> {
        let file = open(&self.model)?;
        let (contents, mut model, tokenizer) = load(&file)?;
        let tokenizer = required(tokenizer, file.path())?;
        let cpu = Cpu::new()?;
        let only_dense = !self.policy.is_empty() && self.policy.iter().all(|policy| *policy == PolicySpec::Dense);
        if !only_dense {
            model.store_down_by_neuron(&cpu)?;
        }
        let author = Author { model: &model, tokenizer: &tokenizer, most: self.tokens as usize };
        let sample = (!only_dense).then(|| author.sample()).transpose()?;
        let policies = match &sample {
            Some(sample) if self.policy.is_empty() => curve::policies(&sample.calibration)?,
            _ => self.policy.clone(),
        };
        let threads = self.threads.map_or(cpu.threads(), usize::from);
        let bar = progress_bar((problems.len() * policies.len()) as u64);
        let mut authored = Authored {
            model: described(&file, &contents, &model),
            calibration_tokens: sample.as_ref().map_or(0, |sample| sample.tokens() as u64),
            problems: problems.len(),
            written: Vec::new(),
        };
        for policy in policies {
            bar.set_message(format!("writing completions under {policy}"));
            let written = author.complete(problems, &policy, sample.as_ref(), threads, || bar.inc(1))?;
            authored.written.push((policy, written));
            // After each policy, so that an interrupted run leaves what it has: `--completions` scores it.
            self.save(&authored)?;
        }
        bar.finish_and_clear();
        Ok(authored)
    }

    fn save(&self, authored: &Authored) -> Result<()> {
        let Some(path) = &self.save else { return Ok(()) };
        let lines = authored.completions().map(|c| Ok(serde_json::to_string(c)? + "\n")).collect::<Result<String>>()?;
        write_atomically(path, lines.as_bytes())
            .map_err(|e| Failure::input(format!("{}: {e}; check --save", path.display())))
    }
}

impl Authored {
    /// All completions, policy by policy, in the order of the problems.
    pub(super) fn completions(&self) -> impl Iterator<Item = &Completion> {
        self.written.iter().flat_map(|(_, written)| &written.completions)
    }

    /// The quality record of the held-out `problems` that were completed, given how the completions fared and what that is
    /// worth.
    pub(super) fn evaluation(self, problems: &[Problem], outcomes: &[Outcome], scores: &[Score]) -> Result<Evaluation> {
        let mut families: Vec<FamilyProblems> = Vec::new();
        for problem in problems {
            match families.last_mut().filter(|last| last.name == problem.family) {
                Some(last) => last.problems += 1,
                None => families.push(FamilyProblems {
                    name: problem.family.to_owned(),
                    seen: suite::family(&problem.task_id).is_some_and(|family| family.seen),
                    problems: 1,
                }),
            }
        }
        let neurons = self.model.intermediate;
        let policies =
            self.written.iter().zip(outcomes.chunks(self.problems.max(1))).map(|((policy, written), own)| {
                let policy = policy.to_string();
                let score = scores.iter().find(|score| score.policy == policy);
                let score = score.ok_or_else(|| Failure::input(format!("`{policy}` has no score")))?;
                // A model that ends every text at once computes nothing of which a density could be told.
                let density =
                    score.density.ok_or_else(|| Failure::input(format!("under `{policy}` no token was written")))?;
                Ok(PolicyEvaluation {
                    tokens: written.completions.iter().filter_map(|completion| completion.tokens).sum(),
                    density,
                    fired_density: score.fired_density.unwrap_or(density),
                    missed_mass: score.missed_mass,
                    layers: written.layers.iter().map(|layer| of_layer(layer, neurons)).collect(),
                    passes: Evaluation::passes(own.iter().map(Outcome::passed)),
                    policy,
                })
            });
        Ok(Evaluation {
            schema: SCHEMA.to_owned(),
            machine: this_machine(),
            provenance: this_build(),
            policies: policies.collect::<Result<_>>()?,
            model: self.model,
            benchmark: BENCHMARK.to_owned(),
            calibration_tokens: self.calibration_tokens,
            families,
        })
    }
}

fn of_layer(layer: &LayerStatistics, neurons: usize) -> LayerEvaluation {
    LayerEvaluation {
        density: layer.density(neurons),
        fired_density: layer.fired_density(neurons),
        missed_mass: layer.miss(),
    }
}

fn described(file: &ModelFile, contents: &Gguf<'_>, model: &Model<'_>) -> EvaluatedModel {
    let text = |key: &str| contents.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let name = || file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let weights = contents.tensors().iter().map(|tensor| tensor.shape.sizes().iter().product::<usize>() as u64);
    EvaluatedModel {
        name: text("general.name").unwrap_or_else(name),
        description: text("general.description").unwrap_or_default(),
        sha256: Sha256::digest(file.bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
        parameters: weights.sum(),
        layers: model.config.layers,
        hidden: model.config.hidden,
        intermediate: model.config.intermediate,
    }
}
