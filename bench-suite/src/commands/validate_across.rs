//! `thresher validate --across`: GPUs composed from each other's records, against their own.

use std::path::PathBuf;

use cost_model::{
    across::{AcrossRow, across},
    record::Record,
    scenario::Scenario,
};
use serde::Serialize;

use crate::{
    Failure, Result,
    output::{TableFormat, print, print_csv, print_json, table},
};

use super::{records::read_records, validate::quantiles};

/// A line of `--csv`.
#[derive(Debug, Serialize)]
struct FlatRow<'a> {
    from: &'a str,
    to: &'a str,
    format: String,
    scorer: &'static str,
    users: usize,
    configurations: usize,
    median_error: f64,
    p90_absolute_error: f64,
}

/// Composes the GPUs of the records for each other.
///
/// # Errors
/// Records that cannot be read, or that hold no two GPUs which the catalogue knows.
pub(super) fn run(records: &[PathBuf], format: TableFormat) -> Result<()> {
    let records = Record::merge(read_records(records)?)?;
    let rows = across(&records, &Scenario::defaults()?)?;
    if rows.is_empty() {
        return Err(Failure::input(
            "no GPU of these records can be composed from another's: wanted records of two GPUs that both are in the catalogue",
        ));
    }
    if format.csv {
        print_csv(&rows.iter().map(flat).collect::<Vec<_>>())
    } else if format.json {
        print_json(&rows)
    } else {
        print(&for_people(&rows))
    }
}

fn flat(row: &AcrossRow) -> FlatRow<'_> {
    FlatRow {
        from: &row.from,
        to: &row.to,
        format: row.format.to_string(),
        scorer: row.scorer,
        users: row.users,
        configurations: row.errors.len(),
        median_error: quantiles(row.errors.clone())[0],
        p90_absolute_error: quantiles(row.errors.iter().map(|error| error.abs()).collect())[1],
    }
}

fn for_people(rows: &[AcrossRow]) -> String {
    let lines = rows.iter().map(flat).map(|row| {
        vec![
            row.from.to_owned(),
            row.to.to_owned(),
            row.format,
            row.scorer.to_owned(),
            row.users.to_string(),
            row.configurations.to_string(),
            format!("{:+.1} %", 100.0 * row.median_error),
            format!("{:.1} %", 100.0 * row.p90_absolute_error),
        ]
    });
    let header = ["measured", "composed for", "format", "scored by", "users", "rows", "median error", "p90, absolute"];
    let mut text = table(&header, 4, lines);
    text += "error: composed from the other's record by both data sheets, over composed from its own; above 0 where the real \
             one is faster.\n\n";
    let mut pairs: Vec<(&str, &str)> = rows.iter().map(|row| (row.from.as_str(), row.to.as_str())).collect();
    pairs.dedup();
    for (from, to) in pairs {
        let errors = |within: fn(&AcrossRow) -> bool| -> Vec<f64> {
            let own = rows.iter().filter(|row| (row.from.as_str(), row.to.as_str()) == (from, to) && within(row));
            own.flat_map(|row| &row.errors).map(|error| error.abs()).collect()
        };
        let all = errors(|_| true);
        let count = all.len();
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let ([median, p90], [alone, p90_alone]) =
            (quantiles(all).map(percent), quantiles(errors(|row| row.users == 1)).map(percent));
        text += &format!(
            "{to} from {from}: median {median}, p90 {p90} of {count} configurations; one user {alone} and {p90_alone}\n"
        );
    }
    text
}
