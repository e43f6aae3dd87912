//! The operators in f64, with the error that a correct kernel may make.

use kernels_cpu::{Activation, InputRounding};

use super::weights::Weights;

/// Half a unit in the last place of f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;

/// The smallest normal f32.
const NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// Half the smallest denormal, what rounding may cost a result down there; and some.
const DENORMAL: f64 = NORMAL * U * 2.0;

/// Higham's gamma: the relative error that `k` roundings can pile up.
pub fn gamma(k: usize) -> f64 {
    let ku = k as f64 * U;
    ku / (1.0 - ku)
}

/// A value and how far from it a correct f32 kernel may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

impl Bounded {
    /// NaN is never admitted.
    pub fn admits(self, got: f32) -> bool {
        (f64::from(got) - self.value).abs() <= self.error
    }

    fn largest(self) -> f64 {
        self.value.abs() + self.error
    }
}

/// `row . x`: `cols` products, as many additions, one scale multiply a block; and what the kernel loses of `x`.
pub fn dot(row: &[f32], x: &[f32], rounding: InputRounding) -> Bounded {
    let (mut value, mut magnitude, mut of_blocks) = (0.0, 0.0, 0.0);
    for (row, x) in row.chunks(32).zip(x.chunks(32)) {
        let (mut weights, mut largest) = (0.0, 0.0_f64);
        for (&w, &x) in row.iter().zip(x) {
            let (w, x) = (f64::from(w), f64::from(x));
            value += w * x;
            magnitude += (w * x).abs();
            weights += w.abs();
            largest = largest.max(x.abs());
        }
        of_blocks += weights * largest;
    }
    let input = rounding.of_element * magnitude + rounding.of_block * of_blocks;
    // The rounded input is a little larger than the given one, and so are the roundings of its products.
    let error = gamma(row.len() + 3) * (magnitude + input) + 1.001 * input;
    Bounded { value, error: error + underflow(x, rounding) }
}

/// What is lost where numbers are too small to be normal.
fn underflow(x: &[f32], rounding: InputRounding) -> f64 {
    let cols = x.len() as f64;
    if rounding.of_element > 0.0 {
        // Pairs of bf16: denormal weights, products and sums are zero to the instruction.
        let inputs: f64 = x.iter().map(|x| f64::from(x.abs())).sum();
        (1.01 * inputs + 4.0 * cols + 64.0) * NORMAL
    } else if rounding.of_block > 0.0 {
        // Integers: a block's two scales are multiplied first, then count up to 2^26 times.
        (cols / 32.0 * f64::from(1 << 26) + 64.0) * DENORMAL
    } else {
        (cols + 4.0) * DENORMAL
    }
}

/// One neuron of a gated FFN.
#[derive(Debug, Clone, Copy)]
pub struct Neuron {
    /// `act(gate . x)`
    pub act: Bounded,
    /// `act(gate . x) * (up . x)`
    pub h: Bounded,
}

/// Whether a neuron's activation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    Yes,
    No,
    /// It is nearer to the threshold than its error.
    Unclear,
}

impl Neuron {
    pub fn new(gate: &[f32], up: &[f32], activation: Activation, x: &[f32], rounding: InputRounding) -> Self {
        let (act, u) = (activated(dot(gate, x, rounding), activation), dot(up, x, rounding));
        let value = act.value * u.value;
        let error = act.value.abs() * u.error + u.value.abs() * act.error + act.error * u.error;
        Self { act, h: Bounded { value, error: error + 2.0 * U * (value.abs() + error) + DENORMAL } }
    }

    pub fn counts(self, threshold: f32) -> Counts {
        let threshold = f64::from(threshold);
        if self.act.value.abs() - self.act.error > threshold {
            Counts::Yes
        } else if self.act.largest() <= threshold {
            Counts::No
        } else {
            Counts::Unclear
        }
    }

    /// What it adds where only activations above `threshold` count.
    pub fn gated(self, threshold: f32) -> Bounded {
        match self.counts(threshold) {
            Counts::Yes => self.h,
            Counts::No => Bounded { value: 0.0, error: 0.0 },
            Counts::Unclear => Bounded { value: self.h.value, error: self.h.largest() },
        }
    }
}

fn activated(gate: Bounded, activation: Activation) -> Bounded {
    let g = gate.value;
    match activation {
        Activation::Relu if g + gate.error <= 0.0 => Bounded { value: 0.0, error: 0.0 },
        Activation::Relu => Bounded { value: g.max(0.0), error: gate.error },
        Activation::Silu => {
            let value = g / (1.0 + (-g).exp());
            // The slope is at most 1.1; exponential, sum and quotient round; below -88 the exponential overflows.
            Bounded { value, error: 1.1 * gate.error + 8.0 * U * (value.abs() + gate.error) + 1e-36 }
        }
    }
}

/// What a kernel loses of `h`: its [`hidden_rounding`](kernels_cpu::Kernel::hidden_rounding) of the largest of `group`
/// neurons that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct HiddenRounding {
    pub of_largest: f64,
    pub group: usize,
}

/// `y += sum over j of h[j] * w[active[j]]`, for `h` as exact as it says.
pub fn down(y: &[f32], h: &[Bounded], active: &[u32], w: &Weights, rounding: HiddenRounding) -> Vec<Bounded> {
    let mut out: Vec<_> = y.iter().map(|&y| Bounded { value: y.into(), error: 0.0 }).collect();
    let mut magnitudes: Vec<_> = y.iter().map(|&y| f64::from(y).abs()).collect();
    for (h, &index) in h.iter().zip(active) {
        for ((out, magnitude), w) in out.iter_mut().zip(&mut magnitudes).zip(w.row(index)) {
            let w = f64::from(w);
            out.value += h.value * w;
            out.error += h.error * w.abs();
            *magnitude += h.largest() * w.abs();
        }
    }
    for (out, magnitude) in out.iter_mut().zip(magnitudes) {
        // A block's scale meets `h` first and then counts up to 128 times.
        out.error += gamma(h.len() + 3) * magnitude + (h.len() * 128 + 4) as f64 * DENORMAL;
    }
    if rounding.of_largest > 0.0 {
        for (h, active) in h.chunks(rounding.group).zip(active.chunks(rounding.group)) {
            let (scales, integers): (Vec<_>, Vec<_>) = active.iter().map(|&row| w.scales_and_integers(row)).unzip();
            for (c, out) in out.iter_mut().enumerate() {
                let largest = h.iter().zip(&scales).map(|(h, d)| h.largest() * d[c / 32]).fold(0.0, f64::max);
                let sum: f64 = integers.iter().map(|q| q[c]).sum();
                out.error += 1.001 * rounding.of_largest * largest * sum;
            }
        }
    }
    out
}

/// Those of exactly known value.
pub fn exact(values: &[f32]) -> Vec<Bounded> {
    values.iter().map(|&value| Bounded { value: value.into(), error: 0.0 }).collect()
}
