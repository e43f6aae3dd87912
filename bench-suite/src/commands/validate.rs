//! `thresher validate`: is the composition true, and does the model tell what others published?

use std::path::PathBuf;

use clap::Args;
use cost_model::machine::CUDA;
use kernels_cpu::Format;
use serde::Serialize;
use threshold::PolicySpec;

use crate::{
    Failure, Result,
    decode::Part,
    gpu::{Device, measure, open},
    machine::{this_build, this_machine},
    measure::RANKS,
    output::{TableFormat, print, print_csv, print_json, table},
    timing::nearest_rank,
    validation::{Held, PartRow, Row, Validation, cpu, gpu},
};

use super::{measure::check_threads, or_default, validate_across, validate_published};

/// Arguments of `thresher validate`.
#[derive(Debug, Args)]
pub struct ValidateArguments {
    /// Published decode speeds, with the columns source, engine, model, quant, hardware, n_devices, bw_GBps_per_device_spec,
    /// batch_or_concurrency, context, tok_s, tag; `-` for standard input [default: the table that the program carries]
    file: Option<PathBuf>,
    /// Models, hardware, weight formats and engines beside those that the program knows; a TOML file like
    /// cost-model/data/catalogue.toml
    #[arg(long, value_name = "FILE", conflicts_with = "measured")]
    catalogue: Option<PathBuf>,
    /// Instead, decode through layers of LLaMA-70B's shape for real, as many as memory holds, and compare with what their
    /// operators, timed alone in the same rounds, compose to
    #[arg(long, conflicts_with = "file")]
    measured: bool,
    /// Instead, compose each GPU of these records from each other one's by their data sheets, and compare with what its own
    /// record composes to
    #[arg(long, value_name = "RECORD", num_args = 1.., conflicts_with_all = ["file", "catalogue", "measured", "check"])]
    across: Vec<PathBuf>,
    /// On the processor, or on the GPU: there a token is one graph of attention's projections, the FFN and the LM head, without
    /// KV cache (context 0) and without norms, embedding and sampling [default: cpu]
    #[arg(long, requires = "measured", value_enum)]
    device: Option<Device>,
    /// Weight formats: f32, f16, bf16, q8_0, q4_0 [default: f16, q8_0, q4_0; on a GPU bf16, q8_0]
    #[arg(long, requires = "measured", value_delimiter = ',')]
    format: Vec<Format>,
    /// Policies; each but dense runs scored by predictors and scored by gates [default: dense and top-k:density=D, on a GPU
    /// per-layer:density=D, D being 0.50, 0.25, 0.10, 0.05]
    #[arg(long, requires = "measured", value_name = "POLICY", value_delimiter = ' ', num_args = 1..)]
    policy: Vec<PolicySpec>,
    /// Tokens in the KV cache [default: 128, 2048; on a GPU there is none]
    #[arg(long, requires = "measured", value_delimiter = ',')]
    context: Vec<u32>,
    /// Thread counts of the processor [default: all cores]
    #[arg(long, requires = "measured", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Vec<u16>,
    /// Layers at most
    #[arg(long, requires = "measured", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..=1000))]
    layers: u16,
    /// Rank of the predictors
    #[arg(long, requires = "measured", default_value_t = RANKS[1] as u32, value_parser = clap::value_parser!(u32).range(1..=16384))]
    rank: u32,
    /// Times that each token and each operator is run [default: 11, on a GPU 15]
    #[arg(long, requires = "measured", value_parser = clap::value_parser!(u32).range(6..=100_000))]
    rounds: Option<u32>,
    /// Exit with 1 where the errors miss their goals
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    table: TableFormat,
}

/// On the processor.
const FORMATS: [Format; 3] = [Format::F16, Format::Q8_0, Format::Q4_0];
const CONTEXTS: [u32; 2] = [128, 2048];
const ROUNDS: usize = 11;
/// Densities of the policies.
const DENSITIES: [&str; 4] = ["0.50", "0.25", "0.10", "0.05"];

/// Of the errors of tokens: median and 90th percentile.
const TOKEN_GOALS: [f64; 2] = [0.05, 0.10];
/// Of the errors of a curve at a point that it was not drawn through.
const CURVE_GOALS: [f64; 2] = [0.05, 0.15];

/// What a token on a GPU is, and is not.
const ON_GPU: &str = "A token is one graph: attention's projections, the FFN with a residual, the LM head; the output projection \
     reads the layer's input. Not in it: attention over the KV cache (context 0), norms, embedding, sampling. A graph tells no \
     parts.\n\n";

/// A line of `--csv`.
#[derive(Debug, Serialize)]
struct FlatRow {
    format: String,
    policy: String,
    scorer: &'static str,
    density: f64,
    context: usize,
    isa: String,
    threads: usize,
    layers: usize,
    measured_ms: f64,
    measured_low: f64,
    measured_high: f64,
    composed_ms: f64,
    composed_low: f64,
    composed_high: f64,
    error: f64,
    error_as_timed: Option<f64>,
    memory_share: Option<f64>,
    held_bytes_per_s: Option<f64>,
    p10_bytes_per_s: Option<f64>,
    p90_bytes_per_s: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read; not enough memory; a policy that cannot be built; with `--check`, goals that are missed.
pub fn run(arguments: &ValidateArguments) -> Result<()> {
    if !arguments.across.is_empty() {
        return validate_across::run(&arguments.across, arguments.table);
    }
    if !arguments.measured {
        let (file, catalogue) = (arguments.file.as_deref(), arguments.catalogue.as_deref());
        return validate_published::run(file, catalogue, arguments.table, arguments.check);
    }
    let validation = match arguments.device {
        Some(Device::Gpu) => on_gpu(arguments)?,
        Some(Device::Cpu) | None => on_cpu(arguments)?,
    };
    let (tokens, curves) = (errors_of_tokens(&validation), quantiles(validation.left_out.clone()));
    if arguments.table.csv {
        print_csv(&validation.rows.iter().map(|row| flat(row, validation.held_of(row))).collect::<Vec<_>>())?;
    } else if arguments.table.json {
        print_json(&validation)?;
    } else {
        print(&for_people(&validation, tokens, curves))?;
    }
    let missed = |errors: [f64; 2], goals: [f64; 2]| errors.iter().zip(goals).any(|(error, goal)| *error > goal);
    if arguments.check && (missed(tokens, TOKEN_GOALS) || missed(curves, CURVE_GOALS)) {
        return Err(Failure::short("the composition is further from what was decoded than it should be"));
    }
    Ok(())
}

fn on_cpu(arguments: &ValidateArguments) -> Result<Validation> {
    let machine = this_machine();
    let threads = if arguments.threads.is_empty() {
        vec![machine.logical_cores]
    } else {
        arguments.threads.iter().map(|&threads| usize::from(threads)).collect()
    };
    threads.iter().try_for_each(|&threads| check_threads(threads, &machine))?;
    let contexts = or_default(&arguments.context, &CONTEXTS);
    let plan = cpu::Plan {
        formats: or_default(&arguments.format, &FORMATS),
        policies: policies(arguments, "top-k")?,
        contexts: contexts.into_iter().map(|tokens| tokens as usize).collect(),
        threads,
        layers: arguments.layers.into(),
        rank: arguments.rank as usize,
        rounds: arguments.rounds.map_or(ROUNDS, |rounds| rounds as usize),
    };
    cpu::validate(&plan, &machine, &this_build())
}

fn on_gpu(arguments: &ValidateArguments) -> Result<Validation> {
    if !arguments.threads.is_empty() || !arguments.context.is_empty() {
        return Err(Failure::input("--threads and --context are of the processor: drop them, or --device gpu"));
    }
    let plan = gpu::Plan {
        formats: or_default(&arguments.format, &gpu::FORMATS),
        policies: policies(arguments, "per-layer")?,
        layers: arguments.layers.into(),
        rank: arguments.rank as usize,
        rounds: arguments.rounds.map_or(measure::ROUNDS, |rounds| rounds as usize),
    };
    plan.check()?;
    gpu::validate(&plan, &open()?, &this_machine(), &this_build())
}

/// Those that were asked for, or else `dense` and one of a kind at every density.
fn policies(arguments: &ValidateArguments, kind: &str) -> Result<Vec<PolicySpec>> {
    if !arguments.policy.is_empty() {
        return Ok(arguments.policy.clone());
    }
    let mut all = vec![PolicySpec::Dense];
    for density in DENSITIES {
        all.push(format!("{kind}:density={density}").parse()?);
    }
    Ok(all)
}

fn errors_of_tokens(validation: &Validation) -> [f64; 2] {
    quantiles(validation.rows.iter().map(|row| row.error().abs()).collect())
}

/// Median and 90th percentile, by nearest ranks; 0 of nothing.
pub(super) fn quantiles(mut errors: Vec<f64>) -> [f64; 2] {
    errors.sort_by(f64::total_cmp);
    [0.5, 0.9].map(|share| nearest_rank(&errors, share).unwrap_or(0.0))
}

fn flat(row: &Row, held: Option<&Held>) -> FlatRow {
    FlatRow {
        format: row.format.to_string(),
        policy: row.policy.clone(),
        scorer: row.scorer,
        density: row.density,
        context: row.context,
        isa: row.isa.clone(),
        threads: row.threads,
        layers: row.layers,
        measured_ms: row.measured_ms.median,
        measured_low: row.measured_ms.low,
        measured_high: row.measured_ms.high,
        composed_ms: row.composed_ms.median,
        composed_low: row.composed_ms.low,
        composed_high: row.composed_ms.high,
        error: row.error(),
        error_as_timed: row.error_as_timed,
        memory_share: row.memory_share,
        held_bytes_per_s: held.map(|held| held.bytes_per_s),
        p10_bytes_per_s: held.map(|held| held.p10_bytes_per_s),
        p90_bytes_per_s: held.map(|held| held.p90_bytes_per_s),
    }
}

fn for_people(validation: &Validation, tokens: [f64; 2], curves: [f64; 2]) -> String {
    let ms = |value: f64| format!("{value:.2}");
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rows = validation.rows.iter().map(|row| {
        let measured = row.measured_ms;
        vec![
            row.format.to_string(),
            row.policy.clone(),
            row.scorer.to_owned(),
            format!("{:.3}", row.density),
            row.context.to_string(),
            row.isa.clone(),
            row.threads.to_string(),
            row.layers.to_string(),
            ms(measured.median),
            format!("{} to {}", ms(measured.low), ms(measured.high)),
            ms(row.composed_ms.median),
            format!("{:+.1} %", 100.0 * row.error()),
        ]
    });
    let header = [
        "format",
        "policy",
        "scored by",
        "density",
        "context",
        "isa",
        "threads",
        "layers",
        "decoded ms",
        "95 %",
        "composed ms",
        "error",
    ];
    let mut notes = String::new();
    if validation.rows.iter().any(|row| row.isa == CUDA) {
        notes += ON_GPU;
    }
    if !validation.held.is_empty() {
        notes += &held_for_people(validation);
    }
    let goal = |errors: [f64; 2], goals: [f64; 2]| {
        let [median, p90] = errors.map(percent);
        format!("median {median}, p90 {p90} (goals {} and {})", percent(goals[0]), percent(goals[1]))
    };
    format!(
        "{}error: composed over decoded, below 0 where the real token took longer; both from the same rounds.\n\n\
         {notes}{}\n\
         tokens: {}\npoints of curves, each from the others: {}\n",
        table(&header, 3, rows),
        parts_for_people(&validation.rows),
        goal(tokens, TOKEN_GOALS),
        goal(curves, CURVE_GOALS),
    )
}

/// The speeds of memory that times are held at, and what comes of it where they are not.
fn held_for_people(validation: &Validation) -> String {
    let gb = |bytes_per_s: f64| format!("{:.1}", bytes_per_s / 1e9);
    let rows = validation.held.iter().map(|held| {
        let speeds = [held.bytes_per_s, held.p10_bytes_per_s, held.p90_bytes_per_s].map(gb);
        [held.format.to_string(), held.threads.to_string()].into_iter().chain(speeds).collect()
    });
    let as_timed = validation.rows.iter().filter_map(|row| row.error_as_timed).map(f64::abs).collect();
    let [median, p90] = quantiles(as_timed).map(|error| format!("{:.1} %", 100.0 * error));
    let moved = validation.rows.iter().filter(|row| row.memory_share.is_some()).count();
    format!(
        "Where memory changed its speed between runs of an operator or token, their times are held at the median of what memory gave, \
         by what moved with it in those runs: {moved} of {} tokens. As timed, tokens would be off by {median} in the median and {p90} \
         at p90.\n\n{}\n",
        validation.rows.len(),
        table(&["format", "threads", "held at GB/s", "p10", "p90"], 1, rows)
    )
}

/// Parts that some token has; beside what they were composed to what they took, where anything told them apart.
fn parts_for_people(rows: &[Row]) -> String {
    let told = rows.iter().flat_map(|row| &row.parts).any(|part| part.measured_ms.is_some());
    let has = |part: &Part| {
        let mut own = rows.iter().flat_map(|row| &row.parts).filter(|own| own.part == *part);
        own.any(|own| own.measured_ms.is_some() || own.composed_ms > 0.0)
    };
    let shown: Vec<Part> = Part::ALL.into_iter().filter(has).collect();
    let cell = |part: &PartRow| {
        let ms = |value: f64| format!("{value:.2}");
        let decoded = || part.measured_ms.map_or_else(|| "-".to_owned(), ms);
        if told { format!("{} / {}", decoded(), ms(part.composed_ms)) } else { ms(part.composed_ms) }
    };
    let lines = rows.iter().map(|row| {
        let named = [row.format.to_string(), row.policy.clone(), row.scorer.to_owned(), row.context.to_string()];
        let cells = row.parts.iter().filter(|part| shown.contains(&part.part)).map(cell);
        named.into_iter().chain([row.threads.to_string()]).chain(cells).collect()
    });
    let mut header = vec!["format", "policy", "scored by", "context", "threads"];
    header.extend(shown.iter().map(|part| part.name()));
    let what = if told { "decoded / composed" } else { "composed" };
    format!("{}{what}, milliseconds of a token\n", table(&header, 3, lines))
}
