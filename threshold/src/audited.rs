//! A policy together with the audits that it learns from.

use crate::{Audit, Auditor, Error, Feedback, Picked, Policy};

/// Skipped rows that are computed after all, per layer and token, so that a closed loop sees what it misses: in layers as
/// wide as Llama-2-70B's, and in narrower ones the same share.
const AUDITED_ROWS: usize = 16;
const WIDTH: usize = 28672;
/// As few as this an audit has, one by score and one anywhere: narrow layers have one every few tokens instead.
const FEWEST: usize = 2;
const SEED: u64 = 13;

/// Selects, and where the policy needs it audits and observes; the memory for that is kept from token to token. For
/// simulations, which know the masses of all neurons.
#[derive(Debug)]
pub struct AuditedPolicy {
    policy: Box<dyn Policy>,
    auditor: Auditor,
    /// A layer is audited once in so many selections, layers in turn.
    period: usize,
    /// Selections of each layer until its next audit.
    wait: Vec<usize>,
    active: Vec<u32>,
    audited: Picked,
    sample: Vec<f32>,
}

impl AuditedPolicy {
    /// A policy with audits of 16 rows in 28672 per layer and token, or as often as makes that share.
    ///
    /// # Errors
    /// None: every shape has rows to audit.
    pub fn new(policy: Box<dyn Policy>) -> Result<Self, Error> {
        let neurons = policy.shape().neurons();
        let wanted = (AUDITED_ROWS * neurons) as f64 / WIDTH as f64;
        let rows = (wanted.round() as usize).clamp(FEWEST, AUDITED_ROWS).min(neurons);
        Self::with_audits(policy, rows, ((rows as f64 / wanted).round() as usize).max(1))
    }

    /// A policy with audits of `rows` rows at one in `period` selections of a layer.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless there are as many rows, and both are at least 1.
    pub fn with_audits(policy: Box<dyn Policy>, rows: usize, period: usize) -> Result<Self, Error> {
        if period == 0 {
            return Err(Error::out_of_range("selections per audit", &period, "at least 1"));
        }
        let shape = policy.shape();
        Ok(Self {
            policy,
            auditor: Auditor::new(SEED, rows, shape.neurons())?,
            period,
            wait: (0..shape.layers()).map(|layer| layer % period).collect(),
            active: Vec::with_capacity(shape.neurons()),
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
        let wait = &mut self.wait[layer];
        *wait = wait.checked_sub(1).unwrap_or(self.period - 1);
        let audit = if *wait == 0 { Some(self.audit(scores, masses)?) } else { None };
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
