//! `thresher trace`: what a model's layers see while it writes code for training tasks.

use std::path::PathBuf;

use clap::Args;
use kernels_cpu::Cpu;
use threshold::{Inputs, PolicySpec};

use crate::{
    Result,
    decode::{Decoder, Trace},
    embedded,
    measure::progress_bar,
    output::print,
    tasks::{complete::Author, suite},
};

use super::models::{load, of_file, open, required};

/// Arguments of `thresher trace`.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// GGUF file, as llama.cpp or PowerInfer writes it; `embedded` is the small code model that this program carries
    #[arg(long, value_name = "FILE.gguf", default_value = embedded::NAME)]
    model: PathBuf,
    /// Training tasks that the model completes, greedily and densely; none of them is held out
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    tasks: u32,
    /// Seed of the tasks
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// Tokens of a completion at most
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Write the trace here: safetensors
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A file that is not a model that runs here or has no tokenizer; tasks that do not fit its context; a full disk.
pub fn run(arguments: &TraceArguments) -> Result<()> {
    let file = open(&arguments.model)?;
    let (_, model, tokenizer) = load(&file)?;
    let tokenizer = required(tokenizer, file.path())?;
    let cpu = Cpu::new()?;
    let mut trace = Trace::create(&arguments.out, &model.config)?;
    let mut decoder = Decoder::new(&model, &cpu, &PolicySpec::Dense, &Inputs::default(), model.config.context)?;
    let author = Author { model: &model, tokenizer: &tokenizer, most: arguments.tokens as usize };
    let bar = progress_bar(arguments.tasks.into());
    bar.set_message("tracing");
    for problem in suite::training(arguments.seed).take(arguments.tasks as usize) {
        let prompt = tokenizer.encode(&problem.prompt, false).map_err(of_file(file.path()))?;
        trace.prompt();
        author.write(&mut decoder, &problem.task_id, &prompt, |decoder, token| {
            trace.token(token);
            decoder.push_seen(token, &mut |seen| trace.layer(seen))
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let tokens = trace.finish()?;
    print(&format!("{tokens} tokens of {} tasks traced to {}\n", arguments.tasks, arguments.out.display()))
}
