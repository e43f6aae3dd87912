//! A policy together with the audits that it learns from.

use crate::{Audit, Auditor, Error, Feedback, Picked, Policy, Shape};

/// Skipped rows that are computed after all, per layer and token, so that a closed loop sees what it misses: in layers as
/// wide as Llama-2-70B's, and in narrower ones the same share.
const AUDITED_ROWS: usize = 16;
const WIDTH: usize = 28672;
/// As few as this an audit has, one by score and one anywhere: narrow layers have one every few tokens instead.
const FEWEST: usize = 2;
const SEED: u64 = 13;

/// When the layers of a model are audited, and how many rows of each: layers in turn, so that no token pays for all.
#[derive(Clone, Debug)]
pub struct Schedule {
    rows: usize,
    period: usize,
    /// Selections of each layer until its next audit.
    wait: Vec<usize>,
}

impl Schedule {
    /// 16 rows in 28672 per layer and token, or as often as makes that share.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let neurons = shape.neurons();
        let wanted = (AUDITED_ROWS * neurons) as f64 / WIDTH as f64;
        let rows = (wanted.round() as usize).clamp(FEWEST, AUDITED_ROWS).min(neurons);
        Self::of(shape, rows, ((rows as f64 / wanted).round() as usize).max(1))
    }

    /// `rows` rows at one in `period` selections of a layer.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where either is 0, or there are fewer rows.
    pub fn every(shape: Shape, rows: usize, period: usize) -> Result<Self, Error> {
        if rows == 0 || rows > shape.neurons() {
            return Err(Error::out_of_range("rows per audit", &rows, "in 1 ..= neurons per layer"));
        }
        if period == 0 {
            return Err(Error::out_of_range("selections per audit", &period, "at least 1"));
        }
        Ok(Self::of(shape, rows, period))
    }

    fn of(shape: Shape, rows: usize, period: usize) -> Self {
        Self { rows, period, wait: (0..shape.layers()).map(|layer| layer % period).collect() }
    }

    /// Rows of an audit at most.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Selections of a layer from one audit to the next.
    #[must_use]
    pub fn period(&self) -> usize {
        self.period
    }

    /// Counts a selection of `layer`, and says whether it is to be audited. A layer that is not of the model never is.
    pub fn is_due(&mut self, layer: usize) -> bool {
        let Some(wait) = self.wait.get_mut(layer) else { return false };
        *wait = wait.checked_sub(1).unwrap_or(self.period - 1);
        *wait == 0
    }
}

/// Selects, and where the policy needs it audits and observes; the memory for that is kept from token to token. For
/// simulations, which know the masses of all neurons.
#[derive(Debug)]
pub struct AuditedPolicy {
    policy: Box<dyn Policy>,
    auditor: Auditor,
    schedule: Schedule,
    active: Vec<u32>,
    audited: Picked,
    sample: Vec<f32>,
}

impl AuditedPolicy {
    /// A policy with the audits of [`Schedule::new`].
    ///
    /// # Errors
    /// None: every shape has rows to audit.
    pub fn new(policy: Box<dyn Policy>) -> Result<Self, Error> {
        let schedule = Schedule::new(policy.shape());
        Self::with_schedule(policy, schedule)
    }

    /// A policy with audits of `rows` rows at one in `period` selections of a layer.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where either is 0, or there are fewer rows.
    pub fn with_audits(policy: Box<dyn Policy>, rows: usize, period: usize) -> Result<Self, Error> {
        let schedule = Schedule::every(policy.shape(), rows, period)?;
        Self::with_schedule(policy, schedule)
    }

    fn with_schedule(policy: Box<dyn Policy>, schedule: Schedule) -> Result<Self, Error> {
        let (neurons, rows) = (policy.shape().neurons(), schedule.rows());
        Ok(Self {
            policy,
            auditor: Auditor::new(SEED, rows, neurons)?,
            schedule,
            active: Vec::with_capacity(neurons),
            audited: Picked::with_capacity(rows),
            sample: Vec::with_capacity(rows),
        })
    }

    /// Takes one layer of one token. What was kept is added up where the policy learns from it: an open loop pays for its
    /// selection alone.
    ///
    /// # Errors
    /// The policy refuses the scores; [`Error::WrongLength`] unless there are as many masses.
    pub fn step(&mut self, layer: usize, scores: &[f32], masses: &[f32]) -> Result<(), Error> {
        crate::policy::check_length("masses", masses.len(), scores.len())?;
        let scores = if self.policy.needs_truth() { masses } else { scores };
        self.audited.clear();
        self.policy.select(layer, scores, &mut self.active)?;
        if !self.policy.needs_audit() {
            return Ok(());
        }
        let audit = if self.schedule.is_due(layer) { Some(self.audit(scores, masses)?) } else { None };
        self.policy.observe(layer, &Feedback { computed: self.active.len(), useful: None, audit })
    }

    fn audit(&mut self, scores: &[f32], masses: &[f32]) -> Result<Audit, Error> {
        self.auditor.pick(scores, &self.active, &mut self.audited)?;
        self.sample.clear();
        self.sample.extend(self.audited.rows().iter().map(|&row| masses[row as usize]));
        Audit::from_sample(self.kept(masses), &self.audited, &self.sample)
    }

    /// Rows that the last step computed, audited ones included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.active.len() + self.audited.rows().len()
    }

    /// What the rows of the last step cost, selected and audited ones, in rows: 1 for one with mass, `silent` for one
    /// without.
    #[must_use]
    pub fn costs(&self, masses: &[f32], silent: f64) -> [f64; 2] {
        let cost = |row: &u32| if masses.get(*row as usize).is_some_and(|&mass| mass > 0.0) { 1.0 } else { silent };
        [&self.active[..], self.audited.rows()].map(|rows| rows.iter().map(cost).sum())
    }

    /// Mass of the rows that the last step selected, given that of every row.
    #[must_use]
    pub fn kept(&self, masses: &[f32]) -> f64 {
        let mass = |row: &u32| f64::from(masses.get(*row as usize).copied().unwrap_or(0.0));
        // In eight strands, so that no addition waits for the one before it.
        let mut strands = [0.0; 8];
        let (whole, rest) = self.active.as_chunks::<8>();
        for rows in whole {
            for (strand, row) in strands.iter_mut().zip(rows) {
                *strand += mass(row);
            }
        }
        strands.iter().sum::<f64>() + rest.iter().map(mass).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every layer once in a period, and rows over rows 16 in 28672 where whole rows and periods can say so.
        #[test]
        fn layers_take_turns(layers in 1usize..9, neurons in 1usize..100_000, rounds in 1usize..4) {
            let mut schedule = Schedule::new(Shape::new(layers, neurons)?);
            let (rows, period) = (schedule.rows(), schedule.period());
            for layer in 0..layers {
                let due: Vec<usize> = (0..rounds * period).filter(|_| schedule.is_due(layer)).collect();
                prop_assert_eq!(due.len(), rounds);
                prop_assert!(due.windows(2).all(|pair| pair[1] - pair[0] == period));
            }
            prop_assert!(!schedule.is_due(layers));
            let share = rows as f64 / (neurons * period) as f64 / (AUDITED_ROWS as f64 / WIDTH as f64);
            prop_assert!(rows == AUDITED_ROWS || (0.6..1.5).contains(&share), "{share} of the share");
        }
    }
}
