//! What a data sheet is worth: a GPU composed from another's record, against its own.

use serde::Serialize;

use crate::compose::Scorer;
use crate::format::WeightFormat;
use crate::grid::{Basis, Cell, Grid, GridError, Projection};
use crate::model::ModelShape;
use crate::origin::{Origin, Sourced};
use crate::record::Record;
use crate::report::PolicyOutcome;
use crate::scenario::Scenario;

/// The model that is composed: llama-2-70b.
const MODEL: ModelShape = ModelShape::LLAMA_2_70B;
/// Densities of its policies, beside dense.
const DENSITIES: [f64; 6] = [0.05, 0.10, 0.18, 0.25, 0.50, 0.80];

/// Configurations that differ in policy and rank alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AcrossRow {
    /// The GPU whose record they are composed from.
    pub from: String,
    /// The GPU that they are composed for, by its data sheet.
    pub to: String,
    /// Format of the weights.
    pub format: WeightFormat,
    /// What scores neurons: nothing, where all are computed; a predictor; the gate.
    pub scorer: &'static str,
    /// Users whose tokens are decoded together.
    pub users: usize,
    /// Composed from the other's record over composed from its own, less 1; of each.
    pub errors: Vec<f64>,
}

/// Each GPU of `records` composed for each other one, by `scenario` but for its models and GPUs.
///
/// # Errors
/// [`GridError`]
pub fn across(records: &[Record], scenario: &Scenario) -> Result<Vec<AcrossRow>, GridError> {
    let gpus: Vec<&Record> = records.iter().filter(|record| record.machine.measured_gpu().is_some()).collect();
    let mut scenario = scenario.clone();
    scenario.models.value = vec![MODEL];
    scenario.gpus.value = gpus.iter().filter_map(|record| Projection::of(record.machine.name())).collect();
    let outcomes = outcomes();
    let grids = gpus.iter().map(|&record| Grid::compose(std::slice::from_ref(record), &scenario, &outcomes));
    let grids = grids.collect::<Result<Vec<_>, _>>()?;
    let mut rows: Vec<AcrossRow> = Vec::new();
    for (from, composed) in gpus.iter().zip(&grids) {
        for (to, own) in gpus.iter().zip(&grids) {
            let (from, to) = (from.machine.name(), to.machine.name());
            for there in cells(composed, Basis::Projected, to) {
                let key = composed.key(there);
                let Some(here) = cells(own, Basis::Measured, to).find(|cell| own.key(cell) == key) else { continue };
                let error = there.ms.median / here.ms.median - 1.0;
                let (format, scorer, users) = (there.format, scorer(there), there.batch);
                let same = |row: &&mut AcrossRow| {
                    (row.from.as_str(), row.to.as_str()) == (from, to)
                        && (row.format, row.scorer, row.users) == (format, scorer, users)
                };
                match rows.iter_mut().find(same) {
                    Some(row) => row.errors.push(error),
                    None => {
                        let (from, to) = (from.to_owned(), to.to_owned());
                        rows.push(AcrossRow { from, to, format, scorer, users, errors: vec![error] });
                    }
                }
            }
        }
    }
    Ok(rows)
}

fn cells<'a>(grid: &'a Grid, basis: Basis, name: &'a str) -> impl Iterator<Item = &'a Cell> {
    grid.cells.iter().filter(move |cell| {
        let machine = grid.machine(cell);
        machine.basis == basis && machine.name == name
    })
}

fn scorer(cell: &Cell) -> &'static str {
    match cell.scorer {
        Scorer::Free => "",
        Scorer::LowRank(_) => "predictor",
        Scorer::Gate => "gate",
    }
}

/// The same share of every layer.
fn outcomes() -> Vec<PolicyOutcome> {
    let of = |density: f64| PolicyOutcome {
        model: MODEL.name,
        policy: format!("per-layer:density={density:.2}"),
        densities: Sourced::new(vec![density; MODEL.layers], Origin::assumed("the same density in every layer")),
        density_p95: None,
        missed_mass: None,
        missed_mass_sd: None,
        needs_predictor: true,
    };
    DENSITIES.map(of).to_vec()
}
