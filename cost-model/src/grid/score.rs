//! Dollars, accuracy and PER of composed cells under given assumptions.

use crate::anchors::Bounds;
use crate::compose::{DENSE, Scorer};
use crate::format::WeightFormat;
use crate::per::{Axes, PerError, anchored_value, paper_values, ratio_value};
use crate::quality::{Accuracy, dense_humaneval};
use crate::report::PerForm;
use crate::scenario::Scenario;

use super::{Cell, Grid};

const TOKENS_PER_MTOK: f64 = 1e6;
const BYTES_PER_MB: f64 = 1e6;

/// Whose price is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceLevel {
    /// The scenario's, or the cheapest to rent.
    Usual,
    /// The least that is asked for the GPU, owning it included, and of processors by the cheapest instance.
    Low,
    /// The most that is asked for the GPU, and twice the usual for a processor.
    High,
}

/// What scoring takes for granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumptions {
    /// Share of paid hours in which tokens are made.
    pub utilisation: f64,
    /// Accuracy lost per unit of missed mass.
    pub kappa: f64,
    /// Share of accuracy that q4_0 keeps of what f16 has.
    pub q4_0_kept: f64,
    /// Mass that a low-rank predictor loses beside what the policy skips.
    pub predictor_miss: f64,
    /// Tokens written for a problem.
    pub tokens_per_problem: f64,
    /// Prices of GPUs.
    pub gpu_price: PriceLevel,
    /// Prices of processors.
    pub cpu_price: PriceLevel,
    /// Dense accuracy of every model, if given.
    pub dense_accuracy: Option<f64>,
    /// Bounds of the anchored PER.
    pub bounds: Bounds,
}

impl Assumptions {
    /// Those of a scenario.
    pub fn of(scenario: &Scenario, bounds: Bounds) -> Self {
        Self {
            utilisation: scenario.utilisation.value,
            kappa: scenario.kappa.value,
            q4_0_kept: scenario.q4_0_kept.value,
            predictor_miss: scenario.predictor_miss.value,
            tokens_per_problem: scenario.tokens_per_problem.value,
            gpu_price: PriceLevel::Usual,
            cpu_price: PriceLevel::Usual,
            dense_accuracy: scenario.dense_accuracy.as_ref().map(|given| given.value),
            bounds,
        }
    }

    /// Dense accuracy of a model, if known.
    pub fn dense_accuracy(&self, model: &str) -> Option<f64> {
        let published = || match dense_humaneval(model) {
            Accuracy::Known { value, .. } => Some(value),
            Accuracy::Unknown { .. } => None,
        };
        self.dense_accuracy.or_else(published)
    }
}

/// Scores of the cells of one model, in the order in which they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Indices of the cells.
    pub cells: Vec<usize>,
    /// Share of dense accuracy that is kept, 0 to 1.
    pub kept: Vec<f64>,
    /// USD per million tokens.
    pub usd_per_mtok: Vec<f64>,
    /// USD per solved problem, infinite where none is; relative to the unknown dense accuracy where that is not known.
    pub usd_per_solved: Vec<f64>,
    /// PER in each form; absent where it is not defined.
    pub per: [Option<Vec<f64>>; 3],
    /// Why a form is absent.
    pub refused: Vec<(PerForm, String)>,
}

impl Scores {
    /// PER in that form.
    pub fn per(&self, form: PerForm) -> Option<&[f64]> {
        PerForm::ALL.iter().position(|f| *f == form).and_then(|at| self.per[at].as_deref())
    }
}

/// What may be drawn anew: times, missed masses, how dear a miss is, and what q4_0 keeps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draw {
    /// Milliseconds between two tokens of a user, cell by cell.
    pub(crate) ms: Vec<f64>,
    /// Missed mass, cell by cell, that of predictors included.
    pub(crate) missed: Vec<f64>,
    pub(crate) kappa: f64,
    pub(crate) q4_0_kept: f64,
}

impl Grid {
    /// Scores some cells, all of one model, each at its median.
    pub fn score(&self, cells: &[usize], assumptions: &Assumptions) -> Scores {
        let of = |pick: &dyn Fn(&Cell) -> f64| cells.iter().map(|&cell| pick(&self.cells[cell])).collect();
        let draw = Draw {
            ms: of(&|cell| cell.ms.median),
            missed: of(&|cell| self.missed(cell, assumptions)),
            kappa: assumptions.kappa,
            q4_0_kept: assumptions.q4_0_kept,
        };
        self.score_drawn(cells, assumptions, &draw)
    }

    /// Mass that a cell's policy and predictor miss; all of it where that is not known.
    pub(crate) fn missed(&self, cell: &Cell, assumptions: &Assumptions) -> f64 {
        let policy = self.outcome(cell).missed_mass.as_ref().map_or(1.0, |missed| missed.value);
        let predictor = if matches!(cell.scorer, Scorer::LowRank(_)) { assumptions.predictor_miss } else { 0.0 };
        (policy + predictor).min(1.0)
    }

    pub(crate) fn score_drawn(&self, cells: &[usize], assumptions: &Assumptions, draw: &Draw) -> Scores {
        let by_format = |cell: usize| if self.cells[cell].format == WeightFormat::Q4_0 { draw.q4_0_kept } else { 1.0 };
        let kept = |(missed, cell): (&f64, &usize)| (1.0 - draw.kappa * missed).max(0.0) * by_format(*cell);
        let kept: Vec<f64> = draw.missed.iter().zip(cells).map(kept).collect();
        let model = cells.first().map_or("", |&cell| self.outcome(&self.cells[cell]).model);
        let known = assumptions.dense_accuracy(model);
        let dense = known.unwrap_or(1.0);
        let usd_per_mtok: Vec<f64> = cells
            .iter()
            .zip(&draw.ms)
            .map(|(&cell, ms)| self.usd_per_mtok(&self.cells[cell], *ms, assumptions))
            .collect();
        let per_problem = assumptions.tokens_per_problem / TOKENS_PER_MTOK;
        let solved = |(usd, kept): (&f64, &f64)| usd * per_problem / (dense * kept);
        let axes: Vec<Axes> = (0..cells.len())
            .map(|at| {
                let cell = &self.cells[cells[at]];
                let devices = f64::from(cell.hour.devices);
                let tok_s = cell.batch as f64 * 1e3 / draw.ms[at];
                let memory_mb = cell.memory_bytes as f64 / BYTES_PER_MB / devices;
                [dense * kept[at], tok_s / devices, memory_mb, draw.ms[at]]
            })
            .collect();
        let mut refused = Vec::new();
        let paper = paper_values(&axes).map_err(|e: PerError| refused.push((PerForm::Paper, e.to_string()))).ok();
        let anchored = known.map(|_| axes.iter().map(|x| anchored_value(x, &assumptions.bounds)).collect());
        if anchored.is_none() {
            refused.push((PerForm::Anchored, "dense accuracy is unknown".to_owned()));
        }
        let ratio = self.reference(cells).map(|at| axes.iter().map(|x| ratio_value(x, &axes[at])).collect());
        Scores {
            cells: cells.to_vec(),
            usd_per_solved: usd_per_mtok.iter().zip(&kept).map(solved).collect(),
            kept,
            usd_per_mtok,
            per: [paper, anchored, ratio],
            refused,
        }
    }

    fn usd_per_mtok(&self, cell: &Cell, ms: f64, assumptions: &Assumptions) -> f64 {
        let level = if self.machine(cell).is_gpu { assumptions.gpu_price } else { assumptions.cpu_price };
        let usd_per_hour = match level {
            PriceLevel::Usual => cell.hour.usual,
            PriceLevel::Low => cell.hour.low,
            PriceLevel::High => cell.hour.high,
        };
        cell.hour.usd_per_mtok(usd_per_hour, assumptions.utilisation, cell.batch as f64 * 1e3 / ms)
    }

    /// What the ratio form divides by, one for all machines: dense in the widest format, one user, the shortest context, on
    /// the first machine that has it.
    pub(crate) fn reference(&self, cells: &[usize]) -> Option<usize> {
        let width = |cell: &Cell| WeightFormat::ALL.iter().position(|f| *f == cell.format);
        let key = |at: &usize| {
            let cell = &self.cells[cells[*at]];
            (cell.machine, width(cell), cell.batch, cell.context)
        };
        let dense = |at: &usize| self.outcome(&self.cells[cells[*at]]).policy == DENSE;
        (0..cells.len()).filter(dense).min_by_key(key)
    }
}
