//! Policies against each other on the same tokens: recorded traces of a model, or a synthetic stream of a 70B.
//!
//! ```text
//!   trace   prompts  |calibrate ...|compare ..............................|    every policy starts from the first quarter
//!   stream  other prompts of the same law calibrate
//! ```
//! [`threshold::comparison`] sets the policies and runs them; this is what it runs them on, and what is made of it.

use std::{
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

use cost_model::{
    estimate::Interval,
    policies::{Equal, GoalStudy, PolicyFigures, PolicyStudy},
};
use kernels_cpu::Cpu;
use threshold::{
    Calibration, CalibrationBuilder, Shape,
    comparison::{self, Figures, Goal, Kind, Outcome, Source, bootstrap, compare},
};

use crate::{
    Failure, Result,
    decode::{Traced, down_norms, gate_scores, predictors},
    model::Model,
};

/// One prompt in so many calibrates.
const CALIBRATING: usize = 4;
const RESAMPLES: usize = 1000;
const SEED: u64 = 17;

/// Where the scores of a trace come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scores {
    /// The gates, as they are under `ReLU`, their activation's magnitude under `SiLU`
    Gate,
    /// The output masses themselves: a perfect predictor
    Exact,
    /// The predictors of the model's file
    Predictor,
}

impl Scores {
    fn name(self) -> &'static str {
        match self {
            Self::Gate => "gates",
            Self::Exact => "exact masses",
            Self::Predictor => "trained predictors",
        }
    }
}

/// What a model's layers saw, as output masses and scores, token after token.
pub struct Recording {
    shape: Shape,
    /// Tokens of each prompt.
    prompts: Vec<usize>,
    /// |h| · ‖down‖ of each neuron, layer and token.
    masses: Vec<f32>,
    /// `None` where they are the masses.
    scores: Option<Vec<f32>>,
    silent_cost: f64,
}

impl Recording {
    /// Of a trace of `model`, whose down is stored by neuron.
    ///
    /// # Errors
    /// A trace of another model, or of too few prompts; predictors that the model does not have.
    pub fn of(model: &Model<'_>, cpu: &Cpu, traced: &Traced<'_>, scores: Scores) -> Result<Self> {
        let config = &model.config;
        let (layers, neurons) = (config.layers, config.intermediate);
        let mut predictors = predictors(model)?;
        if scores == Scores::Predictor && predictors.len() != layers {
            return Err(Failure::input(
                "this model's file has no predictors: `thresher train-predictor` writes one that has",
            ));
        }
        let prompts: Vec<usize> = traced.prompts().iter().map(ExactSizeIterator::len).collect();
        if prompts.len() < 2 * CALIBRATING {
            return Err(Failure::input(format!(
                "a trace of {} prompts: wanted at least {}, some of which calibrate; trace more tasks",
                prompts.len(),
                2 * CALIBRATING
            )));
        }
        let norms = down_norms(model, cpu)?;
        let values = prompts.iter().sum::<usize>() * layers * neurons;
        let mut recording = Self {
            shape: Shape::new(layers, neurons)?,
            prompts,
            masses: vec![0.0; values],
            scores: (scores != Scores::Exact).then(|| vec![0.0; values]),
            // Gates that score are there already; elsewhere the gate has the last word and is one of three rows.
            silent_cost: if scores == Scores::Gate { 0.0 } else { 1.0 / 3.0 },
        };
        for (layer, norms) in norms.iter().enumerate() {
            let place = |token: usize| (token * layers + layer) * neurons..(token * layers + layer + 1) * neurons;
            let (gate, up) = (traced.layer(layer, "gate", neurons)?, traced.layer(layer, "up", neurons)?);
            for (token, (gate, up)) in gate.chunks_exact(neurons).zip(up.chunks_exact(neurons)).enumerate() {
                let masses = &mut recording.masses[place(token)];
                for (((mass, &gate), up), norm) in masses.iter_mut().zip(gate).zip(up).zip(norms) {
                    *mass = (config.activation.apply(gate) * up).abs() * norm;
                }
                if let (Scores::Gate, Some(scores)) = (scores, &mut recording.scores) {
                    gate_scores(cpu, config.activation, gate, &mut scores[place(token)]);
                }
            }
            if let (Scores::Predictor, Some(scores)) = (scores, &mut recording.scores) {
                let residual = traced.layer(layer, "residual", config.hidden)?;
                for (token, x) in residual.chunks_exact(config.hidden).enumerate() {
                    predictors[layer].scores(cpu, x, &mut scores[place(token)])?;
                }
            }
        }
        Ok(recording)
    }

    fn scores(&self) -> &[f32] {
        self.scores.as_deref().unwrap_or(&self.masses)
    }

    /// Statistics of the first prompts, and the others as a source.
    fn split(&self) -> Result<(Calibration, Replay<'_>)> {
        let (calibrating, compared) = self.prompts.split_at(self.prompts.len() / CALIBRATING);
        let neurons = self.shape.neurons();
        let start = calibrating.iter().sum::<usize>() * self.shape.layers() * neurons;
        let mut builder = CalibrationBuilder::new(self.shape);
        let rows = self.scores()[..start].chunks_exact(neurons).zip(self.masses[..start].chunks_exact(neurons));
        for (row, (scores, masses)) in rows.enumerate() {
            builder.add(row % self.shape.layers(), scores, masses)?;
        }
        let (scores, masses) = (&self.scores()[start..], &self.masses[start..]);
        Ok((
            builder.finish(),
            Replay { shape: self.shape, prompts: compared, scores, masses, silent_cost: self.silent_cost, at: 0 },
        ))
    }
}

/// A part of a recording, from its beginning at every pass.
#[derive(Clone)]
struct Replay<'r> {
    shape: Shape,
    prompts: &'r [usize],
    scores: &'r [f32],
    masses: &'r [f32],
    silent_cost: f64,
    at: usize,
}

impl Source for Replay<'_> {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn prompts(&self) -> Vec<usize> {
        self.prompts.to_vec()
    }

    fn silent_cost(&self) -> f64 {
        self.silent_cost
    }

    fn restart(&mut self) -> std::result::Result<(), threshold::Error> {
        self.at = 0;
        Ok(())
    }

    fn next(
        &mut self,
        _layer: usize,
        scores: &mut [f32],
        masses: &mut [f32],
    ) -> std::result::Result<(), threshold::Error> {
        let row = self.at..self.at + self.shape.neurons();
        scores.copy_from_slice(&self.scores[row.clone()]);
        masses.copy_from_slice(&self.masses[row.clone()]);
        self.at = row.end;
        Ok(())
    }
}

/// What to compare.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Kinds of policies.
    pub kinds: Vec<Kind>,
    /// The one of them that differences are against.
    pub reference: Kind,
    /// What they are set to, one after another.
    pub goals: Vec<Goal>,
    /// Threads to run on.
    pub threads: usize,
}

/// All policies on a recording, after its calibrating prompts.
///
/// # Errors
/// None that [`Recording::of`] did not give.
pub fn of_recording(
    recording: &Recording,
    name: &str,
    scores: Scores,
    plan: &Plan,
    step: impl Fn() + Sync,
) -> Result<PolicyStudy> {
    let (calibration, replay) = recording.split()?;
    study(&replay, &calibration, (name, scores.name()), plan, step)
}

/// All policies on a synthetic stream.
///
/// # Errors
/// None that making the stream did not give.
pub fn of_stream(
    stream: &comparison::Synthetic,
    name: &str,
    scores: &str,
    plan: &Plan,
    step: impl Fn() + Sync,
) -> Result<PolicyStudy> {
    study(stream, &stream.calibration()?, (name, scores), plan, step)
}

fn study(
    source: &(impl Source + Clone + Sync),
    calibration: &Calibration,
    (name, scores): (&str, &str),
    plan: &Plan,
    step: impl Fn() + Sync,
) -> Result<PolicyStudy> {
    let reference = plan.kinds.iter().position(|&kind| kind == plan.reference).unwrap_or(0);
    let mut goals = Vec::new();
    for &goal in &plan.goals {
        let outcomes = outcomes(source, calibration, goal, plan, &step)?;
        let intervals = bootstrap(&outcomes, reference, RESAMPLES, SEED);
        let figures = plan.kinds.iter().zip(&outcomes).zip(intervals).enumerate();
        let base = outcomes.get(reference).map(Outcome::figures).unwrap_or_default();
        let policies = figures.map(|(index, ((kind, outcome), (own, less)))| {
            let figures = outcome.figures();
            let Figures { density, audited, jitter, miss, worst_layer, p99_token } = figures;
            let less = [
                of(miss - base.miss, less.miss),
                of(worst_layer - base.worst_layer, less.worst_layer),
                of(p99_token - base.p99_token, less.p99_token),
            ];
            PolicyFigures {
                kind: kind.to_string(),
                policy: outcome.spec().map(|spec| spec.to_string()).unwrap_or_default(),
                closed_loop: kind.is_closed_loop(),
                density,
                density_p95_over_mean: jitter,
                audit_density: audited,
                miss: of(miss, own.miss),
                worst_layer: of(worst_layer, own.worst_layer),
                p99_token: of(p99_token, own.p99_token),
                less_reference: (index != reference).then_some(less),
                selection_seconds: outcome.selection_time().as_secs_f64(),
            }
        });
        let (equal, value) = match goal {
            Goal::Density(density) => (Equal::Density, density),
            Goal::Miss(miss) => (Equal::Miss, miss),
        };
        goals.push(GoalStudy { equal, value, policies: policies.collect() });
    }
    Ok(PolicyStudy {
        source: name.to_owned(),
        scores: scores.to_owned(),
        prompts: source.prompts().len(),
        tokens: source.prompts().iter().sum(),
        layers: source.shape().layers(),
        neurons: source.shape().neurons(),
        reference: plan.reference.to_string(),
        goals,
    })
}

fn of(median: f64, interval: comparison::Interval) -> Interval {
    Interval { median, low: interval.low, high: interval.high }
}

/// What each kind did at a goal, in the order of the kinds, each thread taking every so manyth of them.
fn outcomes(
    source: &(impl Source + Clone + Sync),
    calibration: &Calibration,
    goal: Goal,
    plan: &Plan,
    step: &(impl Fn() + Sync),
) -> Result<Vec<Outcome>> {
    let begin = Instant::now();
    let clock = || -> Duration { begin.elapsed() };
    let threads = plan.threads.clamp(1, plan.kinds.len().max(1));
    let share = |thread: usize| {
        let kinds: Vec<Kind> = plan.kinds.iter().copied().skip(thread).step_by(threads).collect();
        let outcomes = compare(&mut source.clone(), &kinds, goal, calibration, &clock, &mut || ());
        step();
        outcomes
    };
    let mut shares = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        workers
            .into_iter()
            .map(|worker| Ok(join(worker)?.into_iter()))
            .collect::<std::result::Result<Vec<_>, threshold::Error>>()
    })?;
    Ok((0..plan.kinds.len()).filter_map(|index| shares[index % threads].next()).collect())
}
