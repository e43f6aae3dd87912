//! Grouped-query attention over the KV cache (Ainslie et al. 2023), one task a query head.
//!
//! ```text
//!   cache of a layer: for each KV head       keys   |p0|p1|p2|....|      f32 rows of one head size
//!                                            values |p0|p1|p2|....|
//!   head: scores = keys . q  ─▶  softmax  ─▶  output = sum of score * value
//! ```
//! The first is a GEMV and the last a neuron-major down, so both run on the kernels that FFNs run on, each head on one
//! thread. The cache holds f32: what f16 would round costs logits more than f32 weights do.

use kernels_cpu::{Cpu, Format, Matrix, WeightBuffer, synthetic::Random};

use crate::{Failure, Result, model::Config, share::share};

const F32: usize = size_of::<f32>();

/// Keys and values of all layers, and room for the scores of a token.
#[derive(Debug)]
pub(crate) struct Attention {
    heads_per_kv: usize,
    head_size: usize,
    /// Positions that fit.
    capacity: usize,
    layers: Vec<Cache>,
    /// heads x capacity.
    scores: Vec<f32>,
    /// 0, 1, 2, … capacity: every position is active.
    positions: Vec<u32>,
    /// The same kernels without threads, to run in tasks.
    alone: Cpu,
}

/// KV heads x capacity x head size, twice, as bytes.
#[derive(Debug)]
struct Cache {
    keys: WeightBuffer,
    values: WeightBuffer,
}

impl Attention {
    pub(crate) fn new(config: &Config, capacity: usize, cpu: &Cpu) -> Result<Self> {
        let too_large = || Failure::input(format!("a KV cache of {capacity} positions is too large"));
        let row = config.kv_heads * config.head_size * F32;
        let bytes = row.checked_mul(capacity).ok_or_else(too_large)?;
        let scores = config.heads.checked_mul(capacity).ok_or_else(too_large)?;
        bytes.max(scores.saturating_mul(F32)).checked_mul(2 * config.layers).ok_or_else(too_large)?;
        let positions = 0..u32::try_from(capacity).map_err(|_| too_large())?;
        // Mapped, so that what is not reached takes no memory, and a refusal is an error.
        let zeros = || WeightBuffer::zeroed(bytes);
        let cache = |_| Ok(Cache { keys: zeros()?, values: zeros()? });
        Ok(Self {
            heads_per_kv: config.heads / config.kv_heads,
            head_size: config.head_size,
            capacity,
            layers: (0..config.layers).map(cache).collect::<Result<_>>()?,
            scores: vec![0.0; scores],
            positions: positions.collect(),
            alone: Cpu::with(cpu.isa(), 1)?,
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Random keys and values in [-1, 1) for the first `tokens` positions of every layer and head.
    pub(crate) fn fill(&mut self, tokens: usize) {
        let head_bytes = self.capacity * self.head_size * F32;
        let filled = tokens * self.head_size * F32;
        for (layer, cache) in self.layers.iter_mut().enumerate() {
            for (which, rows) in [cache.keys.bytes_mut(), cache.values.bytes_mut()].into_iter().enumerate() {
                let mut random = Random::new((2 * layer + which) as u64);
                let values = rows.chunks_exact_mut(head_bytes).flat_map(|head| head[..filled].as_chunks_mut().0);
                values.for_each(|bytes| *bytes = random.signed().to_le_bytes());
            }
        }
    }

    /// Attends from `query` (all heads, turned) to positions up to and including `position`, whose `key` (turned) and
    /// `value` are stored first. `out` is as long as `query`. The caller runs in the session of a [`Cpu`].
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        position: usize,
        query: &[f32],
        [key, value]: [&[f32]; 2],
        out: &mut [f32],
    ) -> Result<()> {
        let (head_size, capacity) = (self.head_size, self.capacity);
        let cache = &mut self.layers[layer];
        for (rows, new) in [(cache.keys.bytes_mut(), key), (cache.values.bytes_mut(), value)] {
            for (head, new) in new.chunks_exact(head_size).enumerate() {
                let start = (head * capacity + position) * head_size * F32;
                let row = rows[start..start + head_size * F32].as_chunks_mut().0;
                row.iter_mut().zip(new).for_each(|(bytes, v)| *bytes = v.to_le_bytes());
            }
        }
        let len = position + 1;
        let (cache, alone, positions) = (&self.layers[layer], &self.alone, &self.positions[..len]);
        let heads_per_kv = self.heads_per_kv;
        let scale = 1.0 / (head_size as f32).sqrt();
        let heads = query.chunks_exact(head_size).zip(out.chunks_exact_mut(head_size));
        share(heads.zip(self.scores.chunks_exact_mut(capacity)).enumerate(), |(head, ((query, out), scores))| {
            let start = head / heads_per_kv * capacity * head_size * F32;
            let rows = start..start + len * head_size * F32;
            let matrix = |bytes| Matrix::new(Format::F32, len, head_size, bytes);
            let scores = &mut scores[..len];
            alone.gemv(&matrix(&cache.keys.bytes()[rows.clone()])?, query, positions, scores)?;
            softmax(scores, scale);
            out.fill(0.0);
            alone.down(&matrix(&cache.values.bytes()[rows])?, scores, positions, out)
        })?;
        Ok(())
    }
}

/// `exp(scale · x)` over its sum, without overflow.
fn softmax(x: &mut [f32], scale: f32) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for v in &mut *x {
        *v = ((*v - max) * scale).exp();
        sum += *v;
    }
    x.iter_mut().for_each(|v| *v /= sum);
}
