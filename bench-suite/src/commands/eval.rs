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
use indicatif::ProgressBar;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Failure, Result,
    measure::progress_bar,
    output::{TableFormat, print, print_csv, print_json, table},
    tasks::{
        complete::Prompt,
        humaneval::{Python, PythonProblem},
        outcome::Outcome,
        pool::Pool,
        score::{Completion, function_alone, score},
        suite,
    },
};

use super::{authoring::AuthorArguments, measure::writable_beside, scores::print_scores};

/// Arguments of `thresher eval`.
#[derive(Debug, Args)]
pub struct EvalArguments {
    #[command(flatten)]
    author: AuthorArguments,
    /// Write what is found as a quality record, JSON, for `thresher report --quality`
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["completions", "results", "problems"])]
    record: Option<PathBuf>,
    /// Completions to run instead of a model's, JSON lines: task_id, completion, and if you like policy (else dense) and
    /// density
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "AuthorArguments")]
    completions: Option<PathBuf>,
    /// Read results of evalplus or lm-evaluation-harness instead of running anything
    #[arg(
        long,
        value_name = "FILE.json",
        conflicts_with_all = ["AuthorArguments", "completions", "problems", "ks", "outcomes"]
    )]
    results: Option<PathBuf>,
    /// The model that the results are of, where the file does not say
    #[arg(long, value_name = "NAME", requires = "results")]
    name: Option<String>,
    /// Problems in HumanEval's own form instead of the held-out ones of this program, for the model or the completions; needs
    /// --python
    #[arg(long, value_name = "HumanEval.jsonl", requires = "python")]
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
    if let Some(results) = &arguments.results {
        return print_results(arguments, results);
    }
    if let Some(path) = &arguments.completions {
        let completions = read_lines(path)?;
        let outcomes = outcomes(arguments, &completions)?;
        return print_scores(&score(&completions, &outcomes, &arguments.ks)?, arguments.format);
    }
    if let Some(path) = &arguments.record {
        writable_beside(path)?;
        arguments.author.has_dense()?;
    }
    let (given, held_out) = match &arguments.problems {
        Some(path) => (arguments.author.some(read_lines::<PythonProblem>(path)?), Vec::new()),
        None => (Vec::new(), arguments.author.some(suite::held_out())),
    };
    let of_given = given.iter().map(|p| Prompt { task_id: &p.task_id, text: &p.prompt });
    let prompts = of_given.chain(held_out.iter().map(|p| Prompt { task_id: &p.task_id, text: &p.prompt }));
    let authored = arguments.author.complete(&prompts.collect::<Vec<_>>())?;
    let completions: Vec<Completion> = authored.completions().cloned().collect();
    let outcomes = outcomes(arguments, &completions)?;
    let scores = score(&completions, &outcomes, &arguments.ks)?;
    if let Some(path) = &arguments.record {
        authored.evaluation(&held_out, &outcomes, &scores)?.write(path)?;
    }
    print_scores(&scores, arguments.format)
}

/// How each completion fares.
fn outcomes(arguments: &EvalArguments, completions: &[Completion]) -> Result<Vec<Outcome>> {
    let bar = progress_bar(completions.len() as u64);
    bar.set_message("running completions");
    let outcomes = match (&arguments.problems, &arguments.python) {
        (Some(problems), Some(python)) => by_python(&read_lines(problems)?, python, completions, &bar)?,
        _ => by_interpreter(completions, &bar)?,
    };
    bar.finish_and_clear();
    if let Some(path) = &arguments.outcomes {
        write_outcomes(path, completions, &outcomes)?;
    }
    Ok(outcomes)
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

/// Policies that agree write the same program for a problem: it is run once.
fn by_interpreter(completions: &[Completion], bar: &ProgressBar) -> Result<Vec<Outcome>> {
    let problems = suite::held_out();
    let named: HashMap<&str, _> = problems.iter().map(|problem| (problem.task_id.as_str(), problem)).collect();
    let (mut jobs, mut known, mut which) = (Vec::new(), HashMap::new(), Vec::new());
    for completion in completions {
        let problem = named.get(completion.task_id.as_str()).ok_or_else(|| unknown(completion))?;
        let function = function_alone(&completion.completion);
        let job = *known.entry((&completion.task_id, function)).or_insert(jobs.len());
        if job == jobs.len() {
            jobs.push(problem.job(function));
        }
        which.push(job);
    }
    bar.set_length(jobs.len() as u64);
    let outcomes = Pool::of_this_program()?.run(&jobs, || bar.inc(1))?;
    Ok(which.into_iter().map(|job| outcomes[job].clone()).collect())
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
