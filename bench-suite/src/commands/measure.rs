//! `thresher measure`: a measurement record, to be carried to another machine.

use std::path::{Path, PathBuf};

use clap::Args;
use cost_model::{criterion::read_criterion, machine::Machine, record::Record};
use jiff::Timestamp;
use kernels_cpu::{Format, KERNELS, Kernel};
use threshold::PolicySpec;

use crate::{
    Failure, Result,
    gpu::{self, Device},
    machine::{this_build, this_machine},
    measure::{self, Plan},
    output::print,
};

/// Arguments of `thresher measure`.
#[derive(Debug, Args)]
pub struct MeasureArguments {
    /// What to measure: a record is of the processor or of the GPU
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Measure only cases whose name contains this, such as `gate_up`, `q8_0` or `density 0.1`
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Times that each case is run [default: 41, on a GPU 15]
    #[arg(long, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    rounds: Option<u32>,
    /// Take the operators' times from criterion's output instead of measuring them, usually target/criterion
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "device"])]
    from_criterion: Option<PathBuf>,
    /// The record
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const ROUNDS: usize = 41;

/// Runs the command.
///
/// # Errors
/// The record cannot be written; nothing matches; criterion's output cannot be read.
pub fn run(arguments: &MeasureArguments) -> Result<()> {
    writable_beside(&arguments.out)?;
    let machine = this_machine();
    let rounds = |usual| arguments.rounds.map_or(usual, |rounds| rounds as usize);
    if arguments.device == Device::Gpu {
        let mut plan = gpu::measure::Plan::standard(rounds(gpu::measure::ROUNDS));
        plan.policies = timed_policies()?;
        plan.only.clone_from(&arguments.only);
        plan.power = plan.only.is_none();
        plan.beside = false;
        let measured = gpu::measure::measure(&plan, &gpu::open()?, &machine, this_build())?;
        written(&measured.record, &arguments.out)?;
        return print_notes(&measured.notes);
    }
    let mut plan = Plan::standard(&machine, rounds(ROUNDS));
    plan.formats = every_format();
    plan.policies = timed_policies()?;
    plan.only.clone_from(&arguments.only);
    plan.power = plan.only.is_none();
    let (record, notes) = match &arguments.from_criterion {
        None => {
            let measured = measure::measure(&plan, machine, this_build())?;
            (measured.record, measured.notes)
        }
        Some(folder) => (from_criterion(folder, Record::new(machine, this_build()))?, Vec::new()),
    };
    written(&record, &arguments.out)?;
    print_notes(&notes)?;
    match &record.machine.gpu {
        Some(gpu) => print(&format!("{} is not in it: --device gpu measures that\n", gpu.name)),
        None => Ok(()),
    }
}

/// Writes a record, and says so.
///
/// # Errors
/// It cannot be written, or measures what cannot be.
pub(super) fn written(record: &Record, out: &Path) -> Result<()> {
    record.write(out)?;
    print(&format!("{}: {} measurements of {}\n", out.display(), record.measurements.len(), record.machine.name()))
}

/// What could not be measured, a line each.
fn print_notes(notes: &[String]) -> Result<()> {
    notes.iter().try_for_each(|note| print(&format!("{note}\n")))
}

/// Criterion timed the operators, and how fast memory is read beside them.
fn from_criterion(folder: &Path, mut record: Record) -> Result<Record> {
    let run = read_criterion(folder)?;
    if run.measurements.is_empty() || run.bandwidth.is_empty() {
        return Err(Failure::input(format!(
            "{}: {} operators and {} read bandwidths among its benchmarks; run `cargo bench -p kernels-cpu` first",
            folder.display(),
            run.measurements.len(),
            run.bandwidth.len(),
        )));
    }
    // Criterion does not say which build it timed, and it may have been another one.
    record.provenance.commit = "unknown".to_owned();
    if let Some(date) = run.newest.and_then(|time| Timestamp::try_from(time).ok()) {
        record.provenance.date = date;
    }
    record.bandwidth = run.bandwidth;
    record.measurements = run.measurements;
    Ok(record)
}

/// One of each kind of policy that selects.
///
/// # Errors
/// None in a build that passes its tests.
pub fn timed_policies() -> Result<Vec<PolicySpec>> {
    let names = [
        "fixed:0.05",
        "per-layer:density=0.10",
        "top-k:density=0.10",
        "top-p:mass=0.95",
        "budget:density=0.10",
        "dynamic:miss=0.05",
    ];
    names.iter().map(|name| Ok(name.parse()?)).collect()
}

/// What the registry of kernels reads.
pub fn every_format() -> Vec<Format> {
    let mut formats: Vec<Format> = KERNELS.iter().map(Kernel::format).collect();
    formats.sort_unstable();
    formats.dedup();
    formats
}

/// Fails where that many threads would share a core.
///
/// # Errors
/// They would.
pub(super) fn check_threads(threads: usize, machine: &Machine) -> Result<()> {
    let cores = machine.logical_cores;
    if threads <= cores {
        return Ok(());
    }
    Err(Failure::input(format!("{threads} threads on {cores} cores: use at most as many")))
}

/// Fails now rather than after minutes of measuring if `file` could not be written.
///
/// # Errors
/// Its folder is missing, read-only or full.
pub fn writable_beside(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if file.is_dir() {
        return Err(Failure::input(format!("{}: is a folder; name a file", file.display())));
    }
    let refused = |e: std::io::Error| {
        Failure::input(format!("{}: {}; choose a folder that can be written", folder.display(), e.kind()))
    };
    tempfile::NamedTempFile::new_in(folder).map(drop).map_err(refused)
}
