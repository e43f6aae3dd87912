//! Every configuration that the question is answered over: machine × model × policy × predictor × format × context × batch.
//!
//! [`Grid::compose`] reads the curves, which takes the time; [`Grid::score`] turns what was composed into dollars and PER under
//! given [`Assumptions`], so that one of them can be changed for next to nothing.

mod axes;
mod cell;
mod key;
mod parts;
mod price;
mod row;
mod score;

pub use axes::Axes;
pub use cell::Cell;
pub(crate) use cell::GROUPS;
pub use key::{GridKey, GridKeyError};
pub use parts::Parts;
pub use price::Hour;
pub use row::{GridRow, write_grid_csv};
pub(crate) use score::Draw;
pub use score::{Assumptions, PriceLevel, Scores};

use crate::compose::{ComposeError, Composer, DENSE};
use crate::model::ModelShape;
use crate::money::{MoneyError, Prices};
use crate::record::Record;
use crate::report::PolicyOutcome;
use crate::scenario::Scenario;
use crate::skew::SkewError;

use cell::Bench;

/// Why there is no grid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// A configuration contradicts itself.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// No price.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// No skew.
    #[error(transparent)]
    Skew(#[from] SkewError),
}

/// A machine of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct GridMachine {
    /// Its CPU or GPU.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether its GPU was measured.
    pub is_gpu: bool,
    /// Memory that holds weights.
    pub memory_bytes: u64,
}

/// Configurations, composed.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Machines that cells name by index.
    pub machines: Vec<GridMachine>,
    /// What policies did; cells name them by index. The first of each model is dense.
    pub outcomes: Vec<PolicyOutcome>,
    /// The configurations.
    pub cells: Vec<Cell>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Grid {
    /// Composes every configuration that the records can answer for.
    ///
    /// `outcomes` are those of [`Axes::policies`] on every model of the scenario; dense need not be among them.
    ///
    /// # Errors
    /// [`GridError`]
    pub fn compose(records: &[Record], scenario: &Scenario, outcomes: &[PolicyOutcome]) -> Result<Self, GridError> {
        let mut grid = Self { machines: Vec::new(), outcomes: Vec::new(), cells: Vec::new(), notes: Vec::new() };
        for model in &scenario.models.value {
            grid.outcomes.push(PolicyOutcome::dense(model));
            grid.outcomes.extend(outcomes.iter().filter(|o| o.model == model.name && o.policy != DENSE).cloned());
        }
        let prices = Prices::own()?;
        for record in records {
            let composer = Composer::new(record)?;
            let machine = &record.machine;
            let own = scenario.owned_machine(machine);
            let bench = Bench {
                machine: grid.machines.len(),
                composer: &composer,
                axes: &scenario.grid.value,
                prices: price::Tag { prices: &prices, machine, own, given: scenario.usd_per_hour.as_ref() },
            };
            grid.machines.push(GridMachine {
                name: machine.name().to_owned(),
                fingerprint: machine.fingerprint.clone(),
                is_gpu: machine.measured_gpu().is_some(),
                memory_bytes: machine.weight_memory_bytes(),
            });
            for model in &scenario.models.value {
                let (cells, notes) = bench.cells(model, &grid.outcomes)?;
                grid.cells.extend(cells);
                grid.notes.extend(notes);
            }
        }
        Ok(grid)
    }

    /// One configuration on each machine, part by part, or why it is not to be had there.
    ///
    /// # Errors
    /// [`GridError`]
    pub fn parts(
        records: &[Record],
        scenario: &Scenario,
        outcomes: &[PolicyOutcome],
        key: &GridKey,
    ) -> Result<Vec<Result<Parts, String>>, GridError> {
        records.iter().map(|record| parts::of(record, scenario, outcomes, key)).collect()
    }

    /// What the policy of a cell did.
    pub fn outcome(&self, cell: &Cell) -> &PolicyOutcome {
        &self.outcomes[cell.outcome]
    }

    /// The machine of a cell.
    pub fn machine(&self, cell: &Cell) -> &GridMachine {
        &self.machines[cell.machine]
    }

    /// Indices of the cells of a model.
    pub fn of_model(&self, model: &str) -> Vec<usize> {
        let own = |index: &usize| self.outcome(&self.cells[*index]).model == model;
        (0..self.cells.len()).filter(own).collect()
    }

    /// Names of the models that anything was composed of.
    pub fn models(&self) -> Vec<&'static str> {
        let known = ModelShape::ALL.map(|model| model.name);
        known.into_iter().filter(|model| !self.of_model(model).is_empty()).collect()
    }
}
