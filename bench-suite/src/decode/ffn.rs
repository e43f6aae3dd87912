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
//!
//! Skipped neurons are looked at for two reasons, each with rows of its own. A policy that learns from audits pays for
//! them: their rows are in its density and in its time. What every policy missed is measured besides, alike for all and at
//! nobody's cost.

use std::time::{Duration, Instant};

use kernels_cpu::{Activation, Cpu, Ffn, Gating, Matrix};
use predictor::LowRank;
use threshold::{Audit, Auditor, Feedback, Inputs, Picked, Policy, PolicySpec, Schedule, Shape};

use crate::{
    Failure, Result,
    model::{Config, Down, Layer, Model},
    share::share,
};

use super::clock::{Clock, Part};

/// Skipped neurons, per layer and token, that show what a policy missed.
const MEASURED_ROWS: usize = 16;
const MEASURING_SEED: u64 = 13;
/// Other rows than those that measure.
const AUDIT_SEED: u64 = 14;
/// Down rows that a thread takes at a time for their norms.
const NORMS_AT_ONCE: usize = 64;
/// Gates that a thread takes at a time for their scores: some microseconds of SiLU's exponentials.
const SCORES_AT_ONCE: usize = 1024;

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
    /// Skipped neurons whose rows were read after all, because the policy learns from them.
    pub audited: u64,
    /// Share of the output mass that was skipped, summed over `measured`.
    missed: f64,
    /// Tokens whose miss is known.
    measured: u64,
}

impl LayerStatistics {
    /// The layer's tokens and those of `other` together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            active: self.active + other.active,
            fired: self.fired + other.fired,
            audited: self.audited + other.audited,
            missed: self.missed + other.missed,
            measured: self.measured + other.measured,
        }
    }

    /// Share of `neurons` that was let through or audited: what the policy computed.
    pub fn density(&self, neurons: usize) -> f64 {
        self.share(self.active + self.audited, neurons)
    }

    /// Share of `neurons` whose up and down rows were read; an audited one counts whole, though its down row is not.
    pub fn fired_density(&self, neurons: usize) -> f64 {
        self.share(self.fired + self.audited, neurons)
    }

    /// Share of `neurons` that was audited: part of both densities.
    pub fn audit_density(&self, neurons: usize) -> f64 {
        self.share(self.audited, neurons)
    }

    fn share(&self, rows: u64, neurons: usize) -> f64 {
        rows as f64 / (self.tokens as f64 * neurons as f64)
    }

    /// Share of the output mass `sum |h| ‖down‖` that was skipped, on average over tokens; an estimate from
    /// a few skipped neurons a token. `None` where no token had any mass.
    pub fn miss(&self) -> Option<f64> {
        (self.measured > 0).then(|| self.missed / self.measured as f64)
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
    /// When the policy's own audits are; none where it learns from none.
    schedule: Option<Schedule>,
    auditor: Auditor,
    /// `None` where nobody asks what was missed.
    measuring: Option<Auditor>,
    active: Vec<u32>,
    /// Active neurons that fire, and their `act(gate) · up`.
    fired: Vec<u32>,
    h: Vec<f32>,
    up: Vec<f32>,
    /// Gates of the active neurons, or of all where they score.
    gate: Vec<f32>,
    scores: Vec<f32>,
    picked: Picked,
    sample: Vec<f32>,
    /// Time of measuring what was missed.
    aside: Duration,
}

/// What one layer did of one token.
#[derive(Debug, Clone, Copy)]
struct Done {
    active: usize,
    fired: usize,
    audited: usize,
    /// As far as is known.
    miss: Option<f64>,
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

    /// Time spent on measuring what was missed, since the start.
    pub(crate) fn aside(&self) -> Duration {
        self.sparse.as_ref().map_or(Duration::ZERO, |sparse| sparse.aside)
    }

    /// Stops measuring what is missed. Audits that the policy learns from stay.
    pub(crate) fn leave_misses_unknown(&mut self) {
        if let Some(sparse) = &mut self.sparse {
            sparse.measuring = None;
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
        let Done { active, fired, audited, miss } = match &mut self.sparse {
            Some(sparse) => sparse.run(step, clock, y)?,
            None => {
                dense(step, &mut self.h, y)?;
                clock.lap(Part::Ffn);
                Done { active: neurons, fired: neurons, audited: 0, miss: Some(0.0) }
            }
        };
        let statistics = &mut self.statistics[layer];
        statistics.tokens += 1;
        statistics.active += active as u64;
        statistics.fired += fired as u64;
        statistics.audited += audited as u64;
        statistics.missed += miss.unwrap_or(0.0);
        statistics.measured += u64::from(miss.is_some());
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
fn gate_score(activation: Activation, gate: f32) -> f32 {
    match activation {
        Activation::Relu => gate,
        Activation::Silu => activation.apply(gate).abs(),
    }
}

/// Scores of many gates, by all threads where they take exponentials.
pub(crate) fn gate_scores(cpu: &Cpu, activation: Activation, gates: &[f32], scores: &mut [f32]) {
    if activation == Activation::Relu {
        return scores.copy_from_slice(gates);
    }
    let parts = scores.chunks_mut(SCORES_AT_ONCE).zip(gates.chunks(SCORES_AT_ONCE));
    cpu.each(2 * size_of_val(gates), parts, |(scores, gates)| {
        scores.iter_mut().zip(gates).for_each(|(score, &gate)| *score = gate_score(activation, gate));
    });
}

/// The activation of a gate, from what [`gate_score`] made of it.
fn activation_of_scored(activation: Activation, gate: f32, score: f32) -> f32 {
    match activation {
        Activation::Relu => activation.apply(gate),
        Activation::Silu => score.copysign(gate),
    }
}

impl<'m> Sparse<'m> {
    fn new(model: &'m Model<'m>, cpu: &Cpu, policy: &PolicySpec, inputs: &Inputs<'_>) -> Result<Self> {
        let neurons = model.config.intermediate;
        let room = || Vec::with_capacity(neurons);
        let shape = Shape::new(model.config.layers, neurons)?;
        let built = policy.build(shape, inputs)?;
        if built.needs_truth() {
            return Err(Failure::input(format!("{policy} selects by true masses, which only a simulation knows")));
        }
        let schedule = Schedule::new(shape);
        let measured = MEASURED_ROWS.min(neurons);
        Ok(Self {
            auditor: Auditor::new(AUDIT_SEED, schedule.rows(), neurons)?,
            schedule: built.needs_audit().then_some(schedule),
            policy: built,
            predictors: predictors(model)?,
            down_norms: down_norms(model, cpu)?,
            measuring: Some(Auditor::new(MEASURING_SEED, measured, neurons)?),
            active: Vec::with_capacity(neurons),
            fired: Vec::with_capacity(neurons),
            h: room(),
            up: room(),
            gate: room(),
            scores: vec![0.0; neurons],
            picked: Picked::with_capacity(measured),
            sample: Vec::with_capacity(measured),
            aside: Duration::ZERO,
        })
    }

    fn run(&mut self, step: Step<'_>, clock: &mut Clock, y: &mut [f32]) -> Result<Done> {
        self.select(step, clock)?;
        self.fire(step)?;
        let Step { cpu, layer, weights, activation, .. } = step;
        y.fill(0.0);
        cpu.down(&by_neuron(weights)?, &self.h, &self.fired, y)?;
        clock.lap(Part::Ffn);

        let is_due = self.schedule.as_mut().is_some_and(|schedule| schedule.is_due(layer));
        let audit = is_due.then(|| self.audit(step)).transpose()?;
        let audited = if is_due { self.picked.rows().len() } else { 0 };
        let (active, fired) = (self.active.len(), self.fired.len());
        let useful = (activation == Activation::Relu).then_some(fired);
        self.policy.observe(layer, &Feedback { computed: active, useful, audit })?;
        clock.lap(Part::Selection);

        let start = Instant::now();
        let miss = self.measure(step)?;
        self.aside += start.elapsed();
        clock.start();
        Ok(Done { active, fired, audited, miss })
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
            gate_scores(cpu, activation, &self.gate, &mut self.scores);
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
            let a = if by_gate {
                let neuron = neuron as usize;
                activation_of_scored(activation, self.gate[neuron], self.scores[neuron])
            } else {
                activation.apply(self.gate[position])
            };
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

    /// What the policy learns from.
    fn audit(&mut self, step: Step<'_>) -> Result<Audit> {
        self.auditor.pick(&self.scores, &self.active, &mut self.picked)?;
        self.look(step)
    }

    /// The share of mass that was missed, where somebody asks.
    fn measure(&mut self, step: Step<'_>) -> Result<Option<f64>> {
        let Some(measuring) = &mut self.measuring else { return Ok(None) };
        measuring.pick(&self.scores, &self.active, &mut self.picked)?;
        Ok(self.look(step)?.miss())
    }

    /// Computes the picked rows.
    fn look(&mut self, Step { cpu, layer, weights, activation, input }: Step<'_>) -> Result<Audit> {
        let norms = &self.down_norms[layer];
        let mass = |h: f32, neuron: u32| h.abs() * norms[neuron as usize];
        let kept = self.h.iter().zip(&self.fired).map(|(&h, &neuron)| f64::from(mass(h, neuron))).sum();
        let rows = self.picked.rows();
        self.sample.resize(rows.len(), 0.0);
        cpu.gate_up(&weights.gate, &weights.up, activation, input.x, rows, &mut self.sample)?;
        self.sample.iter_mut().zip(rows).for_each(|(h, &neuron)| *h = mass(*h, neuron));
        Ok(Audit::from_sample(kept, &self.picked, &self.sample)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kernels_cpu::synthetic::Random;
    use proptest::prelude::*;
    use threshold::{Calibration, CalibrationBuilder};

    use super::*;
    use crate::{
        gguf::Gguf,
        model::synthetic::{Predictor, SyntheticModel},
    };

    const LAYERS: usize = 3;

    /// Rows that were read of a layer: selected, audited; and in how many audits.
    #[derive(Debug, Clone, Copy, Default, PartialEq)]
    struct Read {
        selected: u64,
        audited: u64,
        audits: u64,
    }

    /// Passes everything on to a policy, and counts for itself: it picks audited rows again, from the same seed.
    #[derive(Debug)]
    struct Witness {
        policy: Box<dyn Policy>,
        auditor: Auditor,
        scores: Vec<f32>,
        active: Vec<u32>,
        read: Arc<Mutex<[Read; LAYERS]>>,
    }

    impl Policy for Witness {
        fn shape(&self) -> Shape {
            self.policy.shape()
        }

        fn select(
            &mut self,
            layer: usize,
            scores: &[f32],
            active: &mut Vec<u32>,
        ) -> std::result::Result<(), threshold::Error> {
            self.policy.select(layer, scores, active)?;
            (self.scores, self.active) = (scores.to_vec(), active.clone());
            self.read.lock().unwrap()[layer].selected += active.len() as u64;
            Ok(())
        }

        fn observe(&mut self, layer: usize, feedback: &Feedback) -> std::result::Result<(), threshold::Error> {
            if feedback.audit.is_some() {
                let mut picked = Picked::default();
                self.auditor.pick(&self.scores, &self.active, &mut picked)?;
                let read = &mut self.read.lock().unwrap()[layer];
                read.audited += picked.rows().len() as u64;
                read.audits += 1;
            }
            self.policy.observe(layer, feedback)
        }

        fn threshold(&self, layer: usize) -> Option<f32> {
            self.policy.threshold(layer)
        }

        fn needs_audit(&self) -> bool {
            self.policy.needs_audit()
        }
    }

    fn calibration(random: &mut Random, neurons: usize) -> Calibration {
        let mut builder = CalibrationBuilder::new(Shape::new(LAYERS, neurons).unwrap());
        for layer in 0..LAYERS {
            let scores = random.vector(neurons);
            // None of them 0: of a layer of one neuron that would be all there is to know.
            let masses: Vec<f32> = scores.iter().map(|score| score.abs() + 0.1).collect();
            builder.add(layer, &scores, &masses).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn a_score_and_its_gate_tell_the_activation() {
        let mut gates = Random::new(3).vector(3 * SCORES_AT_ONCE + 7);
        gates.iter_mut().for_each(|gate| *gate *= 100.0);
        gates.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MIN_POSITIVE, -1e-45]);
        for (activation, threads) in [(Activation::Relu, 1), (Activation::Silu, 1), (Activation::Silu, 3)] {
            let mut scores = vec![f32::NAN; gates.len()];
            gate_scores(&Cpu::with_threads(threads).unwrap(), activation, &gates, &mut scores);
            for (&gate, score) in gates.iter().zip(scores) {
                assert_eq!(score.to_bits(), gate_score(activation, gate).to_bits());
                let (known, told) = (activation.apply(gate), activation_of_scored(activation, gate, score));
                assert!(
                    known.to_bits() == told.to_bits() || known.is_nan() && told.is_nan(),
                    "{gate}: {known}, {told}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// Density is rows read over rows, audits included; a policy that learns from none has none in it, and whether
        /// anybody measures misses changes neither what is selected nor what is counted.
        #[test]
        fn a_density_holds_every_row_that_was_read(
            policy in prop::sample::select(vec![
                "dynamic:miss=0.30", "dynamic:miss=0.10,level=rank", "dynamic:miss=0.20,allocation=squares",
                "budget:density=0.20", "top-k:density=0.10", "per-layer:density=0.10", "fixed:0.0",
            ]),
            predicts: bool,
            neurons in prop::sample::select(vec![1usize, 32, 96, 320]),
            tokens in 1usize..60,
            measures: bool,
            seed: u64,
        ) {
            let predictor = if predicts { Predictor::Random(8) } else { Predictor::None };
            let spec =
                SyntheticModel { layers: LAYERS, hidden: 32, intermediate: neurons, predictor, seed, ..SyntheticModel::default() };
            let bytes = spec.bytes().unwrap();
            let file = Gguf::parse(&bytes).unwrap();
            let mut model = Model::load(&file).unwrap();
            let cpu = Cpu::with_threads(1).unwrap();
            model.store_down_by_neuron(&cpu).unwrap();
            let mut random = Random::new(seed);
            let calibration = calibration(&mut random, neurons);
            let inputs = Inputs { calibration: Some(&calibration), ..Inputs::default() };
            let policy: PolicySpec = policy.parse().unwrap();
            let mut ffns = Ffns::new(&model, &cpu, &policy, &inputs).unwrap();
            if !measures {
                ffns.leave_misses_unknown();
            }
            let schedule = Schedule::new(Shape::new(LAYERS, neurons).unwrap());
            let read = Arc::new(Mutex::new([Read::default(); LAYERS]));
            let sparse = ffns.sparse.as_mut().unwrap();
            let needs_audit = sparse.policy.needs_audit();
            sparse.policy = Box::new(Witness {
                policy: policy.build(Shape::new(LAYERS, neurons).unwrap(), &inputs).unwrap(),
                auditor: Auditor::new(AUDIT_SEED, schedule.rows(), neurons).unwrap(),
                scores: Vec::new(),
                active: Vec::new(),
                read: Arc::clone(&read),
            });
            let all: Vec<u32> = (0..neurons.max(spec.hidden) as u32).collect();
            let mut y = vec![0.0; spec.hidden];
            for _ in 0..tokens {
                let (residual, x) = (random.vector(spec.hidden), random.vector(spec.hidden));
                let input = FfnInput { residual: &residual, x: &x, all: &all };
                for layer in 0..LAYERS {
                    ffns.run(&cpu, layer, input, &mut Clock::new(), &mut y).unwrap();
                }
            }
            for (seen, read) in ffns.statistics.iter().zip(*read.lock().unwrap()) {
                let rows = (tokens * neurons) as f64;
                prop_assert_eq!(seen.density(neurons), (read.selected + read.audited) as f64 / rows);
                prop_assert_eq!(seen.fired_density(neurons), (seen.fired + read.audited) as f64 / rows);
                prop_assert_eq!(seen.audit_density(neurons), read.audited as f64 / rows);
                prop_assert!(seen.fired <= read.selected);
                let turns = if needs_audit { tokens as f64 / schedule.period() as f64 } else { 0.0 };
                prop_assert!((read.audits as f64 - turns).abs() < 1.0, "{} audits, {turns} turns", read.audits);
                prop_assert!(measures || seen.miss().is_none());
            }
        }
    }
}
