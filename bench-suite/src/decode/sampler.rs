//! The next token from logits.

use kernels_cpu::synthetic::Random;

use crate::{Failure, Result};

/// Greedy at temperature zero, else a seeded draw from the nucleus (Holtzman et al. 2020).
#[derive(Debug)]
pub struct Sampler {
    temperature: f32,
    top_p: f64,
    random: Random,
    /// Probability, not yet divided by their sum, and token.
    candidates: Vec<(f64, u32)>,
}

impl Sampler {
    /// `temperature` divides the logits; `top_p` is the share of probability to draw from.
    ///
    /// # Errors
    /// A temperature that is negative or not finite; a share that is not in (0, 1].
    pub fn new(temperature: f32, top_p: f64, seed: u64) -> Result<Self> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Failure::input(format!("temperature is {temperature}: use zero for greedy, or more")));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Failure::input(format!("top-p is {top_p}: use a share in (0, 1]")));
        }
        Ok(Self { temperature, top_p, random: Random::new(seed), candidates: Vec::new() })
    }

    /// A token. Of equal logits the lowest token wins when greedy.
    ///
    /// # Errors
    /// Logits that are not finite.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        if let Some(token) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(Failure::input(format!("the logit of token {token} is {}: broken weights?", logits[token])));
        }
        let mut best = 0;
        for (token, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = token;
            }
        }
        if self.temperature == 0.0 || logits.is_empty() {
            return Ok(best as u32);
        }
        let (max, temperature) = (f64::from(logits[best]), f64::from(self.temperature));
        self.candidates.clear();
        let weight = |logit: f32| ((f64::from(logit) - max) / temperature).exp();
        self.candidates.extend(logits.iter().enumerate().map(|(token, &logit)| (weight(logit), token as u32)));
        let mut mass: f64 = self.candidates.iter().map(|(weight, _)| weight).sum();
        if self.top_p < 1.0 {
            self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let wanted = self.top_p * mass;
            let mut reached = 0.0;
            let enough = self.candidates.iter().position(|(weight, _)| {
                reached += weight;
                reached >= wanted
            });
            self.candidates.truncate(enough.map_or(self.candidates.len(), |last| last + 1));
            mass = reached;
        }
        // 53 bits, as many as an f64 in [0, 1) has.
        let mut left = (self.random.bits() >> 11) as f64 / (1_u64 << 53) as f64 * mass;
        let drawn = self.candidates.iter().find(|(weight, _)| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little: the most likely token takes it.
        Ok(drawn.map_or(best as u32, |&(_, token)| token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_largest_and_of_equals_the_first() {
        let mut sampler = Sampler::new(0.0, 1.0, 1).unwrap();
        assert_eq!(sampler.next(&[0.0, 3.0, -1.0, 3.0]).unwrap(), 1);
        assert!(sampler.next(&[0.0, f32::NAN]).unwrap_err().message.contains("token 1"));
    }

    /// Frequencies of many draws lie within six standard deviations of the softmax.
    #[test]
    fn draws_follow_the_softmax_at_a_temperature() {
        let logits = [1.0_f32, 0.0, 2.0, -1.0];
        let (temperature, draws) = (0.7, 40_000);
        let mut sampler = Sampler::new(temperature, 1.0, 5).unwrap();
        let mut count = [0_i64; 4];
        (0..draws).for_each(|_| count[sampler.next(&logits).unwrap() as usize] += 1);
        let weights = logits.map(|logit| (f64::from(logit) / f64::from(temperature)).exp());
        for (count, weight) in count.into_iter().zip(weights) {
            let p = weight / weights.iter().sum::<f64>();
            let deviation = (draws as f64 * p * (1.0 - p)).sqrt();
            assert!((count as f64 - draws as f64 * p).abs() < 6.0 * deviation, "{count} of {draws} at {p}");
        }
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_hold_the_share() {
        // Probabilities 0.5, 0.25, 0.125, 0.125.
        let logits = [0.5_f32, 0.25, 0.125, 0.125].map(f32::ln);
        for (top_p, tokens) in [(0.49, 1), (0.6, 2), (0.8, 3), (1.0, 4)] {
            let mut sampler = Sampler::new(1.0, top_p, 3).unwrap();
            let drawn: std::collections::BTreeSet<u32> = (0..500).map(|_| sampler.next(&logits).unwrap()).collect();
            assert_eq!(drawn.into_iter().collect::<Vec<_>>(), (0..tokens).collect::<Vec<_>>(), "{top_p}");
        }
    }

    #[test]
    fn a_seed_repeats() {
        let draw = |seed| {
            let mut sampler = Sampler::new(1.0, 0.9, seed).unwrap();
            (0..50).map(|_| sampler.next(&[0.0; 30]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(Sampler::new(-1.0, 1.0, 0).is_err() && Sampler::new(1.0, 0.0, 0).is_err());
        assert!(Sampler::new(f32::NAN, 1.0, 0).is_err() && Sampler::new(1.0, f64::NAN, 0).is_err());
    }
}
