//! `thresher history`: each kernel's share of the roof over the commits that were measured.

use std::path::PathBuf;

use clap::Args;
use cost_model::{
    estimate::Interval,
    history::{History, MachineHistory},
    page::history_html,
};
use serde::Serialize;

use super::records::{read_records, write_drawing};
use crate::{
    Result,
    output::{TableFormat, print, print_csv, print_json, table},
};

/// Arguments of `thresher history`.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// Records of any machines and commits, such as those of ci/records and ci/records/history
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Write a page that draws them
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: TableFormat,
}

/// A kernel's share in one run.
#[derive(Debug, Serialize)]
struct Row<'a> {
    machine: &'a str,
    kernel: &'a str,
    commit: &'a str,
    date: String,
    share: f64,
    share_low: f64,
    share_high: f64,
}

/// Runs the command.
///
/// # Errors
/// A record cannot be read; the page cannot be written.
pub fn run(arguments: &HistoryArguments) -> Result<()> {
    let records = read_records(&arguments.records)?;
    let history = History::of(&records);
    if let Some(out) = &arguments.out {
        write_drawing(out, &history_html(&history))?;
    }
    if arguments.format.csv {
        print_csv(&history.machines.iter().flat_map(rows).collect::<Vec<_>>())
    } else if arguments.format.json {
        print_json(&history)
    } else {
        print(&history.machines.iter().map(for_people).collect::<String>())
    }
}

fn rows(machine: &MachineHistory) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for kernel in &machine.kernels {
        for (share, run) in kernel.shares.iter().zip(&machine.runs) {
            rows.extend(share.map(|share| Row {
                machine: &machine.machine.fingerprint,
                kernel: &kernel.name,
                commit: &run.commit,
                date: run.date.to_string(),
                share: share.median,
                share_low: share.low,
                share_high: share.high,
            }));
        }
    }
    rows
}

fn for_people(machine: &MachineHistory) -> String {
    let percent = |share: Interval| format!("{:.1} %", 100.0 * share.median);
    let mut header = vec!["kernel"];
    header.extend(machine.runs.iter().map(|run| run.commit.get(..7).unwrap_or(&run.commit)));
    header.extend(["last / first", "at least", "at most"]);
    let lines = machine.kernels.iter().map(|kernel| {
        let mut line = vec![kernel.name.clone()];
        line.extend(kernel.shares.iter().map(|share| share.map_or_else(String::new, percent)));
        let change = kernel.change();
        line.extend(
            [change.map(|c| c.median), change.map(|c| c.low), change.map(|c| c.high)]
                .map(|value| value.map_or_else(String::new, |value| format!("{value:.3}"))),
        );
        line
    });
    format!("{}: share of the roof, commit by commit\n{}\n", machine.machine.name(), table(&header, 1, lines))
}
