//! What sample scores say about each layer: thresholds for a density, densities for a miss.

use crate::policy::check_length;
use crate::select::{key, score};
use crate::{Density, Error, Miss, QuantileTable, Shape, normal};

/// Low bits of a score's key that share a bucket: buckets are 1/32 of an octave wide.
const FINE_BITS: u32 = 18;
const BUCKETS: usize = 1 << (32 - FINE_BITS);

/// Collects scores, token by token and in any order of layers, in constant memory: about 0.4 MB per layer
/// until [`finish`](Self::finish), whatever the number of tokens. The result does not depend on the order.
#[derive(Clone, Debug)]
pub struct CalibrationBuilder {
    layers: Vec<LayerSample>,
}

#[derive(Clone, Debug)]
struct LayerSample {
    buckets: Vec<Bucket>,
    masses_known: bool,
}

/// Scores of nearly the same value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    low: f32,
    high: f32,
    /// Number of scores, or their share of all.
    pub(crate) weight: f64,
    /// Output mass of their neurons.
    pub(crate) mass: f64,
}

impl Bucket {
    const EMPTY: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY, weight: 0.0, mass: 0.0 };

    /// Share of the bucket below `threshold`, its scores taken as evenly spread.
    fn part_below(&self, threshold: f32) -> f64 {
        if threshold <= self.low {
            0.0
        } else if threshold > self.high {
            1.0
        } else {
            f64::from(threshold - self.low) / f64::from(self.high - self.low)
        }
    }
}

impl CalibrationBuilder {
    /// A sample that holds nothing yet, for a model of this shape.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let empty = LayerSample { buckets: Vec::new(), masses_known: true };
        Self { layers: vec![empty; shape.layers()] }
    }

    /// Takes in scores of one layer, any number of them.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::NanScore`], and then none of them is taken in.
    pub fn add_scores(&mut self, layer: usize, scores: &[f32]) -> Result<(), Error> {
        let sample = self.layer(layer, scores)?;
        sample.masses_known = false;
        for &score in scores {
            sample.add(score, 0.0);
        }
        Ok(())
    }

    /// Takes in scores of one layer, each with the output mass of its neuron: what [`Dynamic`](crate::Dynamic)
    /// needs to start well.
    ///
    /// # Errors
    /// As [`add_scores`](Self::add_scores); [`Error::WrongLength`] unless there is one mass per score;
    /// [`Error::OutOfRange`] for a mass that is negative or not finite.
    pub fn add(&mut self, layer: usize, scores: &[f32], masses: &[f32]) -> Result<(), Error> {
        check_length("masses", masses.len(), scores.len())?;
        if let Some(bad) = masses.iter().find(|mass| !(**mass >= 0.0 && mass.is_finite())) {
            return Err(Error::out_of_range("mass", &bad, "non-negative and finite"));
        }
        let sample = self.layer(layer, scores)?;
        for (&score, &mass) in scores.iter().zip(masses) {
            sample.add(score, f64::from(mass));
        }
        Ok(())
    }

    /// Keeps what the policies ask for: a few tens of kilobytes per layer.
    #[must_use]
    pub fn finish(self) -> Calibration {
        let close = |sample: LayerSample| {
            let buckets = sample.buckets.into_iter().filter(|bucket| bucket.weight > 0.0);
            Layer { buckets: buckets.collect(), masses_known: sample.masses_known }
        };
        Calibration { layers: self.layers.into_iter().map(close).collect() }
    }

    fn layer(&mut self, layer: usize, scores: &[f32]) -> Result<&mut LayerSample, Error> {
        let layers = self.layers.len();
        if let Some(index) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::NanScore { layer, index });
        }
        let sample = self.layers.get_mut(layer).ok_or(Error::LayerOutOfRange { layer, layers })?;
        if sample.buckets.is_empty() {
            sample.buckets.resize(BUCKETS, Bucket::EMPTY);
        }
        Ok(sample)
    }
}

impl LayerSample {
    fn add(&mut self, score: f32, mass: f64) {
        let bucket = &mut self.buckets[(key(score) >> FINE_BITS) as usize];
        bucket.low = bucket.low.min(score);
        bucket.high = bucket.high.max(score);
        bucket.weight += 1.0;
        bucket.mass += mass;
    }
}

/// Statistics of sample scores, layer by layer. Made by [`CalibrationBuilder`] from scores, or from
/// published quantiles.
#[derive(Clone, Debug)]
pub struct Calibration {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// None empty; ascending scores.
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) masses_known: bool,
}

impl Calibration {
    /// From published magnitude quantiles, a neuron's score being its mass: a perfect predictor.
    #[must_use]
    pub fn from_quantiles(table: &QuantileTable) -> Self {
        // Cells of equal width in z: the tail, where most of the mass is, gets as many as the middle.
        let cells = 1000;
        let z = |cell: usize| -5.0 + 10.0 * cell as f64 / cells as f64;
        let layer = |layer: usize| {
            let magnitude = |z: f64| table.ln_magnitude(layer, z).exp();
            let bucket = |cell: usize| {
                let (from, to) = (z(cell), z(cell + 1));
                let weight = normal::cdf(to) - normal::cdf(from);
                Bucket {
                    low: magnitude(from) as f32,
                    high: magnitude(to) as f32,
                    weight,
                    mass: weight * magnitude(from.midpoint(to)),
                }
            };
            Layer { buckets: (0..cells).map(bucket).collect(), masses_known: true }
        };
        Self { layers: (0..table.layers()).map(layer).collect() }
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The threshold that gives `layer` this density on the sample; −∞ where that is 1.
    ///
    /// Where scores are distinct the density is met to within a small part of a bucket (1/32 of an octave of
    /// scores, interpolated). Equal scores pass or fail together: then the density is met or exceeded.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::EmptyCalibration`] where the layer saw no score.
    pub fn threshold(&self, layer: usize, density: Density) -> Result<f32, Error> {
        if density.get() == 1.0 {
            return self.layer(layer).map(|_| f32::NEG_INFINITY);
        }
        let buckets = &self.layer(layer)?.buckets;
        let total = self.layer(layer)?.weight();
        let mut wanted = density.get() * total;
        for bucket in buckets.iter().rev() {
            if wanted <= bucket.weight {
                return Ok(between(bucket.high, bucket.low, wanted / bucket.weight));
            }
            wanted -= bucket.weight;
        }
        // Rounding alone leads here: the weights add up to the total.
        Ok(buckets[0].low)
    }

    /// The one threshold that gives the layers this density on average: the best that `fixed` can be set to.
    ///
    /// # Errors
    /// [`Error::EmptyCalibration`] where a layer saw no score.
    pub fn global_threshold(&self, density: Density) -> Result<f32, Error> {
        // Density falls as the threshold rises, and keys order as scores do: bisect on the 2³² keys for the
        // highest threshold that still gives the density.
        let (mut enough, mut too_little) = (key(f32::NEG_INFINITY), key(f32::INFINITY) + 1);
        while too_little - enough > 1 {
            let middle = enough.midpoint(too_little);
            let mut sum = 0.0;
            for layer in 0..self.layers() {
                sum += self.density(layer, score(middle))?;
            }
            if sum >= density.get() * self.layers() as f64 {
                enough = middle;
            } else {
                too_little = middle;
            }
        }
        Ok(score(enough))
    }

    /// The density of `layer` at a threshold, on the sample.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::EmptyCalibration`] where the layer saw no score.
    pub fn density(&self, layer: usize, threshold: f32) -> Result<f64, Error> {
        Ok(1.0 - self.layer(layer)?.share_below(threshold, |bucket| bucket.weight))
    }

    /// The share of `layer`'s mass that a threshold misses, on the sample. `None` where masses are unknown or
    /// all 0.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::EmptyCalibration`] where the layer saw no score.
    pub fn miss(&self, layer: usize, threshold: f32) -> Result<Option<f64>, Error> {
        let layer = self.layer(layer)?;
        let mass = || layer.share_below(threshold, |bucket| bucket.mass);
        Ok((layer.masses_known && layer.mass() > 0.0).then(mass))
    }

    /// The share of neurons of `layer`, lowest scores first, that held `miss` of the sample's mass. `None`
    /// where masses are unknown or all 0, or there is no such layer.
    #[must_use]
    pub fn skip_at_miss(&self, layer: usize, miss: Miss) -> Option<f64> {
        self.share_at_miss(layer, miss, |bucket| bucket.weight)
    }

    /// The share of score mass, the sum of positive scores, that those neurons had. `None` where no score was
    /// positive, too.
    #[must_use]
    pub fn score_mass_at_miss(&self, layer: usize, miss: Miss) -> Option<f64> {
        let score_mass =
            |bucket: &Bucket| bucket.weight * f64::from(bucket.low.max(0.0)).midpoint(bucket.high.max(0.0).into());
        self.share_at_miss(layer, miss, score_mass).filter(|share| share.is_finite())
    }

    /// The share of a quantity that the neurons of `layer` had which held `miss` of its mass, lowest scores first.
    fn share_at_miss(&self, layer: usize, miss: Miss, quantity: impl Fn(&Bucket) -> f64) -> Option<f64> {
        let layer = self.layers.get(layer).filter(|layer| layer.masses_known)?;
        let mass = layer.mass();
        if mass == 0.0 {
            return None;
        }
        let total: f64 = layer.buckets.iter().map(&quantity).sum();
        let mut skipped = 0.0;
        let mut allowed = miss.get() * mass;
        for bucket in &layer.buckets {
            if bucket.mass > allowed {
                skipped += quantity(bucket) * allowed / bucket.mass;
                break;
            }
            allowed -= bucket.mass;
            skipped += quantity(bucket);
        }
        Some((skipped / total).clamp(0.0, 1.0))
    }

    pub(crate) fn layer(&self, layer: usize) -> Result<&Layer, Error> {
        let layers = self.layers.len();
        let found = self.layers.get(layer).ok_or(Error::LayerOutOfRange { layer, layers })?;
        if found.buckets.is_empty() {
            return Err(Error::EmptyCalibration { layer });
        }
        Ok(found)
    }
}

impl Layer {
    pub(crate) fn weight(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.weight).sum()
    }

    pub(crate) fn mass(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.mass).sum()
    }

    /// Share of a quantity that scores below `threshold` hold.
    fn share_below(&self, threshold: f32, quantity: impl Fn(&Bucket) -> f64) -> f64 {
        let total: f64 = self.buckets.iter().map(&quantity).sum();
        let below: f64 = self.buckets.iter().map(|bucket| quantity(bucket) * bucket.part_below(threshold)).sum();
        (below / total).clamp(0.0, 1.0)
    }
}

/// The score a `share` of the way, which may be between two equal infinities.
fn between(from: f32, to: f32, share: f64) -> f32 {
    if from == to {
        return from;
    }
    (f64::from(from) + (f64::from(to) - f64::from(from)) * share) as f32
}
