//! `thresher break-even`: the density below which a predictor beats the gates alone, from records.

use std::path::PathBuf;

use clap::Args;
use cost_model::{
    break_even::{BreakEven, BreakEvenRow},
    page::break_even_svg,
};
use serde::Serialize;

use super::records::{read_records, write_drawing};
use crate::{
    Failure, Result,
    output::{TableFormat, print, print_csv, print_json, table},
};

/// Arguments of `thresher break-even`.
#[derive(Debug, Args)]
pub struct BreakEvenArguments {
    /// Records of any machines, such as those of ci/records
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// Draw them here
    #[arg(long, value_name = "FILE.svg")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: TableFormat,
}

/// A predictor, flat.
#[derive(Debug, Serialize)]
struct Row<'a> {
    machine: &'a str,
    threads: usize,
    format: String,
    predictor: &'a str,
    rank: Option<usize>,
    predictor_bytes: u64,
    gate_bytes: u64,
    by_bytes: f64,
    predictor_seconds: Option<f64>,
    gate_seconds: Option<f64>,
    by_time: Option<f64>,
    by_time_low: Option<f64>,
    by_time_high: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// A record cannot be read, none timed a predictor, or the drawing cannot be written.
pub fn run(arguments: &BreakEvenArguments) -> Result<()> {
    let records = read_records(&arguments.records)?;
    let machines: Vec<BreakEven> = records.iter().filter_map(BreakEven::of).collect();
    if machines.is_empty() {
        return Err(Failure::input("no record holds a time of a predictor: `thresher measure` takes one"));
    }
    if let Some(out) = &arguments.out {
        write_drawing(out, &break_even_svg(&machines))?;
    }
    if arguments.format.csv {
        let rows = machines.iter().flat_map(|machine| machine.rows.iter().map(move |row| flat(machine, row)));
        print_csv(&rows.collect::<Vec<_>>())
    } else if arguments.format.json {
        print_json(&machines)
    } else {
        print(&machines.iter().map(for_people).collect::<String>())
    }
}

fn flat<'a>(machine: &'a BreakEven, row: &BreakEvenRow) -> Row<'a> {
    Row {
        machine: &machine.machine.fingerprint,
        threads: machine.threads,
        format: row.format.to_string(),
        predictor: if row.rank.is_some() { "low-rank" } else { "sign-bits" },
        rank: row.rank,
        predictor_bytes: row.predictor_bytes,
        gate_bytes: row.gate_bytes,
        by_bytes: row.by_bytes,
        predictor_seconds: row.predictor_seconds.map(|time| time.median),
        gate_seconds: row.gate_seconds.map(|time| time.median),
        by_time: row.by_time.map(|density| density.median),
        by_time_low: row.by_time.map(|density| density.low),
        by_time_high: row.by_time.map(|density| density.high),
    }
}

fn for_people(machine: &BreakEven) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let ms = |seconds: Option<f64>| seconds.map_or_else(String::new, |s| format!("{:.3}", 1e3 * s));
    let header =
        ["format", "predictor", "MB", "gates, MB", "by bytes", "ms", "gates, ms", "by time", "at least", "at most"];
    let cells = machine.rows.iter().map(|row| {
        let name = row.rank.map_or_else(|| "sign bits".to_owned(), |rank| format!("rank {rank}"));
        let mut cells = vec![row.format.to_string(), name];
        cells.extend([row.predictor_bytes, row.gate_bytes].map(|bytes| format!("{:.1}", bytes as f64 / 1e6)));
        cells.push(percent(row.by_bytes));
        cells.extend([row.predictor_seconds, row.gate_seconds].map(|time| ms(time.map(|time| time.median))));
        let ends = row.by_time.map(|density| [density.median, density.low, density.high].map(percent));
        cells.extend(ends.unwrap_or_default());
        cells
    });
    format!(
        "{}, {} threads: density let through below which a predictor, then its gates, beats all gates\n{}\n",
        machine.machine.name(),
        machine.threads,
        table(&header, 2, cells)
    )
}
