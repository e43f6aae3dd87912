//! `thresher per`: PER of each row of a table, per task.

use std::{fs::File, io::Read, path::PathBuf};

use clap::Args;
use cost_model::{
    anchors::Anchors,
    per_table::{PerOptions, PerTable, Reference, per_table, read_per_csv},
};

use crate::{
    Failure, Result,
    output::{TableFormat, print, print_json, table},
};

/// Arguments of `thresher per`.
#[derive(Debug, Args)]
pub struct PerArguments {
    /// Table with the columns task, model, acc, thr_per_gpu, lat_ms, mem_mb; `-` for standard input
    file: PathBuf,
    /// Add PER between fixed bounds, which does not depend on the other rows
    #[arg(long)]
    anchored: bool,
    /// Add PER relative to a reference: the model of this name, or the first row of each task
    #[arg(long, value_name = "MODEL", num_args = 0..=1, default_missing_value = "")]
    ratio: Option<String>,
    #[command(flatten)]
    format: TableFormat,
}

/// Runs the command.
///
/// # Errors
/// The table cannot be read or scored.
pub fn run(arguments: &PerArguments) -> Result<()> {
    let options = PerOptions {
        anchors: arguments.anchored.then(Anchors::own).transpose()?,
        ratio: arguments.ratio.as_ref().map(|model| match model.as_str() {
            "" => Reference::First,
            model => Reference::Model(model.to_owned()),
        }),
    };
    let name = arguments.file.display().to_string();
    let scored = per_table(&read_per_csv(open(&arguments.file)?, &name)?, &options)?;
    if arguments.format.csv {
        let mut bytes = Vec::new();
        scored.write_csv(&mut bytes)?;
        print(&String::from_utf8_lossy(&bytes))
    } else if arguments.format.json {
        print_json(&scored)
    } else {
        print(&for_people(&scored))
    }
}

fn open(path: &PathBuf) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path).map_err(|e| Failure::input(format!("{}: {e}; check the path", path.display())))?;
    Ok(Box::new(file))
}

fn for_people(scored: &PerTable) -> String {
    let first = scored.rows.first();
    let (anchored, ratio) = (first.is_some_and(|r| r.anchored.is_some()), first.is_some_and(|r| r.ratio.is_some()));
    let mut header = vec!["task", "model", "PER"];
    header.extend(anchored.then_some("anchored"));
    header.extend(ratio.then_some("ratio"));
    let rows = scored.rows.iter().map(|row| {
        let mut cells = vec![row.task.clone(), row.model.clone(), format!("{:.4}", row.per)];
        cells.extend(row.anchored.map(|v| format!("{v:.4}")));
        cells.extend(row.ratio.map(|v| format!("{v:.4}")));
        cells
    });
    let mut text = table(&header, 2, rows);
    for set in &scored.sets {
        text += &format!("{}: PER over a set of {}, hash {}", set.task, set.candidates, set.set_hash);
        if let Some(anchors) = &set.anchors {
            text += &format!("; anchors {anchors}");
        }
        text.push('\n');
    }
    text + "PER ranks within its set only: another set gives other values. Anchored and ratio do not depend on the set.\n"
}
