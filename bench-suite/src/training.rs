//! Predictors of a whole model from traces, and how they do on prompts that had no part in them.
//!
//! ```text
//!   prompts, shuffled by seed   |train ................|choose ....|report ....|
//!   each layer, a thread each    weights                epoch, rank, cut
//!   then                         one threshold for all layers, from `choose`; every figure shown, from `report`
//! ```
//! PowerInfer's files hold one threshold. Each layer was trained towards a cut of zero, so one serves all of them nearly as
//! well as one each.

use std::{
    ops::{ControlFlow, Range},
    time::{Duration, Instant},
};

use kernels_cpu::{Activation, Cpu, Format, Matrix, synthetic::Random};
use predictor::{Cut, Encoded, Epoch, FfnBytes, Fitted, Quality, Samples, SignBits, Training, fit, scores};
use serde::Serialize;

use crate::{
    Failure, Result,
    alone::each_alone,
    decode::{Traced, down_norms},
    model::Model,
};

/// What to train, and on how much.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of each layer; its rank counts only where `rank` does not.
    pub settings: Training,
    /// Rank of every layer; the one of the least bytes a token where there is none.
    pub rank: Option<usize>,
    /// Format of the weights.
    pub format: Format,
    /// Share of prompts that do not train: half of them choose, half report.
    pub holdout: f64,
    /// Predict from what the layer before read, so that a prediction can run beside that layer's FFN.
    pub ahead: bool,
    /// Layers that are trained at a time.
    pub threads: usize,
    /// Time after which what is best so far is taken, shared out between layers.
    pub time: Option<Duration>,
}

/// A prompt: which trace, and which of its tokens.
type Prompt = (usize, Range<usize>);

/// Prompts by what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Those that train.
    pub train: Vec<Prompt>,
    /// Those that choose epoch, rank and cut.
    pub choose: Vec<Prompt>,
    /// Those that every figure is from.
    pub report: Vec<Prompt>,
}

/// A kind of predictor on one layer, judged on the prompts that report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Which layer.
    pub layer: usize,
    /// `low-rank`, `sign-bits` or `gate-first`, the first two followed by gate first: the gate has the last word.
    pub kind: &'static str,
    /// Format of the predictor's weights.
    pub format: String,
    /// Rank of a low-rank one.
    pub rank: Option<usize>,
    /// Bytes of the predictor.
    pub predictor_bytes: usize,
    /// Scores at least this are computed.
    pub cut: f32,
    /// Share of neurons that fire.
    pub fires: f64,
    /// Share that is computed.
    pub density: f64,
    /// Share of those that fire that is computed.
    pub recall: f64,
    /// Share of those computed that fires.
    pub precision: f64,
    /// Share of the output mass in neurons that are not computed.
    pub missed_mass: f64,
    /// Bytes of weights a token, FFN included.
    pub bytes_a_token: f64,
    /// The same over those of the dense FFN.
    pub of_dense: f64,
}

/// Predictors of all layers, their threshold, and how they did.
#[derive(Debug)]
pub struct Predictors {
    /// Weights, layer by layer.
    pub encoded: Vec<Encoded>,
    /// Scores at least this are computed, in every layer.
    pub threshold: f32,
    /// How each kind of predictor did.
    pub rows: Vec<Row>,
    /// Tokens that trained, chose and reported.
    pub tokens: [usize; 3],
    /// Layers whose training was broken off.
    pub stopped: usize,
}

/// Order statistics that stand for a layer's scores when layers are put together.
const LEVELS: usize = 1024;

impl Split {
    /// Deals out the prompts of some traces.
    ///
    /// # Errors
    /// Not enough prompts for each part to have one.
    pub fn new(traces: &[Traced<'_>], holdout: f64, seed: u64) -> Result<Self> {
        if !(holdout > 0.0 && holdout < 1.0) {
            return Err(Failure::input(format!("--holdout is {holdout}, wanted a share in (0, 1)")));
        }
        let of_trace =
            |(trace, traced): (usize, &Traced<'_>)| traced.prompts().into_iter().map(move |range| (trace, range));
        let mut prompts: Vec<Prompt> = traces.iter().enumerate().flat_map(of_trace).collect();
        let mut random = Random::new(seed);
        for index in (1..prompts.len()).rev() {
            prompts.swap(index, random.below(index + 1));
        }
        let half = ((prompts.len() as f64 * holdout / 2.0).round() as usize).max(1);
        if prompts.len() < 2 * half + 1 {
            let given = prompts.len();
            let what = format!("{given} prompts do not make three parts, of which two hold out {holdout} of them");
            return Err(Failure::input(format!("{what}; trace more prompts: `thresher trace`")));
        }
        let report = prompts.split_off(prompts.len() - half);
        let choose = prompts.split_off(prompts.len() - half);
        Ok(Self { train: prompts, choose, report })
    }
}

/// A model with its traces.
struct Task<'a> {
    model: &'a Model<'a>,
    traces: &'a [Traced<'a>],
    norms: Vec<Vec<f32>>,
    split: Split,
    plan: &'a Plan,
}

/// What a part of the prompts holds of a layer, row after row.
struct Part {
    /// What the predictor reads.
    x: Vec<f32>,
    mass: Vec<f32>,
    /// The layer's own residual, where it is not `x`.
    own: Option<Vec<f32>>,
}

/// Trains a predictor for each layer of `model`, whose down is stored by neuron. `progress` hears of layer and epoch.
///
/// # Errors
/// Traces of another model; an activation that never silences a neuron; whatever training refuses.
pub fn train_predictors(
    model: &Model<'_>,
    traces: &[Traced<'_>],
    plan: &Plan,
    progress: impl Fn(usize, Epoch) + Sync,
) -> Result<Predictors> {
    if model.config.activation != Activation::Relu {
        return Err(Failure::input(
            "neurons of a SiLU model never fall silent: there is nothing to predict; use a ReLU model",
        ));
    }
    let split = Split::new(traces, plan.holdout, plan.settings.seed)?;
    let norms = down_norms(model, &Cpu::with_threads(plan.threads)?)?;
    let task = Task { model, traces, norms, split, plan };
    traces.iter().try_for_each(|traced| check_trace(model, traced))?;
    let layers = model.config.layers;
    let share = plan.time.map(|time| time.mul_f64((plan.threads.min(layers) as f64 / layers as f64).min(1.0)));
    let fitted = each_alone(layers, plan.threads, |layer, cpu| {
        let start = Instant::now();
        task.fit(layer, cpu, |epoch| {
            progress(layer, epoch);
            if share.is_some_and(|share| start.elapsed() > share) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    })?;
    let threshold =
        together(&fitted.iter().map(|(_, fired)| fired.as_slice()).collect::<Vec<_>>(), plan.settings.recall);
    let rows = each_alone(layers, plan.threads, |layer, cpu| task.judge(layer, cpu, &fitted[layer].0, threshold))?;
    let tokens = |prompts: &[Prompt]| prompts.iter().map(|(_, range)| range.len()).sum();
    Ok(Predictors {
        threshold,
        rows: rows.into_iter().flatten().collect(),
        tokens: [&task.split.train, &task.split.choose, &task.split.report].map(|prompts| tokens(prompts)),
        stopped: fitted.iter().filter(|(fitted, _)| fitted.stopped).count(),
        encoded: fitted.into_iter().map(|(fitted, _)| fitted.encoded).collect(),
    })
}

/// Holds the first gates of a trace against the model: those of another one would train well and predict nothing.
///
/// # Errors
/// They are of another model.
pub(crate) fn check_trace(model: &Model<'_>, traced: &Traced<'_>) -> Result<()> {
    let (config, layer) = (&model.config, &model.layers[0]);
    let residual = traced.layer(0, "residual", config.hidden)?;
    let gates = traced.layer(0, "gate", config.intermediate)?;
    let x: Vec<f64> = residual[..config.hidden].iter().map(|&v| v.into()).collect();
    let square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    let root = (square + f64::from(config.norm_epsilon)).sqrt();
    for (row, &gate) in gates.iter().enumerate().take(config.intermediate.min(8)) {
        let weights = layer.gate.format().decode_row(layer.gate.row(row).unwrap_or_default());
        let products =
            weights.iter().zip(&layer.ffn_norm).zip(&x).map(|((&w, &n), x)| f64::from(w) * f64::from(n) * x / root);
        let (sum, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
        // Gates of a kernel for quantised weights are 2^-15 of the largest input off; a hundredth is another model.
        if (f64::from(gate) - sum).abs() > 0.01 * size {
            return Err(Failure::input(format!(
                "a trace holds gates that the model does not compute ({gate} where it has {sum:.4}): it is of another model; \
                 trace this one"
            )));
        }
    }
    Ok(())
}

impl Task<'_> {
    fn part(&self, layer: usize, prompts: &[Prompt]) -> Result<Part> {
        let (hidden, neurons) = (self.model.config.hidden, self.model.config.intermediate);
        let before = if self.plan.ahead { layer.saturating_sub(1) } else { layer };
        let (mut x, mut mass, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for (trace, traced) in self.traces.iter().enumerate() {
            let ranges = || prompts.iter().filter(move |(own, _)| *own == trace).map(|(_, range)| range.clone());
            let rows = |values: &[f32], width: usize, out: &mut Vec<f32>| {
                ranges().for_each(|range| out.extend_from_slice(&values[range.start * width..range.end * width]));
            };
            rows(&traced.layer(before, "residual", hidden)?, hidden, &mut x);
            if before != layer {
                rows(&traced.layer(layer, "residual", hidden)?, hidden, &mut own);
            }
            let (gate, up) = (traced.layer(layer, "gate", neurons)?, traced.layer(layer, "up", neurons)?);
            for range in ranges() {
                let range = range.start * neurons..range.end * neurons;
                let norms = self.norms[layer].iter().cycle();
                let masses = gate[range.clone()].iter().zip(&up[range]).zip(norms);
                mass.extend(masses.map(|((gate, up), norm)| gate.max(0.0) * up.abs() * norm));
            }
        }
        Ok(Part { x, mass, own: (before != layer).then_some(own) })
    }

    fn samples<'p>(&self, part: &'p Part) -> Result<Samples<'p>> {
        Ok(Samples::new(self.model.config.hidden, self.model.config.intermediate, &part.x, &part.mass)?)
    }

    /// A layer's predictor, and order statistics of the scores of neurons that fire on the prompts that choose.
    fn fit(
        &self,
        layer: usize,
        cpu: &Cpu,
        progress: impl FnMut(Epoch) -> ControlFlow<()>,
    ) -> Result<(Fitted, Vec<(f32, f64)>)> {
        let (train, choose) = (self.part(layer, &self.split.train)?, self.part(layer, &self.split.choose)?);
        let (train, choose) = (self.samples(&train)?, self.samples(&choose)?);
        let Plan { settings, rank, format, .. } = self.plan;
        // Layers differ in seed, so that they do not start alike.
        let settings = Training { seed: settings.seed.wrapping_add(layer as u64), ..*settings };
        let fitted = fit(cpu, [&train, &choose], &settings, *rank, *format, self.ffn(layer)?, progress)
            .map_err(|e| Failure::input(format!("layer {layer}: {e}")))?;
        let scores = scores(cpu, &fitted.encoded, &choose)?;
        let fired = scores.iter().zip(choose.masses()).filter(|(_, mass)| **mass > 0.0);
        let levels = levels(fired.map(|(score, _)| *score).collect());
        Ok((fitted, levels))
    }

    /// Every kind of predictor on the prompts that report.
    fn judge(&self, layer: usize, cpu: &Cpu, fitted: &Fitted, threshold: f32) -> Result<Vec<Row>> {
        let report = self.part(layer, &self.split.report)?;
        let samples = self.samples(&report)?;
        let ffn = self.ffn(layer)?;
        let gate = &self.model.layers[layer].gate;
        let row = |kind, format: String, rank, predictor_bytes, cut: Cut, bytes_a_token: f64| Row {
            layer,
            kind,
            format,
            rank,
            predictor_bytes,
            cut: cut.score,
            fires: cut.quality.natural_density(),
            density: cut.quality.density(),
            recall: cut.quality.recall(),
            precision: cut.quality.precision(),
            missed_mass: cut.quality.missed_mass(),
            bytes_a_token,
            of_dense: bytes_a_token / (ffn.gate + ffn.up_down) as f64,
        };
        let encoded = &fitted.encoded;
        let low_rank = Cut::at(&scores(cpu, encoded, &samples)?, samples.masses(), threshold)?;
        let [fc1, _] = encoded.matrices()?;
        let bytes = ffn.a_token(encoded.bytes(), &low_rank.quality);
        let mut rows =
            vec![row("low-rank", self.plan.format.to_string(), Some(fc1.rows()), encoded.bytes(), low_rank, bytes)];

        // Sign bits have no training, but a cut: as for the others from the prompts that choose.
        let mut signs = SignBits::of(gate);
        let choose = self.part(layer, &self.split.choose)?;
        let chosen = self.signs(layer, cpu, &mut signs, &choose)?;
        let cut = Cut::at_recall(&chosen, &choose.mass, self.plan.settings.recall)?.score;
        let cut = Cut::at(&self.signs(layer, cpu, &mut signs, &report)?, &report.mass, cut)?;
        let bits = signs.cost().bytes;
        rows.push(row("sign-bits", "1 bit".to_owned(), None, bits, cut, ffn.a_token(bits, &cut.quality)));

        // The mass is zero where the gate is not above zero, so it says who fires as the gate would.
        let exact = Cut { score: 0.0, quality: Quality::at(samples.masses(), f32::MIN_POSITIVE, samples.masses())? };
        let bytes = ffn.gate_first(exact.quality.natural_density());
        rows.push(row("gate-first", gate.format().to_string(), None, ffn.gate, exact, bytes));
        Ok(rows)
    }

    /// Scores of sign bits, token after token. The root mean square of the norm changes no sign, its weights may.
    fn signs(&self, layer: usize, cpu: &Cpu, signs: &mut SignBits, part: &Part) -> Result<Vec<f32>> {
        let (hidden, neurons) = (self.model.config.hidden, self.model.config.intermediate);
        let norm = &self.model.layers[layer].ffn_norm;
        let residual = part.own.as_ref().unwrap_or(&part.x);
        let mut scores = vec![0.0; part.mass.len()];
        for (x, scores) in residual.chunks_exact(hidden).zip(scores.chunks_exact_mut(neurons)) {
            let x: Vec<f32> = x.iter().zip(norm).map(|(x, norm)| x * norm).collect();
            signs.scores(cpu, &x, scores)?;
        }
        Ok(scores)
    }

    fn ffn(&self, layer: usize) -> Result<FfnBytes> {
        let weights = &self.model.layers[layer];
        let down = weights.down.by_neuron().ok_or_else(|| Failure::input("down is not stored by neuron"))?;
        let bytes = |matrix: &Matrix<'_>| matrix.bytes().len();
        Ok(FfnBytes { gate: bytes(&weights.gate), up_down: bytes(&weights.up) + bytes(&down) })
    }
}

/// At most [`LEVELS`] of the scores, evenly spaced in rank, each with how many it stands for.
fn levels(mut scores: Vec<f32>) -> Vec<(f32, f64)> {
    scores.sort_unstable_by(f32::total_cmp);
    let count = scores.len().min(LEVELS);
    let weight = scores.len() as f64 / count.max(1) as f64;
    (0..count).map(|level| (scores[(level as f64 * weight) as usize], weight)).collect()
}

/// The threshold that finds the share `recall` of all layers' neurons that fire.
fn together(layers: &[&[(f32, f64)]], recall: f64) -> f32 {
    let mut all: Vec<(f32, f64)> = layers.iter().flat_map(|layer| layer.iter().copied()).collect();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let skipped = (1.0 - recall) * all.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut below = 0.0;
    for (score, weight) in &all {
        below += weight;
        if below > skipped {
            return *score;
        }
    }
    0.0
}
