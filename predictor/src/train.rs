//! Training of the low-rank predictor.
//!
//! Let `m` be a neuron's output mass for a token, and `λ` the mass at which computing it is just worth its bytes. To skip
//! it costs `m`, to compute it costs `λ`, so it should be computed where `E[m | x] > λ`. The loss of a score `s` is
//! therefore logistic with these costs as weights (cost-sensitive learning: Elkan 2001):
//!
//! ```text
//!   m/λ · ln(1 + e^-s)  +  ln(1 + e^s)         least at s = ln(E[m | x] / λ)
//! ```
//! so what a cut misses is output mass, and every cut is the best trade between mass and rows at its own `λ`. `m/λ` is limited
//! ([`MOST_WEIGHT`]), lest a few tokens drown the others. The network has no bias, so the cut that serves best is 0, where
//! the scale of the input does not matter: after each epoch `λ` moves until a cut of 0 finds the wanted share of the
//! neurons that fire.
//!
//! Minibatches in an order drawn from the seed; Adam (Kingma, Ba 2015) at a rate that falls as a cosine does; the epoch
//! that computes fewest neurons at the wanted recall on validation samples is kept. All in f32 on the caller's thread, so
//! that a seed gives the same weights wherever the same instruction set runs; layers are what threads share.

use std::ops::ControlFlow;

use kernels_cpu::{Isa, synthetic::Random};

use crate::{
    Cut, Error, Samples,
    cut::check_share,
    multiply::{multiply, transpose},
    start::start,
};

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Units between the two matrices.
    pub rank: usize,
    /// Share of the firing neurons to find.
    pub recall: f64,
    /// Passes over the training samples.
    pub epochs: usize,
    /// Rate of the first epoch.
    pub rate: f32,
    /// Seed of the start and of the order of samples.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self { rank: 32, recall: 0.95, epochs: 16, rate: 2e-3, seed: 1 }
    }
}

/// How far training is, to be shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Units of the network that is trained.
    pub rank: usize,
    /// Epochs done, from 0: the start.
    pub done: usize,
    /// Epochs in all.
    pub of: usize,
    /// Share of neurons computed at the wanted recall on validation samples.
    pub density: f64,
}

/// A trained predictor in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Width of the hidden state.
    pub hidden: usize,
    /// Units.
    pub rank: usize,
    /// Neurons.
    pub neurons: usize,
    /// rank x hidden.
    pub fc1: Vec<f32>,
    /// neurons x rank. Units are scaled to unit mean square, so that blocks of it hold numbers of like influence.
    pub fc2: Vec<f32>,
    /// The epoch that it is of; 0 is the start.
    pub epoch: usize,
}

/// Tokens of a minibatch.
const BATCH: usize = 64;
/// Largest weight of a neuron that fires over one that does not.
pub const MOST_WEIGHT: f32 = 50.0;
/// Training tokens that λ and the scale of units are measured on.
const MEASURED: usize = 2048;
/// How far λ moves towards the cut at once, and the share of the rate that is left at the end.
const TOWARDS: f32 = 0.7;
const LEAST_RATE: f32 = 0.02;

/// Trains on `training`; `validation` (other prompts) decides which epoch is kept. `progress` hears of the start and of each
/// epoch; where it breaks off, the best so far is the result.
///
/// # Errors
/// Samples of two layers; samples in which nothing fires; settings out of range.
pub fn train(
    isa: Isa,
    training: &Samples<'_>,
    validation: &Samples<'_>,
    settings: &Training,
    mut progress: impl FnMut(Epoch) -> ControlFlow<()>,
) -> Result<Trained, Error> {
    let isa = isa.require()?;
    check(training, validation, settings)?;
    let Training { rank, recall, epochs, rate, seed } = *settings;
    let mut random = Random::new(seed);
    let scale = scales(training);
    let mut network = start(isa, training, &scale, rank, &mut random);
    let measured: Vec<usize> = (0..training.len()).step_by(training.len().div_ceil(MEASURED)).collect();
    let validated: Vec<usize> = (0..validation.len()).collect();
    let mut lambda = training.masses().iter().map(|&m| f64::from(m)).sum::<f64>() / training.masses().len() as f64;
    let (mut optimiser, mut order) = (Optimiser::new(&network), (0..training.len()).collect::<Vec<_>>());
    let mut best: Option<(f64, usize, Network)> = None;
    for epoch in 0..=epochs {
        let density = network.cut(isa, validation, &scale, &validated, recall)?.quality.density();
        if best.as_ref().is_none_or(|(least, ..)| density < *least) {
            best = Some((density, epoch, network.clone()));
        }
        if progress(Epoch { rank, done: epoch, of: epochs, density }).is_break() || epoch == epochs {
            break;
        }
        let cut = network.cut(isa, training, &scale, &measured, recall)?.score;
        lambda *= f64::from((TOWARDS * cut.clamp(-3.0, 3.0)).exp());
        for index in (1..order.len()).rev() {
            order.swap(index, random.below(index + 1));
        }
        let turn = std::f32::consts::PI * epoch as f32 / epochs as f32;
        optimiser.rate = rate * (LEAST_RATE + (1.0 - LEAST_RATE) * 0.5 * (1.0 + turn.cos()));
        for batch in order.chunks(BATCH) {
            network.step(isa, training, &scale, batch, lambda as f32, &mut optimiser);
        }
    }
    let (_, epoch, network) = best.ok_or(Error::Silent)?;
    Ok(network.finished(isa, training, &scale, &measured, epoch))
}

fn check(training: &Samples<'_>, validation: &Samples<'_>, settings: &Training) -> Result<(), Error> {
    let width = |samples: &Samples<'_>| format!("{} x {}", samples.hidden(), samples.neurons());
    if width(training) != width(validation) {
        return Err(Error::Widths { given: width(validation), wanted: width(training) });
    }
    if settings.rank == 0 || settings.rank > 2 * training.hidden() {
        let wanted = "1 to twice the hidden size, which is enough for any gate";
        return Err(Error::Setting { setting: "rank", given: settings.rank.to_string(), wanted });
    }
    if !(settings.rate > 0.0 && settings.rate <= 1.0) {
        return Err(Error::Setting { setting: "rate", given: settings.rate.to_string(), wanted: "a number in (0, 1]" });
    }
    check_share("recall", settings.recall)?;
    if [training, validation].iter().any(|samples| samples.masses().iter().all(|&mass| mass == 0.0)) {
        return Err(Error::Silent);
    }
    Ok(())
}

/// What brings each element of the input to unit mean square.
fn scales(samples: &Samples<'_>) -> Vec<f32> {
    let mut squares = vec![0.0_f64; samples.hidden()];
    for token in 0..samples.len() {
        squares.iter_mut().zip(samples.x(token)).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
    }
    let scale = |sum: f64| if sum > 0.0 { (samples.len() as f64 / sum).sqrt() as f32 } else { 0.0 };
    squares.into_iter().map(scale).collect()
}

/// The two matrices with inputs as rows, as the products of training want them.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    hidden: usize,
    rank: usize,
    neurons: usize,
    /// hidden x rank.
    fc1: Vec<f32>,
    /// rank x neurons.
    fc2: Vec<f32>,
    /// neurons x rank.
    fc2_turned: Vec<f32>,
}

impl Network {
    pub(crate) fn new(hidden: usize, rank: usize, neurons: usize, fc1: Vec<f32>, fc2: Vec<f32>) -> Self {
        let mut network = Self { hidden, rank, neurons, fc1, fc2_turned: vec![0.0; fc2.len()], fc2 };
        transpose(&network.fc2, neurons, &mut network.fc2_turned);
        network
    }

    /// `max(0, x · fc1)`, token after token.
    fn units(&self, isa: Isa, x: &[f32]) -> Vec<f32> {
        let mut units = vec![0.0; x.len() / self.hidden * self.rank];
        multiply(isa, x, self.hidden, &self.fc1, &mut units, self.rank);
        units.iter_mut().for_each(|v| *v = v.max(0.0));
        units
    }

    /// `units · fc2`.
    fn scores(&self, isa: Isa, units: &[f32]) -> Vec<f32> {
        let mut scores = vec![0.0; units.len() / self.rank * self.neurons];
        multiply(isa, units, self.rank, &self.fc2, &mut scores, self.neurons);
        scores
    }

    /// The cut over some tokens.
    fn cut(&self, isa: Isa, samples: &Samples<'_>, scale: &[f32], tokens: &[usize], recall: f64) -> Result<Cut, Error> {
        let (mut scores, mut mass) = (Vec::new(), Vec::new());
        for tokens in tokens.chunks(BATCH) {
            scores.extend(self.scores(isa, &self.units(isa, &gathered(samples, scale, tokens))));
            tokens.iter().for_each(|&token| mass.extend_from_slice(samples.mass(token)));
        }
        Cut::at_recall(&scores, &mass, recall)
    }

    /// One minibatch.
    fn step(
        &mut self,
        isa: Isa,
        samples: &Samples<'_>,
        scale: &[f32],
        batch: &[usize],
        lambda: f32,
        optimiser: &mut Optimiser,
    ) {
        let (tokens, rank, neurons) = (batch.len(), self.rank, self.neurons);
        let x = gathered(samples, scale, batch);
        let units = self.units(isa, &x);
        let mut slope = self.scores(isa, &units);
        let share = 1.0 / (tokens * neurons) as f32;
        for (slope, &token) in slope.chunks_exact_mut(neurons).zip(batch) {
            for (s, &mass) in slope.iter_mut().zip(samples.mass(token)) {
                let weight = (mass / lambda).min(MOST_WEIGHT);
                *s = share * ((1.0 + weight) / (1.0 + (-*s).exp()) - weight);
            }
        }
        let [fc1, fc2] = &mut optimiser.slopes;
        let mut turned = vec![0.0; units.len().max(x.len())];
        transpose(&units, rank, &mut turned[..units.len()]);
        fc2.fill(0.0);
        multiply(isa, &turned[..units.len()], tokens, &slope, fc2, neurons);
        let mut back = vec![0.0; units.len()];
        multiply(isa, &slope, neurons, &self.fc2_turned, &mut back, rank);
        back.iter_mut().zip(&units).filter(|(_, unit)| **unit == 0.0).for_each(|(back, _)| *back = 0.0);
        transpose(&x, self.hidden, &mut turned[..x.len()]);
        fc1.fill(0.0);
        multiply(isa, &turned[..x.len()], tokens, &back, fc1, rank);
        optimiser.step([&mut self.fc1, &mut self.fc2]);
        transpose(&self.fc2, neurons, &mut self.fc2_turned);
    }

    /// With the inputs' scale taken into fc1, and units scaled to unit mean square.
    fn finished(self, isa: Isa, samples: &Samples<'_>, scale: &[f32], tokens: &[usize], epoch: usize) -> Trained {
        let mut squares = vec![0.0_f64; self.rank];
        for tokens in tokens.chunks(BATCH) {
            for units in self.units(isa, &gathered(samples, scale, tokens)).chunks_exact(self.rank) {
                squares.iter_mut().zip(units).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
            }
        }
        let size = |&sum: &f64| (sum / tokens.len() as f64).sqrt() as f32;
        // A unit that is silent on all of these tokens stays as it is.
        let sizes: Vec<f32> = squares.iter().map(size).map(|size| if size > 0.0 { size } else { 1.0 }).collect();
        let Self { hidden, rank, neurons, fc1: by_input, fc2_turned: mut fc2, .. } = self;
        let mut fc1 = vec![0.0; by_input.len()];
        transpose(&by_input, rank, &mut fc1);
        for (row, size) in fc1.chunks_exact_mut(hidden).zip(&sizes) {
            row.iter_mut().zip(scale).for_each(|(v, scale)| *v *= scale / size);
        }
        fc2.chunks_exact_mut(rank).for_each(|row| row.iter_mut().zip(&sizes).for_each(|(v, size)| *v *= size));
        Trained { hidden, rank, neurons, fc1, fc2, epoch }
    }
}

/// Scaled inputs of some tokens.
fn gathered(samples: &Samples<'_>, scale: &[f32], tokens: &[usize]) -> Vec<f32> {
    tokens.iter().flat_map(|&token| samples.x(token).iter().zip(scale).map(|(x, s)| x * s)).collect()
}

/// Adam over both matrices.
struct Optimiser {
    rate: f32,
    steps: i32,
    slopes: [Vec<f32>; 2],
    means: [Vec<f32>; 2],
    squares: [Vec<f32>; 2],
}

impl Optimiser {
    const DECAY: (f32, f32) = (0.9, 0.99);

    fn new(network: &Network) -> Self {
        let zeros = || [vec![0.0; network.fc1.len()], vec![0.0; network.fc2.len()]];
        Self { rate: 0.0, steps: 0, slopes: zeros(), means: zeros(), squares: zeros() }
    }

    fn step(&mut self, weights: [&mut Vec<f32>; 2]) {
        self.steps += 1;
        let (a, b) = Self::DECAY;
        let (first, second) = (1.0 - a.powi(self.steps), 1.0 - b.powi(self.steps));
        let rate = self.rate * second.sqrt() / first;
        let parts = weights.into_iter().zip(&self.slopes).zip(self.means.iter_mut().zip(&mut self.squares));
        for ((weights, slopes), (means, squares)) in parts {
            for ((w, g), (mean, square)) in weights.iter_mut().zip(slopes).zip(means.iter_mut().zip(squares)) {
                *mean = a * *mean + (1.0 - a) * g;
                *square = b * *square + (1.0 - b) * g * g;
                // 1e-12: slopes are means over tokens and neurons, and small.
                *w -= rate * *mean / (square.sqrt() + 1e-12);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: (usize, usize, usize, usize) = (5, 4, 7, 3);
    const LAMBDA: f32 = 0.3;

    /// The loss as the head of this file states it, in f64: `w` is fc1 and then fc2, inputs as rows.
    fn loss(w: &[f64], samples: &Samples<'_>) -> f64 {
        let (hidden, rank, neurons, tokens) = SHAPE;
        let mut sum = 0.0;
        for token in 0..tokens {
            let x = samples.x(token);
            let unit = |k: usize| (0..hidden).map(|j| f64::from(x[j]) * w[j * rank + k]).sum::<f64>().max(0.0);
            for (neuron, &mass) in samples.mass(token).iter().enumerate() {
                let s: f64 = (0..rank).map(|k| unit(k) * w[hidden * rank + k * neurons + neuron]).sum();
                let weight = f64::from(mass / LAMBDA).min(f64::from(MOST_WEIGHT));
                sum += weight * (-s).exp().ln_1p() + s.exp().ln_1p();
            }
        }
        sum / (tokens * neurons) as f64
    }

    /// The slopes of a step are those of the loss, by central differences.
    #[test]
    fn slopes_are_those_of_the_loss() {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let (hidden, rank, neurons, tokens) = SHAPE;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let x = random.vector(tokens * hidden);
            // Silent neurons, small masses, and some beyond the limit.
            let masses: Vec<f32> = random.vector(tokens * neurons).into_iter().map(|v| (30.0 * v).max(0.0)).collect();
            let samples = Samples::new(hidden, neurons, &x, &masses).unwrap();
            let (fc1, fc2) = (random.vector(hidden * rank), random.vector(rank * neurons));
            let weights: Vec<f64> = fc1.iter().chain(&fc2).map(|&v| f64::from(v)).collect();
            let mut network = Network::new(hidden, rank, neurons, fc1, fc2);
            let mut optimiser = Optimiser::new(&network);
            network.step(isa, &samples, &vec![1.0; hidden], &[0, 1, 2], LAMBDA, &mut optimiser);
            let slopes = optimiser.slopes.concat();
            let mut near_a_bend = 0;
            for (index, &slope) in slopes.iter().enumerate() {
                let at = |shift: f64| {
                    let mut moved = weights.clone();
                    moved[index] += shift;
                    loss(&moved, &samples)
                };
                let close = |step: f64| {
                    let wanted = (at(step) - at(-step)) / (2.0 * step);
                    (f64::from(slope) - wanted).abs() <= 1e-4 * (1.0 + wanted.abs())
                };
                // Where ReLU bends within the step, differences are no slope; a shorter step then misses the bend.
                near_a_bend += usize::from(!close(1e-4));
                assert!(close(1e-4) || close(1e-7), "{isa}: slope {index} is {slope}");
            }
            assert!(near_a_bend < slopes.len() / 4, "{isa}");
        }
    }
}
