//! How good a prediction was, once the truth is known.

use crate::Error;

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
        if let Some(index) = mass.iter().position(|m| !(m.is_finite() && *m >= 0.0)) {
            return Err(Error::Mass { index, value: mass[index].to_string() });
        }
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
