//! The report's table on the terminal.

use cost_model::{
    answer::Answer,
    machine::Machine,
    origin::Sourced,
    report::{Report, Row},
};

use crate::output::table;

const HEADER: [&str; 9] =
    ["policy", "density", "ms/token", "tok/s", "GB", "$/Mtok", "PER paper", "PER anchored", "PER ratio"];

/// Headline, one table per machine, model and format, and what to know to read them.
pub fn of(report: &Report) -> String {
    let mut text = String::from("\n");
    let mut rest: &[Row] = &report.rows;
    while let Some(first) = rest.first() {
        let same = |row: &&Row| group(row) == group(first);
        let len = rest.iter().take_while(same).count();
        let (rows, others) = rest.split_at(len);
        text += &title(report, first);
        text += &table(&HEADER, 1, rows.iter().map(cells));
        rest = others;
    }
    text += "~ assumed, or computed from something assumed; an empty cell is not known.\n";
    for note in &report.notes {
        text += &format!("- {note}\n");
    }
    text.push('\n');
    let answered = report.answer.iter().flat_map(Answer::sentences);
    for sentence in answered.chain(report.headline.iter().cloned()) {
        text += &sentence;
        text.push('\n');
    }
    for quality in &report.quality {
        text += &format!("\nMeasured, and not carried over to any 70B: {}\n", quality.findings.join(" "));
    }
    text
}

fn group(row: &Row) -> (&str, &str, &str) {
    let c = &row.configuration;
    (&c.machine, &c.model, &c.format)
}

fn title(report: &Report, row: &Row) -> String {
    let c = &row.configuration;
    let machine = report.machine(&c.machine);
    let name = machine.map_or("", Machine::name);
    let gpu = machine.is_some_and(|m| m.measured_gpu().is_some());
    let threads = if gpu { String::new() } else { format!("{} threads of ", c.threads) };
    let memory = if row.fits { "" } else { ", as if its memory held the model" };
    format!(
        "\n{} in {} on {threads}{name} ({}), {}, context {}{memory}\n",
        c.model, c.format, c.machine, c.isa, c.context_tokens
    )
}

fn cells(row: &Row) -> Vec<String> {
    let c = &row.configuration;
    let per_mark = row.per_accuracy.as_ref().map_or("", mark);
    let per = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{per_mark}{v:.3}"));
    let density_mark = if c.density_origin == "assumed" { "~" } else { "" };
    vec![
        c.policy.clone(),
        format!("{density_mark}{:.3}", c.density),
        format!("{}{:.0}", mark(&row.ms_per_token), c.ms_per_token),
        format!("{}{:.3}", mark(&row.ms_per_token), c.tok_s),
        format!("{:.1}", c.memory_gb),
        format!("{}{:.0}", mark(&row.usd_per_mtok), c.usd_per_mtok),
        per(c.per_paper),
        per(c.per_anchored),
        per(c.per_ratio),
    ]
}

fn mark<T>(value: &Sourced<T>) -> &'static str {
    if value.origin.kind() == "assumed" { "~" } else { "" }
}
