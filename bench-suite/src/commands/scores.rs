//! Scores of policies as a table, as CSV and as JSON.

use crate::{
    Result,
    output::{TableFormat, print, print_json, table},
    tasks::score::Score,
};

/// Columns of the CSV before those of pass@k. Other programs rely on the first eight.
const COLUMNS: [&str; 13] = [
    "policy",
    "density",
    "passed",
    "total",
    "pass_at_1",
    "ci_low",
    "ci_high",
    "mcnemar_p",
    "fired_density",
    "missed_mass",
    "seen_pass_at_1",
    "unseen_pass_at_1",
    "audit_density",
];

/// Prints scores, one policy a row.
pub(super) fn print_scores(scores: &[Score], format: TableFormat) -> Result<()> {
    if format.json {
        print_json(&scores.iter().map(with_pass_at).collect::<Result<Vec<_>>>()?)
    } else if format.csv {
        print(&csv_of(scores)?)
    } else {
        print(&for_people(scores))
    }
}

fn with_pass_at(score: &Score) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(score)?;
    for (k, share) in &score.pass_at {
        value[format!("pass_at_{k}")] = (*share).into();
    }
    Ok(value)
}

fn csv_of(scores: &[Score]) -> Result<String> {
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> = COLUMNS.map(String::from).to_vec();
    header.extend(scores.iter().take(1).flat_map(|s| s.pass_at.iter().map(|(k, _)| format!("pass_at_{k}"))));
    writer.write_record(header)?;
    for s in scores {
        let mut row = vec![s.policy.clone(), number(s.density), s.passed.to_string(), s.total.to_string()];
        row.extend([s.pass_at_1, s.ci_low, s.ci_high].map(|v| v.to_string()));
        let more = [s.mcnemar_p, s.fired_density, s.missed_mass, s.seen_pass_at_1, s.unseen_pass_at_1, s.audit_density];
        row.extend(more.map(number));
        row.extend(s.pass_at.iter().map(|(_, share)| share.to_string()));
        writer.write_record(row)?;
    }
    Ok(String::from_utf8_lossy(&writer.into_inner()?).into_owned())
}

fn for_people(scores: &[Score]) -> String {
    let mut header = vec![
        "policy",
        "density",
        "fired",
        "audits",
        "missed",
        "passed",
        "pass@1",
        "95 % interval",
        "p against dense",
        "seen families",
        "unseen",
    ];
    let names: Vec<String> =
        scores.iter().take(1).flat_map(|s| s.pass_at.iter().map(|(k, _)| format!("pass@{k}"))).collect();
    header.extend(names.iter().map(String::as_str));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let or_dash = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let rows = scores.iter().map(|s| {
        let mut cells = vec![
            s.policy.clone(),
            or_dash(s.density),
            or_dash(s.fired_density),
            or_dash(s.audit_density),
            or_dash(s.missed_mass),
            format!("{} of {}", s.passed, s.total),
            percent(s.pass_at_1),
            format!("{:.1} to {}", 100.0 * s.ci_low, percent(s.ci_high)),
            s.mcnemar_p.map_or_else(|| "-".to_owned(), p_value),
            or_dash(s.seen_pass_at_1),
            or_dash(s.unseen_pass_at_1),
        ];
        cells.extend(s.pass_at.iter().map(|(_, share)| percent(*share)));
        cells
    });
    table(&header, 1, rows)
}

/// Three decimals, or that it is less.
fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}
