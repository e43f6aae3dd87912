//! A cell with its scores as a flat row: what `grid.csv` holds.

use std::io::Write;

use serde::Serialize;

use crate::compose::Scorer;
use crate::model::ModelShape;
use crate::money::DrawnBy;
use crate::report::PerForm;

use super::{Cell, Grid, GridKey, Scores};

const BYTES_PER_GB: f64 = 1e9;

/// A row of `grid.csv`; the fields are its columns, in order. Empty cells are unknown or not defined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GridRow {
    /// Fingerprint of the machine.
    pub machine: String,
    /// Its CPU or GPU.
    pub hardware: String,
    /// The configuration under its one spelling: `thresher compose RECORD --only CONFIGURATION` composes it again.
    pub configuration: String,
    /// Model.
    pub model: &'static str,
    /// Policy.
    pub policy: String,
    /// Weight format.
    pub format: String,
    /// Predictor rank; 0 where the gate scores, empty where nothing needs to.
    pub predictor_rank: Option<usize>,
    /// Tokens in each user's KV cache.
    pub context: usize,
    /// Users whose tokens are decoded together.
    pub batch: usize,
    /// Mean FFN density over layers.
    pub density: f64,
    /// Share of FFN output mass left out, mean over layers.
    pub missed_mass: Option<f64>,
    /// Milliseconds between two tokens of a user.
    pub ms_per_token: f64,
    /// Lower end.
    pub ms_low: f64,
    /// Upper end.
    pub ms_high: f64,
    /// Whether any term lies beyond what was measured.
    pub extrapolated: bool,
    /// Tokens per second of all users together.
    pub tok_s: f64,
    /// Tokens per second of one user.
    pub tok_s_user: f64,
    /// Gigabytes (1e9) resident.
    pub memory_gb: f64,
    /// Machines or GPUs that hold it.
    pub devices: u32,
    /// Price of those; owned, what they cost while they stand.
    pub usd_per_hour: f64,
    /// USD per million tokens.
    pub usd_per_mtok: f64,
    /// Share of dense accuracy kept; assumed.
    pub accuracy_kept: f64,
    /// USD per solved problem; assumed. Empty where none is solved.
    pub usd_per_solved: Option<f64>,
    /// Joules per token, where the scenario says what the machine draws or its record has measured power.
    pub joules_per_token: Option<f64>,
    /// What draws them: the `machine`, by its owner's figure; a `gpu` or a processor's `package` alone, as measured.
    pub joules_of: Option<DrawnBy>,
    /// PER over all rows of the model.
    pub per_paper: Option<f64>,
    /// PER between fixed bounds.
    pub per_anchored: Option<f64>,
    /// PER against the reference configuration.
    pub per_ratio: Option<f64>,
}

impl Grid {
    /// The configuration of a cell under its one spelling.
    pub fn key(&self, cell: &Cell) -> GridKey {
        let outcome = self.outcome(cell);
        GridKey {
            // Outcomes are of known models.
            model: ModelShape::named(outcome.model).unwrap_or(ModelShape::LLAMA_2_70B),
            format: cell.format,
            policy: outcome.policy.clone(),
            scorer: cell.scorer,
            context: cell.context,
            batch: cell.batch,
        }
    }

    /// The scored cells as rows.
    pub fn rows(&self, scores: &Scores) -> Vec<GridRow> {
        (0..scores.cells.len()).map(|at| self.row(scores, at)).collect()
    }

    /// The `at`-th scored cell as a row.
    pub fn row(&self, scores: &Scores, at: usize) -> GridRow {
        let cell = &self.cells[scores.cells[at]];
        let (outcome, machine) = (self.outcome(cell), self.machine(cell));
        let per = |form| scores.per(form).map(|per| per[at]);
        GridRow {
            machine: machine.fingerprint.clone(),
            hardware: machine.name.clone(),
            configuration: self.key(cell).to_string(),
            model: outcome.model,
            policy: outcome.policy.clone(),
            format: cell.format.to_string(),
            predictor_rank: match cell.scorer {
                Scorer::Free => None,
                Scorer::Gate => Some(0),
                Scorer::LowRank(rank) => Some(rank),
            },
            context: cell.context,
            batch: cell.batch,
            density: outcome.density(),
            missed_mass: outcome.missed_mass.as_ref().map(|missed| missed.value),
            ms_per_token: cell.ms.median,
            ms_low: cell.ms.low,
            ms_high: cell.ms.high,
            extrapolated: cell.extrapolated,
            tok_s: cell.tok_s(),
            tok_s_user: cell.tok_s_user(),
            memory_gb: cell.memory_bytes as f64 / BYTES_PER_GB,
            devices: cell.hour.devices,
            usd_per_hour: cell.hour.usual,
            usd_per_mtok: scores.usd_per_mtok[at],
            accuracy_kept: scores.kept[at],
            usd_per_solved: Some(scores.usd_per_solved[at]).filter(|usd| usd.is_finite()),
            joules_per_token: cell.draw.map(|draw| draw.joules_per_token(cell.tok_s())),
            joules_of: cell.draw.map(|draw| draw.by),
            per_paper: per(PerForm::Paper),
            per_anchored: per(PerForm::Anchored),
            per_ratio: per(PerForm::Ratio),
        }
    }
}

/// Writes rows with a header line.
///
/// # Errors
/// Those of `output`.
pub fn write_grid_csv(rows: impl IntoIterator<Item = GridRow>, output: impl Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(output);
    for row in rows {
        writer.serialize(row)?;
    }
    writer.flush()?;
    Ok(())
}
