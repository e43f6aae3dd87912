//! `thresher trace`: what a model's layers see while it writes code for training tasks.

use std::path::{Path, PathBuf};

use clap::Args;
use kernels_cpu::Cpu;
use threshold::{Inputs, PolicySpec};

use crate::{
    Failure, Result,
    decode::{Decoder, Trace},
    embedded,
    measure::progress_bar,
    model::Model,
    output::print,
    tasks::{complete::Author, suite},
    tokenizer::{self, Tokenizer},
};

use super::models::{load, of_file, open, required};

/// Arguments of `thresher trace`.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// GGUF file, as llama.cpp or PowerInfer writes it; `embedded` is the small code model that this program carries
    #[arg(long, value_name = "FILE.gguf", default_value = embedded::NAME)]
    model: PathBuf,
    #[command(flatten)]
    tasks: Tasks,
    /// Write the trace here: safetensors
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

/// The tasks of a trace.
#[derive(Debug, Clone, Args)]
pub(super) struct Tasks {
    /// Training tasks that the model completes, greedily and densely; none of them is held out
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) tasks: u32,
    /// Seed of the tasks
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Tokens of a completion at most
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
}

/// Runs the command.
///
/// # Errors
/// A file that is not a model that runs here or has no tokenizer; tasks that do not fit its context; a full disk.
pub fn run(arguments: &TraceArguments) -> Result<()> {
    let file = open(&arguments.model)?;
    let (_, model, tokenizer) = load(&file)?;
    let tokenizer = required(tokenizer, file.path())?;
    let (tasks, out) = (&arguments.tasks, &arguments.out);
    let tokens = write_trace(&model, &tokenizer, &Cpu::new()?, tasks, out, of_file(file.path()))?;
    print(&format!("{tokens} tokens of {} tasks traced to {}\n", tasks.tasks, out.display()))
}

/// Traces `model` on `tasks` into a file; how many tokens it holds. `failed` tells what a tokenizer's error means.
///
/// # Errors
/// Tasks that do not fit its context; a full disk.
pub(super) fn write_trace(
    model: &Model<'_>,
    tokenizer: &Tokenizer,
    cpu: &Cpu,
    tasks: &Tasks,
    out: &Path,
    failed: impl Fn(tokenizer::Error) -> Failure,
) -> Result<usize> {
    let mut trace = Trace::create(out, &model.config)?;
    let mut decoder = Decoder::new(model, cpu, &PolicySpec::Dense, &Inputs::default(), model.config.context)?;
    let author = Author { model, tokenizer, most: tasks.tokens as usize };
    let bar = progress_bar(tasks.tasks.into());
    bar.set_message("tracing");
    for problem in suite::training(tasks.seed).take(tasks.tasks as usize) {
        let prompt = tokenizer.encode(&problem.prompt, false).map_err(&failed)?;
        trace.prompt();
        author.write(&mut decoder, &problem.task_id, &prompt, |decoder, token| {
            trace.token(token);
            decoder.push_seen(token, &mut |seen| trace.layer(seen))
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    trace.finish()
}
