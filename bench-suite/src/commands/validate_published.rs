//! `thresher validate FILE.csv`: predicted against published decode speed.

use std::{
    fs::{self, File},
    io::{Read, stdin},
    path::Path,
};

use cost_model::{
    catalogue::Catalogue,
    published::{DENSE_GOALS, Errors, FittedParameter, HOT_COLD_GOAL, Prediction, Table, Validation, validate},
};

use crate::{
    Failure, Result,
    output::{TableFormat, print, print_json, table},
};

/// Fewer sets of devices than this, and a parameter is little more than what was believed before.
const FEW_DEVICES: usize = 3;

/// Predicts the speeds of a table, or of the carried one, and says how far off that is.
///
/// # Errors
/// A file that cannot be read; with `check`, goals that are missed.
pub(super) fn run(file: Option<&Path>, catalogue: Option<&Path>, format: TableFormat, check: bool) -> Result<()> {
    let own = Catalogue::own()?;
    let catalogue = match catalogue {
        Some(path) => own.extended(&read(path)?, &path.display().to_string())?,
        None => own,
    };
    let known = Table::own()?;
    let validation = match file {
        Some(path) => validate(&Table::read(open(path)?, &path.display().to_string())?, &known, &catalogue),
        None => validate(&known, &known, &catalogue),
    };
    if format.csv {
        let mut bytes = Vec::new();
        validation.write_csv(&mut bytes)?;
        print(&String::from_utf8_lossy(&bytes))?;
    } else if format.json {
        print_json(&validation)?;
    } else {
        print(&for_people(&validation))?;
    }
    if check && !validation.meets_goals() {
        return Err(Failure::short("predictions are further from what was published than they should be"));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Failure::input(format!("{}: {e}; check the path", path.display())))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(stdin()));
    }
    let file = File::open(path).map_err(|e| Failure::input(format!("{}: {e}; check the path", path.display())))?;
    Ok(Box::new(file))
}

fn for_people(validation: &Validation) -> String {
    let wanted = ["engine", "model", "quant", "hardware", "n_devices", "batch_or_concurrency", "context"];
    let at = wanted.map(|column| validation.columns.iter().position(|own| own.eq_ignore_ascii_case(column)));
    // Texts of equal width stand on the left of a column that is aligned to the right.
    let remarks: Vec<String> = validation.rows.iter().map(remarks).collect();
    let width = remarks.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let rows = validation.rows.iter().zip(&remarks).map(|(row, remarks)| {
        let mut cells: Vec<String> =
            at.iter().map(|at| at.and_then(|at| row.cells.get(at)).cloned().unwrap_or_default()).collect();
        cells.extend(speeds(row));
        cells.push(format!("{remarks:<width$}"));
        cells
    });
    let mut header = vec!["engine", "model", "quant", "hardware", "devices", "batch", "context"];
    let last = format!("{:<width$}", "flags; assumptions");
    header.extend(["predicted tok/s", "published", "error", &last]);
    let flagged = validation.rows.iter().filter(|row| !row.flags.is_empty()).count();
    format!(
        "{}predicted: from rows that share no device with the row; error: predicted over published.\n\n{}{}{}\n{}{}",
        table(&header, 7, rows),
        summary(validation),
        goals(validation),
        match flagged {
            0 => String::new(),
            n => format!("{n} rows with a flag count for nothing and nothing is learned from them\n"),
        },
        parameters(&validation.parameters),
        "before: what is believed without any row; * few devices, close to that; - no row, nothing but that.\n",
    )
}

fn speeds(row: &Prediction) -> [String; 3] {
    let tok_s = |value: Option<f64>| value.map_or_else(|| "-".into(), three_digits);
    let error = row.predicted_tok_s.zip(row.published_tok_s);
    let error = error.map_or_else(|| "-".into(), |(p, q)| format!("{:+.1} %", 100.0 * (p / q - 1.0)));
    [tok_s(row.predicted_tok_s), tok_s(row.published_tok_s), error]
}

fn remarks(row: &Prediction) -> String {
    let flags = row.flags.iter().map(|flag| format!("[{flag}]"));
    flags.chain(row.assumed.iter().cloned()).collect::<Vec<_>>().join("; ")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn summary(validation: &Validation) -> String {
    let rows = validation.groups.iter().map(|group| {
        let counts = [group.rows.to_string(), group.devices.to_string()];
        let errors = [percent(group.median), percent(group.p90)];
        [group.what.clone()].into_iter().chain(counts).chain(errors).collect()
    });
    table(&["errors by engine class", "rows", "devices", "median", "90th percentile"], 1, rows) + "\n"
}

fn goals(validation: &Validation) -> String {
    let all = [
        (&validation.dense, format!("goals {} and {}", percent(DENSE_GOALS[0]), percent(DENSE_GOALS[1]))),
        (&validation.hot_cold, format!("goal {}", percent(HOT_COLD_GOAL))),
    ];
    let line = |errors: &Errors, goal: &str| {
        let Errors { what, rows, median, p90, .. } = errors;
        format!("{what}, {rows} rows: median {}, p90 {} ({goal})\n", percent(*median), percent(*p90))
    };
    all.iter().filter_map(|(errors, goal)| errors.as_ref().map(|errors| line(errors, goal))).collect()
}

fn parameters(parameters: &[FittedParameter]) -> String {
    let rows = parameters.iter().map(|p| {
        let mark = match p.devices {
            0 => "-",
            devices if devices < FEW_DEVICES => "*",
            _ => "",
        };
        let (scale, unit) = match p.unit.strip_prefix("seconds") {
            Some(per) => (1e6, format!("\u{b5}s{per}")),
            None => (1.0, p.unit.to_owned()),
        };
        let values = [scale * p.value, scale * p.prior].map(three_digits);
        let counts = [p.rows.to_string(), p.devices.to_string(), mark.to_owned()];
        [p.name.clone(), unit].into_iter().chain(values).chain(counts).collect()
    });
    table(&["fitted", "unit", "value", "before", "rows", "devices", ""], 2, rows)
}

/// Three significant digits, as many before the point as there are.
fn three_digits(value: f64) -> String {
    let before = value.abs().max(1e-9).log10().floor() as i32 + 1;
    format!("{value:.*}", usize::try_from(3 - before).unwrap_or(0).min(6))
}
