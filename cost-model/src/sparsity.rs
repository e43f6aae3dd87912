//! How often a 70B model's neurons matter, layer by layer.
//!
//! For SwiGLU models nothing is exactly zero; what counts as inactive is `|h2| <= t`, where h2 is
//! the input of the down projection. The tables hold, per layer, the t that leaves a given share of
//! values below it, computed from the histograms that TEAL publishes (Liu et al., arXiv 2408.14690;
//! FasterDecoding/TEAL 5baaec8).
//!
//! Between the tabled shares the share is a monotone curve of ln t. Outside them it is assumed:
//! a power of t through the first two below, a power-law tail through the last two above, up to
//! 0.98. The histograms' clipped end bins hold about 2 % of the values, so nothing is known
//! beyond, and a density under 0.02 is refused.

use crate::curve::Spline;
use crate::origin::{Origin, Sourced};

const LLAMA_2_70B: &str = include_str!("../data/llama-2-70b-mlp-thresholds.csv");
const LLAMA_3_70B: &str = include_str!("../data/llama-3-70b-mlp-thresholds.csv");

/// Shares of values at or below the tabled thresholds.
const LEVELS: [f64; 8] = [0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// Largest share that the histograms support.
const CEILING: f64 = 0.98;

/// Halvings of an interval until it is as narrow as a double allows.
const BISECTIONS: usize = 100;

/// Why a table gives no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SparsityError {
    /// The table does not read.
    #[error("{name}: {what}; mend the table")]
    Table {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A layer that the model lacks.
    #[error("layer {layer} of {layers}; layers count from 0")]
    Layer {
        /// What was asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A threshold that is no magnitude.
    #[error("threshold {0}; wanted a finite number of at least 0")]
    Threshold(f64),
    /// A density that the histograms do not reach.
    #[error("density {0}; the activation tables support 0.02 to 1")]
    Density(f64),
}

/// Quantiles of |h2|, layer by layer.
#[derive(Clone, Debug, PartialEq)]
pub struct SparsityTable {
    layers: Vec<Layer>,
    origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
struct Layer {
    thresholds: [f64; 8],
    log_t: Vec<f64>,
    share: Spline,
    /// Exponent of the share below the first level.
    beta: f64,
    /// Exponent of the tail above the last.
    alpha: f64,
}

impl Layer {
    fn new(thresholds: [f64; 8]) -> Self {
        let log_t: Vec<f64> = thresholds.iter().map(|t| t.ln()).collect();
        let tail = (1.0 - LEVELS[6]) / (1.0 - LEVELS[7]);
        Self {
            thresholds,
            share: Spline::new(&log_t, LEVELS.to_vec()),
            beta: (LEVELS[1] / LEVELS[0]).ln() / (log_t[1] - log_t[0]),
            alpha: tail.ln() / (log_t[7] - log_t[6]),
            log_t,
        }
    }

    /// Share of values with magnitude at most `t`.
    fn sparsity(&self, t: f64) -> f64 {
        let (first, last) = (self.thresholds[0], self.thresholds[7]);
        if t <= first {
            LEVELS[0] * (t / first).powf(self.beta)
        } else if t <= last {
            self.share.at(&self.log_t, t.ln())
        } else {
            let above = (1.0 - LEVELS[7]) * (t / last).powf(-self.alpha);
            (1.0 - above).min(CEILING)
        }
    }

    /// The least threshold at which the share reaches the ceiling.
    fn ceiling(&self) -> f64 {
        let factor = (1.0 - LEVELS[7]) / (1.0 - CEILING);
        // A hair more, so that rounding cannot leave the share short of it.
        self.thresholds[7] * factor.powf(1.0 / self.alpha) * (1.0 + 1e-9)
    }
}

impl SparsityTable {
    /// Llama-2-70B.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn llama_2_70b() -> Result<Self, SparsityError> {
        Self::parse(LLAMA_2_70B, "data/llama-2-70b-mlp-thresholds.csv")
    }

    /// Llama-3-70B.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn llama_3_70b() -> Result<Self, SparsityError> {
        Self::parse(LLAMA_3_70B, "data/llama-3-70b-mlp-thresholds.csv")
    }

    /// The table for a model of [`crate::model::ModelShape::ALL`], if there is one.
    ///
    /// Code Llama 70B was trained on from Llama-2-70B, whose table is assumed for it. For
    /// ReluLLaMA-70B no per-layer figures were published: see [`published_density`].
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn for_model(model: &str) -> Result<Option<Self>, SparsityError> {
        match model {
            "llama-2-70b" => Self::llama_2_70b().map(Some),
            "llama-3-70b" => Self::llama_3_70b().map(Some),
            "code-llama-70b" => {
                let table = Self::llama_2_70b()?;
                let why = format!("Llama-2-70B stands in for Code Llama 70B; {}", table.origin);
                Ok(Some(Self { origin: Origin::assumed(why), ..table }))
            }
            _ => Ok(None),
        }
    }

    /// Reads columns `h2_t0.25` to `h2_t0.95`, one row per layer in order.
    ///
    /// # Errors
    /// [`SparsityError::Table`]
    pub fn parse(text: &str, name: &str) -> Result<Self, SparsityError> {
        let fail = |what: String| SparsityError::Table { name: name.to_owned(), what };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| fail(e.to_string()))?.clone();
        let mut at = [0; 8];
        for (index, level) in at.iter_mut().zip(LEVELS) {
            let column = format!("h2_t{level}");
            let found = header.iter().position(|h| h == column);
            *index = found.ok_or_else(|| fail(format!("no column `{column}`")))?;
        }
        let mut layers = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| fail(e.to_string()))?;
            let cell = |i: usize| record.get(i).and_then(|c| c.parse().ok());
            let t = at.map(|i| cell(i).unwrap_or(f64::NAN));
            if !(t[0] > 0.0 && t.windows(2).all(|w| w[0] < w[1]) && t[7].is_finite()) {
                return Err(fail(format!("layer {} does not ascend", layers.len())));
            }
            layers.push(Layer::new(t));
        }
        if layers.is_empty() {
            return Err(fail("no layers".to_owned()));
        }
        let from = format!("{name}: TEAL's |h2| histograms (arXiv 2408.14690); tails assumed");
        Ok(Self { layers, origin: Origin::derived(from) })
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The tabled shares.
    pub fn levels(&self) -> &'static [f64] {
        &LEVELS
    }

    /// The tabled thresholds of a layer, one per level.
    pub fn thresholds(&self, layer: usize) -> Option<&[f64]> {
        self.layers.get(layer).map(|l| &l.thresholds[..])
    }

    /// Where the table comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Share of a layer's neurons with |h2| above `threshold`.
    ///
    /// # Errors
    /// [`SparsityError::Layer`], [`SparsityError::Threshold`].
    pub fn density(&self, layer: usize, threshold: f64) -> Result<f64, SparsityError> {
        check_threshold(threshold)?;
        Ok(1.0 - self.layer(layer)?.sparsity(threshold))
    }

    /// Density of every layer under one global threshold.
    ///
    /// # Errors
    /// [`SparsityError::Threshold`]
    pub fn densities(&self, threshold: f64) -> Result<Sourced<Vec<f64>>, SparsityError> {
        check_threshold(threshold)?;
        let density = |l: &Layer| 1.0 - l.sparsity(threshold);
        let densities = self.layers.iter().map(density).collect();
        Ok(Sourced::new(densities, self.origin.clone()))
    }

    /// The least threshold that leaves a layer at most `density`.
    ///
    /// # Errors
    /// [`SparsityError::Layer`], [`SparsityError::Density`].
    pub fn threshold(&self, layer: usize, density: f64) -> Result<f64, SparsityError> {
        check_density(density)?;
        let layer = self.layer(layer)?;
        Ok(least(layer.ceiling(), |t| 1.0 - layer.sparsity(t) <= density))
    }

    /// The least global threshold under which the layers' mean density is at most `density`.
    ///
    /// # Errors
    /// [`SparsityError::Density`]
    pub fn global_threshold(&self, density: f64) -> Result<f64, SparsityError> {
        check_density(density)?;
        let top = self.layers.iter().map(Layer::ceiling).fold(0.0, f64::max);
        Ok(least(top, |t| self.mean_density(t) <= density))
    }

    fn mean_density(&self, t: f64) -> f64 {
        let sum: f64 = self.layers.iter().map(|l| 1.0 - l.sparsity(t)).sum();
        sum / self.layers.len() as f64
    }

    fn layer(&self, layer: usize) -> Result<&Layer, SparsityError> {
        let layers = self.layers.len();
        let unknown = SparsityError::Layer { layer, layers };
        self.layers.get(layer).ok_or(unknown)
    }
}

fn check_threshold(t: f64) -> Result<(), SparsityError> {
    if t.is_finite() && t >= 0.0 { Ok(()) } else { Err(SparsityError::Threshold(t)) }
}

fn check_density(density: f64) -> Result<(), SparsityError> {
    // The slack lets 1 - CEILING through, which is not 0.02 to the last bit.
    if (1.0 - CEILING - 1e-12..=1.0).contains(&density) { Ok(()) } else { Err(SparsityError::Density(density)) }
}

/// The least t in `0..=top` for which `reached`, which never turns false again.
fn least(top: f64, reached: impl Fn(f64) -> bool) -> f64 {
    if reached(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, top);
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Mean FFN density where only that was published: ReluLLaMA-70B.
pub fn published_density(model: &str) -> Option<Sourced<f64>> {
    (model == "relu-llama-70b").then(|| Sourced {
        value: 0.18,
        origin: Origin::published(
            "82 % sparsity of LLaMA2(ReGLU)-70B: Song et al., PowerInfer, arXiv 2312.12456v2, \
             Table 3; the model cards' exact-zero counts at 7B and 13B are 3 to 6 points lower, \
             and no per-layer figures were published",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn llama_2() -> SparsityTable {
        SparsityTable::llama_2_70b().unwrap()
    }

    /// What TEAL's own histograms give for one global threshold.
    #[test]
    fn global_thresholds_are_those_of_the_histograms() {
        let near = |a: f64, b: f64, tolerance: f64| assert!((a - b).abs() < tolerance, "{a} {b}");
        let table = llama_2();
        let t50 = table.global_threshold(0.5).unwrap();
        near(t50, 0.0204, 0.0003);
        let sparsity = |layer, t| 1.0 - table.density(layer, t).unwrap();
        near(sparsity(0, t50), 0.98, 0.001);
        near(sparsity(10, t50), 0.81, 0.006);
        near(sparsity(40, t50), 0.43, 0.006);
        near(sparsity(77, t50), 0.215, 0.005);
        near(table.global_threshold(0.3).unwrap(), 0.0460, 0.0005);
        let t90 = table.global_threshold(0.1).unwrap();
        near(t90, 0.120, 0.002);
        near(sparsity(78, t90), 0.678, 0.005);
        let llama_3 = SparsityTable::llama_3_70b().unwrap();
        let t = llama_3.global_threshold(0.5).unwrap();
        // Far below the first tabled share the assumed power law is off by a point.
        near(1.0 - llama_3.density(78, t).unwrap(), 0.149, 0.01);
        near(llama_3.global_threshold(0.5).unwrap(), 0.00486, 0.0001);
        near(llama_3.global_threshold(0.1).unwrap(), 0.0305, 0.0006);
    }

    #[test]
    fn tabled_points_are_met() {
        for table in [llama_2(), SparsityTable::llama_3_70b().unwrap()] {
            assert_eq!(table.layers(), 80);
            for layer in 0..80 {
                let points = table.thresholds(layer).unwrap().iter().zip(table.levels());
                for (t, level) in points {
                    let density = table.density(layer, *t).unwrap();
                    assert!((density - (1.0 - level)).abs() < 1e-12);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn threshold_and_density_are_inverse(layer in 0_usize..80, density in 0.02..1.0) {
            let table = llama_2();
            let t = table.threshold(layer, density).unwrap();
            prop_assert!((table.density(layer, t).unwrap() - density).abs() < 1e-9);
        }

        #[test]
        fn a_higher_threshold_never_computes_more(layer in 0_usize..80, a in 0.0..1.0, b in 0.0..1.0) {
            let table = llama_2();
            let at = |t: f64| table.density(layer, t * t).unwrap();
            prop_assert!(at(f64::min(a, b)) >= at(f64::max(a, b)));
        }

        #[test]
        fn global_threshold_meets_the_mean(density in 0.02..1.0) {
            let table = llama_2();
            let t = table.global_threshold(density).unwrap();
            let densities = table.densities(t).unwrap().value;
            let mean = densities.iter().sum::<f64>() / 80.0;
            prop_assert!((mean - density).abs() < 1e-9);
        }
    }

    #[test]
    fn ends_and_refusals() {
        let table = llama_2();
        assert_eq!(table.threshold(3, 1.0), Ok(0.0));
        assert_eq!(table.density(3, 0.0), Ok(1.0));
        assert!((table.density(3, 1e9).unwrap() - 0.02).abs() < 1e-12);
        for bad in [0.0, 0.019, 1.001, f64::NAN] {
            assert!(matches!(table.threshold(3, bad), Err(SparsityError::Density(_))));
            assert!(matches!(table.global_threshold(bad), Err(SparsityError::Density(_))));
        }
        for bad in [-1e-9, f64::NAN, f64::INFINITY] {
            assert!(matches!(table.density(3, bad), Err(SparsityError::Threshold(_))));
        }
        let layer = SparsityError::Layer { layer: 80, layers: 80 };
        assert_eq!(table.density(80, 0.1), Err(layer));
        assert!(SparsityTable::parse("layer,h2_t0.25\n0,1\n", "x").is_err());
        assert!(SparsityTable::parse(&LLAMA_2_70B.replace("3.0464334965914278e-05", "1"), "x").is_err());
    }

    #[test]
    fn models_have_a_table_or_a_published_density() {
        for model in crate::model::ModelShape::ALL {
            let table = SparsityTable::for_model(model.name).unwrap();
            let published = published_density(model.name);
            assert_ne!(table.is_some(), published.is_some(), "{}", model.name);
        }
        let code = SparsityTable::for_model("code-llama-70b").unwrap().unwrap();
        assert_eq!(code.origin().kind(), "assumed");
    }
}
