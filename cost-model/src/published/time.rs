//! How long a step takes, part by part.
//!
//! ```text
//!   weights    bytes / (bandwidth x reach)  or  bytes / (units x clock x bytes per clock), whichever is slower
//! + KV cache   the same, for keys and values
//! + launches   layers x (time per layer; on a processor x cores)
//! + links      layers x reduction, or hops between devices
//! + host       scheduler and server
//! + merges     FFN matrices x merge, where a GPU and a processor share a layer
//! + prompt     in speeds that include it
//! ```
//! A device reads as fast as its memory lets it and computes as fast as its units do; the slower one shows, and near the
//! point where they meet both do: the fourth powers add.

use serde::Serialize;

use crate::catalogue::{DeviceKind, EngineClass, Kernel, Link, Memory, Split};
use crate::skew::Firing;

use super::parameter::Parameter;

/// How sharply the slower of two limits wins; infinity would be the larger of both.
const SHARPNESS: i32 = 4;

/// Share of a GPU's memory that weights may have where the rest of a model goes to the processor.
pub(super) const GPU_SHARE: f64 = 0.95;
/// Share of shared memory that a GPU may have.
pub(super) const UNIFIED_SHARE: f64 = 0.75;
/// Share of the matrix peak that large batches and prompts reach.
const MATRIX_SHARE: f64 = 0.5;
/// Share of memory that weights and KV cache have on a server.
const SERVER_SHARE: f64 = 0.9;

/// A device as far as time goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Device {
    pub(super) kind: DeviceKind,
    pub(super) memory: Memory,
    pub(super) bytes_per_s: f64,
    pub(super) memory_bytes: Option<f64>,
    /// Units x clock; of a processor in vectors of 128 bits.
    pub(super) clocks_per_s: Option<f64>,
    /// Cores that meet at a barrier.
    pub(super) cores: f64,
    /// Operations per second of dense 16-bit matrices.
    pub(super) matrix_per_s: Option<f64>,
    pub(super) link: Link,
    pub(super) amd: bool,
}

/// Where the weights are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Placement {
    /// On one device, or several alike.
    Resident { device: Device, count: f64 },
    /// On a GPU as far as they fit, on the processor for the rest; one of the two may be missing.
    Shared { gpu: Option<Device>, cpu: Option<Device> },
}

/// Which tokens a speed is of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Tokens before the first that is generated.
    pub(super) prompt: f64,
    /// Tokens generated; 0 if the table does not say.
    pub(super) output: f64,
    /// Whether the prompt's time is in the speed.
    pub(super) whole_request: bool,
}

impl Work {
    /// Tokens in the KV cache, on average over the generation.
    fn context(&self) -> f64 {
        self.prompt + 0.5 * self.output
    }
}

/// A row as the model sees it; bytes are over all layers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setup {
    pub(super) class: EngineClass,
    /// Place of the engine in the catalogue, if it is known.
    pub(super) engine: Option<usize>,
    pub(super) split: Split,
    pub(super) serving: bool,
    pub(super) kernel: Kernel,
    pub(super) matrix_rate: f64,
    pub(super) layers: f64,
    pub(super) ffn_matrices: f64,
    pub(super) attention_bytes: f64,
    pub(super) ffn_bytes: f64,
    pub(super) head_bytes: f64,
    /// Weights that memory must hold.
    pub(super) stored_bytes: f64,
    /// Weights that a token goes through.
    pub(super) weights: f64,
    pub(super) kv_bytes_per_token: f64,
    /// How FFN neurons fire, for engines that leave out those that do not; `None`: all of them, always.
    pub(super) firing: Option<Firing>,
    pub(super) predictor_share: f64,
    pub(super) placement: Placement,
    pub(super) concurrency: f64,
    pub(super) work: Work,
}

/// Seconds of a step; a step makes one token of every sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Reading weights and computing with them.
    pub weights: f64,
    /// Reading keys and values.
    pub kv_cache: f64,
    /// Starting kernels, or barriers.
    pub launches: f64,
    /// Between devices.
    pub links: f64,
    /// Scheduler and server.
    pub host: f64,
    /// Bringing a GPU's and a processor's results together.
    pub merges: f64,
    /// The prompt's share, where a speed includes it.
    pub prompt: f64,
}

impl Parts {
    /// Seconds of the step.
    pub fn total(&self) -> f64 {
        self.weights + self.kv_cache + self.launches + self.links + self.host + self.merges + self.prompt
    }
}

/// What neurons on a GPU take off the processor.
struct HotCold {
    /// Bytes that every token reads: attention, head, predictors.
    always: f64,
    /// Of those, on the GPU.
    always_on_gpu: f64,
    /// FFN bytes that a token reads on the GPU, and on the processor.
    hot: f64,
    cold: f64,
}

impl Setup {
    /// Weights that a dense token reads, over all devices.
    pub(super) fn dense_bytes(&self) -> f64 {
        self.attention_bytes + self.ffn_bytes + self.head_bytes
    }

    /// Bytes that a step cannot do without: below `bytes / bandwidth` nobody gets.
    fn floor_bytes(&self) -> f64 {
        let weights = match self.class {
            EngineClass::HotCold => self.attention_bytes + self.head_bytes + self.active_share(1.0) * self.ffn_bytes,
            _ => self.dense_bytes(),
        };
        weights + self.concurrency * self.work.context() * self.kv_bytes_per_token
    }

    /// Tokens per second that all bandwidth of the machine together could make.
    pub(super) fn roof(&self) -> f64 {
        let bandwidth = match &self.placement {
            Placement::Resident { device, count } => device.bytes_per_s * count,
            Placement::Shared { gpu, cpu } => [gpu, cpu].into_iter().flatten().map(|d| d.bytes_per_s).sum(),
        };
        self.concurrency * bandwidth / self.floor_bytes()
    }

    /// Share of the hottest neurons `among` all that a step computes, as a share of all: the union over its sequences.
    fn active_share(&self, among: f64) -> f64 {
        self.firing.map_or(among, |firing| firing.union_of_hottest(among, self.concurrency as u32))
    }

    /// The hottest neurons of every layer on the GPU, as many as fit beside what every token reads.
    fn hot_cold(&self, room: f64) -> HotCold {
        let predictors = self.predictor_share * (self.attention_bytes + self.ffn_bytes);
        let always = self.attention_bytes + self.head_bytes + predictors;
        let hottest = ((room - always) / self.ffn_bytes).clamp(0.0, 1.0);
        let hot = self.active_share(hottest) * self.ffn_bytes;
        HotCold { always, always_on_gpu: always.min(room), hot, cold: self.active_share(1.0) * self.ffn_bytes - hot }
    }

    /// Sequences that are decoded at once: those that ask, as far as the KV cache has room for them.
    fn running(&self, device: &Device, count: f64) -> f64 {
        let tokens = self.work.prompt + self.work.output;
        match device.memory_bytes.filter(|_| self.concurrency > 1.0 && tokens > 0.0) {
            None => self.concurrency,
            Some(memory) => {
                let room = SERVER_SHARE * memory * count - self.stored_bytes;
                (room / (tokens * self.kv_bytes_per_token)).clamp(1.0, self.concurrency)
            }
        }
    }

    /// Natural logarithm of the seconds per token, aggregated over sequences.
    pub(super) fn ln_seconds_per_token(&self, get: &mut impl FnMut(Parameter) -> f64) -> f64 {
        let (parts, tokens) = self.step(get);
        (parts.total() / tokens).ln()
    }

    /// A step's parts, and the tokens that it makes.
    pub(super) fn step(&self, get: &mut impl FnMut(Parameter) -> f64) -> (Parts, f64) {
        match &self.placement {
            Placement::Resident { device, count } => self.resident(device, *count, get),
            Placement::Shared { gpu, cpu } => (self.shared(gpu.as_ref(), cpu.as_ref(), get), self.concurrency),
        }
    }

    fn resident(&self, device: &Device, count: f64, get: &mut impl FnMut(Parameter) -> f64) -> (Parts, f64) {
        // Sockets of one processor share every matrix, whatever the engine does with GPUs.
        let tensor = self.split == Split::Tensor || device.kind == DeviceKind::Cpu;
        let ways = if tensor { count } else { 1.0 };
        let running = self.running(device, count);
        let read = self.through(device, self.dense_bytes() / ways, get);
        let kv = running * self.work.context() * self.kv_bytes_per_token / ways;
        let links = match count > 1.0 {
            true if device.kind == DeviceKind::Cpu => 0.0,
            true if tensor => self.layers * get(Parameter::link(device.link)),
            true => (count - 1.0) * get(Parameter::HOP),
            false => 0.0,
        };
        let prompts = if self.work.output > 0.0 && self.serving { self.work.prompt / self.work.output } else { 0.0 };
        let matrix = |tokens: f64| match device.matrix_per_s {
            Some(rate) => 2.0 * self.weights * tokens / (rate * self.matrix_rate * MATRIX_SHARE * ways),
            None => 0.0,
        };
        let parts = Parts {
            weights: read.max(matrix(running)),
            kv_cache: self.cache_through(device, kv, get),
            launches: self.layers * self.launch(device, get),
            links,
            host: if self.serving { get(Parameter::STEP) } else { 0.0 },
            merges: 0.0,
            prompt: matrix(running * prompts),
        };
        (parts, running)
    }

    fn shared(&self, gpu: Option<&Device>, cpu: Option<&Device>, get: &mut impl FnMut(Parameter) -> f64) -> Parts {
        let room = gpu.and_then(|gpu| gpu.memory_bytes).map_or(0.0, |memory| GPU_SHARE * memory);
        let room = if cpu.is_none() { f64::INFINITY } else { room };
        let on_gpu = (room / self.stored_bytes).min(1.0);
        let mut dense = Parts::default();
        for (device, share) in [(gpu, on_gpu), (cpu, 1.0 - on_gpu)] {
            let Some(device) = device.filter(|_| share > 0.0) else { continue };
            dense.weights += self.through(device, share * self.dense_bytes(), get);
            dense.launches += share * self.layers * self.launch(device, get);
        }
        let kv = self.concurrency * self.work.context() * self.kv_bytes_per_token;
        let mut parts = if self.class == EngineClass::HotCold {
            let split = self.hot_cold(room);
            let mut parts = Parts::default();
            if let Some(gpu) = gpu {
                let scattered = get(Parameter::HOT_ROWS) * self.through(gpu, split.hot, get);
                parts.weights += self.through(gpu, split.always_on_gpu, get) + scattered;
                parts.launches += self.layers * self.launch(gpu, get);
            }
            let cold = split.always - split.always_on_gpu + split.cold;
            if let Some(cpu) = cpu.filter(|_| cold > 0.0) {
                parts.weights += self.through(cpu, cold, get);
                match gpu {
                    Some(_) => parts.merges = self.layers * self.ffn_matrices * get(Parameter::MERGE),
                    None => parts.launches += self.layers * self.launch(cpu, get),
                }
            }
            // Keys and values stay in main memory.
            parts.kv_cache = cpu.or(gpu).map_or(0.0, |device| self.cache_through(device, kv, get));
            parts
        } else {
            let mut parts = dense;
            for (device, share) in [(gpu, on_gpu), (cpu, 1.0 - on_gpu)] {
                parts.kv_cache += device.map_or(0.0, |device| self.cache_through(device, share * kv, get));
            }
            parts
        };
        if self.work.whole_request && self.work.output > 0.0 {
            parts.prompt = get(Parameter::prompt(self.class)) * dense.total() / self.work.output;
        }
        parts
    }

    /// Seconds in which a device goes through weights.
    fn through(&self, device: &Device, bytes: f64, get: &mut impl FnMut(Parameter) -> f64) -> f64 {
        if bytes <= 0.0 {
            return 0.0;
        }
        let memory = bytes / (device.bytes_per_s * get(Parameter::reach(device.memory)));
        let Some(clocks) = device.clocks_per_s else { return memory };
        let float = self.kernel == Kernel::Float;
        let mut per_clock = get(Parameter::kernel(self.class, self.kernel));
        per_clock *= match device.kind {
            DeviceKind::Gpu => 1.0,
            DeviceKind::Unified if float => get(Parameter::APPLE_FLOAT),
            DeviceKind::Unified => get(Parameter::APPLE_QUANTISED),
            DeviceKind::Cpu if float => get(Parameter::CPU_FLOAT),
            DeviceKind::Cpu => get(Parameter::CPU_QUANTISED),
        };
        if device.amd {
            per_clock *= get(Parameter::AMD_UNIT);
        }
        slower(memory, bytes / (clocks * per_clock))
    }

    /// Seconds in which a device goes through keys and values.
    fn cache_through(&self, device: &Device, bytes: f64, get: &mut impl FnMut(Parameter) -> f64) -> f64 {
        if bytes <= 0.0 {
            return 0.0;
        }
        let memory = bytes / (device.bytes_per_s * get(Parameter::reach(device.memory)));
        // A processor's cores are many for the few keys of one token.
        let Some(clocks) = device.clocks_per_s.filter(|_| device.kind != DeviceKind::Cpu) else { return memory };
        let mut per_clock = get(Parameter::cache(self.class));
        if device.kind == DeviceKind::Unified {
            per_clock *= get(Parameter::APPLE_CACHE);
        }
        if device.amd {
            per_clock *= get(Parameter::AMD_UNIT);
        }
        slower(memory, bytes / (clocks * per_clock))
    }

    /// Seconds per layer that go to starting work.
    fn launch(&self, device: &Device, get: &mut impl FnMut(Parameter) -> f64) -> f64 {
        if device.kind == DeviceKind::Cpu {
            return device.cores * get(Parameter::BARRIER);
        }
        let mut seconds = get(Parameter::launch(self.class));
        if let Some(engine) = self.engine {
            seconds *= get(Parameter::engine(engine));
        }
        if device.kind == DeviceKind::Unified && self.class != EngineClass::Metal {
            seconds *= get(Parameter::LAUNCH_UNIFIED);
        } else if device.amd {
            seconds *= get(Parameter::LAUNCH_AMD);
        }
        seconds
    }
}

/// Two limits at once.
fn slower(a: f64, b: f64) -> f64 {
    (a.powi(SHARPNESS) + b.powi(SHARPNESS)).powf(1.0 / f64::from(SHARPNESS))
}
