//! `thresher run`: decode for real under a policy, and say what it computed and what it missed.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use crate::{
    Failure, Result,
    decode::{Decoder, Sampler, Trace},
    model::Model,
    output::{TableFormat, print, print_csv, print_json, table},
    timing::nearest_rank,
    tokenizer::{TextStream, Tokenizer},
};

use super::models::{ModelArguments, load, of_file, open, required};

/// Arguments of `thresher run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Text to go on from; names of control tokens in it are text. Policies that need a sample are calibrated on it
    #[arg(long)]
    prompt: String,
    /// Tokens to decode at most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Go on after the model ends its text
    #[arg(long)]
    ignore_end: bool,
    /// Divides the logits before a token is drawn; 0 takes the likeliest
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Share of probability to draw from
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write hidden states, gates and ups of every token and layer to a safetensors file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    format: TableFormat,
}

/// What a layer did.
#[derive(Debug, Serialize)]
struct LayerRow {
    layer: usize,
    /// Audited rows included.
    density: f64,
    /// Audited rows included.
    fired: f64,
    miss: Option<f64>,
    audited: f64,
}

/// Milliseconds from one token to the next.
#[derive(Debug, Serialize)]
struct Latency {
    tokens: usize,
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    policy: String,
    scorer: Option<&'static str>,
    threads: usize,
    isa: String,
    prompt_tokens: usize,
    text: String,
    tokens: Vec<u32>,
    ms_per_token: Option<Latency>,
    layers: Vec<LayerRow>,
}

/// Runs the command.
///
/// # Errors
/// A file that is not a model that runs here or has no tokenizer; a prompt or a policy that do not fit it.
pub fn run(arguments: &RunArguments) -> Result<()> {
    let file = open(&arguments.model.model)?;
    let (_, mut model, tokenizer) = load(&file)?;
    let tokenizer = required(tokenizer, file.path())?;
    let prompt = tokenizer.encode(&arguments.prompt, false).map_err(of_file(file.path()))?;
    if prompt.is_empty() {
        return Err(Failure::input("the prompt is empty: give --prompt some text"));
    }
    let mut sampler = Sampler::new(arguments.temperature, arguments.top_p, arguments.seed)?;
    let trace = arguments.trace.as_ref().map(|path| Trace::create(path, &model.config)).transpose()?;
    let cpu = arguments.model.cpu()?;
    let calibration = arguments.model.prepare(&mut model, &cpu, &prompt)?;
    let capacity = prompt.len().saturating_add(arguments.tokens as usize);
    let decoder = arguments.model.decoder(&model, &cpu, calibration.as_ref(), capacity)?;
    let quiet = arguments.format.csv || arguments.format.json;
    let mut run = Run { decoder, trace, tokenizer: &tokenizer, text: String::new(), quiet };
    let (tokens, times) = cpu.install(|| run.decode(&prompt, arguments, &mut sampler))?;

    let answer = Answer {
        policy: arguments.model.policy.to_string(),
        scorer: arguments.model.scorer(&model),
        threads: cpu.threads(),
        isa: cpu.isa().to_string(),
        prompt_tokens: prompt.len(),
        text: run.text,
        tokens,
        ms_per_token: latency(times),
        layers: layer_rows(&run.decoder, &model),
    };
    let traced = run.trace.map(Trace::finish).transpose()?;
    if arguments.format.csv {
        return print_csv(&answer.layers);
    }
    if arguments.format.json {
        return print_json(&answer);
    }
    let traced = match (traced, &arguments.trace) {
        (Some(tokens), Some(path)) => format!("\n{tokens} tokens traced to {}\n", path.display()),
        _ => String::new(),
    };
    print(&(report(&answer) + &traced))
}

/// A decode on its way.
struct Run<'m> {
    decoder: Decoder<'m>,
    trace: Option<Trace>,
    tokenizer: &'m Tokenizer,
    text: String,
    quiet: bool,
}

impl Run<'_> {
    /// Returns the decoded tokens and the time from each to the next. Statistics are of decoding alone, without the
    /// prompt.
    fn decode(
        &mut self,
        prompt: &[u32],
        arguments: &RunArguments,
        sampler: &mut Sampler,
    ) -> Result<(Vec<u32>, Vec<Duration>)> {
        prompt.iter().try_for_each(|&token| self.push(token))?;
        self.decoder.clear_statistics();
        let (mut tokens, mut times) = (Vec::new(), Vec::new());
        let mut stream = TextStream::default();
        let mut next = sampler.next(self.decoder.logits()?)?;
        loop {
            tokens.push(next);
            self.show(&stream.push(self.tokenizer.piece(next)))?;
            let ended = self.tokenizer.is_end(next) && !arguments.ignore_end;
            if ended || tokens.len() == arguments.tokens as usize {
                break;
            }
            let (start, aside) = (Instant::now(), self.decoder.aside());
            self.push(next)?;
            next = sampler.next(self.decoder.logits()?)?;
            times.push(start.elapsed().saturating_sub(self.decoder.aside() - aside));
        }
        self.show(&stream.finish())?;
        Ok((tokens, times))
    }

    fn push(&mut self, token: u32) -> Result<()> {
        let Some(trace) = &mut self.trace else { return self.decoder.push(token) };
        trace.token(token);
        self.decoder.push_seen(token, &mut |seen| trace.layer(seen))
    }

    fn show(&mut self, text: &str) -> Result<()> {
        self.text.push_str(text);
        if self.quiet { Ok(()) } else { print(text) }
    }
}

fn layer_rows(decoder: &Decoder<'_>, model: &Model<'_>) -> Vec<LayerRow> {
    let neurons = model.config.intermediate;
    let rows = decoder.statistics().iter().enumerate().filter(|(_, layer)| layer.tokens > 0);
    let row = |(layer, seen): (usize, &crate::decode::LayerStatistics)| LayerRow {
        layer,
        density: seen.density(neurons),
        fired: seen.fired_density(neurons),
        miss: seen.miss(),
        audited: seen.audit_density(neurons),
    };
    rows.map(row).collect()
}

/// Percentiles by nearest rank.
fn latency(mut times: Vec<Duration>) -> Option<Latency> {
    times.sort_unstable();
    let ms = |time: Duration| 1e3 * time.as_secs_f64();
    let rank = |share: f64| nearest_rank(&times, share).map(ms);
    let (tokens, sum) = (times.len(), times.iter().sum::<Duration>());
    Some(Latency { tokens, mean: ms(sum) / tokens as f64, p50: rank(0.5)?, p95: rank(0.95)?, p99: rank(0.99)? })
}

fn report(answer: &Answer) -> String {
    let mut text = format!("\n\n{}", answer.policy);
    if let Some(scorer) = answer.scorer {
        text += &format!(", scored by {scorer}");
    }
    text += &format!("; {} threads, {}; {} prompt tokens\n", answer.threads, answer.isa, answer.prompt_tokens);
    if let Some(Latency { tokens, mean, p50, p95, p99 }) = &answer.ms_per_token {
        text += &format!("ms/token over {tokens} tokens: mean {mean:.3}, p50 {p50:.3}, p95 {p95:.3}, p99 {p99:.3}\n");
    }
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let rows = answer.layers.iter().map(|row| {
        let miss = row.miss.map_or_else(|| "-".to_owned(), percent);
        vec![row.layer.to_string(), percent(row.density), percent(row.fired), miss, percent(row.audited)]
    });
    text + "\n" + &table(&["layer", "density", "fired", "miss", "audited"], 0, rows)
}
