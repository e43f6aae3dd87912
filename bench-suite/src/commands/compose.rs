//! `thresher compose`: the report from records alone, of any number of machines.

use std::path::PathBuf;

use clap::Args;
use cost_model::{
    estimate::Interval,
    grid::{Axes, Basis, Cell, Grid, GridKey, HybridPlacement, Parts},
    money::Energy,
    record::Record,
    report::Report,
    scenario::Scenario,
};
use jiff::Timestamp;

use super::records::read_records;
use super::report::{FILES, Outcomes, QualityArguments, check_policies, out_folder, publish, read_scenario};
use crate::{
    Failure, Result,
    output::{print, table},
};

const PART_HEADER: [&str; 5] = ["part", "ms", "low", "high", "MB"];
const OTHER_HEADER: [&str; 8] =
    ["machine", "ms", "tok/s", "$/Mtok", "neurons on GPU", "of active", "over layers", "over PowerInfer's rule"];
const BYTES_PER_MB: f64 = 1e6;
const BYTES_PER_GB: f64 = 1e9;

/// Arguments of `thresher compose`.
#[derive(Debug, Args)]
pub struct ComposeArguments {
    /// Records that `thresher measure` wrote
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// What to compose and under which assumptions; every key is optional
    #[arg(long, value_name = "FILE.toml")]
    scenario: Option<PathBuf>,
    /// Only this configuration, part by part, on each record: such as
    /// llama-2-70b/q8_0/top-k:density=0.10/rank=1024/context=2048/batch=1, as the report and grid.csv spell them
    #[arg(long, value_name = "CONFIGURATION", conflicts_with = "out")]
    only: Option<GridKey>,
    #[command(flatten)]
    quality: QualityArguments,
    /// Folder for index.html, report.json, configurations.csv and quality.csv
    #[arg(long, value_name = "DIR", default_value = "thresher-report")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A record or the scenario cannot be read; nothing can be composed; the folder cannot be written.
pub fn run(arguments: &ComposeArguments) -> Result<()> {
    let records = read_records(&arguments.records)?;
    let records = Record::merge(records)?;
    let scenario = read_scenario(arguments.scenario.as_ref())?;
    if let Some(key) = &arguments.only {
        return one(key, &records, &scenario);
    }
    let specs = check_policies(&scenario)?;
    let quality = arguments.quality.read()?;
    let out = out_folder(&arguments.out, &FILES)?;
    // Where not even dense can be composed, to run the policies would only put the answer off.
    Report::build(&records, &scenario, &[], Timestamp::now(), Vec::new())?;
    let outcomes = Outcomes::of(&scenario, &specs)?;
    publish(&records, &scenario, &outcomes, &quality, &out)
}

/// Composes one configuration on every machine, and prints what it is made of.
fn one(key: &GridKey, records: &[Record], scenario: &Scenario) -> Result<()> {
    let mut only = scenario.clone();
    only.models.value = vec![key.model];
    only.grid.value = Axes {
        policies: vec![key.policy.clone()],
        formats: vec![key.format],
        ranks: key.scorer.rank().into_iter().collect(),
        contexts: vec![key.context],
        batches: vec![key.batch],
    };
    only.policies.value = only.grid.value.policies.clone();
    if let Some(rank) = key.scorer.rank() {
        only.predictor_rank.value = rank;
    }
    only.context_tokens.value = key.context;
    let specs = check_policies(&only)?;
    let outcomes = Outcomes::of(&only, &specs)?;
    let parts = Grid::parts(records, &only, outcomes.all(), key)?;
    let mut found = false;
    for part in &parts {
        match part {
            Ok(part) => {
                found = true;
                print(&part_table(key, part))?;
            }
            Err(why) => print(&format!("{why}\n"))?,
        }
    }
    let grid = Grid::compose(records, &only, outcomes.all())?;
    print(&others(key, &grid, only.utilisation.value))?;
    if found { Ok(()) } else { Err(Failure::short(format!("{key} can be composed from none of the records"))) }
}

/// The machines that were not measured: GPUs by their data sheets, and such a GPU beside a processor.
fn others(key: &GridKey, grid: &Grid, utilisation: f64) -> String {
    let other = |(_, cell): &(usize, &Cell)| grid.machine(cell).basis != Basis::Measured && grid.key(cell) == *key;
    let rows: Vec<Vec<String>> = grid
        .cells
        .iter()
        .enumerate()
        .filter(other)
        .map(|(index, cell)| {
            let usd = cell.hour.usd_per_mtok(cell.hour.usual, utilisation, cell.tok_s());
            let placed = grid.placements.iter().find(|placed| placed.cell == index);
            let of = |pick: fn(&HybridPlacement) -> f64| placed.map_or(String::new(), |p| format!("{:.3}", pick(p)));
            let ms = format!("{:.3}", cell.ms.median);
            let tail =
                [of(|p| p.neurons_on_gpu), of(|p| p.active_on_gpu), of(|p| p.over_layers), of(|p| p.over_frequency)];
            let own = [grid.machine(cell).name.clone(), ms, format!("{:.3}", cell.tok_s()), format!("{usd:.3}")];
            own.into_iter().chain(tail).collect()
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\nAssumed: GPUs by their data sheets, reading as their bandwidth is, the rest as their units and clocks are, alone and \
         beside a processor\n{}",
        table(&OTHER_HEADER, 1, rows)
    )
}

fn part_table(key: &GridKey, part: &Parts) -> String {
    let number = |value: f64| format!("{value:.4}");
    let rows = part.composition.terms.iter().map(|term| {
        let Interval { median, low, high } = term.ms;
        let mb = format!("{:.1}", term.bytes as f64 / BYTES_PER_MB);
        vec![term.kind.to_string(), number(median), number(low), number(high), mb]
    });
    let mut text = format!("{key} on {}\n{}", part.machine, table(&PART_HEADER, 1, rows));
    let c = &part.composition;
    text += &format!(
        "{} ms ({} to {}) between two tokens of a user, {} tok/s in all, {:.1} GB resident; {} USD an hour, {} USD per \
         million tokens\n",
        number(c.ms_per_token.median),
        number(c.ms_per_token.low),
        number(c.ms_per_token.high),
        number(c.tok_s.median),
        c.memory.total() as f64 / BYTES_PER_GB,
        number(part.hour.usual),
        number(part.usd_per_mtok),
    );
    if let Some(Energy { joules_per_token: joules, .. }) = &part.energy {
        text += &format!("{} J per token, {}\n", number(joules.value.median), joules.origin);
    }
    for term in &part.composition.terms {
        text += &format!("- {}: {}\n", term.kind, term.origin);
    }
    for assumption in &part.composition.assumptions {
        text += &format!("- assumed: {assumption}\n");
    }
    text
}
