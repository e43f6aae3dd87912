//! `top-p`: as many neurons as hold a share of the score mass.

use crate::policy::in_layer;
use crate::select::{Fault, Kernels, Ranking};
use crate::{Error, Feedback, Mass, Policy, Shape};

/// The fewest neurons whose scores hold `mass` of the sum of all positive scores; of equal scores the lowest indices
/// win. Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751), of neurons.
///
/// Where scores are output masses, the miss is at most 1 − mass for every token; where they only rank neurons, it is
/// whatever comes of it. Where no score is positive, nothing is said to have mass, and the largest is taken alone. See
/// [`Ranking::top_p`].
#[derive(Clone, Debug)]
pub struct TopP {
    shape: Shape,
    mass: f64,
    ranking: Ranking,
    /// Lowest score taken last, per layer.
    lowest: Vec<Option<f32>>,
}

impl TopP {
    /// The share of score mass to hold in each layer of a model of this shape.
    #[must_use]
    pub fn new(kernels: &'static Kernels, shape: Shape, mass: Mass) -> Self {
        let ranking = Ranking::with_capacity(kernels, shape.neurons());
        Self { shape, mass: mass.get(), ranking, lowest: vec![None; shape.layers()] }
    }
}

impl Policy for TopP {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn select(&mut self, layer: usize, scores: &[f32], active: &mut Vec<u32>) -> Result<(), Error> {
        active.clear();
        self.shape.check_scores(layer, scores)?;
        self.lowest[layer] = take(&mut self.ranking, scores, self.mass, active).map_err(in_layer(layer))?;
        Ok(())
    }

    fn observe(&mut self, layer: usize, feedback: &Feedback) -> Result<(), Error> {
        self.shape.check_feedback(layer, feedback)
    }

    fn threshold(&self, layer: usize) -> Option<f32> {
        self.lowest.get(layer).copied().flatten()
    }
}

/// The fewest neurons that hold `share`, in (0, 1), of the score mass; the first of the largest where there is none.
pub(crate) fn take(
    ranking: &mut Ranking,
    scores: &[f32],
    share: f64,
    active: &mut Vec<u32>,
) -> Result<Option<f32>, Fault> {
    let lowest = ranking.top_p(scores, share, active)?;
    // Everything, which is what a ranking makes of no mass.
    if lowest == Some(f32::NEG_INFINITY) { ranking.top_k(scores, 1, active) } else { Ok(lowest) }
}
