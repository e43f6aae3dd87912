//! `thresher tasks`: code tasks as JSON lines, in HumanEval's form.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;
use tempfile::Builder;

use crate::{
    Failure, Result,
    tasks::{Problem, suite},
};

/// Arguments of `thresher tasks`.
#[derive(Debug, Args)]
pub struct TasksArguments {
    /// Write so many problems to train on instead of the held-out ones
    #[arg(long, value_name = "PROBLEMS")]
    train: Option<usize>,
    /// Seed of the problems to train on
    #[arg(long, default_value_t = 1, requires = "train")]
    seed: u64,
    /// File to write, JSON lines with HumanEval's fields
    #[arg(long, value_name = "FILE.jsonl")]
    out: PathBuf,
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    task_id: &'a str,
    prompt: &'a str,
    entry_point: &'a str,
    canonical_solution: &'a str,
    test: String,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be written.
pub fn run(arguments: &TasksArguments) -> Result<()> {
    let path = &arguments.out;
    let fail = |e: &dyn std::error::Error| Failure::input(format!("{}: {e}; check --out", path.display()));
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => std::path::Path::new("."),
        Some(folder) => folder,
        None => return Err(Failure::input(format!("{}: not a file; check --out", path.display()))),
    };
    fs::create_dir_all(folder).map_err(|e| fail(&e))?;
    // Through `File::create_new`, so that the file has ordinary permissions and not a temporary's.
    let file = Builder::new().make_in(folder, |path| File::create_new(path)).map_err(|e| fail(&e))?;
    let mut writer = BufWriter::new(file);
    let mut write = |problem: &Problem| -> Result<()> {
        let line = Line {
            task_id: &problem.task_id,
            prompt: &problem.prompt,
            entry_point: &problem.entry_point,
            canonical_solution: &problem.canonical_solution,
            test: problem.test(),
        };
        let line = serde_json::to_string(&line)? + "\n";
        writer.write_all(line.as_bytes()).map_err(|e| fail(&e))
    };
    match arguments.train {
        Some(problems) => suite::training(arguments.seed).take(problems).try_for_each(|problem| write(&problem))?,
        None => suite::held_out().iter().try_for_each(write)?,
    }
    let file = writer.into_inner().map_err(|e| fail(e.error()))?;
    file.persist(path).map_err(|e| fail(&e.error))?;
    Ok(())
}
