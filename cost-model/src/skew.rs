//! How unevenly a layer's neurons fire: some for nearly every token, most for few.
//!
//! Neurons are ranked from the hottest, `u` from 0 to 1, and one of rank `u` fires with probability
//! `p(u) = min(1, c u^-a)`: a power law with a ceiling, since nothing fires more often than always.
//! The exponent `a` is the skew, 0 where all fire alike; the scale `c` makes the mean of `p` the
//! layer's density `d`.
//!
//! What is published is one point: PowerInfer counted which share of the neurons makes 80 % of the
//! activations ([`STATEMENTS`]). [`Skew::fit`] solves for the `a` and `c` at which that statement and
//! the density both hold, ceiling included. The ceiling binds where the power law would exceed 1: the
//! neurons up to [`Firing::always`] fire for every token, and the rest make up for what the ceiling
//! cuts off. For LLaMA2(ReGLU)-70B that is `a = 1.018`, and 4.5 % fire always at its density of 0.18;
//! without a ceiling `a` would be 0.736, and a quarter of the activations lie above 1. A statement
//! under which the ceiling would have to be exceeded (`activations * d > neurons`), or the hottest
//! would fire less than the others, is refused.
//!
//! Assumed, since nothing is published about it:
//! - The shape between and beyond the published point is a power law.
//! - A layer keeps its exponent at every density. At a higher density the ceiling binds for more
//!   neurons and the firing evens out by that alone; at density 1 all fire.
//! - Tokens of a batch fire a neuron independently, given how hot it is ([`Firing::union`]). Tokens of
//!   one text resemble each other, so the true union is rather smaller.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::origin::{Origin, Sourced};
use crate::sparsity::published_density;

/// Steepest exponent: the ceiling is a cliff by then, and `c` still fits a double.
const STEEPEST: f64 = 16.0;

/// Halvings of the exponent's interval: to the last bit of a double.
const BISECTIONS: usize = 60;

/// Newton steps, far more than are needed: the bracket shrinks each time.
const STEPS: usize = 100;

/// e^-40 of the integral is beyond a double.
const LOG_DEPTH: f64 = 40.0;

/// Gauss-Legendre nodes and weights of order 8 on -1 to 1, one half of them.
const GAUSS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_3),
];

/// Why there is no skew, or none at that density.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SkewError {
    /// A share of the neurons or of the activations that is none.
    #[error("a share of {given} of the {of}; wanted more than 0 and less than 1")]
    Share {
        /// Neurons or activations.
        of: &'static str,
        /// What was given.
        given: f64,
    },
    /// A density that is none.
    #[error("density {0}; wanted 0 to 1, and more than 0 for a statement to be about")]
    Density(f64),
    /// An exponent that is negative, not a number, or no longer a slope.
    #[error("exponent {0}; wanted 0 (all fire alike) to {STEEPEST}")]
    Exponent(f64),
    /// The hottest neurons would fire less often than the others.
    #[error("the hottest {neurons} of the neurons make {activations} of the activations; wanted at least {neurons}")]
    TooEven {
        /// Share of the neurons.
        neurons: f64,
        /// Share of the activations.
        activations: f64,
    },
    /// The hottest neurons would fire more often than always.
    #[error(
        "at density {density} the hottest {neurons} of the neurons cannot make {activations} of the activations: \
         they would fire at every token and more; wanted a lower density or a larger share of neurons"
    )]
    TooSteep {
        /// Share of the neurons.
        neurons: f64,
        /// Share of the activations.
        activations: f64,
        /// Mean density.
        density: f64,
    },
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The neurons of one FFN.
    Layer,
    /// All FFN neurons of a model: uneven within layers, and between them too.
    Model,
}

/// A published count: the hottest [`neurons`](Self::neurons) make 80 % of the activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statement {
    /// Model, as its source names it.
    pub model: &'static str,
    /// What was counted.
    pub scope: Scope,
    /// Share of the neurons.
    pub neurons: f64,
}

impl Statement {
    /// Share of the activations that they make.
    pub const ACTIVATIONS: f64 = 0.8;

    /// The mean density that the count goes with.
    ///
    /// Published for LLaMA2(ReGLU)-70B. OPT-30B's lies within the 2 to 4 % published for its family; for
    /// LLaMA2(SwiGLU)-70B it is assumed between the 57 % and 47 % published for 13B and Yi-34B.
    pub fn density(&self) -> Sourced<f64> {
        let table = "Song et al., PowerInfer, arXiv 2312.12456v2, Table 3";
        match self.model {
            "OPT-30B" => Sourced::new(0.03, Origin::assumed(format!("the middle of OPT's 2 to 4 % ({table})"))),
            "LLaMA2(SwiGLU)-70B" => {
                let why = format!("between the SwiGLU models of 13B and 34B ({table}); none is given for 70B");
                Sourced::new(0.5, Origin::assumed(why))
            }
            _ => published_density("relu-llama-70b").unwrap_or(Sourced::new(0.18, Origin::published(table))),
        }
    }
}

/// The published counts: Song et al., PowerInfer, arXiv 2312.12456v2, section 3.1.
pub const STATEMENTS: [Statement; 6] = [
    Statement { model: "OPT-30B", scope: Scope::Layer, neurons: 0.26 },
    Statement { model: "LLaMA2(ReGLU)-70B", scope: Scope::Layer, neurons: 0.43 },
    Statement { model: "LLaMA2(SwiGLU)-70B", scope: Scope::Layer, neurons: 0.69 },
    Statement { model: "OPT-30B", scope: Scope::Model, neurons: 0.17 },
    Statement { model: "LLaMA2(ReGLU)-70B", scope: Scope::Model, neurons: 0.26 },
    Statement { model: "LLaMA2(SwiGLU)-70B", scope: Scope::Model, neurons: 0.75 },
];

/// How steeply firing falls off from the hottest neuron; holds at every density.
#[derive(Clone, Debug, PartialEq)]
pub struct Skew {
    exponent: f64,
    origin: Origin,
}

impl Skew {
    /// A skew of that exponent, 0 to 16.
    ///
    /// # Errors
    /// [`SkewError::Exponent`]
    pub fn new(exponent: f64, origin: Origin) -> Result<Self, SkewError> {
        if (0.0..=STEEPEST).contains(&exponent) {
            Ok(Self { exponent, origin })
        } else {
            Err(SkewError::Exponent(exponent))
        }
    }

    /// The skew under which, at mean density `density`, the hottest `neurons` of the neurons make
    /// `activations` of the activations.
    ///
    /// # Errors
    /// [`SkewError`]: shares or density out of range, or a statement that no firing fulfils.
    pub fn fit(neurons: f64, activations: f64, density: f64, origin: Origin) -> Result<Self, SkewError> {
        for (of, given) in [("neurons", neurons), ("activations", activations)] {
            if !(given > 0.0 && given < 1.0) {
                return Err(SkewError::Share { of, given });
            }
        }
        if !(density > 0.0 && density <= 1.0) {
            return Err(SkewError::Density(density));
        }
        if activations < neurons {
            return Err(SkewError::TooEven { neurons, activations });
        }
        let reaches = |exponent| Firing::new(exponent, density).share_of_hottest(neurons) >= activations;
        if !reaches(STEEPEST) {
            return Err(SkewError::TooSteep { neurons, activations, density });
        }
        let (mut low, mut high) = (0.0, STEEPEST);
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            if reaches(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Self::new(high, origin)
    }

    /// The skew of one of [`STATEMENTS`].
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn published(statement: &Statement) -> Result<Self, SkewError> {
        let Statement { model, neurons, .. } = statement;
        let density = statement.density();
        let origin = Origin::derived(format!(
            "{neurons} of {model}'s neurons make {} of the activations (PowerInfer, arXiv 2312.12456v2, section 3.1) at \
             density {}, {}",
            Statement::ACTIVATIONS,
            density.value,
            density.origin
        ));
        let origin = origin.resting_on(&[&density.origin]);
        Self::fit(*neurons, Statement::ACTIVATIONS, density.value, origin)
    }

    /// The exponent `a`.
    pub fn exponent(&self) -> f64 {
        self.exponent
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How the neurons of a layer fire at mean density `density`, 0 to 1.
    ///
    /// # Errors
    /// [`SkewError::Density`]
    pub fn at(&self, density: f64) -> Result<Firing, SkewError> {
        if (0.0..=1.0).contains(&density) {
            Ok(Firing::new(self.exponent, density))
        } else {
            Err(SkewError::Density(density))
        }
    }
}

/// Firing of one layer's neurons at one density.
///
/// Shares and ranks outside 0 to 1 are taken as the nearer end; NaN gives NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    exponent: f64,
    density: f64,
    /// ln c, where c is the firing probability of the coldest neuron; at most 0.
    log_scale: f64,
}

impl Firing {
    fn new(exponent: f64, density: f64) -> Self {
        Self { exponent, density, log_scale: log_scale(exponent, density) }
    }

    /// Mean firing probability.
    pub fn density(&self) -> f64 {
        self.density
    }

    /// Share of the neurons that fire for every token: where the ceiling binds.
    pub fn always(&self) -> f64 {
        if self.density == 1.0 { 1.0 } else { self.log_always().exp() }
    }

    fn log_always(&self) -> f64 {
        self.log_scale / self.exponent
    }

    /// Probability that the neuron of rank `rank` (0 the hottest, 1 the coldest) fires for a token.
    pub fn probability(&self, rank: f64) -> f64 {
        let rank = rank.clamp(0.0, 1.0);
        if self.exponent == 0.0 || self.density == 0.0 || self.density == 1.0 {
            return if rank.is_nan() { rank } else { self.density };
        }
        self.probability_at_log(rank.ln())
    }

    fn probability_at_log(&self, log_rank: f64) -> f64 {
        (self.log_scale - self.exponent * log_rank).clamp(f64::NEG_INFINITY, 0.0).exp()
    }

    /// Neurons among the hottest share `hottest` that a token fires, as a share of all neurons.
    ///
    /// Concave; 0 of none, the density of all.
    pub fn active_of_hottest(&self, hottest: f64) -> f64 {
        let hottest = hottest.clamp(0.0, 1.0);
        if self.exponent == 0.0 || self.density == 0.0 {
            return self.density * hottest;
        }
        let always = self.always();
        if hottest <= always {
            return hottest;
        }
        // The rest is the integral of c u^-a from there to the coldest.
        let rest = -self.log_scale.exp() * growth(1.0 - self.exponent, hottest.ln());
        (self.density - rest).clamp(always.min(self.density), self.density)
    }

    /// Share of all activations that the hottest share `hottest` of the neurons makes.
    ///
    /// Concave; 0 of none, 1 of all. Where nothing fires, `hottest` itself.
    pub fn share_of_hottest(&self, hottest: f64) -> f64 {
        let hottest = hottest.clamp(0.0, 1.0);
        if self.density == 0.0 { hottest } else { (self.active_of_hottest(hottest) / self.density).min(1.0) }
    }

    /// Expected share of the neurons that at least one of `tokens` tokens fires: what a batch reads.
    ///
    /// The integral of `1 - (1 - p(u))^tokens`: the density itself for one token, rising with the
    /// number of tokens, and never above `tokens` times the density. Tokens are taken as independent
    /// given the neuron; those of one text overlap more, so this is rather too much.
    pub fn union(&self, tokens: u32) -> f64 {
        self.union_of_hottest(1.0, tokens)
    }

    /// The same among the hottest share `hottest`, as a share of all neurons. 0 for no tokens.
    pub fn union_of_hottest(&self, hottest: f64, tokens: u32) -> f64 {
        let hottest = hottest.clamp(0.0, 1.0);
        let once = self.active_of_hottest(hottest);
        let b = f64::from(tokens);
        if tokens <= 1 || once.is_nan() {
            return b * once;
        }
        // Never less than one token's, never more than all.
        let bounded = |union: f64| union.clamp(once, hottest.min(b * once).max(once));
        if self.exponent == 0.0 || self.density == 0.0 || self.density == 1.0 {
            return bounded(hottest * any_of(self.density, b));
        }
        let always = self.always();
        if hottest <= always {
            return hottest;
        }
        bounded(always + self.union_beyond_ceiling(hottest.ln(), b))
    }

    /// The integral over ranks from [`Self::always`] to e^`to`, along ln u: panels as wide as the
    /// integrand is smooth, which bends over an e-fold of the rank or of the probability.
    fn union_beyond_ceiling(&self, to: f64, tokens: f64) -> f64 {
        let from = self.log_always().max(to - LOG_DEPTH);
        let panels = ((to - from) * self.exponent.max(1.0)).ceil().max(1.0);
        let half = 0.5 * (to - from) / panels;
        let at = |x: f64| any_of(self.probability_at_log(x), tokens) * x.exp();
        let panel = |i: usize| {
            let middle = from + half * (2 * i + 1) as f64;
            GAUSS
                .iter()
                .map(|(node, weight)| weight * (at(middle - half * node) + at(middle + half * node)))
                .sum::<f64>()
        };
        half * (0..panels as usize).map(panel).sum::<f64>()
    }
}

/// Unions that were worked out before: a grid asks for each of them dozens of times.
#[derive(Debug, Default)]
pub(crate) struct Unions {
    /// By exponent, density and tokens.
    known: RwLock<HashMap<(u64, u64, u32), f64>>,
}

impl Unions {
    /// [`Firing::union`] of `tokens` tokens at mean density `density`.
    pub(crate) fn of(&self, skew: &Skew, density: f64, tokens: u32) -> Result<f64, SkewError> {
        let key = (skew.exponent.to_bits(), density.to_bits(), tokens);
        // What a thread that panicked left is whole: values are added one by one.
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(union) = known {
            return Ok(union);
        }
        let union = skew.at(density)?.union(tokens);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(key, union);
        Ok(union)
    }
}

/// Probability that any of `tokens` independent tries succeeds, exact for small `p`.
fn any_of(p: f64, tokens: f64) -> f64 {
    -(tokens * (-p).ln_1p()).exp_m1()
}

/// `(e^(k x) - 1) / k`, which is x at k = 0.
fn growth(k: f64, x: f64) -> f64 {
    if k == 0.0 { x } else { (k * x).exp_m1() / k }
}

/// ln c at which the mean of `min(1, c u^-a)` is `density`.
///
/// That mean is `c (1 - growth(1/a - 1, ln c))`. Its logarithm rises with ln c, so Newton's method
/// within a bracket finds it.
fn log_scale(exponent: f64, density: f64) -> f64 {
    let wanted = density.ln();
    if exponent == 0.0 || density == 0.0 || density == 1.0 {
        return wanted;
    }
    let k = 1.0 / exponent - 1.0;
    // Log of the mean over that of c, and its slope.
    let mean = |l: f64| {
        let over_c = 1.0 - growth(k, l);
        (l + over_c.ln(), 1.0 - (k * l).exp() / over_c)
    };
    let (mut low, mut high) = (wanted - 1.0, wanted);
    while mean(low).0 > wanted {
        low = wanted + 2.0 * (low - wanted);
    }
    let mut l = wanted + (1.0 - exponent).max(0.01).ln().max(low - wanted);
    for _ in 0..STEPS {
        let (value, slope) = mean(l);
        if value > wanted {
            high = l;
        } else {
            low = l;
        }
        let step = (wanted - value) / slope;
        let next = l + step;
        let next = if next > low && next < high { next } else { 0.5 * (low + high) };
        if (next - l).abs() <= 2.0 * f64::EPSILON * l.abs() {
            return next;
        }
        l = next;
    }
    l
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEURONS: usize = 28672;

    fn skew(exponent: f64) -> Skew {
        Skew::new(exponent, Origin::assumed("a test")).unwrap()
    }

    fn relu() -> Skew {
        Skew::published(&STATEMENTS[1]).unwrap()
    }

    /// Means over the 28672 neurons of a layer, each at the middle of its rank.
    fn brute(firing: &Firing, hottest: usize, f: impl Fn(f64) -> f64) -> f64 {
        let rank = |i: usize| (i as f64 + 0.5) / NEURONS as f64;
        (0..hottest).map(|i| f(firing.probability(rank(i)))).sum::<f64>() / NEURONS as f64
    }

    #[test]
    fn published_statements_hold() {
        for statement in &STATEMENTS {
            let skew = Skew::published(statement).unwrap();
            let firing = skew.at(statement.density().value).unwrap();
            let share = firing.share_of_hottest(statement.neurons);
            assert!((share - 0.8).abs() < 1e-12, "{statement:?} {share}");
            let mean = brute(&firing, NEURONS, |p| p);
            assert!((mean / firing.density() - 1.0).abs() < 1e-5, "{statement:?} {mean}");
            let wanted = if statement.model.contains("ReGLU") { "derived" } else { "assumed" };
            assert_eq!(skew.origin().kind(), wanted);
        }
    }

    /// OPT is the most uneven, SwiGLU the least; ReGLU-70B's ceiling binds for a few per cent.
    #[test]
    fn exponents_are_in_the_order_of_the_counts() {
        let exponents = [0, 1, 2].map(|i| Skew::published(&STATEMENTS[i]).unwrap().exponent());
        assert!(exponents[0] > exponents[1] && exponents[1] > exponents[2], "{exponents:?}");
        // Without a ceiling a = 1 - ln 0.8 / ln 0.43 = 0.736, of which the ceiling would cut off a quarter.
        assert!((exponents[1] - 1.018).abs() < 0.001, "{exponents:?}");
        let always = relu().at(0.18).unwrap().always();
        assert!((0.04..0.05).contains(&always), "{always}");
    }

    #[test]
    fn one_exponent_makes_everything_alike_or_a_cliff() {
        let even = skew(0.0).at(0.3).unwrap();
        assert_eq!(even.probability(0.7), 0.3);
        assert!((even.share_of_hottest(0.25) - 0.25).abs() < 1e-15);
        assert!((even.union(3) - (1.0 - 0.7_f64.powi(3))).abs() < 1e-15);
        let cliff = skew(16.0).at(0.3).unwrap();
        assert!(cliff.share_of_hottest(0.3) > 0.97 && cliff.union(64) < 0.4);
        assert!(cliff.probability(0.2) == 1.0 && cliff.probability(0.6) < 1e-4);
    }

    #[test]
    fn none_and_all() {
        for exponent in [0.0, 0.4, 1.0, 3.0] {
            let all = skew(exponent).at(1.0).unwrap();
            assert_eq!(
                [all.probability(1.0), all.always(), all.share_of_hottest(0.4), all.union(7)],
                [1.0, 1.0, 0.4, 1.0]
            );
            let none = skew(exponent).at(0.0).unwrap();
            assert_eq!([none.probability(0.5), none.active_of_hottest(0.4), none.union(7)], [0.0; 3]);
            let some = skew(exponent).at(0.2).unwrap();
            assert_eq!([some.union(0), some.union(1), some.share_of_hottest(1.0)], [0.0, 0.2, 1.0]);
            assert!(some.probability(f64::NAN).is_nan() && some.union_of_hottest(f64::NAN, 3).is_nan());
            assert_eq!(some.union_of_hottest(9.0, 5), some.union(5));
        }
    }

    #[test]
    fn refusals_say_why() {
        let origin = || Origin::assumed("a test");
        for bad in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(matches!(Skew::fit(bad, 0.8, 0.1, origin()), Err(SkewError::Share { of: "neurons", .. })));
            assert!(matches!(Skew::fit(0.4, bad, 0.1, origin()), Err(SkewError::Share { of: "activations", .. })));
        }
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(matches!(Skew::fit(0.4, 0.8, bad, origin()), Err(SkewError::Density(_))));
            assert!(matches!(relu().at(bad), Err(SkewError::Density(_))));
        }
        assert!(matches!(Skew::fit(0.4, 0.8, 0.0, origin()), Err(SkewError::Density(_))));
        for bad in [-0.1, 17.0, f64::NAN] {
            assert!(matches!(Skew::new(bad, origin()), Err(SkewError::Exponent(_))));
        }
        let even = Skew::fit(0.8, 0.4, 0.1, origin()).unwrap_err().to_string();
        assert!(even.contains("wanted at least 0.8"), "{even}");
        // 80 % of the activations at density 0.6 are 0.48 of the neurons firing always.
        let steep = Skew::fit(0.43, 0.8, 0.6, origin()).unwrap_err().to_string();
        assert!(steep.contains("every token and more"), "{steep}");
    }

    proptest! {
        /// A statement and its density come back together, whether or not the ceiling binds.
        #[test]
        fn statement_and_density_both_hold(neurons in 0.02..0.98_f64, more in 0.0..1.0_f64, density in 0.001..1.0_f64) {
            let activations = neurons + more * (0.98 * (neurons / density).min(1.0) - neurons);
            prop_assume!(activations > neurons);
            let Ok(skew) = Skew::fit(neurons, activations, density, Origin::assumed("a test")) else {
                // Nearly a cliff is all that may be refused.
                prop_assert!(activations * density > 0.85 * neurons);
                return Ok(());
            };
            let firing = skew.at(density).unwrap();
            prop_assert!((firing.share_of_hottest(neurons) - activations).abs() < 1e-9);
            prop_assert!((brute(&firing, NEURONS, |p| p) - density).abs() < 2e-4 * density.max(0.1));
        }

        /// Shares and unions are those of 28672 neurons counted one by one.
        #[test]
        fn integrals_are_the_sums_over_neurons(
            exponent in 0.0..3.0_f64, density in 0.01..1.0_f64, tokens in 1..65_u32, hottest in 1..=NEURONS,
        ) {
            let firing = skew(exponent).at(density).unwrap();
            let share = hottest as f64 / NEURONS as f64;
            let active = brute(&firing, hottest, |p| p);
            prop_assert!((firing.active_of_hottest(share) - active).abs() < 2e-5, "{active}");
            let union = brute(&firing, hottest, |p| any_of(p, f64::from(tokens)));
            prop_assert!((firing.union_of_hottest(share, tokens) - union).abs() < 2e-5, "{union}");
        }

        /// The quadrature against Simpson's rule over a hundred times as many points.
        #[test]
        fn the_union_is_exact_to_eleven_digits(
            exponent in 0.05..16.0_f64, density in 0.001..0.999_f64, tokens in 2..200_u32, part in 0.0..1.0_f64,
        ) {
            let firing = skew(exponent).at(density).unwrap();
            // Beyond the neurons that always fire, which near density 1 are all.
            let to = part * firing.log_always().max(-6.0);
            let from = firing.log_always().max(to - LOG_DEPTH);
            prop_assume!(from < to);
            let panels = 200.0 * ((to - from) * exponent.max(1.0)).ceil();
            let half = 0.5 * (to - from) / panels;
            let at = |x: f64| any_of(firing.probability_at_log(x), f64::from(tokens)) * x.exp();
            let panel = |i: usize| {
                let x = from + half * (2 * i + 1) as f64;
                (at(x - half) + 4.0 * at(x) + at(x + half)) / 3.0
            };
            let fine = half * (0..panels as usize).map(panel).sum::<f64>();
            let coarse = firing.union_beyond_ceiling(to, f64::from(tokens));
            prop_assert!((coarse - fine).abs() < 1e-11 * fine + 1e-15, "{coarse} {fine}");
        }

        #[test]
        fn a_batch_reads_more_but_never_more_than_its_tokens(
            exponent in 0.0..16.0_f64, density in 0.0..=1.0_f64, tokens in 1..65_u32, hottest in 0.0..=1.0_f64,
        ) {
            let firing = skew(exponent).at(density).unwrap();
            let [fewer, more] = [tokens, tokens + 1].map(|b| firing.union_of_hottest(hottest, b));
            prop_assert!(more >= fewer - 1e-12);
            let once = firing.active_of_hottest(hottest);
            let most = f64::min(hottest, f64::from(tokens) * once);
            prop_assert!((once - 1e-15..=most + 1e-15).contains(&fewer), "{once} {fewer} {most}");
        }

        #[test]
        fn shares_rise_ever_more_slowly(exponent in 0.0..16.0_f64, density in 0.001..=1.0_f64, at in 0.0..1.0_f64) {
            let firing = skew(exponent).at(density).unwrap();
            let share = |g: f64| firing.share_of_hottest(g);
            let (a, b) = (0.5 * at, at);
            prop_assert!(share(a) <= share(b) && share(a) >= 0.5 * share(b) - 1e-11);
            prop_assert!(share(b) >= b - 1e-11);
            prop_assert!(firing.probability(a) >= firing.probability(b));
        }
    }
}
