//! Sharing out a density or a miss, by what a calibration knows.

use std::fmt;

use crate::{Calibration, Density, Error, Miss};

/// How a density or a miss is shared out to the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// The same in every layer, as CATS (Lee et al., arXiv 2404.08763) has it.
    #[default]
    Even,
    /// Step by step, each time where one more step skipped costs the least of its layer's output mass: the greedy
    /// block allocation of TEAL (Liu et al., arXiv 2408.14690), with layers for its matrices of a block and missed
    /// mass for its error. Misses that grow ever faster, as they do where scores are masses, make greedy optimal:
    /// no other thresholds of this density have a lower mean miss on the calibration text.
    Greedy,
    /// The same for the squares of misses: between the two, since what a layer misses already makes its next step dearer.
    /// Errors that layers add to the residual independently of each other add up so.
    Squares,
}

impl Allocation {
    pub(crate) const ALL: [Self; 3] = [Self::Even, Self::Greedy, Self::Squares];

    /// What missing this share costs.
    fn cost(self, miss: f64) -> f64 {
        if self == Self::Squares { miss * miss } else { miss }
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Even => "even",
            Self::Greedy => "greedy",
            Self::Squares => "squares",
        })
    }
}

/// Equal parts of a layer's sample that are shared out.
const STEPS: usize = 4096;

/// The least of the mean miss that a layer is given: a loop that may miss nothing computes everything.
const LEAST: f64 = 1.0 / 32.0;

impl Calibration {
    /// The densities of mean `density` that `allocation` gives the layers, by steps of 1/4096 of a layer. A layer keeps one
    /// step at least.
    ///
    /// # Errors
    /// [`Error::NoMasses`] and [`Error::EmptyCalibration`], unless all are the same.
    pub fn densities(&self, density: Density, allocation: Allocation) -> Result<Vec<Density>, Error> {
        let layers = self.layers();
        if allocation == Allocation::Even {
            return Ok(vec![density; layers]);
        }
        let total = ((1.0 - density.get()) * (layers * STEPS) as f64).round() as usize;
        let taken = self.take_steps(allocation, |steps, _| steps >= total)?;
        taken.into_iter().map(|(steps, _)| Density::new(1.0 - steps as f64 / STEPS as f64)).collect()
    }

    /// The misses of mean `miss` that `allocation` gives the layers, each at least 1/32 of it.
    ///
    /// # Errors
    /// As for [`densities`](Self::densities).
    pub fn misses(&self, miss: Miss, allocation: Allocation) -> Result<Vec<Miss>, Error> {
        let layers = self.layers();
        if allocation == Allocation::Even {
            return Ok(vec![miss; layers]);
        }
        let wanted = miss.get() * layers as f64;
        let taken = self.take_steps(allocation, |_, missed| missed >= wanted)?;
        let sum: f64 = taken.iter().map(|(_, missed)| missed).sum();
        // What is left after the least is shared out in proportion.
        let scale = if sum > 0.0 { (1.0 - LEAST) * wanted / sum } else { 0.0 };
        let of_layer =
            |(_, missed): (usize, f64)| Miss::new((LEAST * miss.get() + scale * missed).min(1.0 - f64::EPSILON));
        taken.into_iter().map(of_layer).collect()
    }

    /// Skips the cheapest step of any layer until it is `enough`, told the steps and the missed shares of all layers
    /// together; what each layer then skips and misses. A layer's last step stays.
    fn take_steps(
        &self,
        allocation: Allocation,
        enough: impl Fn(usize, f64) -> bool,
    ) -> Result<Vec<(usize, f64)>, Error> {
        let masses: Vec<Vec<f64>> =
            (0..self.layers()).map(|layer| self.step_masses(layer)).collect::<Result<_, _>>()?;
        let mut taken = vec![(0, 0.0); masses.len()];
        let price = |layer: usize, (steps, missed): (usize, f64)| {
            let next = masses[layer].get(steps)?;
            Some(allocation.cost(missed + next) - allocation.cost(missed))
        };
        let mut prices: Vec<Option<f64>> = (0..masses.len()).map(|layer| price(layer, (0, 0.0))).collect();
        let (mut steps, mut missed) = (0, 0.0);
        while !enough(steps, missed) {
            let open = prices.iter().enumerate().filter_map(|(layer, price)| Some((layer, (*price)?)));
            let Some((cheapest, _)) = open.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
            let mass = masses[cheapest][taken[cheapest].0];
            steps += 1;
            missed += mass;
            taken[cheapest] = (taken[cheapest].0 + 1, taken[cheapest].1 + mass);
            prices[cheapest] = price(cheapest, taken[cheapest]);
        }
        Ok(taken)
    }

    /// The share of mass that each step of skipping costs `layer`, lowest scores first; without the last step, after which
    /// nothing would be left.
    fn step_masses(&self, layer: usize) -> Result<Vec<f64>, Error> {
        let index = layer;
        let layer = self.layer(index)?;
        let mass = layer.mass();
        if !layer.masses_known || mass == 0.0 {
            return Err(Error::NoMasses { layer: index });
        }
        let step = layer.weight() / STEPS as f64;
        let mut masses = vec![0.0; STEPS];
        let mut before = 0.0;
        for bucket in &layer.buckets {
            // The bucket's mass goes to the steps that it lies in, by its share in each.
            let mut left = bucket.weight;
            while left > 0.0 {
                let at = ((before / step) as usize).min(STEPS - 1);
                let room = if at == STEPS - 1 { left } else { ((at + 1) as f64 * step - before).max(step * 1e-9) };
                let part = left.min(room);
                masses[at] += bucket.mass / mass * part / bucket.weight;
                before += part;
                left -= part;
            }
        }
        masses.pop();
        Ok(masses)
    }
}
