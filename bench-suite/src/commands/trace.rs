//! `thresher trace`: what a model's layers see while it writes code for training tasks.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use kernels_cpu::Cpu;
use threshold::{Inputs, PolicySpec};

use crate::{
    Failure, Result,
    decode::{Decoder, Sampler, Trace},
    embedded,
    output::print,
    tasks::{score::STOPS, suite},
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
    let context = model.config.context;
    let mut decoder = Decoder::new(&model, &cpu, &PolicySpec::Dense, &Inputs::default(), context)?;
    let mut greedy = Sampler::new(0.0, 1.0, 0)?;
    let style = ProgressStyle::with_template("tracing {wide_bar} {pos}/{len}");
    let bar =
        ProgressBar::new(arguments.tasks.into()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    for problem in suite::training(arguments.seed).take(arguments.tasks as usize) {
        let prompt = tokenizer.encode(&problem.prompt, false).map_err(of_file(file.path()))?;
        if prompt.len() + arguments.tokens as usize > context {
            let (given, more) = (prompt.len(), arguments.tokens);
            let what = format!("{given} tokens and {more} more do not fit the model's context of {context}");
            return Err(Failure::input(format!("{}: {what}; choose fewer --tokens", problem.task_id)));
        }
        decoder.clear();
        trace.prompt();
        let mut push = |decoder: &mut Decoder<'_>, token| {
            trace.token(token);
            decoder.push_seen(token, &mut |seen| trace.layer(seen))
        };
        prompt.iter().try_for_each(|&token| push(&mut decoder, token))?;
        let mut written = Vec::new();
        while written.len() < arguments.tokens as usize {
            let token = greedy.next(decoder.logits()?)?;
            if tokenizer.is_end(token) {
                break;
            }
            written.push(token);
            push(&mut decoder, token)?;
            let text = String::from_utf8_lossy(&tokenizer.decode(&written)).into_owned();
            if STOPS.iter().any(|stop| text.contains(stop)) {
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let tokens = trace.finish()?;
    print(&format!("{tokens} tokens of {} tasks traced to {}\n", arguments.tasks, arguments.out.display()))
}
