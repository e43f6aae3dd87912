//! What was found, as CSV: a file a table, long rather than wide.

use std::io::Write;

use serde::Serialize;

use super::Answer;
use super::spread::Spread;

fn write<R: Serialize>(rows: impl IntoIterator<Item = R>, output: impl Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(output);
    for row in rows {
        writer.serialize(row)?;
    }
    writer.flush()?;
    Ok(())
}

/// A share or coefficient to more digits than are true of any.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Both ends, rounded; none where there are none.
fn ends(value: Option<Spread>) -> [Option<f64>; 2] {
    let ends = value.and_then(|value| value.ends);
    [ends.map(|ends| rounded(ends.low)), ends.map(|ends| rounded(ends.high))]
}

#[derive(Serialize)]
struct CorrelationRow<'a> {
    model: &'a str,
    group: &'a str,
    per: String,
    cost: &'static str,
    rows: usize,
    coefficient: &'static str,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// `correlations.csv`: a row a coefficient.
///
/// # Errors
/// Those of `output`.
pub fn write_correlations_csv(answer: &Answer, output: impl Write) -> Result<(), csv::Error> {
    let mut rows = Vec::new();
    for (model, c) in answer.models.iter().flat_map(|m| m.correlations.iter().map(move |c| (m.model, c))) {
        let kinds = [("spearman", c.spearman), ("kendall", c.kendall), ("pearson_log", c.pearson_log)];
        rows.extend(kinds.map(|(coefficient, value)| {
            let [low, high] = ends(value);
            CorrelationRow {
                model,
                group: &c.group,
                per: c.form.to_string(),
                cost: c.cost.as_str(),
                rows: c.rows,
                coefficient,
                value: value.map(|v| rounded(v.median)),
                low,
                high,
            }
        }));
    }
    write(rows, output)
}

#[derive(Serialize)]
struct DecisionRow<'a> {
    model: &'a str,
    demand: super::decide::Demand,
    per: String,
    cost: &'static str,
    candidates: usize,
    regret: f64,
    low: Option<f64>,
    high: Option<f64>,
    chosen: String,
    chosen_machine: String,
    cheapest: String,
    cheapest_machine: String,
}

/// `decisions.csv`: a row a choice.
///
/// # Errors
/// Those of `output`.
pub fn write_decisions_csv(answer: &Answer, output: impl Write) -> Result<(), csv::Error> {
    let grid = &answer.grid;
    let mut rows = Vec::new();
    for model in &answer.models {
        let cell = |at: usize| &grid.cells[model.scores.cells[at]];
        rows.extend(model.decisions.iter().map(|d| {
            let [low, high] = ends(Some(d.regret));
            DecisionRow {
                model: model.model,
                demand: d.demand,
                per: d.form.to_string(),
                cost: d.cost.as_str(),
                candidates: d.candidates,
                regret: rounded(d.regret.median),
                low,
                high,
                chosen: grid.key(cell(d.chosen)).to_string(),
                chosen_machine: grid.machine(cell(d.chosen)).fingerprint.clone(),
                cheapest: grid.key(cell(d.cheapest)).to_string(),
                cheapest_machine: grid.machine(cell(d.cheapest)).fingerprint.clone(),
            }
        }));
    }
    write(rows, output)
}

#[derive(Serialize)]
struct VersusRow<'a> {
    model: &'a str,
    kind: &'a str,
    baseline: &'a str,
    compared: usize,
    usd_ratio: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    pairs: usize,
    per: String,
    agree: f64,
}

/// `fixed-against-dynamic.csv`: a row a kind, a baseline and a form of PER.
///
/// # Errors
/// Those of `output`.
pub fn write_versus_csv(answer: &Answer, output: impl Write) -> Result<(), csv::Error> {
    let mut rows = Vec::new();
    for (model, versus) in answer.models.iter().flat_map(|m| m.versus.iter().map(move |v| (m.model, v))) {
        let [low, high] = ends(versus.usd_ratio);
        rows.extend(versus.agree.iter().map(|(form, agree)| VersusRow {
            model,
            kind: versus.kind,
            baseline: versus.baseline,
            compared: versus.compared,
            usd_ratio: versus.usd_ratio.map(|r| rounded(r.median)),
            low,
            high,
            pairs: versus.pairs,
            per: form.to_string(),
            agree: rounded(*agree),
        }));
    }
    write(rows, output)
}

#[derive(Serialize)]
struct SwingRow<'a> {
    model: &'a str,
    assumption: &'a str,
    value: &'a str,
    per: String,
    spearman: Option<f64>,
    regret: Option<f64>,
    cheapest: Option<&'a str>,
    usd_per_mtok: Option<f64>,
}

/// `sensitivity.csv`: a row an assumption, its value and a form of PER.
///
/// # Errors
/// Those of `output`.
pub fn write_swings_csv(answer: &Answer, output: impl Write) -> Result<(), csv::Error> {
    let mut rows = Vec::new();
    for (model, swing) in answer.models.iter().flat_map(|m| m.swings.iter().map(move |s| (m.model, s))) {
        rows.extend(swing.spearman.iter().zip(&swing.regret).map(|((form, rho), (_, regret))| SwingRow {
            model,
            assumption: swing.assumption,
            value: &swing.value,
            per: form.to_string(),
            spearman: rho.map(rounded),
            regret: regret.map(rounded),
            cheapest: swing.cheapest.as_deref(),
            usd_per_mtok: swing.usd_per_mtok,
        }));
    }
    write(rows, output)
}
