//! `thresher report`: the main job. Measures this machine, composes, writes the report.

use std::{
    collections::BTreeSet,
    fs,
    mem::discriminant,
    path::{Path, PathBuf},
};

use clap::Args;
use cost_model::{
    answer::{Answer, write_correlations_csv, write_decisions_csv, write_swings_csv, write_versus_csv},
    evaluation::Evaluation,
    grid::write_grid_csv,
    machine::Machine,
    page,
    record::Record,
    report::{PolicyOutcome, Report, write_quality_csv},
    scenario::Scenario,
    table::write_configurations_csv,
};
use jiff::Timestamp;
use threshold::PolicySpec;

use crate::{
    Failure, Result, embedded,
    gpu::{self, Device},
    machine::{this_build, this_machine},
    measure::{self, Measured, Plan, progress_bar},
    outcomes::{Activations, outcomes},
    output::print,
    summary,
    workload::kernel_format,
};

/// Arguments of `thresher report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// A few minutes at most; the default
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More rounds, and one thread beside all cores
    #[arg(long)]
    full: bool,
    /// Measure only the processor, or only the GPU [default: both, where there is a GPU]
    #[arg(long, value_enum)]
    device: Option<Device>,
    /// What to compose and under which assumptions; every key is optional
    #[arg(long, value_name = "FILE.toml")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    quality: QualityArguments,
    /// Folder for index.html, report.json, configurations.csv, quality.csv, the records and figures/
    #[arg(long, value_name = "DIR", default_value = "thresher-report")]
    out: PathBuf,
}

const QUICK_ROUNDS: usize = 31;
const FULL_ROUNDS: usize = 151;
/// Tokens that each policy is run over, after settling.
const TOKENS: usize = 96;
const PAGE: &str = "index.html";
const JSON: &str = "report.json";
const TABLE: &str = "configurations.csv";
const QUALITY: &str = "quality.csv";
const GRID: &str = "grid.csv";
const CORRELATIONS: &str = "correlations.csv";
const DECISIONS: &str = "decisions.csv";
const VERSUS: &str = "fixed-against-dynamic.csv";
const SENSITIVITY: &str = "sensitivity.csv";
/// The record that the report was composed from, for `thresher compose`; written where one machine was measured.
const RECORD: &str = "record.json";
/// The same of the GPU, where it was measured beside the processor.
const GPU_RECORD: &str = "record-gpu.json";
/// All of them.
pub(super) const FILES: [&str; 12] =
    [PAGE, JSON, TABLE, QUALITY, GRID, CORRELATIONS, DECISIONS, VERSUS, SENSITIVITY, page::FIGURES, RECORD, GPU_RECORD];

/// Runs the command.
///
/// # Errors
/// The scenario cannot be read; not enough memory; the folder cannot be written.
pub fn run(arguments: &ReportArguments) -> Result<()> {
    let scenario = read_scenario(arguments.scenario.as_ref())?;
    let specs = check_policies(&scenario)?;
    let quality = arguments.quality.read()?;
    let out = out_folder(&arguments.out, &FILES)?;
    let machine = this_machine();
    let (mut records, mut notes) = (Vec::new(), Vec::new());
    if arguments.device != Some(Device::Gpu) {
        let measured = measured_cpu(arguments, &scenario, &specs, machine.clone())?;
        records.push(measured.record);
        notes.extend(measured.notes);
    }
    if arguments.device == Some(Device::Gpu) || arguments.device.is_none() && gpu::is_there() {
        match measured_gpu(&scenario, &specs, &machine) {
            Ok(measured) => {
                records.push(measured.record);
                notes.extend(measured.notes);
            }
            // The processor's report stands without it.
            Err(failure) if !records.is_empty() => {
                notes.push(format!("the GPU was not measured: {}", failure.message));
            }
            Err(failure) => return Err(failure),
        }
    }
    let mut outcomes = Outcomes::of(&scenario, &specs)?;
    outcomes.notes.extend(notes);
    publish(&records, &scenario, &outcomes, &quality, &out)
}

fn measured_cpu(
    arguments: &ReportArguments,
    scenario: &Scenario,
    specs: &[PolicySpec],
    machine: Machine,
) -> Result<Measured> {
    let rounds = if arguments.full { FULL_ROUNDS } else { QUICK_ROUNDS };
    let mut plan = Plan::standard(&machine, rounds);
    plan.formats = scenario.formats.value.iter().map(|&f| kernel_format(f)).collect();
    plan.ranks.push(scenario.predictor_rank.value);
    plan.policies = with_one_of_each_kind(scenario, specs)?;
    if arguments.full && machine.logical_cores > 1 {
        plan.threads.insert(0, 1);
    }
    measure::measure(&plan, machine, this_build())
}

fn measured_gpu(scenario: &Scenario, specs: &[PolicySpec], machine: &Machine) -> Result<gpu::measure::Measured> {
    let mut plan = gpu::measure::Plan::standard(gpu::measure::ROUNDS);
    plan.formats = scenario.formats.value.iter().map(|&f| kernel_format(f)).collect();
    plan.ranks.push(scenario.predictor_rank.value);
    plan.policies = with_one_of_each_kind(scenario, specs)?;
    plan.beside = false;
    gpu::measure::measure(&plan, &gpu::open()?, machine, this_build())
}

/// The policies whose selection is timed: those of rows, and of the grid one of each other kind.
fn with_one_of_each_kind(scenario: &Scenario, specs: &[PolicySpec]) -> Result<Vec<PolicySpec>> {
    let mut timed = specs.to_vec();
    for spec in with_grid(scenario, specs)? {
        if timed.iter().all(|known| discriminant(known) != discriminant(&spec)) {
            timed.push(spec);
        }
    }
    Ok(timed)
}

/// Quality records for a report.
#[derive(Debug, Args)]
pub struct QualityArguments {
    /// Quality records that `thresher eval --record` wrote [default: that of the embedded model]
    #[arg(long = "quality", value_name = "FILE.json", num_args = 1..)]
    files: Vec<PathBuf>,
}

impl QualityArguments {
    /// The records, checked; none in a build that carries none, if none is named.
    ///
    /// # Errors
    /// One cannot be read, or is of a model that another one is of.
    pub fn read(&self) -> Result<Vec<Evaluation>> {
        if self.files.is_empty() {
            let own = embedded::quality().map(|text| Evaluation::parse(text, embedded::NAME));
            return Ok(own.transpose()?.into_iter().collect());
        }
        let all = self.files.iter().map(|path| Evaluation::read(path)).collect::<std::result::Result<Vec<_>, _>>()?;
        for (index, record) in all.iter().enumerate() {
            if all[..index].iter().any(|other| other.model.sha256 == record.model.sha256) {
                return Err(Failure::input(format!(
                    "{}: a second quality record of model {}; name one",
                    self.files[index].display(),
                    record.model.name
                )));
            }
        }
        Ok(all)
    }
}

/// The scenario of a file, or the defaults.
///
/// # Errors
/// The file cannot be read or says something that is not understood.
pub fn read_scenario(path: Option<&PathBuf>) -> Result<Scenario> {
    Ok(match path {
        Some(path) => Scenario::read(path)?,
        None => Scenario::defaults()?,
    })
}

/// What the policies of a scenario do, and what could not be said of some.
pub struct Outcomes {
    /// Of the policies that rows are composed of.
    of_rows: Vec<PolicyOutcome>,
    /// Those, and the ones of the grid.
    all: Vec<PolicyOutcome>,
    notes: Vec<String>,
}

impl Outcomes {
    /// Those of every policy.
    pub fn all(&self) -> &[PolicyOutcome] {
        &self.all
    }

    /// Runs every policy on every model of the scenario.
    ///
    /// # Errors
    /// A policy cannot be built.
    pub fn of(scenario: &Scenario, specs: &[PolicySpec]) -> Result<Self> {
        let all_specs = with_grid(scenario, specs)?;
        let models: Vec<&'static str> = scenario.models.value.iter().map(|m| m.name).collect();
        let progress = progress_bar((Activations::steps(TOKENS) * models.len() * all_specs.len()) as u64);
        progress.set_message("running the policies on 70B activations");
        let (all, notes) = outcomes(&models, &all_specs, TOKENS, || progress.inc(1))?;
        progress.finish_and_clear();
        let names: Vec<String> = specs.iter().map(PolicySpec::to_string).collect();
        let of_rows = all.iter().filter(|outcome| names.contains(&outcome.policy)).cloned().collect();
        Ok(Self { of_rows, all, notes })
    }
}

/// The scenario's policies, understood.
///
/// # Errors
/// One that is not.
pub fn check_policies(scenario: &Scenario) -> Result<Vec<PolicySpec>> {
    understood(&scenario.policies.value)
}

/// Those and the ones of the grid, each once.
fn with_grid(scenario: &Scenario, specs: &[PolicySpec]) -> Result<Vec<PolicySpec>> {
    let mut all = specs.to_vec();
    for spec in understood(&scenario.grid.value.policies)? {
        if !all.contains(&spec) {
            all.push(spec);
        }
    }
    Ok(all)
}

fn understood(policies: &[String]) -> Result<Vec<PolicySpec>> {
    let spec = |policy: &String| match policy.parse()? {
        PolicySpec::Fixed(None) => Err(Failure::input(
            "policy `fixed` takes its threshold from a model file, and none is composed here: write one out, as in fixed:0.05",
        )),
        spec => Ok(spec),
    };
    let mut specs = Vec::new();
    for policy in policies {
        let spec = spec(policy)?;
        if specs.contains(&spec) {
            return Err(Failure::input(format!("policy `{policy}` is named twice: name each policy once")));
        }
        specs.push(spec);
    }
    Ok(specs)
}

/// A folder for the report. Dropped while still empty, one that was made for it is removed again.
pub struct OutFolder {
    path: PathBuf,
    made: bool,
}

impl OutFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes sure, before minutes of work, that the folder exists and takes files of these names; names that end in a slash
/// are of folders below it.
///
/// # Errors
/// It does not.
pub fn out_folder(path: &Path, names: &[&str]) -> Result<OutFolder> {
    let refused = |e: std::io::Error| {
        Failure::input(format!("{}: {}; choose another folder with --out", path.display(), e.kind()))
    };
    let made = !path.exists();
    fs::create_dir_all(path).map_err(refused)?;
    let folder = OutFolder { path: path.to_owned(), made };
    tempfile::NamedTempFile::new_in(path).map_err(refused)?;
    for name in names {
        check_place(path, name)?;
        if name.ends_with('/') && path.join(name).exists() {
            tempfile::NamedTempFile::new_in(path.join(name)).map_err(refused)?;
        }
    }
    Ok(folder)
}

/// Whether a file may be moved to that place, or, where the name ends in a slash, a folder of such files be there.
fn check_place(folder: &Path, name: &str) -> Result<()> {
    // With its slash, a file in the place of the folder would not be found.
    let place = folder.join(name.trim_end_matches('/'));
    let wrong = match name.ends_with('/') {
        true => (place.exists() && !place.is_dir()).then_some("is no folder"),
        false => place.is_dir().then_some("is a folder"),
    };
    let refusal = |what| Failure::input(format!("{}: {what}; choose another folder with --out", place.display()));
    wrong.map_or(Ok(()), |what| Err(refusal(what)))
}

impl Drop for OutFolder {
    fn drop(&mut self) {
        if self.made {
            // Refused by the system where there is something in it, which is what is wanted.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Composes, writes all files or none, and prints the table.
///
/// # Errors
/// Nothing can be composed; the folder cannot be written.
pub fn publish(
    records: &[Record],
    scenario: &Scenario,
    outcomes: &Outcomes,
    quality: &[Evaluation],
    out: &OutFolder,
) -> Result<()> {
    let answer = Answer::of(records, scenario, &outcomes.all)?;
    let report = Report::build(records, scenario, &outcomes.of_rows, Timestamp::now(), outcomes.notes.clone())?;
    let report = report.with_quality(quality).with_answer(answer);
    let (mut configurations, mut accuracies) = (Vec::new(), Vec::new());
    write_configurations_csv(&report.configurations(), &mut configurations)?;
    write_quality_csv(&report.quality, &mut accuracies)?;
    let mut files = vec![
        (PAGE, page::html(&report).into_bytes()),
        (JSON, report.json()?.into_bytes()),
        (TABLE, configurations),
        (QUALITY, accuracies),
    ];
    if let Some(answer) = &report.answer {
        files.extend(answer_files(answer)?);
    }
    match records {
        [record] => files.push((RECORD, record.json()?.into_bytes())),
        // What `report` measures; `compose` of these two writes what it read.
        [cpu, gpu] if cpu.machine.as_gpu().as_ref() == Some(&gpu.machine) => {
            files.push((RECORD, cpu.json()?.into_bytes()));
            files.push((GPU_RECORD, gpu.json()?.into_bytes()));
        }
        _ => {}
    }
    let figures = figure_files(&report)?;
    // The page last: whatever it links to is there by then.
    let figures = figures.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    write_together(out, figures.chain(files.iter().rev().map(|(name, bytes)| (*name, bytes.as_slice()))))?;
    print(&summary::of(&report))?;
    print(&format!("{}\n", out.path.join(PAGE).display()))
}

/// Two files a figure, named from the report's folder.
fn figure_files(report: &Report) -> Result<Vec<(String, Vec<u8>)>> {
    let two = |f: page::Figure| {
        [("svg", f.svg.into_bytes()), ("csv", f.csv)]
            .map(|(ext, bytes)| (format!("{}{}.{ext}", page::FIGURES, f.name), bytes))
    };
    Ok(page::figures(report)?.into_iter().flat_map(two).collect())
}

/// What was found over the grid, a file a table.
fn answer_files(answer: &Answer) -> Result<Vec<(&'static str, Vec<u8>)>> {
    type Write = fn(&Answer, &mut Vec<u8>) -> std::result::Result<(), csv::Error>;
    let tables: [(&str, Write); 5] = [
        (GRID, |answer, out| write_grid_csv(answer.models.iter().flat_map(|m| answer.grid.rows(&m.scores)), out)),
        (CORRELATIONS, |answer, out| write_correlations_csv(answer, out)),
        (DECISIONS, |answer, out| write_decisions_csv(answer, out)),
        (VERSUS, |answer, out| write_versus_csv(answer, out)),
        (SENSITIVITY, |answer, out| write_swings_csv(answer, out)),
    ];
    let file = |(name, write): (&'static str, Write)| {
        let mut out = Vec::new();
        write(answer, &mut out)?;
        Ok((name, out))
    };
    tables.into_iter().map(file).collect()
}

/// Writes every file beside its place, then moves them there in that order: a full disk leaves the old report as it was.
/// Names may have one folder in front.
pub(super) fn write_together<'a>(
    folder: &OutFolder,
    files: impl IntoIterator<Item = (&'a str, &'a [u8])> + Clone,
) -> Result<()> {
    let folder = &folder.path;
    let refused = |e: std::io::Error| {
        Failure::input(format!("{}: {e}; free space or choose another folder with --out", folder.display()))
    };
    let staging = tempfile::Builder::new().prefix(".thresher-").tempdir_in(folder).map_err(refused)?;
    let folders: BTreeSet<&str> = files.clone().into_iter().filter_map(|(name, _)| folder_of(name)).collect();
    for name in &folders {
        check_place(folder, name)?;
        fs::create_dir(staging.path().join(name)).map_err(refused)?;
    }
    for (name, bytes) in files.clone() {
        check_place(folder, name)?;
        let file = staging.path().join(name);
        fs::write(&file, bytes).and_then(|()| fs::File::open(&file)?.sync_all()).map_err(refused)?;
    }
    for name in &folders {
        fs::create_dir_all(folder.join(name)).map_err(refused)?;
    }
    for (name, _) in files {
        fs::rename(staging.path().join(name), folder.join(name)).map_err(refused)?;
    }
    Ok(())
}

/// The folder in front of a name, with its slash.
fn folder_of(name: &str) -> Option<&str> {
    name.split_inclusive('/').next().filter(|first| first.ends_with('/'))
}
