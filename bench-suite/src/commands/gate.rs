//! `thresher gate`: what a change must not make worse.

use std::{
    env,
    fs::{self, File},
    io::{self, BufReader, IsTerminal},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use cost_model::atomic::write_atomically;

use crate::{
    Failure, Result,
    gate::{
        baseline::{Baseline, Column, Rows, for_people},
        counts, loops,
    },
    output::print,
};

/// Arguments of `thresher gate`.
#[derive(Debug, Args)]
pub struct GateArguments {
    #[command(subcommand)]
    command: GateCommand,
}

#[derive(Debug, Subcommand)]
enum GateCommand {
    /// Compare instruction counts with those of the baseline: `ci/instructions` takes them and runs this
    Counts(CountsArguments),
    /// Compare the innermost loops of the AVX-512 kernels with those of the baseline
    Loops(LoopsArguments),
}

#[derive(Debug, Args)]
struct CountsArguments {
    /// What the benches printed as JSON [default: standard input]
    #[arg(value_name = "FILE")]
    counts: Option<PathBuf>,
    /// The baseline
    #[arg(long, value_name = "FILE", default_value = "ci/instructions.txt")]
    baseline: PathBuf,
    /// Write the baseline anew
    #[arg(long)]
    bless: bool,
}

#[derive(Debug, Args)]
struct LoopsArguments {
    /// Another program than this one
    #[arg(value_name = "FILE")]
    program: Option<PathBuf>,
    /// The baseline
    #[arg(long, value_name = "FILE", default_value = "ci/hot-loops.txt")]
    baseline: PathBuf,
    /// Write the baseline anew
    #[arg(long)]
    bless: bool,
}

/// Runs the command.
///
/// # Errors
/// Something got worse; a file that is missing or is something else.
pub fn run(arguments: &GateArguments) -> Result<()> {
    match &arguments.command {
        GateCommand::Counts(arguments) => check_counts(arguments),
        GateCommand::Loops(arguments) => check_loops(arguments),
    }
}

fn check_counts(arguments: &CountsArguments) -> Result<()> {
    let rows = match &arguments.counts {
        Some(path) => {
            let file = File::open(path).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
            counts::read(BufReader::new(file), &path.display().to_string())?
        }
        None if io::stdin().is_terminal() => return Err(Failure::input("no counts given: run ci/instructions")),
        None => counts::read(io::stdin().lock(), "standard input")?,
    };
    let file = BaselineFile {
        path: &arguments.baseline,
        comment: "Instructions that each bench of the scalar and AVX2 code executes under callgrind.\n\
                  Compared by `ci/instructions`, written by `ci/instructions --bless`.",
        thing: "bench",
        columns: &counts::COLUMNS,
        bless: "ci/instructions --bless",
    };
    file.check(rows, arguments.bless)
}

fn check_loops(arguments: &LoopsArguments) -> Result<()> {
    let file = BaselineFile {
        path: &arguments.baseline,
        comment: "The innermost loops of each AVX-512 kernel: instructions, operands on the stack, calls, instructions that\n\
                  do its work, and prefetches. Compared by `thresher gate loops`, written by `thresher gate loops --bless`.",
        thing: "loop",
        columns: &loops::COLUMNS,
        bless: "cargo gate loops --bless",
    };
    if !cfg!(target_arch = "x86_64") {
        return print("skipped: AVX-512 loops, this build is not for x86-64\n");
    }
    let program = arguments.program.clone().map_or_else(env::current_exe, Ok)?;
    match loops::of_program(&program)? {
        Some(rows) => file.check(rows, arguments.bless),
        None => print("skipped: AVX-512 loops, there is no objdump (Debian: binutils)\n"),
    }
}

/// A baseline and how people speak of it.
struct BaselineFile<'a> {
    path: &'a PathBuf,
    comment: &'a str,
    thing: &'a str,
    columns: &'a [Column],
    /// The command that writes it anew.
    bless: &'a str,
}

impl BaselineFile<'_> {
    /// Holds `after` against the baseline, or makes it the baseline.
    fn check(&self, after: Rows, bless: bool) -> Result<()> {
        let (path, columns) = (self.path.display(), self.columns);
        let compiler = env!("THRESHER_COMPILER");
        if bless {
            let baseline = Baseline { compiler: compiler.to_owned(), rows: after };
            write_atomically(self.path, baseline.text(self.comment, self.thing, columns).as_bytes())
                .map_err(|e| Failure::input(format!("{path}: {e}")))?;
            return print(&format!("{path}: {} written, of {compiler}\n", baseline.rows.len()));
        }
        let text = fs::read_to_string(self.path)
            .map_err(|e| Failure::input(format!("{path}: {e}: write it with `{}`", self.bless)))?;
        let baseline = Baseline::parse(&text, &path.to_string(), columns)?;
        let changes = baseline.changes(&after, columns);
        print(&for_people(&changes, self.thing, columns))?;
        // Another compiler makes other code: what it counts says nothing about the change.
        if baseline.compiler != compiler {
            return print(&format!(
                "skipped: the verdicts of {path}, which is of {}; this is {compiler}: `{}` on it\n",
                baseline.compiler, self.bless
            ));
        }
        let failed = changes.iter().filter(|change| !change.verdict.passes());
        let failed: Vec<&str> = failed.map(|change| change.name.as_str()).collect();
        match failed.as_slice() {
            [] => print(&format!("{} in {path}, none worse\n", changes.len())),
            failed => Err(Failure::short(format!(
                "{} of {} are not as in {path}: {}; where that is meant, `{}`",
                failed.len(),
                changes.len(),
                failed.join(", "),
                self.bless
            ))),
        }
    }
}
