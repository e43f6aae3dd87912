//! From completions and their outcomes to a table: pass@1 of each policy, its interval, and a paired test against dense.

use std::collections::BTreeMap;

use cost_model::{
    compose::DENSE,
    pass_rate::{mcnemar_exact, pass_at_k, wilson_95},
};
use serde::{Deserialize, Serialize};

use super::{outcome::Outcome, suite::family};
use crate::{Failure, Result};

/// Where a completion ends that went on after the function: as HumanEval's authors cut it (arXiv 2107.03374, section 3).
pub const STOPS: [&str; 5] = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

/// One completion, as a line of JSON. `task_id` and `completion` are the fields that HumanEval's harness reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Which problem.
    pub task_id: String,
    /// What the model wrote after the prompt.
    pub completion: String,
    /// Under which policy.
    #[serde(default = "dense")]
    pub policy: String,
    /// Mean FFN density while it wrote, audits included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// Of that, the share of neurons that fired: whose up and down rows were read, audits included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_density: Option<f64>,
    /// Of both, the share of neurons that were skipped and read for the policy to learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_density: Option<f64>,
    /// Share of FFN output mass that was skipped meanwhile, mean over layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_mass: Option<f64>,
    /// How many tokens it is long. Means over completions weigh each by this, where all say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

fn dense() -> String {
    DENSE.to_owned()
}

/// `completion` up to where the function ends.
pub fn function_alone(completion: &str) -> &str {
    let end = STOPS.iter().filter_map(|stop| completion.find(stop)).min();
    &completion[..end.map_or(completion.len(), |end| end + 1)]
}

/// One policy's row; the fields are the columns of `thresher eval --csv`, in their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Policy.
    pub policy: String,
    /// Mean FFN density, where the completions say it, audits included.
    pub density: Option<f64>,
    /// Samples that passed.
    pub passed: u64,
    /// Samples.
    pub total: u64,
    /// Mean over problems.
    pub pass_at_1: f64,
    /// Lower end of Wilson's 95 % interval.
    pub ci_low: f64,
    /// Its upper end.
    pub ci_high: f64,
    /// McNemar's exact test against [`DENSE`], first sample of each problem; empty for dense itself and without it.
    pub mcnemar_p: Option<f64>,
    /// Mean share of neurons that fired, where the completions say it.
    pub fired_density: Option<f64>,
    /// Mean share of FFN output mass that was skipped, where the completions say it.
    pub missed_mass: Option<f64>,
    /// pass@1 on problems of families that training saw; empty for problems that are not this program's.
    pub seen_pass_at_1: Option<f64>,
    /// pass@1 on problems of families that training saw nothing of.
    pub unseen_pass_at_1: Option<f64>,
    /// Mean share of neurons that were audited, where the completions say it: part of both densities.
    pub audit_density: Option<f64>,
    /// Mean over problems of the unbiased pass@k, for each k asked for.
    #[serde(skip)]
    pub pass_at: Vec<(u64, f64)>,
}

/// Scores each policy, in the order in which they first appear. `ks`: further pass@k, besides pass@1.
///
/// # Errors
/// No completions; problems that differ between policies; fewer samples of a problem than a `k`.
pub fn score(completions: &[Completion], outcomes: &[Outcome], ks: &[u64]) -> Result<Vec<Score>> {
    let mut order: Vec<&str> = Vec::new();
    let mut policies: BTreeMap<&str, Samples<'_>> = BTreeMap::new();
    for (completion, outcome) in completions.iter().zip(outcomes) {
        if !policies.contains_key(completion.policy.as_str()) {
            order.push(&completion.policy);
        }
        let samples = policies.entry(&completion.policy).or_default();
        samples.by_problem.entry(&completion.task_id).or_default().push(outcome.passed());
        samples.completions.push(completion);
    }
    let Some(first) = order.first().map(|policy| &policies[policy]) else {
        return Err(Failure::input("no completions; wanted lines with task_id and completion"));
    };
    for policy in &order {
        let (own, others) = (&policies[policy].by_problem, &first.by_problem);
        if let Some(problem) =
            own.keys().find(|k| !others.contains_key(*k)).or(others.keys().find(|k| !own.contains_key(*k)))
        {
            return Err(Failure::input(format!(
                "{problem} is completed under only one of `{}` and `{policy}`; every policy needs the same problems",
                order[0]
            )));
        }
    }
    let dense = policies.get(DENSE);
    order.iter().map(|policy| policies[policy].score(policy, dense, ks)).collect()
}

#[derive(Default)]
struct Samples<'a> {
    by_problem: BTreeMap<&'a str, Vec<bool>>,
    completions: Vec<&'a Completion>,
}

impl Samples<'_> {
    fn score(&self, policy: &str, dense: Option<&Self>, ks: &[u64]) -> Result<Score> {
        let pass_at_1 = self.mean_pass_at(1, |_| true)?;
        let problems = self.by_problem.len() as u64;
        let (ci_low, ci_high) = wilson_95(pass_at_1, problems)?;
        let count = |passed: bool| self.by_problem.values().flatten().filter(|p| **p || !passed).count() as u64;
        let of_families = |seen: bool| {
            let of = |problem: &str| family(problem).is_some_and(|family| family.seen == seen);
            self.by_problem.keys().any(|problem| of(problem)).then(|| self.mean_pass_at(1, of)).transpose()
        };
        Ok(Score {
            policy: policy.to_owned(),
            density: self.mean(|completion| completion.density),
            passed: count(true),
            total: count(false),
            pass_at_1,
            ci_low,
            ci_high,
            mcnemar_p: dense.filter(|_| policy != DENSE).map(|dense| self.against(dense)),
            fired_density: self.mean(|completion| completion.fired_density),
            audit_density: self.mean(|completion| completion.audit_density),
            missed_mass: self.mean(|completion| completion.missed_mass),
            seen_pass_at_1: of_families(true)?,
            unseen_pass_at_1: of_families(false)?,
            pass_at: ks
                .iter()
                .filter(|k| **k != 1)
                .map(|k| Ok((*k, self.mean_pass_at(*k, |_| true)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// Mean of a share over the completions that have it, by their tokens; of equal weights where one does not say them.
    fn mean(&self, share: impl Fn(&Completion) -> Option<f64>) -> Option<f64> {
        let counted = self.completions.iter().all(|completion| completion.tokens.is_some());
        let weight =
            |completion: &Completion| completion.tokens.filter(|_| counted).map_or(1.0, |tokens| tokens as f64);
        let (mut sum, mut weights) = (0.0, 0.0);
        for completion in &self.completions {
            if let Some(share) = share(completion) {
                sum += weight(completion) * share;
                weights += weight(completion);
            }
        }
        (weights > 0.0).then(|| sum / weights)
    }

    /// Mean over the problems that are wanted.
    fn mean_pass_at(&self, k: u64, wanted: impl Fn(&str) -> bool) -> Result<f64> {
        let (mut sum, mut problems) = (0.0, 0.0);
        for (problem, samples) in self.by_problem.iter().filter(|(problem, _)| wanted(problem)) {
            problems += 1.0;
            let passed = samples.iter().filter(|passed| **passed).count();
            sum += pass_at_k(samples.len() as u64, passed as u64, k)
                .map_err(|e| Failure::input(format!("{problem}: {e}")))?;
        }
        Ok(sum / problems)
    }

    fn against(&self, dense: &Self) -> f64 {
        let firsts = self.by_problem.iter().map(|(problem, samples)| (samples[0], dense.by_problem[problem][0]));
        let (mut only_own, mut only_dense) = (0, 0);
        for pair in firsts {
            match pair {
                (true, false) => only_own += 1,
                (false, true) => only_dense += 1,
                _ => {}
            }
        }
        mcnemar_exact(only_own, only_dense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::families;

    fn completion(policy: &str, task: usize, density: Option<f64>) -> Completion {
        Completion {
            task_id: format!("t/{task}"),
            completion: String::new(),
            policy: policy.into(),
            density,
            fired_density: None,
            audit_density: None,
            missed_mass: None,
            tokens: None,
        }
    }

    /// Ten problems: dense passes 8, the other 5 of those and one more.
    #[test]
    fn policies_are_paired_by_problem() {
        let completions: Vec<_> = (0..10)
            .map(|t| completion("top-k:density=0.10", 9 - t, Some(0.125)))
            .chain((0..10).map(|t| completion(DENSE, t, None)))
            .collect();
        let passes = |passed: bool| if passed { Outcome::Passed } else { Outcome::OutOfSteps };
        let outcomes: Vec<_> =
            (0..10).map(|t| passes((9 - t) < 5 || t == 0)).chain((0..10).map(|t| passes(t < 8))).collect();
        let scores = score(&completions, &outcomes, &[]).unwrap();
        assert_eq!(
            scores.iter().map(|s| (s.policy.as_str(), s.passed, s.total)).collect::<Vec<_>>(),
            [("top-k:density=0.10", 6, 10), (DENSE, 8, 10)]
        );
        assert_eq!(scores[0].mcnemar_p, Some(mcnemar_exact(1, 3)));
        assert_eq!((scores[1].mcnemar_p, scores[1].density, scores[0].density), (None, None, Some(0.125)));
        assert_eq!((scores[0].ci_low, scores[0].ci_high), wilson_95(0.6, 10).unwrap());
    }

    /// A long completion tells more of what a policy computes than a short one.
    #[test]
    fn shares_are_means_over_tokens() {
        let of = |tokens, density| Completion { tokens, missed_mass: density, ..completion(DENSE, 0, density) };
        let mean = |completions: [Completion; 2]| {
            let score = score(&completions, &[Outcome::Passed, Outcome::Passed], &[]).unwrap().remove(0);
            assert_eq!(score.missed_mass, score.density);
            score.density
        };
        assert_eq!(mean([of(Some(30), Some(0.1)), of(Some(10), Some(0.5))]), Some(0.2));
        assert_eq!(mean([of(Some(30), Some(0.25)), of(None, Some(0.5))]), Some(0.375));
        assert_eq!(mean([of(Some(30), Some(0.25)), of(Some(0), None)]), Some(0.25));
        assert_eq!(mean([of(Some(0), None), of(Some(0), None)]), None);
    }

    #[test]
    fn families_that_training_saw_are_told_from_others() {
        let named = |family: &str| Completion { task_id: format!("thresher/{family}/0"), ..completion(DENSE, 0, None) };
        let first = |seen| families::all().find(|family| family.seen == seen).unwrap().name;
        let outcomes = [Outcome::Passed, Outcome::OutOfSteps];
        let scores = score(&[named(first(true)), named(first(false))], &outcomes, &[]).unwrap();
        assert_eq!((scores[0].seen_pass_at_1, scores[0].unseen_pass_at_1), (Some(1.0), Some(0.0)));
        let foreign = score(&[completion(DENSE, 0, None)], &outcomes[..1], &[]).unwrap();
        assert_eq!((foreign[0].seen_pass_at_1, foreign[0].unseen_pass_at_1), (None, None));
    }

    #[test]
    fn several_samples_give_pass_at_k() {
        let completions: Vec<_> = (0..8).map(|i| completion(DENSE, i / 4, None)).collect();
        let outcomes: Vec<_> = (0..8).map(|i| if i == 5 { Outcome::Passed } else { Outcome::OutOfMemory }).collect();
        let scores = score(&completions, &outcomes, &[2, 4]).unwrap();
        assert_eq!((scores[0].pass_at_1, scores[0].passed, scores[0].total), (0.125, 1, 8));
        assert_eq!(scores[0].pass_at, [(2, 0.25), (4, 0.5)]);
        assert!(score(&completions, &outcomes, &[5]).unwrap_err().message.contains("pass@5 of 4"));
    }

    #[test]
    fn unpaired_problems_are_refused() {
        let completions = [completion(DENSE, 0, None), completion("fixed:0.0", 1, None)];
        let failure = score(&completions, &[Outcome::Passed, Outcome::Passed], &[]).unwrap_err();
        assert!(failure.message.contains("t/1") && failure.message.contains("fixed:0.0"), "{failure:?}");
        assert!(score(&[], &[], &[]).is_err());
    }

    #[test]
    fn text_after_the_function_is_cut() {
        assert_eq!(function_alone("    return 1\n\ndef g():\n    pass\n"), "    return 1\n\n");
        assert_eq!(function_alone("    return 1\n    # two\n"), "    return 1\n    # two\n");
        assert_eq!(function_alone("    if x:\n        return 1\nprint(f)"), "    if x:\n        return 1\n");
    }
}
