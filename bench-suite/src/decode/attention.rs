//! Attention of a decoder: a KV cache a layer.

use kernels_cpu::{Cpu, KvCache, synthetic::Random};

use crate::{Failure, Result, model::Config};

/// Keys and values of all layers. They are f32: what f16 would round costs logits more than f32 weights do.
#[derive(Debug)]
pub(crate) struct Attention {
    layers: Vec<KvCache>,
    /// Positions that fit.
    capacity: usize,
}

impl Attention {
    pub(crate) fn new(config: &Config, capacity: usize) -> Result<Self> {
        let cache = |_| {
            KvCache::new(config.kv_heads, config.head_size, capacity)
                .map_err(|error| Failure::input(format!("a KV cache of {capacity} positions: {error}")))
        };
        Ok(Self { layers: (0..config.layers).map(cache).collect::<Result<_>>()?, capacity })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Random keys and values in [-1, 1) for the first `tokens` positions of every layer and head.
    pub(crate) fn fill(&mut self, tokens: usize) -> Result<()> {
        for (layer, cache) in self.layers.iter_mut().enumerate() {
            let mut random = Random::new(layer as u64);
            let width = cache.heads() * cache.head_size();
            for position in 0..tokens {
                cache.store(position, &random.vector(width), &random.vector(width))?;
            }
        }
        Ok(())
    }

    /// Attends from `query` (all heads, turned) to positions up to and including `position`, whose `key` (turned) and
    /// `value` are stored first. `out` is as long as `query`.
    pub(crate) fn attend(
        &mut self,
        cpu: &Cpu,
        layer: usize,
        position: usize,
        query: &[f32],
        [key, value]: [&[f32]; 2],
        out: &mut [f32],
    ) -> Result<()> {
        let cache = &mut self.layers[layer];
        cache.store(position, key, value)?;
        Ok(cpu.attend(cache, position + 1, query, out)?)
    }
}
