//! How PER goes together with what deployment costs, over every configuration of a [`Grid`], with dynamic against fixed
//! thresholds.
//!
//! | question | module |
//! |---|---|
//! | of which configurations | [`group`] |
//! | do better PER and lower cost go together, and how sure is that | [`correlate`] |
//! | is a correlation within groups turned round over all of them | [`correlate::Reversal`] |
//! | what does it cost to choose by PER | [`decide`] |
//! | do thresholds that move pay | [`versus`] |
//! | what if an assumption is another | [`swing`] |
//! | a value with its ends, or without | [`spread`] |

pub mod correlate;
pub mod decide;
mod draws;
pub mod group;
pub mod spread;
pub mod swing;
mod tables;
pub mod versus;
mod words;

use serde::Serialize;

use crate::anchors::{AnchorError, Anchors, Bounds};
use crate::grid::{Assumptions, Grid, GridError, Scores};
use crate::record::Record;
use crate::report::{PerForm, PolicyOutcome};
use crate::scenario::Scenario;

use correlate::{Correlation, Reversal};
use decide::Decision;
use draws::Draws;
use group::groups;
use swing::Swing;
use versus::Versus;

pub use tables::{write_correlations_csv, write_decisions_csv, write_swings_csv, write_versus_csv};

/// The task whose anchors are used: any number of users.
const TASK: &str = "HumanEval, batched";

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// USD per million tokens.
    Mtok,
    /// USD per solved problem.
    Solved,
}

impl Cost {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mtok, Self::Solved];

    /// The costs of scored cells.
    pub fn of(self, scores: &Scores) -> &[f64] {
        match self {
            Self::Mtok => &scores.usd_per_mtok,
            Self::Solved => &scores.usd_per_solved,
        }
    }

    /// As a column says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mtok => "usd_per_mtok",
            Self::Solved => "usd_per_solved",
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Nothing could be composed.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// No bounds of the anchored form.
    #[error(transparent)]
    Anchors(#[from] AnchorError),
    /// The anchors lack bounds for other tasks, which [`Anchors::parse`] refuses.
    #[error("no anchors for {TASK}; add a set to cost-model/data/per-anchors.toml")]
    NoBounds,
}

/// The grid of a question, scored, and what follows from it, model by model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Every configuration.
    #[serde(skip)]
    pub grid: Grid,
    /// Bounds of the anchored form.
    pub bounds: Bounds,
    /// What is said of each model.
    pub models: Vec<ModelAnswer>,
}

/// What follows for one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelAnswer {
    /// The model.
    pub model: &'static str,
    /// Its configurations, scored.
    #[serde(skip)]
    pub scores: Scores,
    /// PER against costs, group by group, all first.
    pub correlations: Vec<Correlation>,
    /// Where the groups of a grouping disagree with all of them together.
    pub reversals: Vec<Reversal>,
    /// What choosing by PER costs.
    pub decisions: Vec<Decision>,
    /// Policies whose thresholds move against those whose do not.
    pub versus: Vec<Versus>,
    /// What other assumptions change.
    pub swings: Vec<Swing>,
    /// Positions, among the scored, of those that nothing beats both in cost and in accuracy, cheapest first; of the
    /// scenario's context.
    pub front: Vec<usize>,
}

impl Answer {
    /// Composes, scores and answers.
    ///
    /// `outcomes` are those of the grid's policies on every model.
    ///
    /// # Errors
    /// [`AnswerError`]
    pub fn of(records: &[Record], scenario: &Scenario, outcomes: &[PolicyOutcome]) -> Result<Self, AnswerError> {
        let grid = Grid::compose(records, scenario, outcomes)?;
        let bounds = Anchors::own()?.for_task(TASK).cloned().ok_or(AnswerError::NoBounds)?;
        let assumptions = Assumptions::of(scenario, bounds.clone());
        let models = grid.models().into_iter().map(|model| ModelAnswer::of(&grid, model, scenario, &assumptions));
        Ok(Self { models: models.collect(), bounds, grid })
    }

    /// Configurations of all models.
    pub fn configurations(&self) -> usize {
        self.models.iter().map(|model| model.scores.cells.len()).sum()
    }

    /// What is said of a model.
    pub fn model(&self, name: &str) -> Option<&ModelAnswer> {
        self.models.iter().find(|model| model.model == name)
    }
}

impl ModelAnswer {
    fn of(grid: &Grid, model: &'static str, scenario: &Scenario, assumptions: &Assumptions) -> Self {
        let cells = grid.of_model(model);
        let scores = grid.score(&cells, assumptions);
        let groups = groups(grid, &cells);
        let draws = Draws::of(grid, &cells, assumptions);
        let correlations = correlate::correlations(&scores, &groups, &draws);
        let deciders = decide::candidates(grid, &cells, scenario);
        Self {
            model,
            reversals: correlate::reversals(&correlations),
            decisions: decide::decisions(&scores, &deciders, &draws, scenario),
            versus: versus::versus(grid, &scores),
            swings: swing::swings(grid, &cells, &deciders, scenario, assumptions),
            front: decide::front(&scores, &deciders.positions),
            correlations,
            scores,
        }
    }

    /// The correlation of a form with a cost over one group.
    pub fn correlation(&self, group: &str, form: PerForm, cost: Cost) -> Option<&Correlation> {
        self.correlations.iter().find(|c| (c.group.as_str(), c.form, c.cost) == (group, form, cost))
    }
}
