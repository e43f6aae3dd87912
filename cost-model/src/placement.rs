//! Which neurons of a model lie on the GPU and which on the CPU, where it does not fit the GPU whole.
//!
//! PowerInfer's idea (Song et al., arXiv 2312.12456): the neurons that fire often go to the GPU, the
//! rest stay in the CPU's memory, and both sides compute their share of a layer at once. Here that is
//! a problem with a cost function, solved exactly:
//!
//! ```text
//!            hidden state
//!                 │ hop, if it lies on the other side
//!   attention, its KV cache, predictor, selection      on either side, `Dense`
//!                 ├────────────────────┐ hop: hidden state and active list
//!   FFN, hottest g neurons        FFN, the rest        the later of the two counts
//!        on the GPU                 on the CPU
//!                 ├────────────────────┘ hop: half the sum; `sync_s`
//!            hidden state, on the side where the next layer wants it
//! ```
//!
//! A layer whose FFN lies wholly on one side pays no more than the hop to that side. Bytes on the GPU
//! may not exceed its memory. Neurons move in blocks of equal size, the hottest first: at equal bytes
//! there is never a reason to take a colder one.
//!
//! [`Problem::solve`] gives the placement of least time, proven so, and beside it two others through the
//! same cost function: whole layers, as llama.cpp places them ([`Problem::by_layers`]), and PowerInfer's
//! own rule ([`Problem::by_frequency`]).
//!
//! Simplified, since it keeps the problem exact and the differences are small beside the rest:
//! - Each side's active rows are their mean. The later of two that vary is a little later than the
//!   later of the means, most so where both sides take equally long.
//! - A hop takes as long in either direction and whatever is carried; nothing is sent ahead.
//! - Attention, KV cache, predictor and selection of one layer stay together.
//! - The embedding is looked up on the CPU; the sampler takes the logits where they are.
//!
//! # What bandwidths alone say of PowerInfer's machines
//! LLaMA2(ReGLU)-70B in 4.5 bits per weight at its published density of 0.18 and skew, predictors of 5.66e9
//! parameters, 128 tokens of context, batch 1; specified bandwidths (PC-High: RTX 4090, 1008 GB/s, and 67.2
//! GB/s; PC-Low: RTX 2080 Ti, 616 GB/s, and 38.4 GB/s). Tokens per second as published are those of the
//! paper's Figure 13, where which bar is which model's is inferred. Assumed: 22 and 9.5 GB of the GPUs'
//! 24 and 11 are free, 10 us for an operator to start, for a hop and for synchronisation.
//!
//! | | PC-High | PC-Low |
//! |---|---|---|
//! | best placement, bound | 29.3 tok/s | 5.5 tok/s |
//! | PowerInfer's rule, bound | 29.3 | 5.4 |
//! | whole layers, as sparse, bound | 8.1 | 3.0 |
//! | PowerInfer, published | 10 | 4.2 |
//! | share of the bandwidths at which the bound is that | 0.31 | 0.77 |
//! | whole layers, dense, bound | 3.62 | 1.27 |
//! | llama.cpp, published | 3.2 | 1.1 |
//! | share of the bandwidths at which the bound is that | 0.88 | 0.86 |
//!
//! Dense decoding is explained by one efficiency. PowerInfer is not: what it takes beyond the bound is 66 and
//! 56 ms a token, about 0.8 and 0.7 ms a layer on machines whose bounds lie fivefold apart. That is a cost of
//! its layers, not a share of bandwidth. Placement itself leaves under 1 % to gain over its rule where all
//! layers fire alike, since both put what is dense first and the hottest neurons next; where densities of
//! layers differ and most of the model fits, it is 5 to 8 %.

mod baselines;
mod roofline;
mod solver;

use serde::Serialize;

use crate::skew::Firing;
pub use roofline::{Decoder, Device, Machine};
use solver::{Choice, Stage};

/// More seconds than any layer takes.
const LONGEST_S: f64 = 1e9;

/// Why there is no problem to solve, or no time to tell.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// Nothing to place.
    #[error("no layers; wanted at least one")]
    NoLayers,
    /// A time that is none.
    #[error("{what} takes {given} s; wanted 0 to {LONGEST_S}")]
    Time {
        /// Which.
        what: String,
        /// What was given.
        given: f64,
    },
    /// A size or rate of which nothing can be made.
    #[error("{what} is {given}; wanted a positive number")]
    NotPositive {
        /// Which.
        what: &'static str,
        /// What was given.
        given: f64,
    },
    /// More bytes than can be counted.
    #[error("the model has more bytes than a u64 counts; check its sizes")]
    TooLarge,
    /// One firing per layer is needed.
    #[error("{given} firings for {layers} layers; give one per layer")]
    Firings {
        /// How many were given.
        given: usize,
        /// How many are wanted.
        layers: usize,
    },
    /// A placement of another problem.
    #[error("the placement has {given} {what}, the problem {wanted}; place this problem")]
    Foreign {
        /// Layers, or blocks of one layer.
        what: &'static str,
        /// What the placement has.
        given: usize,
        /// What the problem has.
        wanted: usize,
    },
}

/// Where something lies and is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// On the GPU, within its memory.
    Gpu,
    /// On the CPU, whose memory holds whatever is left.
    Cpu,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Gpu, Self::Cpu];
}

/// What runs whole on one side: attention with its KV cache, predictor and selection of a layer; the LM head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dense {
    /// Bytes it takes of the GPU's memory, if it lies there.
    pub bytes: u64,
    /// Seconds on the GPU.
    pub gpu_s: f64,
    /// Seconds on the CPU.
    pub cpu_s: f64,
}

impl Dense {
    /// Nothing at all.
    pub const NONE: Self = Self { bytes: 0, gpu_s: 0.0, cpu_s: 0.0 };

    fn seconds(&self, side: Side) -> f64 {
        match side {
            Side::Gpu => self.gpu_s,
            Side::Cpu => self.cpu_s,
        }
    }

    fn bytes_on_gpu(&self, side: Side) -> u64 {
        if side == Side::Gpu { self.bytes } else { 0 }
    }
}

/// An FFN with some of its blocks on the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Split {
    /// Bytes on the GPU.
    bytes: u64,
    /// Expected active rows on the GPU.
    active: f64,
    gpu_s: f64,
    cpu_s: f64,
}

/// How an FFN's neurons are cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neurons {
    /// How many there are.
    pub count: usize,
    /// Bytes of one: its gate, up and down rows.
    pub bytes: u64,
    /// How many move together; the last block may be smaller.
    pub per_block: usize,
}

/// Rows of an FFN that the tokens of a batch name on one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows {
    /// How many are named by any token.
    pub active: f64,
    /// How often they are named in all; as many for one token.
    pub named: f64,
}

/// One layer: what it costs wherever its parts lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    attention: Dense,
    /// With 0, 1, ... all blocks on the GPU.
    splits: Vec<Split>,
    neurons: Neurons,
}

impl Layer {
    /// A layer whose neurons fire as `firing` says for a batch of `tokens` tokens.
    ///
    /// `gpu_s` and `cpu_s` are the seconds that a side takes for such rows of this FFN, gate, up and down
    /// together; a side that has no neurons is not asked and takes none.
    ///
    /// # Errors
    /// [`PlacementError`]: no neurons, a block of none, or a time that is negative or not finite.
    pub fn new(
        attention: Dense,
        neurons: Neurons,
        firing: &Firing,
        tokens: u32,
        gpu_s: impl Fn(Rows) -> f64,
        cpu_s: impl Fn(Rows) -> f64,
    ) -> Result<Self, PlacementError> {
        let Neurons { count, bytes, per_block } = neurons;
        for (what, given) in [("the number of neurons", count), ("the number of neurons in a block", per_block)] {
            if given == 0 {
                return Err(PlacementError::NotPositive { what, given: 0.0 });
            }
        }
        bytes.checked_mul(count as u64).ok_or(PlacementError::TooLarge)?;
        let blocks = count.div_ceil(per_block);
        let of_hottest = |hottest: usize| {
            let share = hottest as f64 / count as f64;
            let named = f64::from(tokens) * firing.active_of_hottest(share);
            Rows { active: firing.union_of_hottest(share, tokens) * count as f64, named: named * count as f64 }
        };
        let all = of_hottest(count);
        let split = |blocks_on_gpu: usize| {
            let hottest = blocks_on_gpu.saturating_mul(per_block).min(count);
            let on = of_hottest(hottest);
            let off = Rows { active: (all.active - on.active).max(0.0), named: (all.named - on.named).max(0.0) };
            Split {
                bytes: bytes * hottest as u64,
                active: on.active,
                gpu_s: if hottest == 0 { 0.0 } else { gpu_s(on) },
                cpu_s: if hottest == count { 0.0 } else { cpu_s(off) },
            }
        };
        let layer = Self { attention, splits: (0..=blocks).map(split).collect(), neurons };
        layer.check().map(|()| layer)
    }

    fn check(&self) -> Result<(), PlacementError> {
        check_dense("attention", &self.attention)?;
        for (blocks, split) in self.splits.iter().enumerate() {
            check_time(|| format!("an FFN's part on the GPU, {blocks} blocks,"), split.gpu_s)?;
            check_time(|| format!("an FFN's part on the CPU, {blocks} blocks less,"), split.cpu_s)?;
        }
        Ok(())
    }

    /// Blocks of its FFN.
    pub fn blocks(&self) -> usize {
        self.splits.len() - 1
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.attention.bytes.saturating_add(self.splits[self.blocks()].bytes)
    }
}

fn check_dense(what: &str, dense: &Dense) -> Result<(), PlacementError> {
    check_time(|| format!("{what} on the GPU"), dense.gpu_s)?;
    check_time(|| format!("{what} on the CPU"), dense.cpu_s)
}

fn check_time(what: impl Fn() -> String, given: f64) -> Result<(), PlacementError> {
    if (0.0..=LONGEST_S).contains(&given) { Ok(()) } else { Err(PlacementError::Time { what: what(), given }) }
}

/// What it costs to work on two sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Seconds until a hidden state (or half a sum, or an active list) lies on the other side.
    pub hop_s: f64,
    /// Seconds that a split FFN waits for both sides to be ready, beyond its two hops.
    pub sync_s: f64,
}

impl Link {
    /// All that a split FFN pays for being split.
    fn split_s(&self) -> f64 {
        2.0 * self.hop_s + self.sync_s
    }
}

/// Where the parts of one layer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerPlacement {
    /// Attention, KV cache, predictor and selection.
    pub attention: Side,
    /// So many blocks of the hottest neurons on the GPU.
    pub gpu_blocks: usize,
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// Layer by layer.
    pub layers: Vec<LayerPlacement>,
    /// The LM head.
    pub head: Side,
}

/// One token's time. The first three add up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TokenTime {
    /// Seconds waited for the GPU.
    pub gpu_s: f64,
    /// Seconds waited for the CPU.
    pub cpu_s: f64,
    /// Seconds of hops and synchronisation.
    pub transfer_s: f64,
    /// Seconds that one side worked while the other took longer: in none of the above.
    pub overlapped_s: f64,
    /// Bytes on the GPU.
    pub gpu_bytes: u64,
}

impl TokenTime {
    /// Seconds per token.
    pub fn total_s(&self) -> f64 {
        self.gpu_s + self.cpu_s + self.transfer_s
    }

    fn wait(&mut self, side: Side, seconds: f64) {
        match side {
            Side::Gpu => self.gpu_s += seconds,
            Side::Cpu => self.cpu_s += seconds,
        }
    }
}

/// A placement and its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// Where everything lies.
    pub placement: Placement,
    /// What a token takes.
    pub time: TokenTime,
}

/// The best placement beside two others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Solution {
    /// The placement of least time.
    pub best: Placed,
    /// Whole layers on the GPU while they fit.
    pub by_layers: Placed,
    /// PowerInfer's rule.
    pub by_frequency: Placed,
}

impl Solution {
    /// How many times as long a token takes with whole layers on the GPU.
    pub fn gain_over_layers(&self) -> f64 {
        self.by_layers.time.total_s() / self.best.time.total_s()
    }

    /// How many times as long a token takes by PowerInfer's rule.
    pub fn gain_over_frequency(&self) -> f64 {
        self.by_frequency.time.total_s() / self.best.time.total_s()
    }
}

/// What to place.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    layers: Vec<Layer>,
    head: Dense,
    link: Link,
    gpu_bytes: u64,
}

impl Problem {
    /// Layers from the first to the last, the LM head ([`Dense::NONE`] if it is not to be placed), and the GPU
    /// memory that they may take.
    ///
    /// # Errors
    /// [`PlacementError`]: no layers, a time that is negative or not finite, too many bytes to count.
    pub fn new(layers: Vec<Layer>, head: Dense, link: Link, gpu_bytes: u64) -> Result<Self, PlacementError> {
        if layers.is_empty() {
            return Err(PlacementError::NoLayers);
        }
        check_dense("the head", &head)?;
        check_time(|| "a hop".to_owned(), link.hop_s)?;
        check_time(|| "synchronisation".to_owned(), link.sync_s)?;
        let sum = layers.iter().try_fold(head.bytes, |sum, layer| sum.checked_add(layer.bytes()));
        // Twice over, so that a sum of two sums is counted too.
        sum.and_then(|sum| sum.checked_mul(2)).ok_or(PlacementError::TooLarge)?;
        Ok(Self { layers, head, link, gpu_bytes })
    }

    /// The same with another amount of GPU memory.
    pub fn with_memory(&self, gpu_bytes: u64) -> Self {
        Self { gpu_bytes, ..self.clone() }
    }

    /// The layers, from the first to the last.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// GPU memory that they may take, bytes.
    pub fn memory(&self) -> u64 {
        self.gpu_bytes
    }

    /// Bytes of everything that can lie on the GPU.
    pub fn bytes(&self) -> u64 {
        self.head.bytes + self.layers.iter().map(Layer::bytes).sum::<u64>()
    }

    /// The best placement and two others to compare it with.
    pub fn solve(&self) -> Solution {
        Solution {
            best: self.placed(self.best()),
            by_layers: self.placed(self.by_layers()),
            by_frequency: self.placed(self.by_frequency()),
        }
    }

    /// The placement of least time that fits the GPU's memory.
    pub fn best(&self) -> Placement {
        let mut stages: Vec<Stage> = self.layers.iter().map(|layer| self.layer_stage(layer)).collect();
        stages.push(self.head_stage());
        let tags = solver::solve(&stages, Side::Cpu as usize, self.gpu_bytes);
        // Nothing on the GPU always fits.
        let tags = tags.unwrap_or_else(|| vec![tag(Side::Cpu, 0); stages.len()]);
        let sides = |tag: usize| (Side::BOTH[tag % 2], tag / 2);
        let layer = |&tag: &usize| {
            let (attention, gpu_blocks) = sides(tag);
            LayerPlacement { attention, gpu_blocks }
        };
        Placement {
            layers: tags[..self.layers.len()].iter().map(layer).collect(),
            head: sides(tags[self.layers.len()]).0,
        }
    }

    /// Everything on the CPU.
    fn nowhere(&self) -> Placement {
        let layer = LayerPlacement { attention: Side::Cpu, gpu_blocks: 0 };
        Placement { layers: vec![layer; self.layers.len()], head: Side::Cpu }
    }

    fn placed(&self, placement: Placement) -> Placed {
        let time = self.unchecked_time(&placement);
        Placed { placement, time }
    }

    /// What a token takes where `placement` puts everything, whether or not it fits the memory.
    ///
    /// # Errors
    /// [`PlacementError::Foreign`]
    pub fn time(&self, placement: &Placement) -> Result<TokenTime, PlacementError> {
        let foreign = |what, given, wanted| Err(PlacementError::Foreign { what, given, wanted });
        if placement.layers.len() != self.layers.len() {
            return foreign("layers", placement.layers.len(), self.layers.len());
        }
        for (layer, placed) in self.layers.iter().zip(&placement.layers) {
            if placed.gpu_blocks > layer.blocks() {
                return foreign("blocks", placed.gpu_blocks, layer.blocks());
            }
        }
        Ok(self.unchecked_time(placement))
    }

    fn unchecked_time(&self, placement: &Placement) -> TokenTime {
        let mut time = TokenTime::default();
        let mut at = Side::Cpu;
        for (index, (layer, placed)) in self.layers.iter().zip(&placement.layers).enumerate() {
            // A split FFN leaves its sum where it is wanted next.
            let next = placement.layers.get(index + 1).map_or(placement.head, |next| next.attention);
            at = self.run_layer(layer, at, *placed, next, &mut time);
        }
        self.run_dense(&self.head, at, placement.head, &mut time);
        time
    }

    /// Adds a layer to `time`; where its result then lies.
    fn run_layer(&self, layer: &Layer, from: Side, placed: LayerPlacement, wanted: Side, time: &mut TokenTime) -> Side {
        let LayerPlacement { attention, gpu_blocks } = placed;
        self.run_dense(&layer.attention, from, attention, time);
        let split = &layer.splits[gpu_blocks];
        time.gpu_bytes += split.bytes;
        let whole = match gpu_blocks {
            0 => Some(Side::Cpu),
            all if all == layer.blocks() => Some(Side::Gpu),
            _ => None,
        };
        let later = if split.gpu_s > split.cpu_s { Side::Gpu } else { Side::Cpu };
        time.wait(later, split.gpu_s.max(split.cpu_s));
        time.overlapped_s += split.gpu_s.min(split.cpu_s);
        match whole {
            Some(side) => {
                time.transfer_s += self.hop_s(attention, side);
                side
            }
            None => {
                time.transfer_s += self.link.split_s();
                wanted
            }
        }
    }

    fn run_dense(&self, dense: &Dense, from: Side, side: Side, time: &mut TokenTime) {
        time.transfer_s += self.hop_s(from, side);
        time.wait(side, dense.seconds(side));
        time.gpu_bytes += dense.bytes_on_gpu(side);
    }

    fn hop_s(&self, from: Side, to: Side) -> f64 {
        if from == to { 0.0 } else { self.link.hop_s }
    }

    fn layer_stage(&self, layer: &Layer) -> Stage {
        let mut stage = Stage::default();
        for from in Side::BOTH {
            for attention in Side::BOTH {
                for gpu_blocks in 0..=layer.blocks() {
                    for wanted in Side::BOTH {
                        let mut time = TokenTime::default();
                        let placed = LayerPlacement { attention, gpu_blocks };
                        let to = self.run_layer(layer, from, placed, wanted, &mut time);
                        // A whole FFN leaves its result where it lies, whatever is wanted.
                        if to == wanted {
                            stage.offer(from as usize, to as usize, choice(&time, tag(attention, gpu_blocks)));
                        }
                    }
                }
            }
        }
        stage.prune();
        stage
    }

    fn head_stage(&self) -> Stage {
        let mut stage = Stage::default();
        for from in Side::BOTH {
            for side in Side::BOTH {
                let mut time = TokenTime::default();
                self.run_dense(&self.head, from, side, &mut time);
                stage.offer(from as usize, side as usize, choice(&time, tag(side, 0)));
            }
        }
        stage
    }
}

fn tag(attention: Side, gpu_blocks: usize) -> usize {
    2 * gpu_blocks + attention as usize
}

fn choice(time: &TokenTime, tag: usize) -> Choice {
    Choice { bytes: time.gpu_bytes, cost: time.total_s(), tag }
}
