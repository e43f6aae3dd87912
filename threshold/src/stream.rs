//! A synthetic stream of output masses and scores with the statistics of a real model, for benches, tests and
//! reports where no weights are at hand.
//!
//! The mass of neuron i at token t is the magnitude quantile of its layer at the normal quantile
//!
//! ```text
//! z = ρ · aᵢ + √(1 − ρ²) · εᵢₜ        aᵢ, εᵢₜ standard normal; aᵢ the same for every token
//! ```
//!
//! so the masses of a layer follow its published quantiles at every token, while some neurons stay hot. Then
//! scale and shape drift as [`Knobs`] says. A layer's stream depends only on the seed, the layer and how many
//! tokens it gave: layers may be drawn in any order.

use crate::prng::SplitMix64;
use crate::{Error, QuantileTable, Shape, normal};

/// How a [`ScoreStream`] departs from independent draws. Each default says where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    /// Everything random follows from it.
    pub seed: u64,
    /// ρ in [0, 1]: how much of a neuron's quantile is its own. 0.61, derived: then the hottest 43 % of neurons
    /// make 80 % of the activations at density 0.18, as `PowerInfer` (arXiv 2312.12456, §3.1 and table 3) reports
    /// of Llama-2-70B with `ReGLU`.
    pub persistence: f64,
    /// Standard deviation of each token's log-scale, shared by all layers. 0.06, derived: a density of 0.18 at a
    /// fixed threshold then has a standard deviation of about a tenth of itself over tokens, which spans the
    /// 0.14–0.20 of Bamboo-7B (`PowerInfer`, table 5).
    pub token_scale: f64,
    /// Tokens before the next prompt comes. 32, assumed: short enough to see many prompts in a short run.
    pub prompt_tokens: u64,
    /// Standard deviation of each prompt's log-scale, shared by all layers, drawn afresh: a jump. 0.2, assumed.
    pub prompt_jump: f64,
    /// Standard deviation of one step of each layer's own log-scale, a random walk from prompt to prompt.
    /// 0.1, assumed.
    pub prompt_walk: f64,
    /// Standard deviation of the logarithm of the exponent that spreads (or flattens) the masses of a layer
    /// about its highest quantile, drawn afresh for each layer and prompt. 0.05, assumed.
    pub prompt_shape: f64,
    /// Standard deviation of the logarithm of score over mass: how badly the predictor ranks. 0, assumed: a
    /// perfect predictor.
    pub predictor_noise: f64,
    /// Standard deviation, over layers, of the logarithm of that deviation: how much worse some layers are
    /// predicted than others. 0, assumed.
    pub predictor_spread: f64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            seed: 1,
            persistence: 0.61,
            token_scale: 0.06,
            prompt_tokens: 32,
            prompt_jump: 0.2,
            prompt_walk: 0.1,
            prompt_shape: 0.05,
            predictor_noise: 0.0,
            predictor_spread: 0.0,
        }
    }
}

impl Knobs {
    /// No drift of any kind: each token follows the quantile table itself.
    #[must_use]
    pub fn stationary(seed: u64) -> Self {
        Self { seed, token_scale: 0.0, prompt_jump: 0.0, prompt_walk: 0.0, prompt_shape: 0.0, ..Self::default() }
    }

    fn check(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.persistence) {
            return Err(Error::out_of_range("persistence", &self.persistence, "in [0, 1]"));
        }
        if self.prompt_tokens == 0 {
            return Err(Error::out_of_range("prompt_tokens", &0, "at least 1"));
        }
        for (quantity, value) in [
            ("token_scale", self.token_scale),
            ("prompt_jump", self.prompt_jump),
            ("prompt_walk", self.prompt_walk),
            ("prompt_shape", self.prompt_shape),
            ("predictor_noise", self.predictor_noise),
            ("predictor_spread", self.predictor_spread),
        ] {
            // A step of more than a factor e² is no model's drift.
            if !(0.0..=2.0).contains(&value) {
                return Err(Error::out_of_range(quantity, &value, "in [0, 2]"));
            }
        }
        Ok(())
    }
}

/// Masses, and scores that predict them, for every layer of a model.
#[derive(Clone, Debug)]
pub struct ScoreStream {
    shape: Shape,
    knobs: Knobs,
    table: QuantileTable,
    normals: Normals,
    /// Logarithms of the table's magnitudes at the edges of a layer's cells: as every prompt of the layer finds them.
    ln_edges: Vec<Vec<f64>>,
    layers: Vec<LayerStream>,
}

#[derive(Clone, Debug)]
struct LayerStream {
    draws: SplitMix64,
    drift: SplitMix64,
    errors: SplitMix64,
    /// ρ · aᵢ.
    own: Vec<f32>,
    magnitudes: Magnitudes,
    tokens: u64,
    walk: f64,
}

impl ScoreStream {
    /// A stream with the layers of `table` and `neurons` neurons in each.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a knob outside its range, or no neurons.
    pub fn new(table: &QuantileTable, neurons: usize, knobs: Knobs) -> Result<Self, Error> {
        knobs.check()?;
        let shape = Shape::new(table.layers(), neurons)?;
        let normals = Normals::new();
        let layer = |layer: usize| {
            let part = |what: u64| SplitMix64::part(knobs.seed, 4 * layer as u64 + what);
            let mut offsets = part(0);
            let own = (0..neurons).map(|_| knobs.persistence as f32 * normals.at(offsets.next_u64() as u32)).collect();
            LayerStream {
                draws: part(1),
                drift: part(2),
                errors: part(3),
                own,
                magnitudes: Magnitudes::default(),
                tokens: 0,
                walk: 0.0,
            }
        };
        let edges = |layer| Magnitudes::edges().map(|z| table.ln_magnitude(layer, z)).collect();
        Ok(Self {
            shape,
            knobs,
            layers: (0..shape.layers()).map(layer).collect(),
            ln_edges: (0..shape.layers()).map(edges).collect(),
            table: table.clone(),
            normals,
        })
    }

    /// Layers and neurons.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Writes the output masses of the next token of `layer`: non-negative and finite.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::WrongLength`] unless there is room for one mass per neuron.
    pub fn next_token(&mut self, layer: usize, masses: &mut [f32]) -> Result<(), Error> {
        self.shape.check_scores(layer, masses)?;
        if self.layers[layer].tokens.is_multiple_of(self.knobs.prompt_tokens) {
            self.start_prompt(layer);
        }
        let token = self.layers[layer].tokens;
        let scale = (self.knobs.token_scale * self.shared_normal(TOKEN, token)).exp() as f32;
        let noise = (1.0 - self.knobs.persistence * self.knobs.persistence).sqrt() as f32;
        let state = &mut self.layers[layer];
        for (own, mass) in state.own.chunks(2).zip(masses.chunks_mut(2)) {
            let bits = state.draws.next_u64();
            for ((own, mass), bits) in own.iter().zip(mass).zip([bits as u32, (bits >> 32) as u32]) {
                let z = own + noise * self.normals.at(bits);
                *mass = scale * state.magnitudes.at(z);
            }
        }
        state.tokens += 1;
        Ok(())
    }

    /// Writes scores that predict `masses`: each mass times a log-normal error of `predictor_noise`, which layers
    /// have more or less of by `predictor_spread`.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`]; [`Error::WrongLength`] unless both have one entry per neuron.
    pub fn predict(&mut self, layer: usize, masses: &[f32], scores: &mut [f32]) -> Result<(), Error> {
        self.shape.check_scores(layer, masses)?;
        self.shape.check_scores(layer, scores)?;
        // Not of the seed: the predictor stays the same whatever the text.
        let bits = SplitMix64::part(PREDICTOR, layer as u64).next_u64();
        let spread = self.knobs.predictor_spread * f64::from(self.normals.at(bits as u32));
        let noise = (self.knobs.predictor_noise * spread.exp()).min(NOISE_LIMIT) as f32;
        if noise == 0.0 {
            scores.copy_from_slice(masses);
            return Ok(());
        }
        let errors = &mut self.layers[layer].errors;
        for (mass, score) in masses.iter().zip(scores) {
            *score = mass * (noise * self.normals.at(errors.next_u64() as u32)).exp();
        }
        Ok(())
    }

    /// Moves `layer` to its next prompt's scale and shape.
    fn start_prompt(&mut self, layer: usize) {
        let knobs = &self.knobs;
        let prompt = self.layers[layer].tokens / knobs.prompt_tokens;
        let jump = knobs.prompt_jump * self.shared_normal(PROMPT, prompt);
        let state = &mut self.layers[layer];
        let mut normal = || f64::from(self.normals.at(state.drift.next_u64() as u32));
        // The walk starts where the table is.
        let step = knobs.prompt_walk * normal();
        let exponent = (knobs.prompt_shape * normal()).exp();
        if prompt > 0 {
            state.walk += step;
        }
        let pivot = self.table.ln_highest(layer);
        let shift = state.walk + jump;
        let magnitude = |ln: &f64| (pivot + exponent * (ln - pivot) + shift).min(LN_LIMIT).exp() as f32;
        state.magnitudes.fill(self.ln_edges[layer].iter().map(magnitude));
    }

    /// A standard normal number that all layers see alike.
    fn shared_normal(&self, what: u64, index: u64) -> f64 {
        let bits = SplitMix64::part(self.knobs.seed ^ what, index).next_u64();
        f64::from(self.normals.at(bits as u32))
    }
}

/// What a shared number is for; any two distinct numbers far from a layer's.
const TOKEN: u64 = 1 << 62;
const PROMPT: u64 = 1 << 63;

/// A walk may lead anywhere: magnitudes stop where a token's scale and a predictor's error still stay finite.
const LN_LIMIT: f64 = 40.0;

/// What the layers' predictors are drawn from.
const PREDICTOR: u64 = 0x70;

/// The most that a predictor errs, where spread asks for more.
const NOISE_LIMIT: f64 = 2.0;

const CELLS: usize = 4096;

/// Standard normal numbers from uniform bits: quantiles at the middles of equal shares, linear between. All
/// lie within ±3.7.
#[derive(Clone, Debug)]
struct Normals {
    at_edges: Vec<f32>,
}

impl Normals {
    fn new() -> Self {
        let middle = |cell: usize| normal::quantile((cell as f64 + 0.5) / (CELLS + 1) as f64) as f32;
        Self { at_edges: (0..=CELLS).map(middle).collect() }
    }

    #[inline]
    fn at(&self, bits: u32) -> f32 {
        let cell = (bits >> 20) as usize;
        let inside = (bits & 0xf_ffff) as f32 / (1 << 20) as f32;
        lerp(&self.at_edges, cell, inside)
    }
}

/// The magnitudes of one layer by normal quantile, tabulated.
#[derive(Clone, Debug, Default)]
struct Magnitudes {
    at_edges: Vec<f32>,
}

/// ρ·a + √(1 − ρ²)·ε is at most √2 · 3.7.
const Z_LIMIT: f32 = 5.4;

impl Magnitudes {
    /// Normal quantiles at the edges of the cells.
    fn edges() -> impl Iterator<Item = f64> {
        (0..=CELLS).map(|cell| f64::from(Z_LIMIT) * (2.0 * cell as f64 / CELLS as f64 - 1.0))
    }

    fn fill(&mut self, at_edges: impl Iterator<Item = f32>) {
        self.at_edges.clear();
        self.at_edges.extend(at_edges);
    }

    #[inline]
    fn at(&self, z: f32) -> f32 {
        let position = (z + Z_LIMIT) * (CELLS as f32 / (2.0 * Z_LIMIT));
        // The cast saturates, and the limit holds for every z that a stream can make.
        let cell = (position as u32 as usize).min(CELLS - 1);
        lerp(&self.at_edges, cell, position - cell as f32)
    }
}

#[inline]
fn lerp(edges: &[f32], cell: usize, inside: f32) -> f32 {
    edges[cell] + (edges[cell + 1] - edges[cell]) * inside
}
