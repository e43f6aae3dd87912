//! How good a prediction was, once the truth is known.

use crate::{Error, samples::check_masses};

/// Predicted against true active neurons of one layer and token; several add up with [`Quality::add`].
///
/// A ratio over nothing is 1: who predicts nothing makes no false claim, and who has nothing to find misses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    hits: u64,
    predicted: u64,
    active: u64,
    neurons: u64,
    missed: f64,
    mass: f64,
}

impl Quality {
    /// Compares two strictly ascending lists of neurons. `mass[i]` is what neuron `i` adds to the FFN's output, such as
    /// `|act(gate_i) * up_i| * ||down_i||`; its length is the number of neurons.
    ///
    /// # Errors
    /// Lists out of order or out of range; masses that are negative or not finite.
    pub fn of(predicted: &[u32], active: &[u32], mass: &[f32]) -> Result<Self, Error> {
        check_list("predicted", predicted, mass.len())?;
        check_list("active", active, mass.len())?;
        check_masses(mass)?;
        let mut quality = Self {
            predicted: predicted.len() as u64,
            active: active.len() as u64,
            neurons: mass.len() as u64,
            mass: mass.iter().map(|&m| f64::from(m)).sum(),
            ..Self::default()
        };
        let kept: f64 = predicted.iter().map(|&i| f64::from(mass[i as usize])).sum();
        quality.missed = (quality.mass - kept).max(0.0);
        let mut rest = predicted.iter().peekable();
        for neuron in active {
            while rest.next_if(|&p| p < neuron).is_some() {}
            quality.hits += u64::from(rest.next_if_eq(&neuron).is_some());
        }
        Ok(quality)
    }

    /// Compares scores of any number of tokens, cut at `cut`, with what fired: a neuron is predicted where its score is at
    /// least the cut, and was active where it has mass.
    ///
    /// # Errors
    /// Lengths that differ; scores that are not numbers; masses that are negative or not finite.
    pub fn at(scores: &[f32], cut: f32, mass: &[f32]) -> Result<Self, Error> {
        if scores.len() != mass.len() {
            return Err(Error::Scores { given: scores.len(), wanted: mass.len() });
        }
        check_masses(mass)?;
        let mut quality = Self { neurons: mass.len() as u64, ..Self::default() };
        for (index, (&score, &mass)) in scores.iter().zip(mass).enumerate() {
            if score.is_nan() {
                return Err(Error::Score { index });
            }
            let (predicted, active, mass) = (score >= cut, mass > 0.0, f64::from(mass));
            quality.predicted += u64::from(predicted);
            quality.active += u64::from(active);
            quality.hits += u64::from(predicted && active);
            quality.mass += mass;
            quality.missed += if predicted { 0.0 } else { mass };
        }
        Ok(quality)
    }

    /// Counts another layer or token in.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.predicted += other.predicted;
        self.active += other.active;
        self.neurons += other.neurons;
        self.missed += other.missed;
        self.mass += other.mass;
    }

    /// Share of the truly active neurons that were predicted.
    pub fn recall(&self) -> f64 {
        share(self.hits as f64, self.active as f64)
    }

    /// Share of the predicted neurons that were truly active.
    pub fn precision(&self) -> f64 {
        share(self.hits as f64, self.predicted as f64)
    }

    /// Share of all neurons that were predicted, hence computed.
    pub fn density(&self) -> f64 {
        if self.neurons == 0 { 0.0 } else { self.predicted as f64 / self.neurons as f64 }
    }

    /// Share of all neurons that were predicted and active: their up and down rows are read where the gate has the last
    /// word.
    pub fn fired(&self) -> f64 {
        if self.neurons == 0 { 0.0 } else { self.hits as f64 / self.neurons as f64 }
    }

    /// Share of all neurons that were active.
    pub fn natural_density(&self) -> f64 {
        if self.neurons == 0 { 0.0 } else { self.active as f64 / self.neurons as f64 }
    }

    /// Share of the output mass that lies in neurons not predicted.
    pub fn missed_mass(&self) -> f64 {
        1.0 - share(self.mass - self.missed, self.mass)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 1.0 }
}

fn check_list(list: &'static str, neurons: &[u32], count: usize) -> Result<(), Error> {
    let mut below = 0;
    for (position, &index) in neurons.iter().enumerate() {
        if (index as usize) < below || index as usize >= count {
            return Err(Error::Neurons { list, position, index, neurons: count });
        }
        below = index as usize + 1;
    }
    Ok(())
}
