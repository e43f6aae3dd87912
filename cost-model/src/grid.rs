//! Every configuration that the question is answered over: machine × model × policy × predictor × format × context × batch.
//!
//! [`Grid::compose`] reads the curves, which takes the time; [`Grid::score`] turns what was composed into dollars and PER under
//! given [`Assumptions`], so that one of them can be changed for next to nothing.

mod axes;
mod cell;
mod hybrid;
mod key;
mod parts;
mod projection;
mod row;
mod score;

pub use axes::Axes;
pub use cell::Cell;
pub(crate) use cell::GROUPS;
pub use hybrid::HybridPlacement;
pub use key::{GridKey, GridKeyError};
pub use parts::Parts;
use projection::Pace;
pub use projection::Projection;
pub use row::{GridRow, write_grid_csv};
pub(crate) use score::Draw;
pub use score::{Assumptions, PriceLevel, Scores};

use serde::Serialize;

use crate::compose::{ComposeError, Composer, DENSE};
use crate::machine::Machine;
use crate::model::ModelShape;
use crate::money::{MoneyError, Prices, Upkeep};
use crate::placement::PlacementError;
use crate::record::Record;
use crate::report::PolicyOutcome;
use crate::scenario::Scenario;
use crate::skew::SkewError;

use cell::Bench;
use hybrid::{Hybrid, SideBench, Users};

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
    /// No placement.
    #[error(transparent)]
    Placement(PlacementError),
}

/// A machine of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct GridMachine {
    /// Its CPU or GPU.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether it is a GPU.
    pub is_gpu: bool,
    /// How its times were come by.
    pub basis: Basis,
    /// Memory that holds weights.
    pub memory_bytes: u64,
}

/// How a machine's times were come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Off curves measured on it.
    Measured,
    /// Off curves of another GPU: what is read by bandwidth, the rest by units and clocks. Assumed.
    Projected,
    /// A GPU and a processor, each off its curves: assumed where they meet.
    Hybrid,
}

/// Configurations, composed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// Machines that cells name by index.
    pub machines: Vec<GridMachine>,
    /// What policies did; cells name them by index. The first of each model is dense.
    pub outcomes: Vec<PolicyOutcome>,
    /// The configurations.
    pub cells: Vec<Cell>,
    /// Where neurons lie, of the cells that have them on two sides.
    pub placements: Vec<HybridPlacement>,
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
        let mut grid = Self::default();
        for model in &scenario.models.value {
            grid.outcomes.push(PolicyOutcome::dense(model));
            grid.outcomes.extend(outcomes.iter().filter(|o| o.model == model.name && o.policy != DENSE).cloned());
        }
        let prices = Prices::own()?;
        let composers = records.iter().map(Composer::new).collect::<Result<Vec<_>, _>>()?;
        for (record, composer) in records.iter().zip(&composers) {
            let bench = Bench {
                machine: grid.add_machine(&record.machine, Basis::Measured),
                composer,
                axes: &scenario.grid.value,
                upkeep: scenario.upkeep(&prices, record),
                pace: Pace::MEASURED,
            };
            grid.add_cells(scenario, &bench, true)?;
        }
        for (record, composer) in records.iter().zip(&composers) {
            let Some(measured) = record.machine.measured_gpu() else { continue };
            let upkeep = scenario.upkeep(&prices, record);
            let gpu = SideBench { composer, pace: Pace::MEASURED, upkeep };
            grid.add_hybrids(scenario, gpu, &measured.name, measured.memory_bytes, &composers, &prices)?;
        }
        for projection in &scenario.gpus.value {
            let Some((composer, pace)) = projection.nearest(&composers) else { continue };
            let machine = projection.machine(&composer.record().machine);
            // A given price and a measured power are those of the machine in the record.
            let owned = scenario.owned_machine(&machine);
            let upkeep = Upkeep { prices: &prices, machine: &machine, owned, given: None, record: None };
            let axes = scenario.grid.value.fewer(scenario.context_tokens.value);
            let at = grid.add_machine(&machine, Basis::Projected);
            grid.add_cells(scenario, &Bench { machine: at, composer, axes: &axes, upkeep, pace }, false)?;
            let gpu = SideBench { composer, pace, upkeep };
            grid.add_hybrids(scenario, gpu, &projection.name, projection.memory_bytes, &composers, &prices)?;
        }
        Ok(grid)
    }

    fn add_machine(&mut self, machine: &Machine, basis: Basis) -> usize {
        self.machines.push(GridMachine {
            name: machine.name().to_owned(),
            fingerprint: machine.fingerprint.clone(),
            is_gpu: machine.measured_gpu().is_some(),
            basis,
            memory_bytes: machine.weight_memory_bytes(),
        });
        self.machines.len() - 1
    }

    fn add_cells(&mut self, scenario: &Scenario, bench: &Bench<'_>, notes: bool) -> Result<(), GridError> {
        for model in &scenario.models.value {
            let (cells, left_out) = bench.cells(model, &self.outcomes)?;
            self.cells.extend(cells);
            if notes {
                self.notes.extend(left_out);
            }
        }
        Ok(())
    }

    /// That GPU beside each processor that was measured.
    fn add_hybrids(
        &mut self,
        scenario: &Scenario,
        gpu: SideBench<'_>,
        name: &str,
        gpu_bytes: u64,
        composers: &[Composer<'_>],
        prices: &Prices,
    ) -> Result<(), GridError> {
        for composer in composers.iter().filter(|c| c.record().machine.measured_gpu().is_none()) {
            let record = composer.record();
            let machine = &record.machine;
            let cpu = SideBench { composer, pace: Pace::MEASURED, upkeep: scenario.upkeep(prices, record) };
            let at = self.machines.len();
            let hybrid = Hybrid { machine: at, gpu, cpu, gpu_bytes };
            let axes = &scenario.grid.value;
            let mut found = Vec::new();
            for model in &scenario.models.value {
                let (rank, policies) = (scenario.predictor_rank.value, &scenario.policies.value);
                let users = Users::of(axes, scenario.context_tokens.value);
                found.extend(hybrid.cells(model, &axes.formats, &self.outcomes, policies, rank, &users)?);
            }
            if found.is_empty() {
                continue;
            }
            self.machines.push(GridMachine {
                name: format!("{name} and {}", machine.cpu_model),
                fingerprint: machine.fingerprint.clone(),
                is_gpu: true,
                basis: Basis::Hybrid,
                memory_bytes: gpu_bytes,
            });
            for (cell, placement) in found {
                self.placements.push(HybridPlacement { cell: self.cells.len(), ..placement });
                self.cells.push(cell);
            }
        }
        Ok(())
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
