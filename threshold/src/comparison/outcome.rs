//! What one policy did in one pass.

use std::time::Duration;

use crate::PolicySpec;

/// What one policy did: token by token, layer by layer and prompt by prompt.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub(super) spec: Option<PolicySpec>,
    layers: usize,
    prompts: Vec<Prompt>,
    tokens: Vec<Token>,
    time: Duration,
}

#[derive(Clone, Debug, Default)]
struct Prompt {
    tokens: usize,
    /// Shares audited, summed over tokens.
    audited: f64,
    /// Misses of each layer, summed over tokens.
    layers: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    prompt: usize,
    density: f64,
    /// The mean of its layers' misses.
    miss: f64,
}

/// What a policy did in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Mean share of rows computed, audited ones among them.
    pub density: f64,
    /// Share of rows computed for audits alone.
    pub audited: f64,
    /// 95th percentile of a token's density over the mean.
    pub jitter: f64,
    /// Mean share of a layer's mass that was missed.
    pub miss: f64,
    /// The mean miss of the layer that missed most.
    pub worst_layer: f64,
    /// 99th percentile, over tokens, of the mean miss of a token's layers.
    pub p99_token: f64,
}

impl Outcome {
    pub(super) fn new(layers: usize) -> Self {
        Self { spec: None, layers, prompts: Vec::new(), tokens: Vec::new(), time: Duration::ZERO }
    }

    pub(super) fn start_prompt(&mut self) {
        self.prompts.push(Prompt { layers: vec![0.0; self.layers], ..Prompt::default() });
    }

    pub(super) fn start_token(&mut self) {
        let prompt = self.prompts.len() - 1;
        self.prompts[prompt].tokens += 1;
        self.tokens.push(Token { prompt, density: 0.0, miss: 0.0 });
    }

    /// Takes in a layer of the last token: what was selected and audited of it, as shares of all layers' rows, and its miss.
    pub(super) fn add(&mut self, layer: usize, [selected, audited]: [f64; 2], miss: f64, time: Duration) {
        if let (Some(prompt), Some(token)) = (self.prompts.last_mut(), self.tokens.last_mut()) {
            prompt.audited += audited;
            prompt.layers[layer] += miss;
            token.density += selected + audited;
            token.miss += miss / self.layers as f64;
        }
        self.time += time;
    }

    /// The policy, where [`compare`](super::compare) set it.
    #[must_use]
    pub fn spec(&self) -> Option<PolicySpec> {
        self.spec
    }

    /// How many prompts there were.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.prompts.len()
    }

    /// Mean time of one layer's selection; where the policy needs audits, with picking rows, adding up what was kept and
    /// learning from it.
    #[must_use]
    pub fn selection_time(&self) -> Duration {
        self.time / (self.tokens.len() * self.layers).max(1) as u32
    }

    /// The mean miss of each layer.
    #[must_use]
    pub fn layer_misses(&self) -> Vec<f64> {
        self.layer_means(&vec![1; self.prompts.len()])
    }

    /// Its figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.ordered().figures(&vec![1; self.prompts.len()])
    }

    pub(super) fn ordered(&self) -> Ordered<'_> {
        let by = |key: fn(&Token) -> f64| {
            let mut order: Vec<u32> = (0..self.tokens.len() as u32).collect();
            order.sort_by(|&a, &b| key(&self.tokens[a as usize]).total_cmp(&key(&self.tokens[b as usize])));
            order
        };
        Ordered { outcome: self, by_density: by(|token| token.density), by_miss: by(|token| token.miss) }
    }

    fn layer_means(&self, times: &[u32]) -> Vec<f64> {
        let tokens: f64 = self.prompts.iter().zip(times).map(|(prompt, &n)| prompt.tokens as f64 * f64::from(n)).sum();
        let mean = |layer: usize| {
            let sums = self.prompts.iter().zip(times).map(|(prompt, &n)| prompt.layers[layer] * f64::from(n));
            sums.sum::<f64>() / tokens
        };
        (0..self.layers).map(mean).collect()
    }
}

/// An outcome whose tokens are in order of density and of miss, for many resamples of its prompts.
pub(super) struct Ordered<'o> {
    outcome: &'o Outcome,
    by_density: Vec<u32>,
    by_miss: Vec<u32>,
}

impl Ordered<'_> {
    /// The figures where each prompt came so many `times`.
    pub(super) fn figures(&self, times: &[u32]) -> Figures {
        let Outcome { prompts, tokens, .. } = self.outcome;
        let weight = |token: &Token| f64::from(times[token.prompt]);
        let count: f64 = tokens.iter().map(weight).sum();
        let density = tokens.iter().map(|token| token.density * weight(token)).sum::<f64>() / count;
        let audited = prompts.iter().zip(times).map(|(prompt, &n)| prompt.audited * f64::from(n)).sum::<f64>() / count;
        // Nearest rank.
        let percentile = |order: &[u32], share: f64, value: fn(&Token) -> f64| {
            let mut above = count - (share * count).ceil();
            for &index in order.iter().rev() {
                let token = &tokens[index as usize];
                above -= weight(token);
                if above < 0.0 {
                    return value(token);
                }
            }
            0.0
        };
        let layers = self.outcome.layer_means(times);
        Figures {
            density,
            audited,
            jitter: percentile(&self.by_density, 0.95, |token| token.density) / density,
            miss: layers.iter().sum::<f64>() / layers.len() as f64,
            worst_layer: layers.into_iter().fold(0.0, f64::max),
            p99_token: percentile(&self.by_miss, 0.99, |token| token.miss),
        }
    }
}
