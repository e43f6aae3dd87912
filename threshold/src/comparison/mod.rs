//! What policies compute and miss on one stream of scores and masses, all at the same mean density or the same mean miss.
//!
//! Each policy's number is set in hindsight, on the stream itself, so that the mean density, audits included, or the mean
//! miss is the wanted one: none is held back by a bad calibration of its level, and what differs is where and when the rows
//! are computed. A density is a cost in rows: a neuron that turns out not to fire costs [less](Source::silent_cost). A
//! [`Source`] is anything that gives the same layers at every pass: a recorded trace, or a synthetic stream
//! ([`Synthetic`]). Intervals come from [resampling its prompts](bootstrap).

mod bootstrap;
mod kind;
mod outcome;
mod synthetic;

use std::time::Duration;

pub use bootstrap::{Interval, Intervals, bootstrap};
pub use kind::Kind;
pub use outcome::{Figures, Outcome};
pub use synthetic::Synthetic;

use crate::{AuditedPolicy, Calibration, Error, Inputs, Shape};

/// Layers' scores and masses, token after token, the same at every pass.
pub trait Source {
    /// Layers, and neurons of each.
    fn shape(&self) -> Shape;

    /// Tokens of each prompt, in their order; none is empty.
    fn prompts(&self) -> Vec<usize>;

    /// What a neuron that was computed and turned out to have no mass costs, over what one with mass does. A third where
    /// its gate, one of three rows, tells so; nothing where gates are the scores; what it likes where all have mass.
    fn silent_cost(&self) -> f64;

    /// Goes back to the first token.
    ///
    /// # Errors
    /// Whatever stands in the way.
    fn restart(&mut self) -> Result<(), Error>;

    /// The scores and the output masses of the next layer: layers in order, token after token.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless there is room for one of each per neuron.
    fn next(&mut self, layer: usize, scores: &mut [f32], masses: &mut [f32]) -> Result<(), Error>;
}

/// What all policies are set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A mean density, audits included.
    Density(f64),
    /// A mean miss.
    Miss(f64),
}

impl Goal {
    /// How much too much is computed, as a logarithm.
    fn excess(self, figures: &Figures) -> f64 {
        match self {
            Self::Density(wanted) => (figures.density / wanted).ln(),
            // A miss of nothing is finite, too.
            Self::Miss(wanted) => -(figures.miss.max(1e-12) / wanted).ln(),
        }
    }
}

/// Passes at most until all policies are set.
const PASSES: usize = 14;

/// As near as this a policy is set: a fifth of a per cent.
const NEAR: f64 = 0.002;

/// Runs `kinds` on `source` until each meets `goal`, and gives what each did then, in their order. Where a kind moves in
/// steps, as `top-k` does, that is the nearest one. `clock` tells the time since whenever; `pass` hears of every pass.
///
/// # Errors
/// The source fails, its prompts have no tokens, or a policy refuses its scores.
pub fn compare(
    source: &mut impl Source,
    kinds: &[Kind],
    goal: Goal,
    calibration: &Calibration,
    clock: &dyn Fn() -> Duration,
    pass: &mut dyn FnMut(),
) -> Result<Vec<Outcome>, Error> {
    let mut settings: Vec<Setting> = kinds.iter().map(|&kind| Setting::new(kind)).collect();
    for _ in 0..PASSES {
        let mut open: Vec<&mut Setting> = settings.iter_mut().filter(|setting| !setting.is_met()).collect();
        if open.is_empty() {
            break;
        }
        let specs = open.iter().map(|setting| setting.kind.at(setting.knob)).collect::<Result<Vec<_>, _>>()?;
        let inputs = Inputs { calibration: Some(calibration), ..Inputs::default() };
        let policies = specs.iter().map(|spec| AuditedPolicy::new(spec.build(source.shape(), &inputs)?));
        let mut policies = policies.collect::<Result<Vec<_>, _>>()?;
        let outcomes = run(source, &mut policies, clock)?;
        for ((setting, spec), mut outcome) in open.iter_mut().zip(specs).zip(outcomes) {
            outcome.spec = Some(spec);
            setting.learn(goal.excess(&outcome.figures()), outcome);
        }
        pass();
    }
    Ok(settings.into_iter().filter_map(|setting| setting.best).map(|(_, outcome)| outcome).collect())
}

/// A kind with its knob on the way to the goal.
struct Setting {
    kind: Kind,
    knob: f64,
    /// Knobs known to compute too little and too much, each with its excess.
    too_little: Option<(f64, f64)>,
    too_much: Option<(f64, f64)>,
    /// The least excess so far, and its outcome.
    best: Option<(f64, Outcome)>,
}

impl Setting {
    fn new(kind: Kind) -> Self {
        Self { kind, knob: kind.start(), too_little: None, too_much: None, best: None }
    }

    fn is_met(&self) -> bool {
        self.best.as_ref().is_some_and(|(excess, _)| excess.abs() < NEAR)
    }

    /// Moves the knob, given what it led to.
    fn learn(&mut self, excess: f64, outcome: Outcome) {
        if self.best.as_ref().is_none_or(|(least, _)| excess.abs() < least.abs()) {
            self.best = Some((excess, outcome));
        }
        let end = if excess < 0.0 { &mut self.too_little } else { &mut self.too_much };
        *end = Some((self.knob, excess));
        self.knob = match (self.too_little, self.too_much) {
            // Linear between, and never so near to an end that the bracket hardly shrinks.
            (Some((a, low)), Some((b, high))) => a + (b - a) * (low / (low - high)).clamp(0.1, 0.9),
            _ => self.knob - (1.3 * excess).clamp(-3.0, 3.0),
        };
    }
}

/// One pass of `source` through all `policies`.
///
/// # Errors
/// As of [`compare`].
pub fn run(
    source: &mut impl Source,
    policies: &mut [AuditedPolicy],
    clock: &dyn Fn() -> Duration,
) -> Result<Vec<Outcome>, Error> {
    source.restart()?;
    let (shape, prompts) = (source.shape(), source.prompts());
    let (layers, neurons, silent) = (shape.layers(), shape.neurons(), source.silent_cost());
    if prompts.is_empty() || prompts.contains(&0) {
        return Err(Error::out_of_range("tokens of a prompt", &0, "at least 1"));
    }
    let mut outcomes = vec![Outcome::new(layers); policies.len()];
    let (mut scores, mut masses) = (vec![0.0; neurons], vec![0.0; neurons]);
    for tokens in prompts {
        outcomes.iter_mut().for_each(Outcome::start_prompt);
        for _ in 0..tokens {
            outcomes.iter_mut().for_each(Outcome::start_token);
            for layer in 0..layers {
                source.next(layer, &mut scores, &mut masses)?;
                let total: f64 = masses.iter().map(|&mass| f64::from(mass)).sum();
                for (policy, outcome) in policies.iter_mut().zip(&mut outcomes) {
                    let start = clock();
                    policy.step(layer, &scores, &masses)?;
                    let time = clock().saturating_sub(start);
                    // A layer that gives nothing misses nothing.
                    let miss = if total > 0.0 { (1.0 - policy.kept(&masses) / total).max(0.0) } else { 0.0 };
                    let costs = policy.costs(&masses, silent).map(|rows| rows / (neurons * layers) as f64);
                    outcome.add(layer, costs, miss, time);
                }
            }
        }
    }
    Ok(outcomes)
}
