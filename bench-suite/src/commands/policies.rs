//! `thresher policies`: what policies compute and miss on the same tokens, set to the same density or the same miss.

use std::path::PathBuf;

use clap::Args;
use cost_model::{
    estimate::Interval,
    model::ModelShape,
    page::{policies_html, policies_svg},
    policies::{Equal, GoalStudy, PolicyFigures, PolicyStudy},
};
use kernels_cpu::Cpu;
use serde::Serialize;
use threshold::{
    Allocation, Knobs,
    comparison::{Goal, Kind, Synthetic},
    dynamic::Level,
};

use crate::{
    Failure, Result,
    decode::Traced,
    embedded,
    gguf::MappedFile,
    measure::progress_bar,
    model::Model,
    outcomes::Activations,
    output::{TableFormat, print, print_csv, print_json, table},
    study::{Plan, Recording, Scores, of_recording, of_stream},
    training::check_trace,
    workload::SHAPE,
};

use super::{
    models::{load, of_file, open, required},
    report::{out_folder, write_together},
    trace::{Tasks, write_trace},
};

/// Arguments of `thresher policies`.
#[derive(Debug, Args)]
pub struct PoliciesArguments {
    /// A model whose layers are looked at: GGUF file; `embedded` is the small code model that this program carries
    #[arg(long, value_name = "FILE.gguf", default_value = embedded::NAME)]
    model: PathBuf,
    /// What its layers saw, as `thresher trace` writes it [default: it writes code for --tasks training tasks first]
    #[arg(long, value_name = "FILE.safetensors")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    tasks: Tasks,
    /// Scores to select by, one comparison each [default: those of a decode, then exact]
    #[arg(long, value_enum, value_delimiter = ',')]
    scores: Vec<Scores>,
    /// A synthetic stream instead, of the published magnitudes of this model (llama-2-70b), with drift between prompts
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["trace", "model", "scores", "Tasks"])]
    stream: Option<String>,
    /// Prompts of the stream, of 32 tokens each
    #[arg(long, default_value_t = 12, requires = "stream", value_parser = clap::value_parser!(u32).range(2..=1000))]
    prompts: u32,
    /// Mean densities that all policies are set to [default: 0.10,0.05,0.03,0.02 of a trace, 0.10 of a stream]
    #[arg(long, value_delimiter = ',')]
    density: Vec<f64>,
    /// Mean misses that all policies are set to [default: 0.05,0.20 of a trace, 0.50 of a stream]
    #[arg(long, value_delimiter = ',')]
    miss: Vec<f64>,
    /// What differences are against, a kind of the first column
    #[arg(long, default_value = "dynamic")]
    against: String,
    /// Threads [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Folder for policies.html and policies.svg
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: TableFormat,
}

const PAGE: &str = "policies.html";
const PLOT: &str = "policies.svg";

/// Log-sd of score over mass, and how it differs between layers: imagined predictors of a stream, each with its name.
const PREDICTORS: [(f64, f64, &str); 3] = [
    (0.0, 0.0, "a perfect predictor"),
    (0.7, 0.0, "a predictor off by 0.7 (log-sd)"),
    (0.5, 0.7, "a predictor off by 0.5 at the median layer, unevenly (log-sd 0.7)"),
];

/// Runs the command.
///
/// # Errors
/// A trace of another model; a density or miss out of range; the folder cannot be written.
pub fn run(arguments: &PoliciesArguments) -> Result<()> {
    let out = arguments.out.as_ref().map(|path| out_folder(path, &[PAGE, PLOT])).transpose()?;
    let plan = plan(arguments)?;
    let studies = match &arguments.stream {
        Some(model) => of_streams(arguments, model, &plan)?,
        None => of_model(arguments, &plan)?,
    };
    if let Some(out) = &out {
        let files = [(PAGE, policies_html(&studies)), (PLOT, policies_svg(&studies))];
        write_together(out, files.iter().map(|(name, text)| (*name, text.as_bytes())))?;
    }
    if arguments.format.csv {
        return print_csv(&studies.iter().flat_map(rows).collect::<Vec<_>>());
    }
    if arguments.format.json {
        return print_json(&studies);
    }
    print(&studies.iter().map(for_people).collect::<String>())?;
    out.map_or(Ok(()), |out| print(&format!("{}\n", out.path().join(PAGE).display())))
}

fn plan(arguments: &PoliciesArguments) -> Result<Plan> {
    let stream = arguments.stream.is_some();
    let mut kinds = Kind::ALL.to_vec();
    if stream {
        // By rank is the slower of two ways to the same; on a stream each kind costs minutes.
        kinds.retain(|kind| *kind != Kind::Dynamic(Allocation::Squares, Level::Rank));
    }
    let reference = kinds.iter().copied().find(|kind| kind.to_string() == arguments.against).ok_or_else(|| {
        let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        Failure::input(format!("--against is `{}`: choose one of {}", arguments.against, names.join(" ")))
    })?;
    let given_none = arguments.density.is_empty() && arguments.miss.is_empty();
    let or = |given: &[f64], usual: &[f64]| if given_none { usual.to_vec() } else { given.to_vec() };
    let densities = or(&arguments.density, if stream { &[0.10] } else { &[0.10, 0.05, 0.03, 0.02] });
    let misses = or(&arguments.miss, if stream { &[0.50] } else { &[0.05, 0.20] });
    for (flag, value) in densities.iter().map(|v| ("density", v)).chain(misses.iter().map(|v| ("miss", v))) {
        if !(*value > 0.0 && *value < 1.0) {
            return Err(Failure::input(format!("--{flag} is {value}: wanted a share in (0, 1)")));
        }
    }
    let goals = densities.into_iter().map(Goal::Density).chain(misses.into_iter().map(Goal::Miss)).collect();
    let threads =
        arguments.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    Ok(Plan { kinds, reference, goals, threads })
}

fn of_model(arguments: &PoliciesArguments, plan: &Plan) -> Result<Vec<PolicyStudy>> {
    let file = open(&arguments.model)?;
    let (_, mut model, tokenizer) = load(&file)?;
    let cpu = Cpu::new()?;
    model.store_down_by_neuron(&cpu)?;
    let own = if model.has_predictors() { Scores::Predictor } else { Scores::Gate };
    let scores = if arguments.scores.is_empty() { vec![own, Scores::Exact] } else { arguments.scores.clone() };
    let name = file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(path) = &arguments.trace {
        let name = format!("{name}, {}", path.display());
        return of_trace(&model, &cpu, path, &name, &scores, plan);
    }
    let tokenizer = required(tokenizer, file.path())?;
    let folder = tempfile::tempdir().map_err(|e| Failure::input(format!("no room for a trace: {e}; set TMPDIR")))?;
    let path = folder.path().join("trace.safetensors");
    write_trace(&model, &tokenizer, &cpu, &arguments.tasks, &path, of_file(file.path()))?;
    let name = format!("{name} while it completes {} training tasks", arguments.tasks.tasks);
    of_trace(&model, &cpu, &path, &name, &scores, plan)
}

fn of_trace(
    model: &Model<'_>,
    cpu: &Cpu,
    path: &std::path::Path,
    name: &str,
    scores: &[Scores],
    plan: &Plan,
) -> Result<Vec<PolicyStudy>> {
    let trace = MappedFile::open(path)?;
    let traced = Traced::open(&trace)?;
    check_trace(model, &traced)?;
    let bar = progress_bar((scores.len() * plan.goals.len() * plan.threads) as u64);
    let study = |&scores: &Scores| {
        let recording = Recording::of(model, cpu, &traced, scores)?;
        of_recording(&recording, name, scores, plan, || bar.inc(1))
    };
    let studies = scores.iter().map(study).collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    Ok(studies)
}

fn of_streams(arguments: &PoliciesArguments, model: &str, plan: &Plan) -> Result<Vec<PolicyStudy>> {
    let activations = Activations::of(ModelShape::named(model)?.name)?;
    let bar = progress_bar((PREDICTORS.len() * plan.goals.len() * plan.threads) as u64);
    let study = |(predictor_noise, predictor_spread, scores): (f64, f64, &str)| {
        let knobs = Knobs { predictor_noise, predictor_spread, ..Knobs::default() };
        let stream =
            Synthetic::new(activations.quantiles().clone(), SHAPE.intermediate, knobs, arguments.prompts as usize)?;
        of_stream(&stream, &format!("a synthetic stream of {model}"), scores, plan, || bar.inc(1))
    };
    let studies = PREDICTORS.into_iter().map(study).collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    Ok(studies)
}

/// What a policy did, flat.
#[derive(Debug, Serialize)]
struct Row<'a> {
    source: &'a str,
    scores: &'a str,
    equal: Equal,
    goal: f64,
    kind: &'a str,
    policy: &'a str,
    density: f64,
    density_p95_over_mean: f64,
    audit_density: f64,
    miss: f64,
    miss_low: f64,
    miss_high: f64,
    worst_layer: f64,
    worst_layer_low: f64,
    worst_layer_high: f64,
    p99_token: f64,
    p99_token_low: f64,
    p99_token_high: f64,
    against: &'a str,
    less_miss: Option<f64>,
    less_miss_low: Option<f64>,
    less_miss_high: Option<f64>,
    less_worst_layer: Option<f64>,
    less_worst_layer_low: Option<f64>,
    less_worst_layer_high: Option<f64>,
    less_p99_token: Option<f64>,
    less_p99_token_low: Option<f64>,
    less_p99_token_high: Option<f64>,
    selection_us: f64,
}

fn rows(study: &PolicyStudy) -> Vec<Row<'_>> {
    study.goals.iter().flat_map(|goal| goal.policies.iter().map(move |own| row(study, goal, own))).collect()
}

fn row<'a>(study: &'a PolicyStudy, goal: &GoalStudy, own: &'a PolicyFigures) -> Row<'a> {
    let [less_miss, less_worst_layer, less_p99_token] = std::array::from_fn(|i| own.less_reference.map(|less| less[i]));
    let median = |less: Option<Interval>| less.map(|i| i.median);
    let low = |less: Option<Interval>| less.map(|i| i.low);
    let high = |less: Option<Interval>| less.map(|i| i.high);
    Row {
        source: &study.source,
        scores: &study.scores,
        equal: goal.equal,
        goal: goal.value,
        kind: &own.kind,
        policy: &own.policy,
        density: own.density,
        density_p95_over_mean: own.density_p95_over_mean,
        audit_density: own.audit_density,
        miss: own.miss.median,
        miss_low: own.miss.low,
        miss_high: own.miss.high,
        worst_layer: own.worst_layer.median,
        worst_layer_low: own.worst_layer.low,
        worst_layer_high: own.worst_layer.high,
        p99_token: own.p99_token.median,
        p99_token_low: own.p99_token.low,
        p99_token_high: own.p99_token.high,
        against: &study.reference,
        less_miss: median(less_miss),
        less_miss_low: low(less_miss),
        less_miss_high: high(less_miss),
        less_worst_layer: median(less_worst_layer),
        less_worst_layer_low: low(less_worst_layer),
        less_worst_layer_high: high(less_worst_layer),
        less_p99_token: median(less_p99_token),
        less_p99_token_low: low(less_p99_token),
        less_p99_token_high: high(less_p99_token),
        selection_us: 1e6 * own.selection_seconds,
    }
}

fn for_people(study: &PolicyStudy) -> String {
    let mut text = format!(
        "{}, scored by {}\n{} layers of {} neurons, {} tokens of {} prompts that calibrate nothing; intervals: 95 % over \
         resampled prompts; differences: less {}\n",
        study.source, study.scores, study.layers, study.neurons, study.tokens, study.prompts, study.reference
    );
    let header = [
        "policy",
        "density",
        "p95/mean",
        "audits",
        "mean miss",
        "",
        "worst layer",
        "",
        "p99 token",
        "",
        "worst less",
        "",
        "p99 less",
        "",
        "us",
    ];
    let share = |v: f64| format!("{v:.4}");
    let ends = |i: Interval| format!("{:.3}..{:.3}", i.low, i.high);
    for goal in &study.goals {
        let what = if goal.equal == Equal::Density { "density" } else { "mean miss" };
        text += &format!("\nat a {what} of {}:\n", goal.value);
        let cells = goal.policies.iter().map(|own| {
            let mut cells = vec![own.kind.clone(), share(own.density), format!("{:.2}", own.density_p95_over_mean)];
            cells.push(share(own.audit_density));
            for interval in [own.miss, own.worst_layer, own.p99_token] {
                cells.extend([share(interval.median), ends(interval)]);
            }
            for place in [1, 2] {
                let less = own.less_reference.map(|less| less[place]);
                cells.extend([
                    less.map_or_else(String::new, |i| format!("{:+.4}", i.median)),
                    less.map_or_else(String::new, |i| format!("{:+.3}..{:+.3}", i.low, i.high)),
                ]);
            }
            cells.push(format!("{:.2}", 1e6 * own.selection_seconds));
            cells
        });
        text += &table(&header, 1, cells);
    }
    text + "\n"
}
