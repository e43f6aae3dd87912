//! A model that reads one token after another.

use std::time::{Duration, Instant};

use kernels_cpu::{Cpu, Matrix};
use threshold::{Inputs, PolicySpec};

use crate::{
    Failure, Result,
    model::{Layer, Model},
};

use super::{
    LayerStatistics,
    attention::Attention,
    clock::{Clock, Part},
    ffn::{FfnInput, Ffns},
    norm::rms_norm,
    rope::Rotation,
};

/// A model, its KV cache, and a policy for its FFNs.
#[derive(Debug)]
pub struct Decoder<'m> {
    model: &'m Model<'m>,
    cpu: &'m Cpu,
    attention: Attention,
    rotation: Rotation,
    ffns: Ffns<'m>,
    position: usize,
    /// 0, 1, 2, … : every row of the largest matrix.
    all: Vec<u32>,
    /// The residual.
    x: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    /// What attention or an FFN adds to the residual.
    y: Vec<f32>,
    logits: Vec<f32>,
    /// Gates and ups of all neurons, where somebody looks.
    seen: [Vec<f32>; 2],
    clock: Clock,
    /// Time spent for those who look.
    aside: Duration,
}

/// What a layer's FFN starts from, with gate and up of every neuron whatever the policy computes.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Which layer.
    pub layer: usize,
    /// The residual before the FFN's norm: what predictors read.
    pub residual: &'a [f32],
    /// `gate · norm(residual)`, before the activation.
    pub gate: &'a [f32],
    /// `up · norm(residual)`.
    pub up: &'a [f32],
}

/// Somebody who looks at every layer.
type Observer<'o> = dyn FnMut(&Seen<'_>) -> Result<()> + Send + 'o;

impl<'m> Decoder<'m> {
    /// A decoder for up to `capacity` tokens. `inputs` is what the policy needs beyond its spelling; the file's own
    /// threshold stands in where it has none.
    ///
    /// # Errors
    /// A policy that lacks an input; down weights not stored by neuron where the policy is sparse; not enough memory.
    pub fn new(
        model: &'m Model<'m>,
        cpu: &'m Cpu,
        policy: &PolicySpec,
        inputs: &Inputs<'_>,
        capacity: usize,
    ) -> Result<Self> {
        let config = &model.config;
        let model_threshold = inputs.model_threshold.or(config.sparse_threshold);
        let inputs = Inputs { model_threshold, ..*inputs };
        let queries = config.heads * config.head_size;
        let keys = config.kv_heads * config.head_size;
        let rows = model.vocabulary().max(config.hidden).max(config.intermediate).max(queries);
        let zeros = |len: usize| vec![0.0; len];
        Ok(Self {
            model,
            cpu,
            attention: Attention::new(config, capacity.max(1))?,
            rotation: Rotation::new(config),
            ffns: Ffns::new(model, cpu, policy, &inputs)?,
            position: 0,
            all: (0..rows as u32).collect(),
            x: zeros(config.hidden),
            normed: zeros(config.hidden),
            query: zeros(queries),
            key: zeros(keys),
            value: zeros(keys),
            attended: zeros(queries),
            y: zeros(config.hidden),
            logits: zeros(model.vocabulary()),
            seen: [Vec::new(), Vec::new()],
            clock: Clock::new(),
            aside: Duration::ZERO,
        })
    }

    /// Reads a token. For the least time from one to the next, call this within [`Cpu::install`].
    ///
    /// # Errors
    /// A token out of range, a full cache, a hidden state with NaN under a sparse policy.
    pub fn push(&mut self, token: u32) -> Result<()> {
        let cpu = self.cpu;
        cpu.install(|| self.read(token, None))
    }

    /// As [`push`](Self::push), and shows every layer to `observer`. Costs a dense gate and up per layer.
    ///
    /// # Errors
    /// As for [`push`](Self::push); whatever the observer refuses.
    pub fn push_seen(&mut self, token: u32, observer: &mut Observer<'_>) -> Result<()> {
        let cpu = self.cpu;
        cpu.install(|| self.read(token, Some(observer)))
    }

    /// Logits of what comes after the tokens read so far, one per token of the vocabulary.
    ///
    /// # Errors
    /// None in practice.
    pub fn logits(&mut self) -> Result<&[f32]> {
        let (cpu, model) = (self.cpu, self.model);
        self.clock.start();
        rms_norm(&self.x, &model.output_norm, model.config.norm_epsilon, &mut self.normed);
        whole(cpu, &model.output, &self.normed, &self.all, &mut self.logits)?;
        self.clock.lap(Part::Head);
        Ok(&self.logits)
    }

    /// Forgets all tokens. What the policy has learned and the statistics stay.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets all tokens but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.position = self.position.min(tokens);
    }

    /// Stands after `tokens` tokens that were never read, with random keys and values: to time a long context without
    /// the hours of reading one.
    ///
    /// # Errors
    /// More tokens than the cache holds.
    pub fn pretend(&mut self, tokens: usize) -> Result<()> {
        if tokens > self.attention.capacity() {
            let capacity = self.attention.capacity();
            return Err(Failure::input(format!("{tokens} tokens in a KV cache for {capacity}: make room for more")));
        }
        let cpu = self.cpu;
        cpu.install(|| self.attention.fill(tokens))?;
        self.position = tokens;
        Ok(())
    }

    /// Stops measuring what the policy misses, for those who time it. Audits that the policy learns from stay.
    pub fn leave_misses_unknown(&mut self) {
        self.ffns.leave_misses_unknown();
    }

    /// Tokens read since the start or the last [`clear`](Self::clear).
    pub fn position(&self) -> usize {
        self.position
    }

    /// What each layer has done since the start.
    pub fn statistics(&self) -> &[LayerStatistics] {
        &self.ffns.statistics
    }

    /// Where the time of all tokens went, [what is aside](Self::aside) apart.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Forgets the statistics.
    pub fn clear_statistics(&mut self) {
        self.ffns.statistics.fill(LayerStatistics::default());
    }

    /// Time that was spent since the start on what decoding does not need: measuring what was missed, and observers.
    pub fn aside(&self) -> Duration {
        self.ffns.aside() + self.aside
    }

    fn read(&mut self, token: u32, mut observer: Option<&mut Observer<'_>>) -> Result<()> {
        let model = self.model;
        let embedding = &model.embedding;
        let row = embedding.row(token as usize).ok_or_else(|| {
            Failure::input(format!("token {token} is out of range: the vocabulary has {} tokens", model.vocabulary()))
        })?;
        if self.position == self.attention.capacity() {
            return Err(Failure::input(format!("the KV cache is full after {} tokens", self.position)));
        }
        self.clock.start();
        self.x.copy_from_slice(&embedding.format().decode_row(row));
        self.rotation.at(self.position);
        for (index, layer) in model.layers.iter().enumerate() {
            self.attend(index, layer)?;
            rms_norm(&self.x, &layer.ffn_norm, model.config.norm_epsilon, &mut self.normed);
            if let Some(observer) = &mut observer {
                let start = Instant::now();
                self.show(index, layer, observer)?;
                self.aside += start.elapsed();
                self.clock.start();
            }
            let input = FfnInput { residual: &self.x, x: &self.normed, all: &self.all };
            self.clock.lap(Part::Rest);
            self.ffns.run(self.cpu, index, input, &mut self.clock, &mut self.y)?;
            add(&mut self.x, &self.y);
        }
        self.position += 1;
        Ok(())
    }

    fn attend(&mut self, index: usize, layer: &Layer<'_>) -> Result<()> {
        let (cpu, all) = (self.cpu, &self.all);
        rms_norm(&self.x, &layer.attention_norm, self.model.config.norm_epsilon, &mut self.normed);
        self.clock.lap(Part::Rest);
        whole(cpu, &layer.query, &self.normed, all, &mut self.query)?;
        whole(cpu, &layer.key, &self.normed, all, &mut self.key)?;
        whole(cpu, &layer.value, &self.normed, all, &mut self.value)?;
        self.clock.lap(Part::Projections);
        self.rotation.turn(&mut self.query);
        self.rotation.turn(&mut self.key);
        self.clock.lap(Part::Rest);
        let cached = [&self.key[..], &self.value];
        self.attention.attend(cpu, index, self.position, &self.query, cached, &mut self.attended)?;
        self.clock.lap(Part::Cache);
        whole(cpu, &layer.attention_output, &self.attended, all, &mut self.y)?;
        self.clock.lap(Part::Projections);
        add(&mut self.x, &self.y);
        Ok(())
    }

    fn show(&mut self, index: usize, layer: &Layer<'_>, observer: &mut Observer<'_>) -> Result<()> {
        let [gate, up] = &mut self.seen;
        for (weights, out) in [(&layer.gate, &mut *gate), (&layer.up, &mut *up)] {
            out.resize(weights.rows(), 0.0);
            whole(self.cpu, weights, &self.normed, &self.all, out)?;
        }
        observer(&Seen { layer: index, residual: &self.x, gate, up })
    }
}

/// A dense GEMV: the sparse kernel with every row active.
fn whole(cpu: &Cpu, w: &Matrix<'_>, x: &[f32], all: &[u32], out: &mut [f32]) -> Result<()> {
    Ok(cpu.gemv(w, x, &all[..w.rows()], out)?)
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
