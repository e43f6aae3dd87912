//! A policy together with the audits that it learns from.

use threshold::{Audit, Auditor, Feedback, Policy};

use crate::Result;

/// Skipped rows that are computed after all, per layer and token, so that a closed loop sees what it misses.
const AUDITED_ROWS: usize = 16;
const SEED: u64 = 13;

/// Selects, and where the policy needs it audits and observes; the memory for that is kept from token to token.
pub struct AuditedPolicy {
    policy: Box<dyn Policy>,
    auditor: Auditor,
    active: Vec<u32>,
    audited: Vec<u32>,
    sample: Vec<f32>,
}

impl AuditedPolicy {
    /// A policy with an auditor for its shape.
    ///
    /// # Errors
    /// None at the shapes that are measured.
    pub fn new(policy: Box<dyn Policy>) -> Result<Self> {
        let neurons = policy.shape().neurons();
        Ok(Self {
            policy,
            auditor: Auditor::new(SEED, AUDITED_ROWS, neurons)?,
            active: Vec::with_capacity(neurons),
            audited: Vec::with_capacity(AUDITED_ROWS),
            sample: Vec::with_capacity(AUDITED_ROWS),
        })
    }

    /// Takes one layer of one token, where the scores are the masses themselves. What was kept is added up where the
    /// policy learns from it: an open loop pays for its selection alone.
    ///
    /// # Errors
    /// The policy refuses the scores.
    pub fn step(&mut self, layer: usize, mass: &[f32]) -> Result<()> {
        self.policy.select(layer, mass, &mut self.active)?;
        self.audited.clear();
        if self.policy.needs_audit() {
            self.auditor.pick(&self.active, &mut self.audited)?;
            self.sample.clear();
            self.sample.extend(self.audited.iter().map(|&row| mass[row as usize]));
            let audit = Audit::from_sample(self.kept(mass), &self.sample, mass.len() - self.active.len())?;
            let feedback = Feedback { computed: self.active.len(), useful: None, audit: Some(audit) };
            self.policy.observe(layer, &feedback)?;
        }
        Ok(())
    }

    /// Rows that the last step computed, audited ones included.
    pub fn rows(&self) -> usize {
        self.active.len() + self.audited.len()
    }

    /// Mass of the rows that the last step selected.
    pub fn kept(&self, mass: &[f32]) -> f64 {
        sum(&self.active, |&row| mass[row as usize])
    }
}

/// A sum in eight strands, so that no addition waits for the one before it.
pub(crate) fn sum<T>(of: &[T], value: impl Fn(&T) -> f32) -> f64 {
    let mut strands = [0.0; 8];
    let (whole, rest) = of.as_chunks::<8>();
    for chunk in whole {
        for (strand, item) in strands.iter_mut().zip(chunk) {
            *strand += f64::from(value(item));
        }
    }
    strands.iter().sum::<f64>() + rest.iter().map(|item| f64::from(value(item))).sum::<f64>()
}
