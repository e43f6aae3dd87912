//! The quality record: how a model fared under each policy on the problems of a benchmark, problem by problem, as JSON that
//! travels.
//!
//! Counts, intervals and tests all follow from which problems were passed, so the record holds that and nothing that could
//! contradict it.

mod check;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    atomic::write_atomically,
    compose::DENSE,
    machine::Machine,
    origin::Origin,
    pass_rate::{mcnemar_exact, wilson_95},
    record::Provenance,
};

/// Version of the format that this build reads and writes.
pub const SCHEMA: &str = "thresher-quality/1";

const PASSED: char = '1';
const FAILED: char = '0';

/// A model under several policies on the same problems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where it was run.
    pub machine: Machine,
    /// By what, and when.
    pub provenance: Provenance,
    /// The model.
    pub model: EvaluatedModel,
    /// The benchmark.
    pub benchmark: String,
    /// Tokens of training problems that policies were calibrated on.
    pub calibration_tokens: u64,
    /// The problems, family by family, in the order of [`PolicyEvaluation::passes`].
    pub families: Vec<FamilyProblems>,
    /// One a policy.
    pub policies: Vec<PolicyEvaluation>,
}

/// Which model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluatedModel {
    /// Its name.
    pub name: String,
    /// What its file says of it; empty if nothing.
    pub description: String,
    /// SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    /// Weights.
    pub parameters: u64,
    /// Layers.
    pub layers: usize,
    /// Elements of the hidden state.
    pub hidden: usize,
    /// Neurons of an FFN.
    pub intermediate: usize,
}

/// Problems of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyProblems {
    /// The family.
    pub name: String,
    /// Whether the model saw problems of it in training, though never these.
    pub seen: bool,
    /// How many.
    pub problems: usize,
}

/// How a policy did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyEvaluation {
    /// The policy, under its one spelling.
    pub policy: String,
    /// Tokens written.
    pub tokens: u64,
    /// Mean share of neurons that the policy let through or audited.
    pub density: f64,
    /// Mean share of neurons that fired: whose up and down rows were read, audited ones included.
    pub fired_density: f64,
    /// Mean share of FFN output mass that was skipped; absent if nothing was seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_mass: Option<f64>,
    /// The same, layer by layer.
    pub layers: Vec<LayerEvaluation>,
    /// One character a problem: `1` passed, `0` did not.
    pub passes: String,
}

/// How a policy did in one layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerEvaluation {
    /// Share of neurons that the policy let through or audited.
    pub density: f64,
    /// Share of neurons that fired or were audited.
    pub fired_density: f64,
    /// Share of output mass that was skipped; absent if nothing was seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_mass: Option<f64>,
}

/// Why a quality record is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The file system refused.
    #[error("{name}: {source}; check the path and its permissions")]
    Io {
        /// The file.
        name: String,
        /// What it said.
        source: std::io::Error,
    },
    /// Another version of the format.
    #[error("{name}: schema `{found}`, this build reads `{SCHEMA}`; run `thresher eval --record` with this build")]
    Schema {
        /// The file.
        name: String,
        /// Its schema.
        found: String,
    },
    /// Not JSON, or not these fields.
    #[error("{name}: {source}; wanted a quality record of `thresher eval --record`")]
    Json {
        /// The file.
        name: String,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// A field holds what it must not.
    #[error("{name}: {thing} {fault}; run `thresher eval --record` again")]
    Invalid {
        /// The file.
        name: String,
        /// Which field or policy.
        thing: String,
        /// What is wrong.
        fault: String,
    },
}

#[derive(Deserialize)]
struct SchemaOnly {
    #[serde(default = "no_schema")]
    schema: String,
}

fn no_schema() -> String {
    "none".to_owned()
}

/// Passed of tried, with its share and Wilson's 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PassRate {
    /// Passed.
    pub passed: u64,
    /// Tried.
    pub total: u64,
    /// Their quotient.
    pub share: f64,
    /// Wilson's 95 % interval.
    pub interval_95: (f64, f64),
}

/// Two policies over the same problems.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Problems that only the first passes.
    pub gained: u64,
    /// Problems that only the second passes.
    pub lost: u64,
    /// McNemar's exact test: two-sided p.
    pub p: f64,
}

impl PolicyEvaluation {
    fn passed(&self) -> impl Iterator<Item = bool> {
        self.passes.chars().map(|c| c == PASSED)
    }

    /// This policy against another one of the same record.
    pub fn against(&self, other: &Self) -> Paired {
        let only = |a: &Self, b: &Self| a.passed().zip(b.passed()).filter(|pair| *pair == (true, false)).count() as u64;
        let (gained, lost) = (only(self, other), only(other, self));
        Paired { gained, lost, p: mcnemar_exact(gained, lost) }
    }
}

impl Evaluation {
    /// Outcomes as [`PolicyEvaluation::passes`] has them.
    pub fn passes(outcomes: impl Iterator<Item = bool>) -> String {
        outcomes.map(|passed| if passed { PASSED } else { FAILED }).collect()
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`EvaluationError`]
    pub fn read(path: &Path) -> Result<Self, EvaluationError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &name),
            Err(source) => Err(EvaluationError::Io { name, source }),
        }
    }

    /// Reads and checks a record; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`EvaluationError`], without those of the file system.
    pub fn parse(text: &str, name: &str) -> Result<Self, EvaluationError> {
        let json = |source| EvaluationError::Json { name: name.to_owned(), source };
        // The schema first: a record of another version would fail on fields that are right there.
        let found = serde_json::from_str::<SchemaOnly>(text).map_err(json)?.schema;
        if found != SCHEMA {
            return Err(EvaluationError::Schema { name: name.to_owned(), found });
        }
        let evaluation: Self = serde_json::from_str(text).map_err(json)?;
        evaluation.check(name)?;
        Ok(evaluation)
    }

    /// Checks, then writes the record whole or not at all.
    ///
    /// # Errors
    /// [`EvaluationError`]
    pub fn write(&self, path: &Path) -> Result<(), EvaluationError> {
        let name = path.display().to_string();
        self.check(&name)?;
        let json = serde_json::to_string_pretty(self);
        let json = json.map_err(|source| EvaluationError::Json { name: name.clone(), source })? + "\n";
        write_atomically(path, json.as_bytes()).map_err(|source| EvaluationError::Io { name, source })
    }

    /// How many problems there are.
    pub fn problems(&self) -> usize {
        self.families.iter().map(|family| family.problems).sum()
    }

    /// The policy that the others are tested against; every checked record has it.
    pub fn dense(&self) -> Option<&PolicyEvaluation> {
        self.policies.iter().find(|policy| policy.policy == DENSE)
    }

    /// pass@1 of a policy of this record.
    pub fn pass_rate(&self, policy: &PolicyEvaluation) -> Option<PassRate> {
        PassRate::of(policy.passed())
    }

    /// pass@1 of a policy on the families that training saw, or on the others; `None` where there are none.
    pub fn pass_rate_of(&self, policy: &PolicyEvaluation, seen: bool) -> Option<PassRate> {
        let families = self.families.iter().flat_map(|family| std::iter::repeat_n(family.seen, family.problems));
        PassRate::of(families.zip(policy.passed()).filter(|(own, _)| *own == seen).map(|(_, passed)| passed))
    }

    /// Origin of what it says of a policy.
    pub fn origin(&self) -> Origin {
        self.provenance.origin(&self.machine, self.problems() as u64)
    }
}

impl PassRate {
    fn of(outcomes: impl Iterator<Item = bool>) -> Option<Self> {
        let (passed, total) = outcomes.fold((0, 0), |(passed, total), own| (passed + u64::from(own), total + 1));
        let share = passed as f64 / total as f64;
        Some(Self { passed, total, share, interval_95: wilson_95(share, total).ok()? })
    }
}
