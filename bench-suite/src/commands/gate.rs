//! `thresher gate`: what a change must not make worse; `cargo gate` on its own is all of it.

use std::{
    env,
    fs::{self, File},
    io::{self, BufReader, IsTerminal},
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Args, Subcommand};
use cost_model::{atomic::write_atomically, estimate::Estimate};
use kernels_cpu::Format;

use super::measure::{every_format, timed_policies};
use crate::{
    Failure, Result,
    gate::{
        baseline::{Baseline, Column, Rows, for_people},
        change::{self, Build, Contest},
        counts,
        decision::{Decision, Rounds},
        limits::Limits,
        loops,
        merge_base::{self, MergeBase},
        mutants::{self, Outcome},
        proof::{Proof, SLOWDOWN, prove},
        siblings, worker,
    },
    machine::this_machine,
    measure::Plan,
    output::{print, table},
};

/// Arguments of `thresher gate`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GateArguments {
    #[command(subcommand)]
    command: Option<GateCommand>,
    /// What the change is compared with: a branch or commit, whose merge base is built [default: the main branch]
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
    #[command(flatten)]
    timed: TimedArguments,
}

/// What is timed, and against which limits.
#[derive(Debug, Args)]
struct TimedArguments {
    /// Weight formats: f32, f16, bf16, q8_0, q4_0 [default: all]
    #[arg(long, value_delimiter = ',')]
    format: Vec<Format>,
    /// Only what has this in its id, such as gate_up, avx512 or predictor
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Rounds of an attempt; up to five times as many where it stays undecided
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(6..=10_000))]
    rounds: u16,
    /// Limits of ratios
    #[arg(long, value_name = "FILE", default_value = "ci/limits.toml")]
    limits: PathBuf,
}

impl TimedArguments {
    fn formats(&self) -> Vec<Format> {
        if self.format.is_empty() { every_format() } else { self.format.clone() }
    }

    fn rounds(&self) -> Rounds {
        let step = usize::from(self.rounds);
        Rounds { step, most: 5 * step }
    }

    fn limits(&self) -> Result<Limits> {
        let name = self.limits.display().to_string();
        Limits::parse(&fs::read_to_string(&self.limits).map_err(|e| Failure::input(format!("{name}: {e}")))?, &name)
    }
}

#[derive(Debug, Subcommand)]
enum GateCommand {
    /// Compare instruction counts with those of the baseline: `ci/instructions` takes them and runs this
    Counts(CountsArguments),
    /// Compare the innermost loops of the AVX-512 kernels with those of the baseline
    Loops(LoopsArguments),
    /// Time each kernel beside a read of memory, its scalar sibling and itself at full density, against the limits
    Siblings(TimedArguments),
    /// Time each kernel in turn with that of another build of this program
    Change(ChangeArguments),
    /// Put the gate on trial: this program against itself, against itself with more to do, and faulty kernels
    Prove(ProveArguments),
    /// Plant faults in a copy of the sources, and say which of them the tests catch: ten minutes
    Mutants(MutantsArguments),
    /// Time kernels for another process, one call a line
    #[command(hide = true)]
    Worker(WorkerArguments),
}

#[derive(Debug, Args)]
struct ChangeArguments {
    /// The build before the change
    #[arg(value_name = "PROGRAM")]
    before: PathBuf,
    #[command(flatten)]
    timed: TimedArguments,
}

#[derive(Debug, Args)]
struct ProveArguments {
    /// Decisions between this program and itself
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    decisions: u16,
    /// Slowdowns to plant
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..))]
    slowdowns: u16,
    #[command(flatten)]
    timed: TimedArguments,
}

#[derive(Debug, Args)]
struct MutantsArguments {
    /// The faults
    #[arg(value_name = "FILE", default_value = "ci/mutants.toml")]
    list: PathBuf,
    /// Only those with this in their name, such as avx2 or block
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
}

#[derive(Debug, Args)]
struct WorkerArguments {
    /// Kernels in this format [default: selection]
    #[arg(long)]
    format: Option<Format>,
    /// Share of rows to compute more than is said
    #[arg(long, default_value_t = 0.0)]
    more_rows: f64,
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
        None => check_change(arguments),
        Some(GateCommand::Counts(arguments)) => check_counts(arguments),
        Some(GateCommand::Loops(arguments)) => check_loops(arguments),
        Some(GateCommand::Siblings(arguments)) => check_siblings(arguments),
        Some(GateCommand::Change(arguments)) => {
            let (formats, selection) = (arguments.timed.formats(), arguments.timed.format.is_empty());
            compare([&arguments.before, &env::current_exe()?], formats, selection, None, &arguments.timed)
        }
        Some(GateCommand::Prove(arguments)) => check_gate(arguments),
        Some(GateCommand::Mutants(arguments)) => check_mutants(arguments),
        Some(GateCommand::Worker(arguments)) => {
            let policies = timed_policies()?;
            let plan = Plan { policies, ..Plan::standard(&this_machine(), 1) };
            worker::serve(arguments.format, &plan, arguments.more_rows)
        }
    }
}

/// All of it: tests of the crates that have changed since the merge base, exact counts, and times of both in turn.
fn check_change(arguments: &GateArguments) -> Result<()> {
    // Before cargo can put another file in its place.
    let own = env::current_exe()?;
    let base = MergeBase::with(arguments.base.as_deref())?;
    let short = &base.commit[..base.commit.len().min(12)];
    if base.crates.is_empty() {
        return print(&format!("no crate has changed since {short}\n"));
    }
    print(&format!("changed since {short}: {}\n", base.crates.join(", ")))?;
    let here = Path::new(".");
    for name in &base.crates {
        merge_base::cargo(&["test", "--quiet", "-p", name], here)?;
    }
    let changed = |name: &str| base.crates.iter().any(|changed| changed == name);
    // What more instructions cost in time is worth knowing too.
    let exact = if ["kernels-cpu", "predictor", "threshold"].into_iter().any(changed) {
        merge_base::run(Command::new("ci/check").args(["instructions", "loops"]), "ci/check instructions loops")
    } else {
        Ok(())
    };
    print(&format!("building {short}, to compare with\n"))?;
    let before = base.build()?;
    let kernels = changed("kernels-cpu") || changed("bench-suite");
    let formats = if kernels || changed("predictor") { arguments.timed.formats() } else { Vec::new() };
    let selection = (changed("threshold") || changed("bench-suite")) && arguments.timed.format.is_empty();
    let times = compare([&before, &own], formats, selection, (!kernels).then_some("predictor"), &arguments.timed);
    exact.and(times)
}

fn compare(
    [before, after]: [&Path; 2],
    formats: Vec<Format>,
    selection: bool,
    only: Option<&str>,
    timed: &TimedArguments,
) -> Result<()> {
    let only = timed.only.clone().or(only.filter(|_| !formats.is_empty()).map(str::to_owned));
    let limit = timed.limits()?.change;
    let contest = Contest { formats, selection, only, limit, rounds: timed.rounds() };
    let build = |program| Build { program, more_rows: 0.0 };
    let mut rows = Vec::new();
    contest.run(build(before), build(after), |row| {
        rows.push(row);
        true
    })?;
    print(&changes_for_people(&rows))?;
    let slower: Vec<&str> = rows.iter().filter(|row| !row.decision.holds).map(|row| row.id.as_str()).collect();
    match slower.as_slice() {
        [] => print(&format!("{} timed in turn with {}, none slower\n", rows.len(), before.display())),
        slower => Err(Failure::short(format!("{} of {} are slower: {}", slower.len(), rows.len(), slower.join(", ")))),
    }
}

fn changes_for_people(rows: &[change::Row]) -> String {
    let ms = |seconds: &Estimate| format!("{:.4}", 1e3 * seconds.median);
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.id.clone(), ms(&row.before), ms(&row.after)];
        line.extend(decided(&row.decision));
        line.insert(line.len() - 1, format!("{:.0} %", 100.0 * row.share_of_roof.median));
        line
    });
    table(&["kernel", "before ms", "after ms", "ratio", "95 %", "of roof", "verdict"], 1, lines)
}

/// Ratio, interval, verdict.
fn decided(decision: &Decision) -> [String; 3] {
    let ratio = decision.ratio();
    [
        ratio.map(|r| format!("{:.3}", r.median)).unwrap_or_default(),
        ratio.map(|r| format!("{:.3} to {:.3}", r.low, r.high)).unwrap_or_default(),
        if decision.holds { "ok".to_owned() } else { format!("OVER {}", decision.limit) },
    ]
}

fn check_siblings(timed: &TimedArguments) -> Result<()> {
    let seed = jiff::Timestamp::now().as_nanosecond() as u64;
    let contest = siblings::Contest {
        limits: timed.limits()?,
        formats: timed.formats(),
        only: timed.only.clone(),
        rounds: timed.rounds(),
    };
    let rows = contest.run(seed)?;
    let name = |row: &siblings::Row| format!("{} beside {}", row.kernel, row.beside);
    let lines = rows.iter().map(|row| {
        let [ratio, interval, verdict] = decided(&row.decision);
        vec![row.kernel.clone(), row.beside.to_owned(), ratio, interval, row.decision.limit.to_string(), verdict]
    });
    print(&table(&["kernel", "beside", "ratio", "95 %", "limit", "verdict"], 2, lines))?;
    let over: Vec<String> = rows.iter().filter(|row| !row.decision.holds).map(name).collect();
    match over.as_slice() {
        [] => print(&format!("{} ratios, none over its limit in {}\n", rows.len(), timed.limits.display())),
        over => Err(Failure::short(format!("{} of {} are over: {}", over.len(), rows.len(), over.join(", ")))),
    }
}

fn check_gate(arguments: &ProveArguments) -> Result<()> {
    let (timed, program) = (&arguments.timed, env::current_exe()?);
    let [decisions, slowdowns] = [arguments.decisions, arguments.slowdowns].map(usize::from);
    let limit = timed.limits()?.change;
    let proof = prove(&program, &timed.formats(), limit, timed.rounds(), decisions, slowdowns)?;
    print(&proof_for_people(&proof, limit))?;
    if proof.holds() { Ok(()) } else { Err(Failure::short("the gate cannot be relied on here: see above")) }
}

fn proof_for_people(proof: &Proof, limit: f64) -> String {
    let named = |list: &[String]| list.iter().map(|name| format!("  {name}\n")).collect::<String>();
    format!(
        "this program against itself, limit {limit}: {} false alarms in {} decisions, {} second attempts\n{}\
         {:.0} % more rows planted: {} of {} caught\n{}faults planted in kernels: {} of {} noticed\n{}",
        proof.false_alarms.len(),
        proof.same,
        proof.second_attempts,
        named(&proof.false_alarms),
        100.0 * SLOWDOWN,
        proof.slower - proof.missed.len(),
        proof.slower,
        named(&proof.missed),
        proof.faults - proof.unnoticed.len(),
        proof.faults,
        named(&proof.unnoticed),
    )
}

fn check_mutants(arguments: &MutantsArguments) -> Result<()> {
    let name = arguments.list.display().to_string();
    let text = fs::read_to_string(&arguments.list).map_err(|e| Failure::input(format!("{name}: {e}")))?;
    let mut list = mutants::parse(&text, &name)?;
    list.retain(|mutant| arguments.only.as_ref().is_none_or(|only| mutant.name.contains(only)));
    let (mut lines, mut missed) = (Vec::new(), Vec::new());
    mutants::Copy::of_working_tree()?.run(&list, |mutant, outcome| {
        let said = match outcome {
            Outcome::Caught(by) => format!("caught: {by}"),
            Outcome::Skipped(flags) => format!("skipped: no {}", flags.join(", ")),
            Outcome::Missed => {
                missed.push(mutant.name.clone());
                "MISSED".to_owned()
            }
        };
        lines.push(vec![mutant.name.clone(), mutant.gate.clone(), said]);
    })?;
    let planted = lines.len();
    print(&table(&["fault", "gate", "verdict"], 3, lines))?;
    match missed.as_slice() {
        [] => print(&format!("{planted} faults of {name}, none missed\n")),
        missed => {
            Err(Failure::short(format!("{} of {planted} faults are missed: {}", missed.len(), missed.join("; "))))
        }
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
