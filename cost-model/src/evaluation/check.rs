//! What a quality record must satisfy before anything is computed from it.

use std::collections::BTreeSet;

use super::{Evaluation, EvaluationError, FAILED, PASSED, PolicyEvaluation, SCHEMA};
use crate::compose::DENSE;

impl Evaluation {
    /// Checks everything that [`Evaluation::parse`] checks after the JSON is read.
    ///
    /// # Errors
    /// [`EvaluationError::Schema`] or [`EvaluationError::Invalid`].
    pub fn check(&self, name: &str) -> Result<(), EvaluationError> {
        if self.schema != SCHEMA {
            return Err(EvaluationError::Schema { name: name.to_owned(), found: self.schema.clone() });
        }
        let invalid = |thing: &str, fault: String| {
            Err(EvaluationError::Invalid { name: name.to_owned(), thing: thing.to_owned(), fault })
        };
        if let Some(fault) = self.machine.fingerprint_fault() {
            return invalid("machine.fingerprint", fault);
        }
        let hash = &self.model.sha256;
        if hash.len() != 64 || !hash.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)) {
            return invalid("model.sha256", format!("is `{hash}`, wanted 64 hexadecimal digits"));
        }
        let mut families = BTreeSet::new();
        for family in &self.families {
            if family.problems == 0 {
                return invalid(&format!("family {}", family.name), "has no problems".to_owned());
            }
            if !families.insert(&family.name) {
                return invalid(&format!("family {}", family.name), "appears twice".to_owned());
            }
        }
        let mut policies = BTreeSet::new();
        for policy in &self.policies {
            if let Some(fault) = self.fault(policy) {
                return invalid(&policy.policy, fault);
            }
            if !policies.insert(&policy.policy) {
                return invalid(&policy.policy, "appears twice".to_owned());
            }
        }
        if self.dense().is_none() {
            return invalid("policies", format!("lack `{DENSE}`, against which the others are tested"));
        }
        Ok(())
    }

    fn fault(&self, policy: &PolicyEvaluation) -> Option<String> {
        let problems = self.problems();
        let layers = policy.layers.iter().map(|layer| (layer.density, layer.fired_density, layer.missed_mass));
        for (density, fired, missed) in layers.chain([(policy.density, policy.fired_density, policy.missed_mass)]) {
            let shares = [("density", Some(density)), ("fired_density", Some(fired)), ("missed_mass", missed)];
            for (what, share) in shares {
                if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                    return Some(format!("has {what} {share}, wanted 0 to 1"));
                }
            }
            if fired > density {
                return Some(format!("fires {fired} of the neurons, more than the {density} that it lets through"));
            }
        }
        if policy.layers.len() != self.model.layers {
            Some(format!("has {} layers, the model {}", policy.layers.len(), self.model.layers))
        } else if policy.passes.len() != problems {
            Some(format!("has {} outcomes of {problems} problems", policy.passes.len()))
        } else if !policy.passes.chars().all(|c| c == PASSED || c == FAILED) {
            Some(format!("has outcomes other than `{PASSED}` and `{FAILED}`"))
        } else {
            None
        }
    }
}
