//! `dynamic`: a closed loop that holds the missed output mass at a target.
//!
//! # The loop
//! Each layer keeps one number u, what to skip of it. A token skips the neurons of the lowest scores: all but the fewest
//! that hold 1 − u of the score mass ([`Level::Mass`]), or all but ⌈(1 − u) · n⌉ ([`Level::Rank`]); none where u ≤ 0,
//! every one where u ≥ 1. An audit then tells the miss m ∈ [0, 1], the share of output mass that the skipped neurons
//! would have given, and
//!
//! ```text
//! u ← u + η · (α − m)          α target, η gain
//! ```
//!
//! Too much missed lowers u, hence the threshold; too little raises it. u is a share, so it means the same in every
//! layer whatever the units of its scores, and the threshold follows each token's own scores.
//!
//! Where scores predict output masses, m is u times what the predictor loses, whatever the shape of a token's masses:
//! the loop only learns the predictor's errors, and is slow and steady at it. That is why [`Level::Mass`] is the default.
//! Scores that only rank, as raw logits of a classifier do, have no mass worth the name: they want [`Level::Rank`].
//!
//! # The targets
//! Each layer has its own α. By default all are the same, and then the worst layer misses the least that it can at a
//! density. A calibration that knows masses can share out a mean α instead ([`Allocation`]): layers in which mass lies in
//! few rows miss less, at little cost, and those that would need many rows miss more, so that a token, whose miss is
//! that of all layers, misses less at the same density. The loop and its guarantee are the same.
//!
//! This is adaptive conformal inference (Gibbs and Candès 2021, arXiv 2106.00170, equation 2) on the level of
//! an empirical quantile, of rows or of mass, with a loss in [0, 1] in place of a 0-or-1 error, as Feldman, Ringel, Bates and Romano
//! (2023, arXiv 2205.09095) have it. Angelopoulos, Candès and Tibshirani (2023, arXiv 2307.16895) run it on the
//! scores themselves, the P term of their conformal PID control; that needs a bound on the scores, which raw
//! predictor logits do not have.
//!
//! # The guarantee
//! After any T audits of a layer, whatever the scores, masses and their order, adversarial ones included:
//!
//! ```text
//! |mean(m) − α|  ≤  (max(u₁, 1 − u₁) + η · max(α, 1 − α)) / (η T)  ≤  (1 + η) / (η T)
//! ```
//!
//! with u₁ ∈ [0, 1] the start: proposition 4.1 of Gibbs and Candès, the last step counted exactly.
//!
//! *Proof.* Where u ≤ 0 everything is computed, so m = 0 and u grows; elsewhere one step takes away at most
//! η(1 − α). So u ≥ −η(1 − α) always. Where u ≥ 1 nothing is computed, so m = 1 and u falls; elsewhere one
//! step adds at most ηα. So u ≤ 1 + ηα always. The steps telescope: Σ(m − α) = (u₁ − u_{T+1}) / η. ∎
//!
//! # Its conditions
//! The proof needs that a dense selection misses nothing and that an empty one misses everything;
//! [`observe`](crate::Policy::observe) refuses feedback that says otherwise, and feedback that does not
//! answer the layer's last selection. η never changes. A token whose audit finds no mass at all has no miss:
//! it moves nothing and is not counted in T. Nor is a token without an audit.
//!
//! What is bounded is the *audited* miss. Where an [`Auditor`](crate::Auditor) picks the rows, its missed mass is unbiased
//! ([`Audit::from_sample`](crate::Audit::from_sample)), and the ratio's bias is the one stated at
//! [`Audit::miss`](crate::Audit::miss), small as far as scores find mass.
//!
//! # The gain
//! The worst case shrinks with η; a large η makes density jitter with the noise of audits. Near its working point the
//! loop is u ← u + η(α − m(u)), stable where η · m′(u) < 2 and free of overshoot below 1.
//!
//! By rank, m′(u) is the mass of the neuron at the threshold over the mean mass. For |h2| of Llama-2-70B it lies in
//! 0.14–0.19 at 2 % missed, 0.80–0.95 at 20 % and 2.2–4.7 at 60 %, over layers (derived from TEAL's histograms,
//! log-normal between their levels). So a gain of 0.25 is stable in all of them; at 2 % missed it forgets in about 20
//! tokens. By mass, m′(u) is near 1 everywhere, so 0.1 forgets in 10 tokens ([`Level::gain`]).

use crate::policy::{check_length, in_layer};
use crate::select::{Fault, Kernels, Ranking};
use crate::{Allocation, Calibration, Error, Feedback, Miss, Policy, Shape, top_p};

/// What u is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Of the score mass. Where no score is positive, the largest is taken alone.
    #[default]
    Mass,
    /// Of the rows.
    Rank,
}

impl Level {
    /// η where none is given: see [the gain](self#the-gain).
    #[must_use]
    pub fn gain(self) -> f64 {
        match self {
            Self::Mass => 0.1,
            Self::Rank => 0.25,
        }
    }
}

/// Holds the audited miss of every layer at its target. See the [module](self) for the loop and its guarantee.
#[derive(Clone, Debug)]
pub struct Dynamic {
    shape: Shape,
    gain: f64,
    level: Level,
    layers: Vec<Loop>,
    ranking: Ranking,
}

/// The state of one layer.
#[derive(Clone, Copy, Debug)]
struct Loop {
    /// α.
    target: f64,
    /// u₁.
    start: f64,
    /// u.
    skip: f64,
    /// T.
    audits: u64,
    /// Size of the last selection, until its feedback comes.
    pending: Option<usize>,
    /// Lowest score of the last selection.
    lowest: Option<f32>,
}

impl Loop {
    fn starting_at(target: f64, start: f64) -> Self {
        Self { target, start, skip: start, audits: 0, pending: None, lowest: None }
    }
}

impl Dynamic {
    /// Starts every layer dense.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, target: Miss, level: Level) -> Self {
        Self {
            shape,
            gain: level.gain(),
            level,
            layers: vec![Loop::starting_at(target.get(), 0.0); shape.layers()],
            ranking: Ranking::with_capacity(kernels, shape.neurons()),
        }
    }

    /// Starts each layer where it would have missed its target on the calibration text, or dense where the calibration
    /// knows no masses. The targets have mean `target`, shared out by `allocation`.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless the calibration has the layers of `shape`; [`Error::NoMasses`] and
    /// [`Error::EmptyCalibration`] where targets that differ need masses and a layer has none.
    pub fn calibrated(
        kernels: &'static Kernels,
        shape: Shape,
        target: Miss,
        allocation: Allocation,
        level: Level,
        calibration: &Calibration,
    ) -> Result<Self, Error> {
        check_length("calibrated layers", calibration.layers(), shape.layers())?;
        let mut dynamic = Self::new(kernels, shape, target, level);
        let targets = calibration.misses(target, allocation)?;
        for (index, (layer, target)) in dynamic.layers.iter_mut().zip(targets).enumerate() {
            let start = match level {
                Level::Mass => calibration.score_mass_at_miss(index, target),
                Level::Rank => calibration.skip_at_miss(index, target),
            };
            *layer = Loop::starting_at(target.get(), start.unwrap_or(0.0));
        }
        Ok(dynamic)
    }

    /// Starts each layer from the share of neurons to skip, in [0, 1], forgetting what was learnt.
    ///
    /// # Errors
    /// [`Error::WrongLength`] unless there is one share per layer; [`Error::OutOfRange`].
    pub fn with_start(mut self, skip: &[f64]) -> Result<Self, Error> {
        check_length("shares to skip", skip.len(), self.shape.layers())?;
        if let Some(bad) = skip.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return Err(Error::out_of_range("share to skip", &bad, "in [0, 1]"));
        }
        for (layer, &start) in self.layers.iter_mut().zip(skip) {
            *layer = Loop::starting_at(layer.target, start);
        }
        Ok(self)
    }

    /// Sets η and starts over: the guarantee needs it constant.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless positive and finite.
    pub fn with_gain(mut self, gain: f64) -> Result<Self, Error> {
        if !(gain > 0.0 && gain.is_finite()) {
            return Err(Error::out_of_range("gain", &gain, "positive and finite"));
        }
        self.gain = gain;
        for layer in &mut self.layers {
            *layer = Loop::starting_at(layer.target, layer.start);
        }
        Ok(self)
    }

    /// T: how many audits have moved `layer`. `None` where there is no such layer.
    #[must_use]
    pub fn audits(&self, layer: usize) -> Option<u64> {
        self.layers.get(layer).map(|layer| layer.audits)
    }

    /// α: the miss that `layer` is held at. `None` where there is no such layer.
    #[must_use]
    pub fn target(&self, layer: usize) -> Option<f64> {
        self.layers.get(layer).map(|layer| layer.target)
    }

    /// Mean audited miss of `layer`, from where the loop went: α + (u₁ − u) / (η T). `None` before the first
    /// audit.
    #[must_use]
    pub fn mean_miss(&self, layer: usize) -> Option<f64> {
        let layer = self.layers.get(layer).filter(|layer| layer.audits > 0)?;
        Some(layer.target + (layer.start - layer.skip) / (self.gain * layer.audits as f64))
    }

    /// How far at most [`mean_miss`](Self::mean_miss) is from the target by now: the guarantee of the
    /// [module](self). `None` before the first audit.
    #[must_use]
    pub fn bound(&self, layer: usize) -> Option<f64> {
        let layer = self.layers.get(layer).filter(|layer| layer.audits > 0)?;
        let way = layer.start.max(1.0 - layer.start);
        let step = self.gain * layer.target.max(1.0 - layer.target);
        Some((way + step) / (self.gain * layer.audits as f64))
    }

    /// Selects for `layer`; the lowest score taken.
    fn take(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<f32, Fault> {
        let skip = self.layers[layer].skip;
        if skip <= 0.0 {
            return self.ranking.kernels().all(scores, active).map(|()| f32::NEG_INFINITY);
        }
        if skip >= 1.0 {
            return self.ranking.top_k(scores, 0, active).map(|_| f32::INFINITY);
        }
        if self.level == Level::Mass {
            let lowest = top_p::take(&mut self.ranking, scores, 1.0 - skip, active)?;
            return Ok(lowest.unwrap_or(f32::INFINITY));
        }
        let rows = ((1.0 - skip) * scores.len() as f64).ceil() as usize;
        if rows >= scores.len() {
            return self.ranking.kernels().all(scores, active).map(|()| f32::NEG_INFINITY);
        }
        self.ranking.top_k(scores, rows, active).map(|lowest| lowest.unwrap_or(f32::INFINITY))
    }
}

impl Policy for Dynamic {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        self.layers[layer].pending = None;
        let lowest = self.take(layer, scores, active).map_err(in_layer(layer))?;
        let state = &mut self.layers[layer];
        state.lowest = Some(lowest);
        state.pending = Some(active.len());
        Ok(())
    }

    /// Takes one feedback per selection; without an audit it only checks it.
    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)?;
        let state = &mut self.layers[layer];
        match state.pending {
            None => return Err(Error::feedback(layer, "no selection is waiting for it")),
            Some(rows) if rows != feedback.computed => {
                let problem = format!("{} rows computed, {rows} were selected", feedback.computed);
                return Err(Error::feedback(layer, problem));
            }
            Some(_) => {}
        }
        let Some(audit) = feedback.audit else {
            state.pending = None;
            return Ok(());
        };
        if feedback.computed == self.shape.neurons() && audit.missed() > 0.0 {
            return Err(Error::feedback(layer, "mass missed though every row was computed"));
        }
        if feedback.computed == 0 && audit.kept() > 0.0 {
            return Err(Error::feedback(layer, "mass kept though no row was computed"));
        }
        state.pending = None;
        if let Some(miss) = audit.miss() {
            state.skip += self.gain * (state.target - miss);
            state.audits += 1;
        }
        Ok(())
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.layers.get(layer)?.lowest
    }

    fn needs_audit(&self) -> bool {
        true
    }
}
