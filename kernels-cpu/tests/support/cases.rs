//! Random layers of odd sizes.

use kernels_cpu::{Activation, Ffn, Format, Gating, synthetic::Random};
use proptest::prelude::*;

use super::weights::{Spread, Weights, numbers};

/// What a layer can look like.
#[derive(Debug, Clone)]
pub struct Case {
    pub seed: u64,
    pub rows: usize,
    pub blocks: usize,
    pub odd: usize,
    pub density: f32,
    pub shift: usize,
    pub threads: usize,
    pub x: Spread,
    pub weights: Spread,
}

/// Mostly small layers, which are as odd as large ones and cost less; some with rows longer than the kernels'
/// prefetch distance in every format, some with whole chunks of blocks in whole groups of neurons, some with lists long enough to
/// fall into pieces. All are small for Miri, which
/// takes a second over a processor's microsecond.
fn sizes() -> impl Strategy<Value = (usize, usize)> {
    let (rows, blocks, large) = if cfg!(miri) { (8_usize, 3_usize, 0) } else { (20, 5, 1) };
    prop_oneof![
        24 => (0..rows, 0..blocks),
        6 * large => (0..70_usize, 0..12_usize),
        large => (0..12_usize, 0..170_usize),
        large => (8..40_usize, 16..40_usize),
        large => (500..2300_usize, 0..3_usize),
    ]
}

pub fn cases() -> impl Strategy<Value = Case> {
    let density = prop_oneof![1 => Just(0.0_f32), 2 => Just(1.0), 4 => 0.0..1.0_f32];
    let threads = prop_oneof![30 => Just(1_usize), 1 => Just(2), 1 => Just(3)];
    let x = prop_oneof![4 => Just(Spread::Even), 1 => Just(Spread::Outliers), 1 => Just(Spread::Tiny)];
    let weights = prop_oneof![4 => Just(Spread::Even), 1 => Just(Spread::Tiny)];
    (any::<u64>(), sizes(), 0..32_usize, density, 0..64_usize, threads, x, weights).prop_map(
        |(seed, (rows, blocks), odd, density, shift, threads, x, weights)| Case {
            seed,
            rows,
            blocks,
            odd,
            density,
            shift,
            threads,
            x,
            weights,
        },
    )
}

impl Case {
    /// Columns: any number for plain formats, whole blocks for the others.
    pub fn cols(&self, format: Format) -> usize {
        self.blocks * 32 + if format.block_len() == 1 { self.odd } else { 0 }
    }

    pub fn weights(&self, format: Format, random: &mut Random) -> Weights {
        Weights::random(format, [self.rows, self.cols(format)], self.shift, self.weights, random)
    }

    pub fn input(&self, format: Format, random: &mut Random) -> Vec<f32> {
        numbers(self.cols(format), self.x, random)
    }

    pub fn active(&self, random: &mut Random) -> Vec<u32> {
        random_active(self.rows, self.density, random)
    }

    pub fn layer(&self, format: Format) -> Layer {
        let mut random = Random::new(self.seed);
        let [gate, up, down] = [0; 3].map(|_| self.weights(format, &mut random));
        Layer { gate, up, down, x: self.input(format, &mut random), active: self.active(&mut random) }
    }
}

/// A gated FFN and what one token brings to it.
#[derive(Debug, Clone)]
pub struct Layer {
    pub gate: Weights,
    pub up: Weights,
    pub down: Weights,
    pub x: Vec<f32>,
    pub active: Vec<u32>,
}

impl Layer {
    pub fn ffn(&self, activation: Activation, gating: Gating) -> Ffn<'_> {
        Ffn::new(self.gate.view(), self.up.view(), self.down.view(), activation, gating).unwrap()
    }
}

pub fn activation(relu: bool) -> Activation {
    if relu { Activation::Relu } else { Activation::Silu }
}

/// Both ways to use the gate.
pub fn gatings() -> impl Strategy<Value = Gating> {
    prop_oneof![
        Just(Gating::Together),
        Just(Gating::First { threshold: 0.0 }),
        (0.0..1.0_f32).prop_map(|threshold| Gating::First { threshold }),
    ]
}

/// Each row with probability `density`.
pub fn random_active(rows: usize, density: f32, random: &mut Random) -> Vec<u32> {
    (0..rows as u32).filter(|_| random.signed() < 2.0 * density - 1.0).collect()
}
