//! What evaluations of small models say about accuracy under policies: rows and plain sentences.

use serde::Serialize;

use crate::{
    evaluation::{EvaluatedModel, Evaluation, Paired, PassRate, PolicyEvaluation},
    number::{fixed, percent, significant},
    origin::Origin,
};

use super::policy_kind;

/// Above this p a difference is not told from chance.
const SIGNIFICANCE: f64 = 0.05;
/// Densities within this quotient of each other count as equal.
const EQUAL_DENSITY: f64 = 1.15;

/// A model's accuracy under policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// The model.
    pub model: EvaluatedModel,
    /// What it completed.
    pub benchmark: String,
    /// Where every figure of the rows comes from.
    pub origin: Origin,
    /// One a policy, dense among them.
    pub rows: Vec<QualityRow>,
    /// Policies of different kinds at equal density.
    pub contests: Vec<EqualDensity>,
    /// What the rows show, in plain sentences.
    pub findings: Vec<String>,
}

/// A policy's accuracy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QualityRow {
    /// The policy.
    pub policy: String,
    /// Mean share of neurons that it let through.
    pub density: f64,
    /// Mean share that fired.
    pub fired_density: f64,
    /// Mean share of FFN output mass that was skipped.
    pub missed_mass: Option<f64>,
    /// Over all problems.
    pub pass_at_1: PassRate,
    /// Over the families that training saw.
    pub seen: Option<PassRate>,
    /// Over the others.
    pub unseen: Option<PassRate>,
    /// Against dense, problem by problem; absent for dense itself.
    pub against_dense: Option<Paired>,
}

/// Two policies at about one density, problem by problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EqualDensity {
    /// The policy that passes more.
    pub better: String,
    /// The other one.
    pub worse: String,
    /// The test; `gained` are those that only the better passes.
    pub paired: Paired,
}

/// A line of `quality.csv`.
#[derive(Debug, Serialize)]
struct FlatRow<'a> {
    model: &'a str,
    sha256: &'a str,
    benchmark: &'a str,
    policy: &'a str,
    density: f64,
    fired_density: f64,
    missed_mass: Option<f64>,
    passed: u64,
    total: u64,
    pass_at_1: f64,
    ci_low: f64,
    ci_high: f64,
    mcnemar_p: Option<f64>,
    gained: Option<u64>,
    lost: Option<u64>,
    seen_pass_at_1: Option<f64>,
    unseen_pass_at_1: Option<f64>,
    origin: String,
}

impl Quality {
    /// Of a checked record; `None` if it is of no problems or lacks dense.
    pub(super) fn of(evaluation: &Evaluation) -> Option<Self> {
        let dense = evaluation.dense()?;
        let row = |policy: &PolicyEvaluation| {
            Some(QualityRow {
                policy: policy.policy.clone(),
                density: policy.density,
                fired_density: policy.fired_density,
                missed_mass: policy.missed_mass,
                pass_at_1: evaluation.pass_rate(policy)?,
                seen: evaluation.pass_rate_of(policy, true),
                unseen: evaluation.pass_rate_of(policy, false),
                against_dense: (policy.policy != dense.policy).then(|| policy.against(dense)),
            })
        };
        let mut quality = Self {
            model: evaluation.model.clone(),
            benchmark: evaluation.benchmark.clone(),
            origin: evaluation.origin(),
            rows: evaluation.policies.iter().map(row).collect::<Option<_>>()?,
            contests: contests(evaluation),
            findings: Vec::new(),
        };
        quality.findings = [quality.held(), quality.broken(), quality.equal()].into_iter().flatten().collect();
        Some(quality)
    }

    /// The dense row; every quality has one.
    pub fn dense(&self) -> Option<&QualityRow> {
        self.rows.iter().find(|row| row.against_dense.is_none())
    }

    /// Policies by density, that which computes least first.
    fn sparse(&self) -> Vec<(&QualityRow, &Paired)> {
        let mut rows: Vec<_> = self.rows.iter().filter_map(|row| Some((row, row.against_dense.as_ref()?))).collect();
        rows.sort_by(|a, b| a.0.density.total_cmp(&b.0.density));
        rows
    }

    /// How little may be computed before a loss shows.
    fn held(&self) -> Option<String> {
        let dense = self.dense()?;
        let rate = dense.pass_at_1;
        let families = match (dense.seen, dense.unseen) {
            (Some(seen), Some(unseen)) => {
                let (seen, unseen) = (percent(seen.share), percent(unseen.share));
                format!(": {seen} in families that training saw, {unseen} in others")
            }
            _ => String::new(),
        };
        let solves = format!(
            "Run densely, {} ({} million weights) solves {} of {} held-out problems (95 % interval {} to {}){families}.",
            self.model.name,
            significant(self.model.parameters as f64 / 1e6, 2),
            percent(rate.share),
            fixed(rate.total as f64, 0),
            percent(rate.interval_95.0),
            percent(rate.interval_95.1),
        );
        let sparse = self.sparse();
        let Some((row, paired)) = sparse.iter().find(|(_, paired)| !is_worse(paired)) else {
            return Some(format!("{solves} Every sparse policy that ran loses more than chance explains."));
        };
        Some(format!(
            "{solves} The sparsest policy whose loss cannot be told from chance is {}: it computes {} of the neurons and \
             solves {} (McNemar's exact p = {}).",
            row.policy,
            percent(row.density),
            percent(row.pass_at_1.share),
            significant(paired.p, 2),
        ))
    }

    /// How it breaks.
    fn broken(&self) -> Option<String> {
        let dense = self.dense()?.pass_at_1.share;
        let (row, _) = self.sparse().into_iter().min_by(|a, b| a.0.pass_at_1.share.total_cmp(&b.0.pass_at_1.share))?;
        (row.pass_at_1.share < dense).then(|| {
            let missing =
                row.missed_mass.map_or_else(String::new, |m| format!(", missing {} of the output mass", percent(m)));
            format!(
                "It solves least under {}: {} at density {}{missing}.",
                row.policy,
                percent(row.pass_at_1.share),
                percent(row.density)
            )
        })
    }

    /// Whether it matters which neurons are computed, at one number of them.
    fn equal(&self) -> Option<String> {
        let of = self.contests.len();
        // Bonferroni's correction: of many pairs some differ by chance.
        let told: Vec<&EqualDensity> = self.contests.iter().filter(|c| c.paired.p < SIGNIFICANCE / of as f64).collect();
        let row = |policy: &str| self.rows.iter().find(|row| row.policy == policy);
        let Some(sharpest) = told.iter().min_by(|a, b| a.paired.p.total_cmp(&b.paired.p)) else {
            return (of > 0).then(|| {
                format!(
                    "At equal density no kind of policy is told from another: none of {of} pairs differs by more than \
                     chance, so many being tried."
                )
            });
        };
        let (better, worse) = (row(&sharpest.better)?, row(&sharpest.worse)?);
        Some(format!(
            "At equal density it matters which neurons are computed: {} of {of} pairs of policies differ by more than \
             chance, so many being tried, most of all {} ({} at density {}) from {} ({} at {}).",
            told.len(),
            better.policy,
            percent(better.pass_at_1.share),
            percent(better.density),
            worse.policy,
            percent(worse.pass_at_1.share),
            percent(worse.density),
        ))
    }
}

fn is_worse(paired: &Paired) -> bool {
    paired.p < SIGNIFICANCE && paired.lost > paired.gained
}

/// Every pair of kinds at about one density.
fn contests(evaluation: &Evaluation) -> Vec<EqualDensity> {
    let mut all = Vec::new();
    for (index, a) in evaluation.policies.iter().enumerate() {
        for b in &evaluation.policies[index + 1..] {
            let (less, more) = (a.density.min(b.density), a.density.max(b.density));
            if policy_kind(&a.policy) == policy_kind(&b.policy) || less <= 0.0 || more / less > EQUAL_DENSITY {
                continue;
            }
            let paired = a.against(b);
            let (better, worse, paired) =
                if paired.gained >= paired.lost { (a, b, paired) } else { (b, a, b.against(a)) };
            all.push(EqualDensity { better: better.policy.clone(), worse: worse.policy.clone(), paired });
        }
    }
    all
}

/// Writes `quality.csv`: every row of every model, under a header line; nothing where there is no row.
///
/// # Errors
/// Those of `output`.
pub fn write_quality_csv(all: &[Quality], output: impl std::io::Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(output);
    for quality in all {
        let origin = quality.origin.to_string();
        for row in &quality.rows {
            writer.serialize(FlatRow {
                model: &quality.model.name,
                sha256: &quality.model.sha256,
                benchmark: &quality.benchmark,
                policy: &row.policy,
                density: row.density,
                fired_density: row.fired_density,
                missed_mass: row.missed_mass,
                passed: row.pass_at_1.passed,
                total: row.pass_at_1.total,
                pass_at_1: row.pass_at_1.share,
                ci_low: row.pass_at_1.interval_95.0,
                ci_high: row.pass_at_1.interval_95.1,
                mcnemar_p: row.against_dense.map(|paired| paired.p),
                gained: row.against_dense.map(|paired| paired.gained),
                lost: row.against_dense.map(|paired| paired.lost),
                seen_pass_at_1: row.seen.map(|rate| rate.share),
                unseen_pass_at_1: row.unseen.map(|rate| rate.share),
                origin: origin.clone(),
            })?;
        }
    }
    writer.flush()?;
    Ok(())
}
