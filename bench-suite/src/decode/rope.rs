//! The rotation of queries and keys by their position.

use crate::model::Config;

/// Frequencies of the pairs, and the rotation of the current position.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// Radians per position.
    frequencies: Vec<f64>,
    /// Cosine and sine of each pair.
    turns: Vec<(f32, f32)>,
}

impl Rotation {
    pub(crate) fn new(config: &Config) -> Self {
        let pairs = config.head_size / 2;
        let rope = &config.rope;
        let frequency = |pair: usize| {
            let factor = rope.factors.as_ref().map_or(1.0, |factors| f64::from(factors[pair]));
            f64::from(rope.base).powf(-(pair as f64) / pairs as f64) / f64::from(rope.scale) / factor
        };
        Self { frequencies: (0..pairs).map(frequency).collect(), turns: vec![(1.0, 0.0); pairs] }
    }

    /// Sets the position: once a token, for all layers and heads.
    pub(crate) fn at(&mut self, position: usize) {
        for (turn, frequency) in self.turns.iter_mut().zip(&self.frequencies) {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            *turn = (cos as f32, sin as f32);
        }
    }

    /// Turns each head of `x`: elements 0 and 1 by the first pair's angle, 2 and 3 by the second's.
    pub(crate) fn turn(&self, x: &mut [f32]) {
        for head in x.chunks_exact_mut(2 * self.turns.len()) {
            for (pair, &(cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(&self.turns) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, a * sin + b * cos];
            }
        }
    }
}
