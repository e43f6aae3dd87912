//! `thresher compose`: the report from records alone, of any number of machines.

use std::path::PathBuf;

use clap::Args;
use cost_model::{record::Record, report::Report};
use jiff::Timestamp;

use super::report::{FILES, Outcomes, QualityArguments, check_policies, out_folder, publish, read_scenario};
use crate::Result;

/// Arguments of `thresher compose`.
#[derive(Debug, Args)]
pub struct ComposeArguments {
    /// Records that `thresher measure` wrote
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// What to compose and under which assumptions; every key is optional
    #[arg(long, value_name = "FILE.toml")]
    scenario: Option<PathBuf>,
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
    let records =
        arguments.records.iter().map(|path| Record::read(path)).collect::<std::result::Result<Vec<_>, _>>()?;
    let records = Record::merge(records)?;
    let scenario = read_scenario(arguments.scenario.as_ref())?;
    let specs = check_policies(&scenario)?;
    let quality = arguments.quality.read()?;
    let out = out_folder(&arguments.out, &FILES)?;
    // Where not even dense can be composed, to run the policies would only put the answer off.
    Report::build(&records, &scenario, &[], Timestamp::now(), Vec::new())?;
    let outcomes = Outcomes::of(&scenario, &specs)?;
    publish(&records, &scenario, &outcomes, &quality, &out)
}
