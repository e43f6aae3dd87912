//! Where training starts: the directions of the input that tell most about who fires, found without training.
//!
//! Under ReLU a neuron fires where its gate, linear in the input, is positive. So what is wanted first is linear: the
//! reduced-rank regression of "fires" on the input (Izenman 1975), whose directions are those of the gates as far as the
//! inputs vary along them (for Gaussian inputs the regression of a sign on its argument points along that argument: Bussgang
//! 1952).
//!
//! ```text
//!   C = X'X / n = L L'     K = X'(fires - its mean) / n, each neuron weighted by the root of its mean mass
//!   W = leading left singular vectors of L^-1 K, by subspace iteration       fc1 = W' L^-1 + s · mean' C^-1
//!   fc2 = ridge regression of "fires" on max(0, fc1 · x)
//! ```
//! The last term of fc1 lifts all units by about `s` deviations, as far as the inputs' mean allows, so that ReLU bends
//! few of them: units that start linear end better than pairs of opposite sign or random ones (measured on a code model, in
//! `PERFORMANCE.md`). Inputs come scaled to unit mean square an element.

use kernels_cpu::{Isa, synthetic::Random};

use crate::{
    Samples,
    linear::{Cholesky, orthonormal},
    multiply::{multiply, transpose},
    train::Network,
};

const RIDGE: f64 = 1e-3;
const UNIT_RIDGE: f64 = 1e-2;
const ITERATIONS: usize = 4;
/// Deviations by which units are lifted.
const LIFT: f64 = 2.0;
/// A logit of this much for who fires, and less as much for who does not.
const LOGIT: f32 = 2.0;
/// Tokens that are multiplied at a time.
const AT_ONCE: usize = 256;

/// A network of `rank` units for `samples`, whose inputs are multiplied by `scale`, element by element.
pub(crate) fn start(isa: Isa, samples: &Samples<'_>, scale: &[f32], rank: usize, random: &mut Random) -> Network {
    let (hidden, neurons) = (samples.hidden(), samples.neurons());
    let rates = rates(samples);
    let weights: Vec<f32> = mean_masses(samples).into_iter().map(f32::sqrt).collect();
    let (mut second, mut cross, mut mean) =
        (vec![0.0; hidden * hidden], vec![0.0; hidden * neurons], vec![0.0; hidden]);
    for_blocks(samples, scale, |first, x| {
        let tokens = x.len() / hidden;
        x.chunks_exact(hidden).for_each(|x| mean.iter_mut().zip(x).for_each(|(m, x)| *m += x));
        let mut turned = vec![0.0; x.len()];
        transpose(x, hidden, &mut turned);
        multiply(isa, &turned, tokens, x, &mut second, hidden);
        let target = |token: usize| {
            let mass = samples.mass(first + token).iter().zip(&rates).zip(&weights);
            mass.map(|((&mass, rate), weight)| (fires(mass) - rate) * weight)
        };
        let targets: Vec<f32> = (0..tokens).flat_map(target).collect();
        multiply(isa, &turned, tokens, &targets, &mut cross, neurons);
    });
    let count = samples.len() as f32;
    [&mut second[..], &mut cross, &mut mean].into_iter().flatten().for_each(|v| *v /= count);

    let factor = Cholesky::of(&second, hidden, RIDGE);
    let mut turned = vec![0.0; cross.len()];
    transpose(&cross, neurons, &mut turned);
    let mut w: Vec<f64> = (0..hidden * rank).map(|_| f64::from(random.signed())).collect();
    for _ in 0..ITERATIONS {
        orthonormal(&mut w, rank);
        factor.solve_upper(&mut w, rank);
        let (mut inner, mut outer) = (vec![0.0; neurons * rank], vec![0.0; hidden * rank]);
        multiply(isa, &turned, hidden, &narrow(&w), &mut inner, rank);
        multiply(isa, &cross, neurons, &inner, &mut outer, rank);
        w = outer.into_iter().map(f64::from).collect();
        factor.solve_lower(&mut w, rank);
    }
    orthonormal(&mut w, rank);
    factor.solve_upper(&mut w, rank);
    let mut lift: Vec<f64> = mean.iter().map(|&m| LIFT * f64::from(m)).collect();
    factor.solve_lower(&mut lift, 1);
    factor.solve_upper(&mut lift, 1);
    w.chunks_exact_mut(rank).zip(lift).for_each(|(row, lift)| row.iter_mut().for_each(|v| *v += lift));

    let fc1 = narrow(&w);
    let fc2 = regression(isa, samples, scale, &fc1, rank);
    Network::new(hidden, rank, neurons, fc1, fc2)
}

/// The second matrix for a given first.
fn regression(isa: Isa, samples: &Samples<'_>, scale: &[f32], fc1: &[f32], rank: usize) -> Vec<f32> {
    let (hidden, neurons) = (samples.hidden(), samples.neurons());
    let (mut second, mut cross) = (vec![0.0; rank * rank], vec![0.0; rank * neurons]);
    for_blocks(samples, scale, |first, x| {
        let tokens = x.len() / hidden;
        let mut units = vec![0.0; tokens * rank];
        multiply(isa, x, hidden, fc1, &mut units, rank);
        units.iter_mut().for_each(|v| *v = v.max(0.0));
        let mut turned = vec![0.0; units.len()];
        transpose(&units, rank, &mut turned);
        multiply(isa, &turned, tokens, &units, &mut second, rank);
        let logits = (first..first + tokens).flat_map(|token| samples.mass(token));
        let logits: Vec<f32> = logits.map(|&mass| LOGIT * (2.0 * fires(mass) - 1.0)).collect();
        multiply(isa, &turned, tokens, &logits, &mut cross, neurons);
    });
    let count = samples.len() as f32;
    [&mut second[..], &mut cross].into_iter().flatten().for_each(|v| *v /= count);
    let factor = Cholesky::of(&second, rank, UNIT_RIDGE);
    let mut fc2: Vec<f64> = cross.into_iter().map(f64::from).collect();
    factor.solve_lower(&mut fc2, neurons);
    factor.solve_upper(&mut fc2, neurons);
    narrow(&fc2)
}

/// Calls `each` with the first token of a block and the block's scaled inputs.
fn for_blocks(samples: &Samples<'_>, scale: &[f32], mut each: impl FnMut(usize, &[f32])) {
    let mut x = Vec::new();
    for first in (0..samples.len()).step_by(AT_ONCE) {
        x.clear();
        for token in first..(first + AT_ONCE).min(samples.len()) {
            x.extend(samples.x(token).iter().zip(scale).map(|(x, s)| x * s));
        }
        each(first, &x);
    }
}

fn fires(mass: f32) -> f32 {
    if mass > 0.0 { 1.0 } else { 0.0 }
}

fn rates(samples: &Samples<'_>) -> Vec<f32> {
    means(samples, fires)
}

fn mean_masses(samples: &Samples<'_>) -> Vec<f32> {
    means(samples, |mass| mass)
}

fn means(samples: &Samples<'_>, of: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut sums = vec![0.0_f64; samples.neurons()];
    for token in 0..samples.len() {
        sums.iter_mut().zip(samples.mass(token)).for_each(|(sum, &mass)| *sum += f64::from(of(mass)));
    }
    sums.into_iter().map(|sum| (sum / samples.len() as f64) as f32).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}
