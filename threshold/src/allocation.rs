//! Sharing out a density, by what a calibration knows.

use crate::{Calibration, Density, Error};

/// How a density is shared out to the layers.
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
}

impl Calibration {
    /// The densities of mean `density` that miss the least on the sample, by [greedy](Allocation::Greedy) steps
    /// of 1/512 of a layer. A layer keeps one step at least.
    ///
    /// # Errors
    /// [`Error::NoMasses`]; [`Error::EmptyCalibration`].
    pub fn greedy_densities(&self, density: Density) -> Result<Vec<Density>, Error> {
        const STEPS: usize = 512;
        let layers = self.layers();
        let costs: Vec<Vec<f64>> = (0..layers).map(|layer| self.step_costs(layer, STEPS)).collect::<Result<_, _>>()?;
        let mut skipped = vec![0; layers];
        let total = ((1.0 - density.get()) * (layers * STEPS) as f64).round() as usize;
        for _ in 0..total.min(layers * (STEPS - 1)) {
            let cost = |layer: &usize| costs[*layer].get(skipped[*layer]).copied().unwrap_or(f64::INFINITY);
            let cheapest = (0..layers).min_by(|a, b| cost(a).total_cmp(&cost(b)));
            skipped[cheapest.unwrap_or_default()] += 1;
        }
        skipped.into_iter().map(|skipped| Density::new(1.0 - skipped as f64 / STEPS as f64)).collect()
    }

    /// The share of mass that each of `steps` equal steps of skipping costs `layer`, lowest scores first; without the
    /// last step, after which nothing would be left.
    fn step_costs(&self, layer: usize, steps: usize) -> Result<Vec<f64>, Error> {
        let index = layer;
        let layer = self.layer(index)?;
        let mass = layer.mass();
        if !layer.masses_known || mass == 0.0 {
            return Err(Error::NoMasses { layer: index });
        }
        let step = layer.weight() / steps as f64;
        let mut costs = vec![0.0; steps];
        let mut before = 0.0;
        for bucket in &layer.buckets {
            // The bucket's mass goes to the steps that it lies in, by its share in each.
            let mut left = bucket.weight;
            while left > 0.0 {
                let at = ((before / step) as usize).min(steps - 1);
                let room = if at == steps - 1 { left } else { ((at + 1) as f64 * step - before).max(step * 1e-9) };
                let part = left.min(room);
                costs[at] += bucket.mass / mass * part / bucket.weight;
                before += part;
                left -= part;
            }
        }
        costs.pop();
        Ok(costs)
    }
}
