//! What each policy does on the activations of a 70B model: how much it computes, and how much it misses.
//!
//! The activations are synthetic: drawn from the published per-layer magnitudes of the real model, with hot neurons and
//! with drift between prompts ([`threshold::stream`]). Policies are calibrated on the published magnitudes themselves,
//! as one calibrates offline, and then meet the drift. Scores rank neurons as their true output mass does: a perfect
//! predictor, which no real one is.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    thread::{self, available_parallelism},
};

use cost_model::{
    origin::{Origin, Sourced},
    report::PolicyOutcome,
    sparsity::{SparsityTable, published_density},
};
use threshold::{
    Audit, Auditor, Calibration, Feedback, Inputs, Knobs, Policy, PolicySpec, QuantileTable, ScoreStream, Shape,
};

use crate::{
    Failure, Result,
    workload::{AUDITED_ROWS, SHAPE},
};

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
        Ok(spec.build(shape, &Inputs { model_threshold: None, calibration: Some(&self.calibration) })?)
    }

    /// Runs every policy on the same `tokens` tokens after a settling time, on all cores.
    ///
    /// # Errors
    /// A policy cannot be built.
    pub fn run(&self, specs: &[PolicySpec], tokens: usize, step: impl Fn() + Sync) -> Result<Vec<PolicyOutcome>> {
        let share = specs.len().div_ceil(available_parallelism().map_or(1, usize::from)).max(1);
        let step = &step;
        thread::scope(|scope| {
            let workers: Vec<_> =
                specs.chunks(share).map(|specs| scope.spawn(move || self.run_some(specs, tokens, step))).collect();
            let outcomes = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
            Ok(outcomes.collect::<Result<Vec<_>>>()?.concat())
        })
    }

    fn run_some(&self, specs: &[PolicySpec], tokens: usize, step: &impl Fn()) -> Result<Vec<PolicyOutcome>> {
        let mut runs = specs.iter().map(|&spec| Run::new(self, spec)).collect::<Result<Vec<_>>>()?;
        let mut stream = self.stream(7)?;
        let mut mass = vec![0.0; SHAPE.intermediate];
        for token in 0..SETTLING_TOKENS + tokens {
            for run in &mut runs {
                run.tokens.push(0.0);
            }
            for layer in 0..self.quantiles.layers() {
                stream.next_token(layer, &mut mass)?;
                for run in &mut runs {
                    run.layer(layer, &mass, token >= SETTLING_TOKENS)?;
                }
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
    policy: Box<dyn Policy>,
    auditor: Auditor,
    active: Vec<u32>,
    audited: Vec<u32>,
    sample: Vec<f32>,
    /// Rows computed in each layer, over the tokens that count.
    computed: Vec<u64>,
    /// Sum, over layers and tokens that count, of the share of the layer's mass that was missed. A sum of masses
    /// instead would hear only the last layers, whose activations are a hundred times those of the first.
    missed: f64,
    /// Rows computed in each token.
    tokens: Vec<f64>,
}

impl Run {
    fn new(activations: &Activations, spec: PolicySpec) -> Result<Self> {
        let layers = activations.quantiles.layers();
        Ok(Self {
            spec,
            policy: activations.policy(spec)?,
            auditor: Auditor::new(13, AUDITED_ROWS, SHAPE.intermediate)?,
            active: Vec::with_capacity(SHAPE.intermediate),
            audited: Vec::with_capacity(AUDITED_ROWS),
            sample: Vec::with_capacity(AUDITED_ROWS),
            computed: vec![0; layers],
            missed: 0.0,
            tokens: Vec::new(),
        })
    }

    fn layer(&mut self, layer: usize, mass: &[f32], counts: bool) -> Result<()> {
        self.policy.select(layer, mass, &mut self.active)?;
        let kept: f64 = self.active.iter().map(|&row| f64::from(mass[row as usize])).sum();
        let mut audit = None;
        self.audited.clear();
        if self.policy.needs_audit() {
            self.auditor.pick(&self.active, &mut self.audited)?;
            self.sample.clear();
            self.sample.extend(self.audited.iter().map(|&row| mass[row as usize]));
            audit = Some(Audit::from_sample(kept, &self.sample, mass.len() - self.active.len())?);
        }
        self.policy.observe(layer, &Feedback { computed: self.active.len(), useful: None, audit })?;
        if counts {
            let rows = self.active.len() + self.audited.len();
            self.computed[layer] += rows as u64;
            if let Some(token) = self.tokens.last_mut() {
                *token += rows as f64;
            }
            let total: f64 = mass.iter().map(|&m| f64::from(m)).sum();
            if total > 0.0 {
                self.missed += (1.0 - kept / total).max(0.0);
            }
        }
        Ok(())
    }

    fn outcome(mut self, activations: &Activations, tokens: usize) -> PolicyOutcome {
        let neurons = SHAPE.intermediate as f64;
        let densities = self.computed.iter().map(|&rows| rows as f64 / (tokens as f64 * neurons)).collect();
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
            missed_mass: Some(Sourced::new(self.missed / (tokens * self.computed.len()) as f64, origin)),
            needs_predictor: self.spec != PolicySpec::Dense,
        }
    }
}

/// Outcomes for every model of a scenario, and notes on what could not be said of some.
///
/// # Errors
/// A policy cannot be built.
pub fn outcomes(
    models: &[&'static str],
    specs: &[PolicySpec],
    tokens: usize,
    step: impl Fn() + Sync,
) -> Result<(Vec<PolicyOutcome>, Vec<String>)> {
    let (mut all, mut notes) = (Vec::new(), BTreeMap::new());
    for &model in models {
        match SparsityTable::for_model(model)? {
            Some(table) => {
                let chosen = selecting(specs);
                if chosen.len() < specs.len() {
                    notes.insert(
                        format!("{model}: a fixed threshold of 0 keeps every neuron of a SwiGLU model and is left out"),
                        (),
                    );
                }
                all.extend(Activations::from_table(model, &table)?.run(&chosen, tokens, &step)?);
            }
            None => {
                let (stated, skipped) = stated_outcomes(model, specs);
                all.extend(stated);
                if !skipped.is_empty() {
                    let list = skipped.join(", ");
                    notes.insert(
                        format!("{model}: no per-layer activations are published, so nothing is said of {list}"),
                        (),
                    );
                }
            }
        }
    }
    Ok((all, notes.into_keys().collect()))
}

/// Magnitudes are never below zero, so that threshold would be `dense` under another name.
fn selecting(specs: &[PolicySpec]) -> Vec<PolicySpec> {
    let keeps_all = |spec: &PolicySpec| matches!(spec, PolicySpec::Fixed(Some(threshold)) if threshold.get() <= 0.0);
    specs.iter().copied().filter(|spec| !keeps_all(spec)).collect()
}

/// For a model without published activations: policies whose density is known without them.
fn stated_outcomes(model: &'static str, specs: &[PolicySpec]) -> (Vec<PolicyOutcome>, Vec<String>) {
    let (mut known, mut skipped) = (Vec::new(), Vec::new());
    for &spec in specs {
        let published = published_density(model);
        let (density, missed_mass) = match spec {
            PolicySpec::Dense => (Sourced::new(1.0, Origin::derived("dense computes everything")), Some(0.0)),
            // ReLU's own zeros: what is skipped has no mass, as far as the predictor is right.
            PolicySpec::Fixed(Some(threshold)) if threshold.get() == 0.0 && published.is_some() => {
                let Some(density) = published else { continue };
                (
                    Sourced::new(
                        density.value,
                        Origin::assumed(format!("the same in every layer; mean {}", density.origin)),
                    ),
                    Some(0.0),
                )
            }
            _ => {
                skipped.push(spec.to_string());
                continue;
            }
        };
        let exact = |value| {
            Sourced::new(
                value,
                Origin::assumed("neurons that are exactly zero are the ones skipped: a perfect predictor"),
            )
        };
        known.push(PolicyOutcome {
            model,
            policy: spec.to_string(),
            densities: Sourced::new(vec![density.value; SHAPE.layers], density.origin),
            density_p95: None,
            missed_mass: missed_mass.map(exact),
            needs_predictor: spec != PolicySpec::Dense,
        });
    }
    (known, skipped)
}
