//! `thresher eval`: completions of code tasks, executed; pass@1 of each policy.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use cost_model::{
    atomic::write_atomically,
    harness::{QualityRecord, read_results},
};
use indicatif::{ProgressBar, ProgressStyle};
use kernels_cpu::Cpu;
use serde::{Serialize, de::DeserializeOwned};
use threshold::PolicySpec;

use crate::{
    Failure, Result,
    decode::needs_calibration,
    output::{TableFormat, print, print_csv, print_json, table},
    tasks::{
        complete::Author,
        humaneval::{Python, PythonProblem},
        outcome::Outcome,
        pool::Pool,
        score::{Completion, Score, function_alone, score},
        suite,
    },
};

use super::models::{load, open, required};

/// Arguments of `thresher eval`.
#[derive(Debug, Args)]
pub struct EvalArguments {
    /// A model that completes the held-out tasks: GGUF file, as llama.cpp or PowerInfer writes it
    #[arg(long, value_name = "FILE.gguf", required_unless_present_any = ["completions", "results"])]
    model: Option<PathBuf>,
    /// Policies that it runs under, compared with the first `dense` among them
    #[arg(long, value_name = "POLICY", value_delimiter = ' ', num_args = 1.., default_value = "dense", requires = "model")]
    policy: Vec<PolicySpec>,
    /// Only one task in so many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), requires = "model")]
    every: u32,
    /// Tokens of a completion at most
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..), requires = "model")]
    tokens: u32,
    /// Threads [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096), requires = "model")]
    threads: Option<u16>,
    /// Write the completions of the model, JSON lines as --completions reads them
    #[arg(long, value_name = "FILE.jsonl", requires = "model")]
    save: Option<PathBuf>,
    /// Completions to run, JSON lines: task_id, completion, and if you like policy (else dense) and density
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "model")]
    completions: Option<PathBuf>,
    /// Read results of evalplus or lm-evaluation-harness instead of running anything
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["model", "completions", "problems", "ks", "outcomes"])]
    results: Option<PathBuf>,
    /// The model that the results are of, where the file does not say
    #[arg(long, value_name = "NAME", requires = "results")]
    name: Option<String>,
    /// Problems in HumanEval's own form instead of the held-out ones of this program; needs --python
    #[arg(long, value_name = "HumanEval.jsonl", requires = "python", conflicts_with = "model")]
    problems: Option<PathBuf>,
    /// Run completions with this Python. They can then do whatever you can: read, write and send. Use a machine that
    /// holds nothing of value
    #[arg(long, value_name = "PROGRAM", requires = "problems")]
    python: Option<PathBuf>,
    /// Add pass@K, from at least K completions of each problem
    #[arg(long = "k", value_name = "K", value_delimiter = ',')]
    ks: Vec<u64>,
    /// Write how each completion fared, JSON lines
    #[arg(long, value_name = "FILE.jsonl")]
    outcomes: Option<PathBuf>,
    #[command(flatten)]
    format: TableFormat,
}

/// Runs the command.
///
/// # Errors
/// Files cannot be read or do not fit together; completions cannot be run.
pub fn run(arguments: &EvalArguments) -> Result<()> {
    match (&arguments.model, &arguments.completions, &arguments.results) {
        (Some(model), ..) => run_completions(arguments, &complete(arguments, model)?),
        (_, Some(completions), _) => run_completions(arguments, &read_lines(completions)?),
        (.., Some(results)) => print_results(arguments, results),
        (None, None, None) => Err(Failure::input("nothing to score; give --model, --completions or --results")),
    }
}

fn progress(what: &'static str, len: usize) -> ProgressBar {
    let template = format!("{what} {{wide_bar}} {{pos}}/{{len}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style)
}

/// The model's completions under every policy.
fn complete(arguments: &EvalArguments, path: &Path) -> Result<Vec<Completion>> {
    let file = open(path)?;
    let (_, mut model, tokenizer) = load(&file)?;
    let tokenizer = required(tokenizer, path)?;
    let cpu = Cpu::new()?;
    if arguments.policy.iter().any(|policy| *policy != PolicySpec::Dense) {
        model.store_down_by_neuron(&cpu)?;
    }
    let author = Author { model: &model, tokenizer: &tokenizer, most: arguments.tokens as usize };
    let calibrated = arguments.policy.iter().any(needs_calibration);
    let calibration = calibrated.then(|| author.calibration(&cpu)).transpose()?;
    let problems: Vec<_> = suite::held_out().into_iter().step_by(arguments.every as usize).collect();
    let threads = arguments.threads.map_or(cpu.threads(), usize::from);
    let bar = progress("writing completions", problems.len() * arguments.policy.len());
    let mut completions = Vec::new();
    for policy in &arguments.policy {
        completions.extend(author.complete(&problems, policy, calibration.as_ref(), threads, || bar.inc(1))?);
    }
    bar.finish_and_clear();
    if let Some(path) = &arguments.save {
        let lines = completions.iter().map(|c| Ok(serde_json::to_string(c)? + "\n")).collect::<Result<String>>()?;
        write_atomically(path, lines.as_bytes())
            .map_err(|e| Failure::input(format!("{}: {e}; check --save", path.display())))?;
    }
    Ok(completions)
}

fn run_completions(arguments: &EvalArguments, completions: &[Completion]) -> Result<()> {
    let bar = progress("running completions", completions.len());
    let outcomes = match (&arguments.problems, &arguments.python) {
        (Some(problems), Some(python)) => by_python(&read_lines(problems)?, python, completions, &bar)?,
        _ => by_interpreter(completions, &bar)?,
    };
    bar.finish_and_clear();
    if let Some(path) = &arguments.outcomes {
        write_outcomes(path, completions, &outcomes)?;
    }
    let scores = score(completions, &outcomes, &arguments.ks)?;
    if arguments.format.json {
        print_json(&scores.iter().map(with_pass_at).collect::<Result<Vec<_>>>()?)
    } else if arguments.format.csv {
        print(&csv_of(&scores)?)
    } else {
        print(&for_people(&scores))
    }
}

/// A quality record as a flat row.
#[derive(Serialize)]
struct ResultRow {
    model: String,
    benchmark: String,
    problems: u64,
    pass_at_1: f64,
    ci_low: f64,
    ci_high: f64,
    origin: String,
}

fn print_results(arguments: &EvalArguments, path: &Path) -> Result<()> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|e| Failure::input(format!("{name}: {e}; check the path")))?;
    let records = read_results(&bytes, &name, arguments.name.as_deref())?;
    if arguments.format.json {
        return print_json(&records);
    }
    let row = |record: QualityRecord| ResultRow {
        model: record.model,
        benchmark: record.benchmark,
        problems: record.problems,
        pass_at_1: record.pass_at_1,
        ci_low: record.interval_95.0,
        ci_high: record.interval_95.1,
        origin: record.origin.to_string(),
    };
    let rows: Vec<ResultRow> = records.into_iter().map(row).collect();
    if arguments.format.csv {
        return print_csv(&rows);
    }
    let header = ["model", "benchmark", "problems", "pass@1", "95 % interval", "origin"];
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let cells = rows.into_iter().map(|row| {
        let interval = format!("{} to {} %", percent(row.ci_low), percent(row.ci_high));
        let problems = row.problems.to_string();
        vec![row.model, row.benchmark, problems, percent(row.pass_at_1) + " %", interval, row.origin]
    });
    print(&table(&header, 2, cells))
}

fn by_interpreter(completions: &[Completion], bar: &ProgressBar) -> Result<Vec<Outcome>> {
    let problems = suite::held_out();
    let named: HashMap<&str, _> = problems.iter().map(|problem| (problem.task_id.as_str(), problem)).collect();
    let job = |completion: &Completion| {
        let problem = named.get(completion.task_id.as_str()).ok_or_else(|| unknown(completion))?;
        Ok(problem.job(function_alone(&completion.completion)))
    };
    let jobs = completions.iter().map(job).collect::<Result<Vec<_>>>()?;
    Pool::of_this_program()?.run(&jobs, || bar.inc(1))
}

fn by_python(
    problems: &[PythonProblem],
    python: &Path,
    completions: &[Completion],
    bar: &ProgressBar,
) -> Result<Vec<Outcome>> {
    let named: HashMap<&str, _> = problems.iter().map(|problem| (problem.task_id.as_str(), problem)).collect();
    let python = Python::new(python.to_owned());
    let run = |completion: &Completion| {
        let problem = named.get(completion.task_id.as_str()).ok_or_else(|| unknown(completion))?;
        let outcome = python.run(problem, function_alone(&completion.completion));
        bar.inc(1);
        outcome
    };
    completions.iter().map(run).collect()
}

fn unknown(completion: &Completion) -> Failure {
    Failure::input(format!("no problem is named `{}`; `thresher tasks` writes those there are", completion.task_id))
}

/// The values of a file of JSON lines; empty lines are passed over.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let fail = |what: String| Failure::input(format!("{}{what}", path.display()));
    let file = File::open(path).map_err(|e| fail(format!(": {e}; check the path")))?;
    let mut values = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| fail(format!(": {e}")))?;
        if !line.trim().is_empty() {
            values.push(serde_json::from_str(&line).map_err(|e| fail(format!(" line {}: {e}", number + 1)))?);
        }
    }
    Ok(values)
}

fn write_outcomes(path: &Path, completions: &[Completion], outcomes: &[Outcome]) -> Result<()> {
    let mut text = String::new();
    for (completion, outcome) in completions.iter().zip(outcomes) {
        let mut value = serde_json::to_value(outcome)?;
        value["task_id"] = completion.task_id.clone().into();
        value["policy"] = completion.policy.clone().into();
        text += &format!("{value}\n");
    }
    write_atomically(path, text.as_bytes())
        .map_err(|e| Failure::input(format!("{}: {e}; check --outcomes", path.display())))
}

fn with_pass_at(score: &Score) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(score)?;
    for (k, share) in &score.pass_at {
        value[format!("pass_at_{k}")] = (*share).into();
    }
    Ok(value)
}

fn csv_of(scores: &[Score]) -> Result<String> {
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> =
        ["policy", "density", "passed", "total", "pass_at_1", "ci_low", "ci_high", "mcnemar_p"]
            .map(String::from)
            .to_vec();
    header.extend(scores.iter().take(1).flat_map(|s| s.pass_at.iter().map(|(k, _)| format!("pass_at_{k}"))));
    writer.write_record(header)?;
    for s in scores {
        let mut row = vec![s.policy.clone(), number(s.density), s.passed.to_string(), s.total.to_string()];
        row.extend([s.pass_at_1, s.ci_low, s.ci_high].map(|v| v.to_string()));
        row.push(number(s.mcnemar_p));
        row.extend(s.pass_at.iter().map(|(_, share)| share.to_string()));
        writer.write_record(row)?;
    }
    Ok(String::from_utf8_lossy(&writer.into_inner()?).into_owned())
}

fn for_people(scores: &[Score]) -> String {
    let mut header = vec!["policy", "density", "passed", "pass@1", "95 % interval", "p against dense"];
    let names: Vec<String> =
        scores.iter().take(1).flat_map(|s| s.pass_at.iter().map(|(k, _)| format!("pass@{k}"))).collect();
    header.extend(names.iter().map(String::as_str));
    let dash = || "-".to_owned();
    let rows = scores.iter().map(|s| {
        let mut cells = vec![
            s.policy.clone(),
            s.density.map_or_else(dash, |v| format!("{v:.3}")),
            format!("{} of {}", s.passed, s.total),
            format!("{:.1} %", 100.0 * s.pass_at_1),
            format!("{:.1} to {:.1} %", 100.0 * s.ci_low, 100.0 * s.ci_high),
            s.mcnemar_p.map_or_else(dash, |p| format!("{p:.3}")),
        ];
        cells.extend(s.pass_at.iter().map(|(_, share)| format!("{:.1} %", 100.0 * share)));
        cells
    });
    table(&header, 1, rows)
}
