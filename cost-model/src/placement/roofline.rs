//! A placement problem out of byte counts and bandwidths, where no curves were measured.

use super::{Dense, Layer, Link, Neurons, PlacementError, Problem, Rows};
use crate::format::WeightFormat;
use crate::model::ModelShape;
use crate::skew::Firing;

/// Bytes per value of the hidden state as it is carried between sides.
const CARRIED: u64 = 4;

/// A side as a roof: so many bytes per second after so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device {
    /// Bytes per second that it reads in decode, below its specification by whatever its efficiency is.
    pub bytes_per_s: f64,
    /// Seconds that an operator takes for nothing.
    pub start_s: f64,
}

impl Device {
    /// Seconds to read so many bytes.
    pub fn seconds(&self, bytes: f64) -> f64 {
        self.start_s + bytes / self.bytes_per_s
    }

    fn check(&self, what: &'static str) -> Result<(), PlacementError> {
        if self.bytes_per_s > 0.0 && self.bytes_per_s.is_finite() {
            Ok(())
        } else {
            Err(PlacementError::NotPositive { what, given: self.bytes_per_s })
        }
    }
}

impl Link {
    /// A link that carries hidden states of `hidden` f32 values: `latency_s`, and their bytes over `bytes_per_s`.
    ///
    /// # Errors
    /// [`PlacementError::NotPositive`]
    pub fn over(hidden: usize, latency_s: f64, bytes_per_s: f64, sync_s: f64) -> Result<Self, PlacementError> {
        let wire = Device { bytes_per_s, start_s: latency_s };
        wire.check("the link's bandwidth")?;
        Ok(Self { hop_s: wire.seconds((hidden as u64).saturating_mul(CARRIED) as f64), sync_s })
    }
}

/// A GPU and a CPU, each with its memory, and what lies between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// The GPU.
    pub gpu: Device,
    /// The CPU.
    pub cpu: Device,
    /// Between them.
    pub link: Link,
    /// Bytes of GPU memory for weights and KV cache: what is left of it beside buffers and the desktop.
    pub gpu_bytes: u64,
}

/// A decoder of equal layers, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    /// Layers.
    pub layers: usize,
    /// FFN neurons of a layer.
    pub neurons: usize,
    /// Bytes of one neuron: its gate, up and down rows.
    pub neuron_bytes: u64,
    /// Bytes of a layer's attention projections.
    pub attention_bytes: u64,
    /// Bytes of one token sequence's KV cache in a layer.
    pub kv_bytes: u64,
    /// Bytes of a layer's predictor, read whole for every token; 0 where there is none.
    pub predictor_bytes: u64,
    /// Bytes of the LM head.
    pub head_bytes: u64,
}

impl Decoder {
    /// A model in one format, with `predictor_parameters` in all its layers together and `context_tokens`
    /// in its KV cache.
    pub fn of(
        model: &ModelShape,
        format: WeightFormat,
        predictor_parameters: u64,
        context_tokens: usize,
        kv_format: WeightFormat,
    ) -> Self {
        let per_layer = predictor_parameters / model.layers.max(1) as u64;
        Self {
            layers: model.layers,
            neurons: model.intermediate,
            neuron_bytes: format.row_bytes(model.hidden).saturating_mul(3),
            attention_bytes: model.attention().map(|(rows, cols)| format.bytes(rows, cols)).iter().sum(),
            kv_bytes: kv_format.bytes(context_tokens, model.kv_width()).saturating_mul(2),
            // As rows of the hidden size.
            predictor_bytes: format.bytes((per_layer / model.hidden.max(1) as u64) as usize, model.hidden),
            head_bytes: format.bytes(model.vocab, model.hidden),
        }
    }

    /// The problem of placing it on `machine`, with one firing per layer and a batch of `tokens` sequences;
    /// neurons move in blocks of `per_block`.
    ///
    /// Selection takes no time of its own: it reads nothing that counts.
    ///
    /// # Errors
    /// [`PlacementError`]
    pub fn problem(
        &self,
        firings: &[Firing],
        tokens: u32,
        machine: &Machine,
        per_block: usize,
    ) -> Result<Problem, PlacementError> {
        let Machine { gpu, cpu, link, gpu_bytes } = *machine;
        gpu.check("the GPU's bandwidth")?;
        cpu.check("the CPU's bandwidth")?;
        if firings.len() != self.layers {
            return Err(PlacementError::Firings { given: firings.len(), layers: self.layers });
        }
        let dense = |parts: &[u64]| {
            let bytes = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
            let bytes = bytes.ok_or(PlacementError::TooLarge)?;
            Ok(Dense { bytes, gpu_s: gpu.seconds(bytes as f64), cpu_s: cpu.seconds(bytes as f64) })
        };
        let kv_bytes = self.kv_bytes.saturating_mul(u64::from(tokens));
        let attention = dense(&[self.attention_bytes, kv_bytes, self.predictor_bytes])?;
        let neurons = Neurons { count: self.neurons, bytes: self.neuron_bytes, per_block };
        let side = |device: Device| move |rows: Rows| device.seconds(rows.active * self.neuron_bytes as f64);
        let mut layers: Vec<Layer> = Vec::with_capacity(firings.len());
        for (index, firing) in firings.iter().enumerate() {
            // Equal layers are tabulated once.
            let same = firings[..index].iter().rposition(|earlier| earlier == firing);
            let layer = match same {
                Some(earlier) => layers[earlier].clone(),
                None => Layer::new(attention, neurons, firing, tokens, side(gpu), side(cpu))?,
            };
            layers.push(layer);
        }
        Problem::new(layers, dense(&[self.head_bytes])?, link, gpu_bytes)
    }
}
