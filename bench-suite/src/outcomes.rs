//! What each policy does on the activations of a 70B model: how much it computes, and how much it misses.
//!
//! The activations are synthetic: drawn from the published per-layer magnitudes of the real model, with hot neurons and
//! with drift between prompts ([`threshold::stream`]). Policies are calibrated on the published magnitudes themselves,
//! as one calibrates offline, and then meet the drift. Scores rank neurons as their true output mass does: a perfect
//! predictor, which no real one is.

use std::{collections::BTreeSet, mem};

use cost_model::{
    origin::{Origin, Sourced},
    report::PolicyOutcome,
    sparsity::{SparsityTable, published_density},
};
use rayon::prelude::*;
use threshold::{AuditedPolicy, Calibration, Inputs, Knobs, Policy, PolicySpec, QuantileTable, ScoreStream, Shape};

use crate::{Failure, Result, workload::SHAPE};

/// Tokens that a closed loop may settle in before its figures count.
const SETTLING_TOKENS: usize = 32;
/// A new prompt, and with it a jump of all scales, every so many tokens: few, so that a run sees many prompts.
const PROMPT_TOKENS: u64 = 2;

/// Statistics of one model's activations.
pub struct Activations {
    model: &'static str,
    quantiles: QuantileTable,
    calibration: Calibration,
    origin: Origin,
}

impl Activations {
    /// Those published for `model`.
    ///
    /// # Errors
    /// Nothing is published for it.
    pub fn of(model: &'static str) -> Result<Self> {
        let Some(table) = SparsityTable::for_model(model)? else {
            return Err(Failure::input(format!(
                "no activation statistics of {model} are published: choose llama-2-70b"
            )));
        };
        Self::from_table(model, &table)
    }

    fn from_table(model: &'static str, table: &SparsityTable) -> Result<Self> {
        let rows = (0..table.layers()).flat_map(|layer| table.thresholds(layer).unwrap_or_default());
        let values: Vec<f32> = rows.map(|&v| v as f32).collect();
        let quantiles = QuantileTable::new(table.levels(), &values)?;
        let calibration = Calibration::from_quantiles(&quantiles);
        Ok(Self { model, quantiles, calibration, origin: table.origin().clone() })
    }

    /// The published magnitudes.
    pub fn quantiles(&self) -> &QuantileTable {
        &self.quantiles
    }

    /// A stream of output masses.
    ///
    /// # Errors
    /// None at this shape.
    pub fn stream(&self, seed: u64) -> Result<ScoreStream> {
        Ok(ScoreStream::new(
            &self.quantiles,
            SHAPE.intermediate,
            Knobs { seed, prompt_tokens: PROMPT_TOKENS, ..Knobs::default() },
        )?)
    }

    /// A policy for this model, calibrated on it.
    ///
    /// # Errors
    /// A policy that needs what is not there, such as `fixed` without a threshold.
    pub fn policy(&self, spec: PolicySpec) -> Result<Box<dyn Policy>> {
        let shape = Shape::new(self.quantiles.layers(), SHAPE.intermediate)?;
        Ok(spec.build(shape, &Inputs { calibration: Some(&self.calibration), ..Inputs::default() })?)
    }

    /// Runs every policy on the same `tokens` tokens after a settling time, on all cores: while policies select from the
    /// masses of one layer, those of the next are drawn.
    ///
    /// # Errors
    /// A policy cannot be built.
    pub fn run(&self, specs: &[PolicySpec], tokens: usize, step: impl Fn()) -> Result<Vec<PolicyOutcome>> {
        let mut runs = specs.iter().map(|&spec| Run::new(self, spec)).collect::<Result<Vec<_>>>()?;
        let mut stream = self.stream(7)?;
        let layers = self.quantiles.layers();
        let (mut mass, mut next) = (vec![0.0; SHAPE.intermediate], vec![0.0; SHAPE.intermediate]);
        let mut draw = |layer: usize, masses: &mut [f32]| {
            stream.next_token(layer, masses)?;
            Ok::<f64, threshold::Error>(masses.iter().map(|&mass| f64::from(mass)).sum())
        };
        let mut next_total = draw(0, &mut next)?;
        for token in 0..SETTLING_TOKENS + tokens {
            let counts = token >= SETTLING_TOKENS;
            for run in &mut runs {
                run.tokens.push(0.0);
                if counts {
                    run.missed.push(0.0);
                }
            }
            for layer in 0..layers {
                mem::swap(&mut mass, &mut next);
                let total = next_total;
                // One by one, since some take ten times as long as others.
                let select =
                    || runs.par_iter_mut().with_max_len(1).try_for_each(|run| run.layer(layer, &mass, total, counts));
                let (drawn, selected) = rayon::join(|| draw((layer + 1) % layers, &mut next), select);
                next_total = drawn?;
                selected?;
            }
            runs.iter().for_each(|_| step());
        }
        Ok(runs.into_iter().map(|run| run.outcome(self, tokens)).collect())
    }

    /// How many steps [`run`](Self::run) reports for each policy.
    pub fn steps(tokens: usize) -> usize {
        SETTLING_TOKENS + tokens
    }
}

/// One policy on its way through the stream.
struct Run {
    spec: PolicySpec,
    policy: AuditedPolicy,
    /// Rows computed in each layer, over the tokens that count.
    computed: Vec<u64>,
    /// Sum, over layers, of the share of the layer's mass that was missed, for each token that counts. A sum of masses
    /// instead would hear only the last layers, whose activations are a hundred times those of the first.
    missed: Vec<f64>,
    /// Rows computed in each token.
    tokens: Vec<f64>,
}

impl Run {
    fn new(activations: &Activations, spec: PolicySpec) -> Result<Self> {
        let layers = activations.quantiles.layers();
        Ok(Self {
            spec,
            policy: AuditedPolicy::new(activations.policy(spec)?)?,
            computed: vec![0; layers],
            missed: Vec::new(),
            tokens: Vec::new(),
        })
    }

    /// `total` is the sum of the masses.
    fn layer(&mut self, layer: usize, mass: &[f32], total: f64, counts: bool) -> Result<()> {
        self.policy.step(layer, mass, mass)?;
        if counts {
            let rows = self.policy.rows();
            self.computed[layer] += rows as u64;
            if let Some(token) = self.tokens.last_mut() {
                *token += rows as f64;
            }
            if let (true, Some(missed)) = (total > 0.0, self.missed.last_mut()) {
                *missed += (1.0 - self.policy.kept(mass) / total).max(0.0);
            }
        }
        Ok(())
    }

    /// Mean share of mass missed, and the standard deviation of that mean: tokens of one prompt miss alike, so it is taken
    /// from the means of prompts.
    fn missed(&self, tokens: usize) -> (f64, Option<f64>) {
        let layers = self.computed.len() as f64;
        let prompts: Vec<f64> = self
            .missed
            .chunks(PROMPT_TOKENS as usize)
            .map(|prompt| prompt.iter().sum::<f64>() / (prompt.len() as f64 * layers))
            .collect();
        let mean = self.missed.iter().sum::<f64>() / (tokens as f64 * layers);
        let n = prompts.len() as f64;
        let spread: f64 = prompts.iter().map(|prompt| (prompt - mean).powi(2)).sum();
        (mean, (n > 1.0).then(|| (spread / (n - 1.0) / n).sqrt()))
    }

    fn outcome(mut self, activations: &Activations, tokens: usize) -> PolicyOutcome {
        let neurons = SHAPE.intermediate as f64;
        let densities = self.computed.iter().map(|&rows| rows as f64 / (tokens as f64 * neurons)).collect();
        let (missed, missed_mass_sd) = self.missed(tokens);
        let counted = &mut self.tokens[SETTLING_TOKENS..];
        counted.sort_by(f64::total_cmp);
        let p95 = counted[(counted.len() * 95).div_ceil(100).saturating_sub(1).min(counted.len() - 1)];
        let origin = Origin::assumed(format!(
            "activations are synthetic, {tokens} tokens of {} prompts drawn with an assumed drift from {}; the predictor \
             is perfect; a neuron's output mass is |act(gate) * up|, as if all rows of down weighed alike",
            tokens as u64 / PROMPT_TOKENS,
            activations.origin
        ));
        PolicyOutcome {
            model: activations.model,
            policy: self.spec.to_string(),
            densities: Sourced::new(densities, origin.clone()),
            density_p95: Some(p95 / (neurons * self.computed.len() as f64)),
            missed_mass: Some(Sourced::new(missed, origin)),
            missed_mass_sd,
            needs_predictor: true,
        }
    }
}

/// Outcomes of the sparse policies for every model of a scenario, and notes on what could not be said of some. Dense
/// needs no run: it is composed for every model.
///
/// # Errors
/// A policy cannot be built.
pub fn outcomes(
    models: &[&'static str],
    specs: &[PolicySpec],
    tokens: usize,
    step: impl Fn(),
) -> Result<(Vec<PolicyOutcome>, Vec<String>)> {
    let sparse: Vec<PolicySpec> = specs.iter().copied().filter(|spec| *spec != PolicySpec::Dense).collect();
    let (mut all, mut notes) = (Vec::new(), BTreeSet::new());
    for &model in models {
        let unsaid = match SparsityTable::for_model(model)? {
            Some(table) => {
                // Magnitudes are never below zero: that threshold would be `dense` under another name.
                let (idle, chosen): (Vec<_>, Vec<_>) = sparse.iter().partition(|spec| keeps_all(spec));
                all.extend(Activations::from_table(model, &table)?.run(&chosen, tokens, &step)?);
                (!idle.is_empty())
                    .then(|| "a fixed threshold of 0 keeps every neuron of a SwiGLU model and is left out".to_owned())
            }
            None => {
                let mut unknown = Vec::new();
                for &spec in &sparse {
                    match stated_outcome(model, spec) {
                        Some(outcome) => all.push(outcome),
                        None => unknown.push(spec.to_string()),
                    }
                }
                let list = unknown.join(", ");
                (!unknown.is_empty())
                    .then(|| format!("no per-layer activations are published, so nothing is said of {list}"))
            }
        };
        notes.extend(unsaid.map(|what| format!("{model}: {what}")));
    }
    Ok((all, notes.into_iter().collect()))
}

fn keeps_all(spec: &PolicySpec) -> bool {
    matches!(spec, PolicySpec::Fixed(Some(threshold)) if threshold.get() <= 0.0)
}

/// For a model without published activations: the one policy whose density is published all the same. A threshold of
/// zero keeps what ReLU keeps, and what it skips has no mass, as far as the predictor is right.
fn stated_outcome(model: &'static str, spec: PolicySpec) -> Option<PolicyOutcome> {
    let zero = matches!(spec, PolicySpec::Fixed(Some(threshold)) if threshold.get() == 0.0);
    let density = published_density(model).filter(|_| zero)?;
    let evenly = Origin::assumed(format!("the same in every layer; mean {}", density.origin));
    let exactly = Origin::assumed("neurons that are exactly zero are the ones skipped: a perfect predictor");
    Some(PolicyOutcome {
        model,
        policy: spec.to_string(),
        densities: Sourced::new(vec![density.value; SHAPE.layers], evenly),
        density_p95: None,
        missed_mass: Some(Sourced::new(0.0, exactly)),
        missed_mass_sd: None,
        needs_predictor: true,
    })
}
