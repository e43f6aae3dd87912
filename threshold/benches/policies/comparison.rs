//! What each policy computes and misses on drifting streams, all at the same mean density.
//!
//! Each knob is set in hindsight, on the stream itself, so that the mean density, audits included, is 0.10: no policy
//! is held back by a bad calibration of its level, and what differs is where and when the rows are computed.

use std::hint::black_box;
use std::time::Instant;

use threshold::{Audit, Auditor, Error, Feedback, Knobs, Policy, PolicySpec, ScoreStream};

use crate::setup::{Family, NEURONS, Setup, TOKENS, families, isas};
use crate::table::{self, Row};

/// Mean density that every policy is set to.
const DENSITY: f64 = 0.10;

/// Skipped rows audited per layer and token: 0.06 % of them all.
pub(crate) const AUDITED: usize = 16;

/// Rounds of setting the knobs.
const ROUNDS: usize = 6;

/// Predictor noise, and how it differs from layer to layer: a perfect predictor, a bad one, and one that is good in
/// some layers and bad in others.
const PREDICTORS: [(f64, f64); 3] = [(0.0, 0.0), (0.7, 0.0), (0.5, 0.7)];

pub(crate) fn run() -> Result<(), Error> {
    let mut rows = Vec::new();
    for (noise, spread) in PREDICTORS {
        let setup = &Setup::new(noise, spread)?;
        let knobs = Knobs { predictor_noise: noise, predictor_spread: spread, ..Knobs::default() };
        let mut settings: Vec<Setting> = families().into_iter().map(Setting::new).collect();
        for round in 0..ROUNDS {
            eprint!("\rpredictor noise {noise}, spread {spread}: round {} of {ROUNDS}", round + 1);
            let runs = run_all(setup, knobs, &settings)?;
            let last = round == ROUNDS - 1;
            for (setting, run) in settings.iter_mut().zip(&runs) {
                if !last {
                    setting.learn(run.density());
                }
            }
            if last {
                eprintln!();
                for run in runs {
                    rows.push(run.row(setup, noise, spread)?);
                }
            }
        }
    }
    table::print(&rows, &Knobs::default());
    table::write(&rows);
    Ok(())
}

/// A family with its knob on the way to the wanted density.
struct Setting {
    family: Family,
    knob: f64,
    /// Knobs known to compute too little and too much.
    too_little: Option<(f64, f64)>,
    too_much: Option<(f64, f64)>,
}

impl Setting {
    fn new(family: Family) -> Self {
        Self { family, knob: family.start, too_little: None, too_much: None }
    }

    /// Moves the knob, given the density that it led to.
    fn learn(&mut self, density: f64) {
        if self.family.sense == 0.0 {
            return;
        }
        let seen = Some((self.knob, (density / DENSITY).ln()));
        let end = if density < DENSITY { &mut self.too_little } else { &mut self.too_much };
        *end = seen;
        self.knob = match (self.too_little, self.too_much) {
            // Linear between, in the logarithm of the density.
            (Some((a, low)), Some((b, high))) => a + (b - a) * low / (low - high),
            _ => self.knob - self.family.sense * 1.3 * (density / DENSITY).ln(),
        };
    }
}

/// What one policy did on the stream.
struct Run {
    spec: PolicySpec,
    policy: Box<dyn Policy>,
    /// Per token; audited rows count as computed.
    density: Vec<f64>,
    miss: Vec<f64>,
    layer_miss: Vec<f64>,
    audited: usize,
}

impl Run {
    fn density(&self) -> f64 {
        mean(&self.density)
    }

    fn row(mut self, setup: &Setup, noise: f64, spread: f64) -> Result<Row, Error> {
        let density = self.density();
        let layers = self.layer_miss.len();
        Ok(Row {
            policy: self.spec.to_string(),
            noise,
            spread,
            density,
            jitter: percentile(&mut self.density, 0.95) / density,
            miss: mean(&self.miss),
            worst_layer: self.layer_miss.iter().copied().fold(0.0, f64::max),
            late: percentile(&mut self.miss, 0.99),
            audit: self.audited as f64 / (NEURONS * layers * TOKENS) as f64,
            microseconds: time(setup, &self.spec)?,
        })
    }
}

fn run_all(setup: &Setup, knobs: Knobs, settings: &[Setting]) -> Result<Vec<Run>, Error> {
    let mut stream = ScoreStream::new(&setup.table, NEURONS, knobs)?;
    let shape = stream.shape();
    let layers = shape.layers();
    let mut runs = Vec::new();
    for setting in settings {
        let spec = setting.family.at(setting.knob);
        runs.push(Run {
            spec,
            policy: setup.build(&spec, shape, None)?,
            density: vec![0.0; TOKENS],
            miss: vec![0.0; TOKENS],
            layer_miss: vec![0.0; layers],
            audited: 0,
        });
    }
    let mut auditor = Auditor::new(7, AUDITED, NEURONS)?;
    let (mut masses, mut scores) = (vec![0.0; NEURONS], vec![0.0; NEURONS]);
    let mut scratch = Scratch::default();
    for token in 0..TOKENS {
        for layer in 0..layers {
            stream.next_token(layer, &mut masses)?;
            stream.predict(layer, &masses, &mut scores)?;
            let total = masses.iter().map(|&mass| f64::from(mass)).sum();
            for run in &mut runs {
                let (computed, miss) =
                    scratch.step(run.policy.as_mut(), layer, &scores, &masses, total, &mut auditor)?;
                run.audited += scratch.audited.len();
                run.density[token] += computed as f64 / (NEURONS * layers) as f64;
                run.miss[token] += miss / layers as f64;
                run.layer_miss[layer] += miss / TOKENS as f64;
            }
        }
    }
    Ok(runs)
}

#[derive(Default)]
struct Scratch {
    active: Vec<u32>,
    audited: Vec<u32>,
    sampled: Vec<f32>,
}

impl Scratch {
    /// One layer of one token: select, look at the masses, feed back. Returns the rows computed, audits
    /// included, and the true miss.
    fn step(
        &mut self,
        policy: &mut dyn Policy,
        layer: usize,
        scores: &[f32],
        masses: &[f32],
        total: f64,
        auditor: &mut Auditor,
    ) -> Result<(usize, f64), Error> {
        policy.select(layer, if policy.needs_truth() { masses } else { scores }, &mut self.active)?;
        let kept: f64 = self.active.iter().map(|&row| f64::from(masses[row as usize])).sum();
        self.audited.clear();
        let mut audit = None;
        if policy.needs_audit() {
            auditor.pick(&self.active, &mut self.audited)?;
            self.sampled.clear();
            self.sampled.extend(self.audited.iter().map(|&row| masses[row as usize]));
            audit = Some(Audit::from_sample(kept, &self.sampled, masses.len() - self.active.len())?);
        }
        let computed = self.active.len();
        policy.observe(layer, &Feedback { computed, useful: None, audit })?;
        Ok((computed + self.audited.len(), (1.0 - kept / total).max(0.0)))
    }
}

/// Median microseconds of one selection, for each instruction set; the pick of an audit included where it is needed.
fn time(setup: &Setup, spec: &PolicySpec) -> Result<Vec<(String, f64)>, Error> {
    let (tokens, layer) = (8, 40);
    let mut stream = ScoreStream::new(&setup.table, NEURONS, Knobs::stationary(1))?;
    let mut scores = vec![vec![0.0; NEURONS]; tokens];
    for scores in &mut scores {
        stream.next_token(layer, scores)?;
    }
    let (mut active, mut audited) = (Vec::with_capacity(NEURONS), Vec::new());
    let mut times = Vec::new();
    for isa in isas() {
        let mut policy = setup.build(spec, stream.shape(), Some(isa))?;
        let mut auditor = Auditor::new(7, AUDITED, NEURONS)?;
        let mut samples = Vec::new();
        for _ in 0..41 {
            let start = Instant::now();
            for scores in &scores {
                policy.select(layer, black_box(scores), &mut active)?;
                if policy.needs_audit() {
                    auditor.pick(&active, &mut audited)?;
                }
            }
            samples.push(start.elapsed().as_secs_f64() * 1e6 / tokens as f64);
        }
        times.push((isa.to_string(), percentile(&mut samples, 0.5)));
    }
    Ok(times)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Nearest rank; sorts `values`.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(share * values.len() as f64).ceil() as usize - 1]
}
