//! One composed configuration, kept small: there are tens of thousands.

use rayon::prelude::*;

use crate::compose::{Composer, Configuration, DENSE, Scorer, Term, TermGroup, TermKind, total};
use crate::estimate::Interval;
use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::model::ModelShape;
use crate::money::{Draw, Hour, Upkeep};
use crate::report::PolicyOutcome;
use crate::setting::Setting;

use super::projection::Pace;
use super::{Axes, GridError};

/// Groups of terms that err together.
pub(crate) const GROUPS: usize = TermGroup::TIMED;

/// Half of a 95 % interval over one standard deviation.
const SIGMAS: f64 = 1.96;

/// A composed configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Index of the machine.
    pub machine: usize,
    /// Index of the policy's outcome, which knows the model.
    pub outcome: usize,
    /// Format of the weights.
    pub format: WeightFormat,
    /// What scores the neurons.
    pub scorer: Scorer,
    /// Tokens in each user's KV cache.
    pub context: usize,
    /// Users whose tokens are decoded together.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Milliseconds between two tokens of a user.
    pub ms: Interval,
    /// Bytes that must be resident.
    pub memory_bytes: u64,
    /// What an hour costs.
    pub hour: Hour,
    /// Power at work, where the scenario says it or the record has it.
    pub draw: Option<Draw>,
    /// Whether any term lies beyond what was measured.
    pub extrapolated: bool,
    /// Milliseconds of each group of terms, and their standard deviation.
    pub(crate) groups: [(f32, f32); GROUPS],
}

impl Cell {
    /// Tokens per second of all users together.
    pub fn tok_s(&self) -> f64 {
        self.batch as f64 * 1e3 / self.ms.median
    }

    /// Tokens per second of one user.
    pub fn tok_s_user(&self) -> f64 {
        1e3 / self.ms.median
    }
}

/// A record, with what its cells are composed by.
pub(super) struct Bench<'a> {
    pub(super) machine: usize,
    pub(super) composer: &'a Composer<'a>,
    pub(super) axes: &'a Axes,
    pub(super) upkeep: Upkeep<'a>,
    /// Times by those of the curves.
    pub(super) pace: Pace,
}

/// What a cell is composed of, but for its context.
struct Job {
    outcome: usize,
    configuration: Configuration,
}

impl Bench<'_> {
    /// Every cell of a model, and what was left out.
    pub(super) fn cells(
        &self,
        model: &ModelShape,
        outcomes: &[PolicyOutcome],
    ) -> Result<(Vec<Cell>, Vec<String>), GridError> {
        let skew = model.skew()?;
        let mut jobs = Vec::new();
        for &format in &self.axes.formats {
            let context = self.axes.contexts.first().copied().unwrap_or(1);
            let Some(setting) = Setting::fastest(self.composer, model, format, context, &skew)? else { continue };
            let dense = setting.dense(model, format, context, &skew);
            for (outcome, own) in outcomes.iter().enumerate().filter(|(_, o)| o.model == model.name) {
                for scorer in self.scorers(own, format) {
                    for &batch in &self.axes.batches {
                        let policy = own.policy.clone();
                        let densities = own.densities.clone();
                        let configuration = Configuration { policy, densities, scorer, batch, ..dense.clone() };
                        jobs.push(Job { outcome, configuration });
                    }
                }
            }
        }
        let composed: Vec<_> = jobs.par_iter().map(|job| (job, self.contexts(job))).collect();
        let (mut cells, mut left_out) = (Vec::new(), Vec::<(String, Vec<&str>)>::new());
        for (job, result) in composed {
            match result {
                Ok(own) => cells.extend(own),
                Err(GridError::Compose(e @ crate::compose::ComposeError::Unmeasured { .. })) => {
                    let (why, policy) = (e.to_string(), job.configuration.policy.as_str());
                    match left_out.iter_mut().find(|(known, _)| *known == why) {
                        Some((_, policies)) if policies.contains(&policy) => {}
                        Some((_, policies)) => policies.push(policy),
                        None => left_out.push((why, vec![policy])),
                    }
                }
                Err(other) => return Err(other),
            }
        }
        let place = format!("{} on {}", model.name, self.composer.record().machine.fingerprint);
        let notes = left_out.into_iter().map(|(why, who)| format!("grid, {place}: {} left out; {why}", who.join(", ")));
        Ok((cells, notes.collect()))
    }

    /// Dense needs no scores; a policy has them from predictors of each rank, or from the gate.
    fn scorers(&self, outcome: &PolicyOutcome, format: WeightFormat) -> Vec<Scorer> {
        if outcome.policy == DENSE {
            return vec![Scorer::Free];
        }
        let ranks = self.axes.ranks.iter().map(|rank| rank.next_multiple_of(format.block_len()));
        ranks.map(Scorer::LowRank).chain([Scorer::Gate]).collect()
    }

    /// A cell for every context: only the KV cache differs.
    fn contexts(&self, job: &Job) -> Result<Vec<Cell>, GridError> {
        let mut terms = self.composer.terms(&job.configuration)?;
        terms.iter_mut().for_each(|term| term.ms = self.pace.of(term.ms, term.bytes));
        let cache = terms.iter().position(|term| term.kind == TermKind::KvCache);
        let mut cells = Vec::with_capacity(self.axes.contexts.len());
        for &context_tokens in &self.axes.contexts {
            let configuration = Configuration { context_tokens, ..job.configuration.clone() };
            if let Some(at) = cache {
                let term = self.composer.kv_cache(&configuration)?;
                terms[at] = Term { ms: self.pace.of(term.ms, term.bytes), ..term };
            }
            cells.push(self.cell(job.outcome, &configuration, &terms)?);
        }
        Ok(cells)
    }

    fn cell(&self, outcome: usize, c: &Configuration, terms: &[Term]) -> Result<Cell, GridError> {
        let memory_bytes = Memory::of(c).total();
        let hour = self.upkeep.hour(memory_bytes)?;
        let mut groups = [(0.0_f32, 0.0_f32); GROUPS];
        for term in terms {
            let Some(at) = term.group.timed() else { continue };
            let Interval { median, low, high } = term.ms;
            groups[at].0 += median as f32;
            groups[at].1 += ((high - low) / 2.0 / SIGMAS) as f32;
        }
        Ok(Cell {
            machine: self.machine,
            outcome,
            format: c.format,
            scorer: c.scorer,
            context: c.context_tokens,
            batch: c.batch,
            threads: c.threads,
            ms: total(terms),
            memory_bytes,
            hour,
            draw: self.upkeep.draw(hour.devices),
            extrapolated: self.pace != Pace::MEASURED || terms.iter().any(|term| term.extrapolated),
            groups,
        })
    }
}
