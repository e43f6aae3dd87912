//! What threshold policies computed and missed on the same tokens, set to the same density or the same miss.

use serde::Serialize;

use crate::estimate::Interval;

/// Policies on one source of scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyStudy {
    /// Where the masses are from, and whose prompts.
    pub source: String,
    /// Where the scores are from.
    pub scores: String,
    /// Prompts that were compared on, whole: what intervals resample.
    pub prompts: usize,
    /// Tokens of these prompts.
    pub tokens: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Neurons of a layer.
    pub neurons: usize,
    /// The policy that differences are against.
    pub reference: String,
    /// The goals, each with every policy set to it.
    pub goals: Vec<GoalStudy>,
}

/// Policies that were set to one goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoalStudy {
    /// What was made equal.
    pub equal: Equal,
    /// What to.
    pub value: f64,
    /// Each policy.
    pub policies: Vec<PolicyFigures>,
}

/// What is the same for all policies of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Equal {
    /// Mean density, audits included.
    Density,
    /// Mean share of a layer's output mass that is missed.
    Miss,
}

/// What one policy did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyFigures {
    /// Its kind, options included and numbers left out.
    pub kind: String,
    /// Its whole spelling.
    pub policy: String,
    /// Whether it learns from what it sees.
    pub closed_loop: bool,
    /// Mean share of the neurons computed, audited ones among them.
    pub density: f64,
    /// 95th percentile of a token's density over the mean.
    pub density_p95_over_mean: f64,
    /// Share of the neurons computed for audits alone.
    pub audit_density: f64,
    /// Mean share of a layer's output mass that was missed.
    pub miss: Interval,
    /// That of the layer that missed most.
    pub worst_layer: Interval,
    /// The 99th percentile, over tokens, of a token's mean over layers.
    pub p99_token: Interval,
    /// The three, less those of the reference on the same resampled prompts; `None` for the reference itself.
    pub less_reference: Option<[Interval; 3]>,
    /// Mean time of one layer's selection, audits included, in seconds.
    pub selection_seconds: f64,
}

impl PolicyStudy {
    /// The worst-layer and p99-token misses at equal density that some policy set once and for all has below those of the
    /// reference, with an interval that leaves no doubt; in words. Empty where there is none.
    pub fn losses(&self) -> Vec<String> {
        let mut losses = Vec::new();
        for goal in self.goals.iter().filter(|goal| goal.equal == Equal::Density) {
            for own in goal.policies.iter().filter(|own| !own.closed_loop && own.kind != "oracle") {
                let Some([_, worst, late]) = own.less_reference else { continue };
                for (what, less) in [("worst layer", worst), ("p99 token", late)] {
                    if less.high < 0.0 {
                        losses.push(format!("density {}: {} by {:.4}, {what}", goal.value, own.kind, -less.median));
                    }
                }
            }
        }
        losses
    }
}
