//! The FFN of a layer: dense, or only those neurons that a policy lets through.
//!
//! ```text
//!   dense            gate, up of all ─▶ down
//!   by predictor     residual ─▶ fc1, fc2 ─▶ scores ─▶ policy ─▶ gate of the active ─▶ up, down of those that fire
//!                                              under SiLU, where all that is active fires: ─▶ gate, up ─▶ down
//!   by gate          gate of all ─▶ scores ─▶ policy ─▶ up, down of those that fire
//! ```
//! Without a predictor the gate itself is the score, and never wrong: a policy then saves up and down but no gate. Under
//! ReLU the score is the gate as it is, so `fixed:0.0` loses nothing; under SiLU it is the activation's magnitude, as
//! in CATS (Lee et al. 2024). Of the active neurons, those that ReLU silences are dropped before up.

use std::time::{Duration, Instant};

use kernels_cpu::{Activation, Cpu, Ffn, Gating, Matrix};
use predictor::LowRank;
use threshold::{Audit, Auditor, Feedback, Inputs, Picked, Policy, PolicySpec, Shape};

use crate::{
    Failure, Result,
    model::{Config, Down, Layer, Model},
    share::share,
};

use super::clock::{Clock, Part};

/// Skipped neurons that are computed after all, per layer and token, to see what was missed.
const AUDITED_ROWS: usize = 16;
const AUDIT_SEED: u64 = 13;
/// Down rows that a thread takes at a time for their norms.
const NORMS_AT_ONCE: usize = 64;

/// Where scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scorer {
    /// The file's predictors.
    Predictor,
    /// The gates, computed whole.
    Gate,
}

impl Scorer {
    /// Predictors where the model has them.
    pub fn of(model: &Model<'_>) -> Self {
        if model.has_predictors() { Self::Predictor } else { Self::Gate }
    }
}

/// What a layer did over all tokens since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LayerStatistics {
    /// Tokens.
    pub tokens: u64,
    /// Neurons that the policy let through, summed over tokens.
    pub active: u64,
    /// Of these, neurons that fired. All of them under SiLU.
    pub fired: u64,
    /// Audited share of the output mass that was skipped, summed over `audits`.
    missed: f64,
    /// Tokens whose miss is known.
    audits: u64,
}

impl LayerStatistics {
    /// The layer's tokens and those of `other` together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            active: self.active + other.active,
            fired: self.fired + other.fired,
            missed: self.missed + other.missed,
            audits: self.audits + other.audits,
        }
    }

    /// Share of `neurons` that was let through.
    pub fn density(&self, neurons: usize) -> f64 {
        self.active as f64 / (self.tokens as f64 * neurons as f64)
    }

    /// Share of `neurons` whose up and down rows were read.
    pub fn fired_density(&self, neurons: usize) -> f64 {
        self.fired as f64 / (self.tokens as f64 * neurons as f64)
    }

    /// Share of the output mass `sum |h| ‖down‖` that was skipped, on average over tokens; an estimate from
    /// a few skipped neurons a token. `None` where no token had any mass.
    pub fn miss(&self) -> Option<f64> {
        (self.audits > 0).then(|| self.missed / self.audits as f64)
    }
}

/// FFNs of a model under one policy.
#[derive(Debug)]
pub(crate) struct Ffns<'m> {
    model: &'m Model<'m>,
    /// None where everything is computed.
    sparse: Option<Sparse<'m>>,
    /// Of a dense FFN whose down is stored by output.
    h: Vec<f32>,
    pub(crate) statistics: Vec<LayerStatistics>,
}

#[derive(Debug)]
struct Sparse<'m> {
    policy: Box<dyn Policy>,
    /// One a layer; none where gates score.
    predictors: Vec<LowRank<'m>>,
    down_norms: Vec<Vec<f32>>,
    auditor: Auditor,
    active: Vec<u32>,
    /// Active neurons that fire, and their `act(gate) · up`.
    fired: Vec<u32>,
    h: Vec<f32>,
    up: Vec<f32>,
    /// Gates of the active neurons, or of all where they score.
    gate: Vec<f32>,
    scores: Vec<f32>,
    audited: Picked,
    sample: Vec<f32>,
    /// Whether skipped neurons are looked at even where the policy does not ask for it.
    always_audits: bool,
    /// Time of audits that the policy did not ask for.
    aside: Duration,
}

/// What an FFN starts from.
#[derive(Clone, Copy)]
pub(crate) struct FfnInput<'a> {
    /// The residual before the FFN's norm, which predictors read.
    pub(crate) residual: &'a [f32],
    /// The residual after it, which gate and up read.
    pub(crate) x: &'a [f32],
    /// Every neuron, and every output.
    pub(crate) all: &'a [u32],
}

/// A layer that is to run, and on what.
#[derive(Clone, Copy)]
struct Step<'a> {
    cpu: &'a Cpu,
    layer: usize,
    weights: &'a Layer<'a>,
    activation: Activation,
    input: FfnInput<'a>,
}

impl<'m> Ffns<'m> {
    pub(crate) fn new(model: &'m Model<'m>, cpu: &Cpu, policy: &PolicySpec, inputs: &Inputs<'_>) -> Result<Self> {
        let sparse = match policy {
            PolicySpec::Dense => None,
            policy => Some(Sparse::new(model, cpu, policy, inputs)?),
        };
        let statistics = vec![LayerStatistics::default(); model.config.layers];
        Ok(Self { model, sparse, h: vec![0.0; model.config.intermediate], statistics })
    }

    /// Time spent on audits that the policy did not ask for, since the start.
    pub(crate) fn aside(&self) -> Duration {
        self.sparse.as_ref().map_or(Duration::ZERO, |sparse| sparse.aside)
    }

    /// Leaves audits out that the policy did not ask for.
    pub(crate) fn leave_out_audits(&mut self) {
        if let Some(sparse) = &mut self.sparse {
            sparse.always_audits = false;
        }
    }

    /// `y` = the FFN of the input.
    pub(crate) fn run(
        &mut self,
        cpu: &Cpu,
        layer: usize,
        input: FfnInput<'_>,
        clock: &mut Clock,
        y: &mut [f32],
    ) -> Result<()> {
        let Config { activation, intermediate: neurons, .. } = self.model.config;
        let step = Step { cpu, layer, weights: &self.model.layers[layer], activation, input };
        let (active, fired, miss) = match &mut self.sparse {
            Some(sparse) => sparse.run(step, clock, y)?,
            None => {
                dense(step, &mut self.h, y)?;
                clock.lap(Part::Ffn);
                (neurons, neurons, Some(0.0))
            }
        };
        let statistics = &mut self.statistics[layer];
        statistics.tokens += 1;
        statistics.active += active as u64;
        statistics.fired += fired as u64;
        statistics.missed += miss.unwrap_or(0.0);
        statistics.audits += u64::from(miss.is_some());
        Ok(())
    }
}

fn dense(Step { cpu, weights, activation, input, .. }: Step<'_>, h: &mut [f32], y: &mut [f32]) -> Result<()> {
    let FfnInput { x, all, .. } = input;
    let neurons = &all[..h.len()];
    match &weights.down {
        Down::ByOutput(down) => {
            cpu.gate_up(&weights.gate, &weights.up, activation, x, neurons, h)?;
            cpu.gemv(down, h, &all[..down.rows()], y)?;
        }
        Down::ByNeuron(_) | Down::Copied(_) => {
            let down = by_neuron(weights)?;
            let ffn = Ffn::new(weights.gate, weights.up, down, activation, Gating::Together)?;
            cpu.ffn(&ffn, x, neurons, y)?;
        }
    }
    Ok(())
}

fn by_neuron<'w>(weights: &'w Layer<'_>) -> Result<Matrix<'w>> {
    weights.down.by_neuron().ok_or_else(|| {
        Failure::input("sparse policies need down neuron by neuron: call `store_down_by_neuron` after loading")
    })
}

/// Predictors of a model, one a layer; none where it has none.
pub(crate) fn predictors<'m>(model: &'m Model<'_>) -> Result<Vec<LowRank<'m>>> {
    let matrices = model.layers.iter().filter_map(|layer| layer.predictor);
    Ok(matrices.map(|[fc1, fc2]| LowRank::new(fc1, fc2)).collect::<std::result::Result<_, _>>()?)
}

/// Euclidean norm of each neuron's down row, layer by layer: one pass over all down weights.
pub(crate) fn down_norms(model: &Model<'_>, cpu: &Cpu) -> Result<Vec<Vec<f32>>> {
    let norms = |layer: &Layer<'_>| {
        let down = by_neuron(layer)?;
        let norm = |neuron: usize| {
            let row = down.format().decode_row(down.row(neuron).unwrap_or_default());
            row.iter().map(|v| v * v).sum::<f32>().sqrt()
        };
        let mut norms = vec![0.0; down.rows()];
        cpu.install(|| {
            share(norms.chunks_mut(NORMS_AT_ONCE).enumerate(), |(stretch, norms)| {
                (stretch * NORMS_AT_ONCE..).zip(norms).for_each(|(neuron, out)| *out = norm(neuron));
                Ok::<(), Failure>(())
            })
        })?;
        Ok(norms)
    };
    model.layers.iter().map(norms).collect()
}

/// Scores where gates give them: larger is likelier to matter.
pub(crate) fn gate_score(activation: Activation, gate: f32) -> f32 {
    match activation {
        Activation::Relu => gate,
        Activation::Silu => activation.apply(gate).abs(),
    }
}

impl<'m> Sparse<'m> {
    fn new(model: &'m Model<'m>, cpu: &Cpu, policy: &PolicySpec, inputs: &Inputs<'_>) -> Result<Self> {
        let neurons = model.config.intermediate;
        let room = || Vec::with_capacity(neurons);
        let built = policy.build(Shape::new(model.config.layers, neurons)?, inputs)?;
        if built.needs_truth() {
            return Err(Failure::input(format!("{policy} selects by true masses, which only a simulation knows")));
        }
        Ok(Self {
            policy: built,
            predictors: predictors(model)?,
            down_norms: down_norms(model, cpu)?,
            auditor: Auditor::new(AUDIT_SEED, AUDITED_ROWS.min(neurons), neurons)?,
            active: Vec::with_capacity(neurons),
            fired: Vec::with_capacity(neurons),
            h: room(),
            up: room(),
            gate: room(),
            scores: vec![0.0; neurons],
            audited: Picked::with_capacity(AUDITED_ROWS),
            sample: Vec::with_capacity(AUDITED_ROWS),
            always_audits: true,
            aside: Duration::ZERO,
        })
    }

    /// Returns how many neurons were let through, how many of them fired, and what was missed as far as is known.
    fn run(&mut self, step: Step<'_>, clock: &mut Clock, y: &mut [f32]) -> Result<(usize, usize, Option<f64>)> {
        self.select(step, clock)?;
        self.fire(step)?;
        let Step { cpu, layer, weights, activation, .. } = step;
        y.fill(0.0);
        cpu.down(&by_neuron(weights)?, &self.h, &self.fired, y)?;
        clock.lap(Part::Ffn);

        let start = Instant::now();
        let needs_audit = self.policy.needs_audit();
        let audit = (self.always_audits || needs_audit).then(|| self.audit(step)).transpose()?;
        if !needs_audit {
            self.aside += start.elapsed();
            clock.start();
        }
        let useful = (activation == Activation::Relu).then_some(self.fired.len());
        self.policy.observe(layer, &Feedback { computed: self.active.len(), useful, audit })?;
        clock.lap(Part::Selection);
        Ok((self.active.len(), self.fired.len(), audit.and_then(|audit| audit.miss())))
    }

    /// Sets `active`, and `gate` of all neurons where they are the scores.
    fn select(&mut self, step: Step<'_>, clock: &mut Clock) -> Result<()> {
        let Step { cpu, layer, weights, activation, input: FfnInput { residual, x, all } } = step;
        if let Some(predictor) = self.predictors.get_mut(layer) {
            predictor.scores(cpu, residual, &mut self.scores)?;
            clock.lap(Part::Predictor);
            self.policy.select(layer, &self.scores, &mut self.active)?;
        } else {
            self.gate.resize(self.scores.len(), 0.0);
            cpu.gemv(&weights.gate, x, &all[..self.scores.len()], &mut self.gate)?;
            clock.lap(Part::Ffn);
            self.scores.iter_mut().zip(&self.gate).for_each(|(score, &gate)| *score = gate_score(activation, gate));
            self.policy.select(layer, &self.scores, &mut self.active)?;
        }
        clock.lap(Part::Selection);
        Ok(())
    }

    /// Sets `fired`, and `h` of those that fire.
    fn fire(&mut self, Step { cpu, weights, activation, input, .. }: Step<'_>) -> Result<()> {
        let x = input.x;
        let by_gate = self.predictors.is_empty();
        if !by_gate && activation == Activation::Silu {
            self.fired.clone_from(&self.active);
            self.h.resize(self.fired.len(), 0.0);
            return Ok(cpu.gate_up(&weights.gate, &weights.up, activation, x, &self.fired, &mut self.h)?);
        }
        if !by_gate {
            self.gate.resize(self.active.len(), 0.0);
            cpu.gemv(&weights.gate, x, &self.active, &mut self.gate)?;
        }
        self.fired.clear();
        self.h.clear();
        for (position, &neuron) in self.active.iter().enumerate() {
            let gate = self.gate[if by_gate { neuron as usize } else { position }];
            let a = activation.apply(gate);
            // A NaN fires: it must not be lost.
            if activation == Activation::Silu || a != 0.0 {
                self.fired.push(neuron);
                self.h.push(a);
            }
        }
        self.up.resize(self.fired.len(), 0.0);
        cpu.gemv(&weights.up, x, &self.fired, &mut self.up)?;
        self.h.iter_mut().zip(&self.up).for_each(|(h, up)| *h *= up);
        Ok(())
    }

    fn audit(&mut self, Step { cpu, layer, weights, activation, input }: Step<'_>) -> Result<Audit> {
        let norms = &self.down_norms[layer];
        let mass = |h: f32, neuron: u32| h.abs() * norms[neuron as usize];
        let kept = self.h.iter().zip(&self.fired).map(|(&h, &neuron)| f64::from(mass(h, neuron))).sum();
        self.auditor.pick(&self.scores, &self.active, &mut self.audited)?;
        let rows = self.audited.rows();
        self.sample.resize(rows.len(), 0.0);
        cpu.gate_up(&weights.gate, &weights.up, activation, input.x, rows, &mut self.sample)?;
        self.sample.iter_mut().zip(rows).for_each(|(h, &neuron)| *h = mass(*h, neuron));
        Ok(Audit::from_sample(kept, &self.audited, &self.sample)?)
    }
}
