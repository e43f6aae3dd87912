//! The whole gated FFN: `y = down(act(gate . x) * up . x)`, one token or a few.
//!
//! ```text
//!   Gating::Together   gate and up rows, turn by turn -> h              -> down
//!   Gating::First      gate rows -> which activations count? -> up rows -> down     the others' up and down rows
//!                                                                                   are never read
//!   batch              rows are read from memory once for all tokens whose sets name them: the tokens take turns
//!                      on a stretch of rows that the caches hold
//!
//!             neurons   ..x.x..x....xx..|...x..x..x......|.x...
//!             token 0     ^     ^   ^   |   ^     ^      | ^        each token meets its own rows only:
//!             token 1       ^       ^^  |      ^  ^      |          the same sums, bit for bit, as alone
//!                          stretch 0       stretch 1
//! ```

use std::mem;

use crate::{
    Activation, Cpu, Error, Matrix,
    active::check_active,
    cpu::check_length,
    down::Hidden,
    input::Input,
    registry::Kernel,
    stretches::{self, GROUP},
};

/// The three matrices of a gated FFN, one row per neuron in each, and how they are used.
#[derive(Debug, Clone, Copy)]
pub struct Ffn<'a> {
    gate: Matrix<'a>,
    up: Matrix<'a>,
    down: Matrix<'a>,
    activation: Activation,
    gating: Gating,
}

/// What the gate decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    /// Nothing: gate and up are computed side by side for every active neuron.
    Together,
    /// A neuron whose activation `act(gate . x)` is at most `threshold` in magnitude contributes nothing, and neither
    /// its up row nor its down row is read. With ReLU and `0.0` this loses nothing but what an infinity or NaN in those
    /// rows would have brought. A NaN activation counts.
    First {
        /// Largest magnitude that is dropped, at least zero.
        threshold: f32,
    },
}

/// What one token brings to an FFN and takes from it.
#[derive(Debug)]
pub struct FfnToken<'a> {
    /// Hidden state, one element per column.
    pub x: &'a [f32],
    /// Active neurons, strictly ascending.
    pub active: &'a [u32],
    /// The output, one element per column; overwritten.
    pub y: &'a mut [f32],
}

/// The most tokens in a batch.
pub const MAX_BATCH: usize = 8;

/// Gate and up rows, or segments of down rows, that tokens of a batch take turns on: what a core's caches hold.
pub(crate) const STRETCH_BYTES: usize = 1 << 20;

impl<'a> Ffn<'a> {
    /// `gate`, `up` and `down` with one row per neuron each (down is stored neuron-major, as
    /// [`Cpu::down`] wants it). Down may have a format of its own.
    ///
    /// # Errors
    /// Matrices that differ in shape, or gate and up in format; a threshold that is negative or NaN.
    pub fn new(
        gate: Matrix<'a>,
        up: Matrix<'a>,
        down: Matrix<'a>,
        activation: Activation,
        gating: Gating,
    ) -> Result<Self, Error> {
        up.require_like("up", &gate)?;
        if (down.rows(), down.cols()) != (gate.rows(), gate.cols()) {
            return Err(Error::Mismatch { operand: "down", given: down.to_string(), wanted: gate.to_string() });
        }
        match gating {
            Gating::First { threshold } if threshold.is_nan() || threshold < 0.0 => Err(Error::Threshold { threshold }),
            _ => Ok(Self { gate, up, down, activation, gating }),
        }
    }

    /// Neurons.
    pub fn neurons(&self) -> usize {
        self.gate.rows()
    }

    /// Elements of the hidden state.
    pub fn hidden(&self) -> usize {
        self.gate.cols()
    }
}

/// Memory of one token's neurons, kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// `act(gate . x) * up . x`, on the way there `act(gate . x)`.
    h: Vec<f32>,
    /// `up . x`, where the gate came first.
    up: Vec<f32>,
    /// Neurons whose activation counts, where the gate came first.
    kept: Vec<u32>,
    /// Sums of pieces of the list, on the way to y.
    pub(crate) sums: Vec<f32>,
}

/// A token on its way through the layer.
struct Run<'t> {
    kernel: &'static Kernel,
    input: Input<'t>,
    active: &'t [u32],
    y: &'t mut [f32],
    scratch: Scratch,
}

impl<'t> Run<'t> {
    /// Kernel and input, all active neurons, and room for a number each.
    fn with_h(&mut self) -> ((&'static Kernel, &Input<'t>), &'t [u32], &mut [f32]) {
        self.scratch.h.resize(self.active.len(), 0.0);
        ((self.kernel, &self.input), self.active, &mut self.scratch.h)
    }
}

impl Cpu {
    /// One token through an FFN: `y = down(act(gate . x) * up . x)` over the active neurons. Returns how many neurons'
    /// down rows were read: all active ones, or with [`Gating::First`] those whose activation counts.
    ///
    /// Bounds as for [`Cpu::gate_up`] and [`Cpu::down`], one after the other.
    ///
    /// # Errors
    /// Slices of another length; indices out of range or not ascending.
    pub fn ffn(&self, ffn: &Ffn<'_>, x: &[f32], active: &[u32], y: &mut [f32]) -> Result<usize, Error> {
        self.ffn_batch(ffn, &mut [FfnToken { x, active, y }])
    }

    /// Up to [`MAX_BATCH`] tokens through an FFN, each over its own active neurons, so that rows that several name are
    /// read from memory once. Each token's result is the same, bit for bit, as by [`Cpu::ffn`]. Returns how many
    /// neurons' down rows were read, summed over tokens.
    ///
    /// # Errors
    /// As for [`Cpu::ffn`]; more tokens than [`MAX_BATCH`].
    pub fn ffn_batch(&self, ffn: &Ffn<'_>, tokens: &mut [FfnToken<'_>]) -> Result<usize, Error> {
        if tokens.len() > MAX_BATCH {
            return Err(Error::Batch { given: tokens.len(), most: MAX_BATCH });
        }
        for token in &*tokens {
            check_length("x", token.x, ffn.hidden())?;
            check_length("y", token.y, ffn.hidden())?;
            check_active(token.active, ffn.neurons())?;
        }
        let rows: usize = tokens.iter().map(|token| token.active.len()).sum();
        let bytes = rows * (2 * ffn.gate.row_bytes() + ffn.down.row_bytes());
        Ok(self.install_for(bytes, || {
            let mut runs: Vec<Run<'_>> = tokens.iter_mut().map(|token| self.run(ffn, token)).collect();
            match ffn.gating {
                Gating::Together => self.gate_and_up(ffn, &mut runs),
                Gating::First { threshold } => self.gate_then_up(ffn, threshold, &mut runs),
            }
            self.down_of_all(ffn, &mut runs);
            runs.into_iter().fold(0, |rows, run| {
                let h = run.scratch.h.len();
                self.keep_scratch(run.scratch);
                rows + h
            })
        }))
    }

    fn run<'t>(&self, ffn: &Ffn<'_>, token: &'t mut FfnToken<'_>) -> Run<'t> {
        let (kernel, input) = self.prepared(&ffn.gate, token.x);
        Run { kernel, input, active: token.active, y: &mut *token.y, scratch: self.take_scratch() }
    }

    fn gate_and_up(&self, ffn: &Ffn<'_>, runs: &mut [Run<'_>]) {
        let row_bytes = 2 * ffn.gate.row_bytes();
        let shares = runs.iter_mut().map(Run::with_h);
        self.each_stretch(ffn.neurons(), row_bytes, shares.collect(), |&(kernel, input), active, h| {
            // SAFETY: lengths and indices were checked at the door; `prepared` made the input for this kernel.
            unsafe { (kernel.gate_up)([&ffn.gate, &ffn.up], ffn.activation, active, input, h) };
        });
    }

    fn gate_then_up(&self, ffn: &Ffn<'_>, threshold: f32, runs: &mut [Run<'_>]) {
        let row_bytes = ffn.gate.row_bytes();
        let shares = runs.iter_mut().map(Run::with_h);
        self.each_stretch(ffn.neurons(), row_bytes, shares.collect(), |&(kernel, input), active, gate| {
            // SAFETY: as in `gate_and_up`.
            unsafe { (kernel.gemv)(&ffn.gate, active, input, gate) };
        });
        let shares = runs.iter_mut().map(|run| {
            run.scratch.keep(run.active, ffn.activation, threshold);
            let Scratch { kept, up, .. } = &mut run.scratch;
            ((run.kernel, &run.input), &kept[..], &mut up[..])
        });
        self.each_stretch(ffn.neurons(), row_bytes, shares.collect(), |&(kernel, input), kept, up| {
            // SAFETY: as in `gate_and_up`; what is kept was active.
            unsafe { (kernel.gemv)(&ffn.up, kept, input, up) };
        });
        for run in runs {
            run.scratch.h.iter_mut().zip(&run.scratch.up).for_each(|(h, up)| *h *= up);
        }
    }

    fn down_of_all(&self, ffn: &Ffn<'_>, runs: &mut [Run<'_>]) {
        let hidden = runs.iter_mut().map(|run| {
            run.y.fill(0.0);
            let Scratch { h, kept, sums, .. } = &mut run.scratch;
            let rows = if ffn.gating == Gating::Together { run.active } else { kept };
            Hidden { rows, h, y: run.y, sums }
        });
        self.accumulate(&ffn.down, &mut hidden.collect::<Vec<_>>());
    }

    /// Deals out the rows that tokens name, stretch by stretch: `task` is given what a token brought, those of its rows
    /// that lie in the stretch, and the part of its output that belongs to them. A stretch is a thread's task for one
    /// token, what caches hold for several; a row is `row_bytes` to read.
    fn each_stretch<T: Send + Sync>(
        &self,
        neurons: usize,
        row_bytes: usize,
        mut tokens: Vec<(T, &[u32], &mut [f32])>,
        task: impl Fn(&T, &[u32], &mut [f32]) + Sync + Send,
    ) {
        let lists: Vec<&[u32]> = tokens.iter().map(|token| token.1).collect();
        let cached = if tokens.len() == 1 { usize::MAX } else { (STRETCH_BYTES / row_bytes.max(1)).max(GROUP) };
        let cuts = Cuts::new(&lists, neurons, |left| stretches::next(left, self.threads()).min(cached));
        let bytes = lists.iter().map(|list| list.len() * row_bytes).sum();
        let mut shares = Vec::with_capacity(cuts.ends.len());
        for (from, to) in cuts.stretches() {
            for (token, (_, active, out)) in tokens.iter_mut().enumerate() {
                let part = from[token]..to[token];
                let (own, rest) = mem::take(out).split_at_mut(part.len());
                *out = rest;
                shares.push(Share { token, active: &active[part], out: own });
            }
        }
        self.each(bytes, shares.chunks_mut(tokens.len().max(1)), |shares| {
            for share in shares {
                task(&tokens[share.token].0, share.active, share.out);
            }
        });
    }
}

/// What a token has in a stretch.
struct Share<'a> {
    token: usize,
    active: &'a [u32],
    out: &'a mut [f32],
}

/// Where lists of rows are cut into stretches, all lists near the same row.
pub(crate) struct Cuts {
    lists: usize,
    /// From the start to the end, a position in each list.
    ends: Vec<usize>,
}

impl Cuts {
    /// Stretches of about `next(left)` rows that any of the lists names, where `left` such rows are left.
    pub(crate) fn new(lists: &[&[u32]], neurons: usize, next: impl Fn(usize) -> usize + Clone) -> Self {
        let mut ends = vec![0; lists.len()];
        if let [list] = lists {
            ends.extend(stretches::each_of(list.len(), next).map(|stretch| stretch.end));
        } else {
            let mut named = vec![0_u64; neurons.div_ceil(64)];
            for &row in lists.iter().copied().flatten() {
                named[row as usize / 64] |= 1 << (row % 64);
            }
            let mut left: usize = named.iter().map(|bits| bits.count_ones() as usize).sum();
            let (mut count, mut rows) = (0, next(left));
            for (word, bits) in named.iter().enumerate() {
                count += bits.count_ones() as usize;
                if count >= rows && count < left {
                    left -= count;
                    (count, rows) = (0, next(left));
                    let end = 64 * (word as u32 + 1);
                    ends.extend(lists.iter().map(|list| list.partition_point(|&row| row < end) / GROUP * GROUP));
                }
            }
            ends.extend(lists.iter().map(|list| list.len()));
        }
        Self { lists: lists.len(), ends }
    }

    /// Each stretch, by the positions in each list where it begins and ends.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (&[usize], &[usize])> {
        let ends = self.ends.chunks(self.lists.max(1));
        ends.clone().zip(ends.skip(1))
    }
}

impl Scratch {
    /// `h` holds `gate . x` for the active neurons; afterwards it holds `act(gate . x)` for the kept ones.
    fn keep(&mut self, active: &[u32], activation: Activation, threshold: f32) {
        self.kept.clear();
        let mut kept = 0;
        for (j, &neuron) in active.iter().enumerate() {
            let a = activation.apply(self.h[j]);
            if a.abs() <= threshold {
                continue;
            }
            self.h[kept] = a;
            self.kept.push(neuron);
            kept += 1;
        }
        self.h.truncate(kept);
        self.up.resize(kept, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_near_the_same_rows_and_lose_none() {
        let a: Vec<u32> = (0..1000).step_by(3).collect();
        let b: Vec<u32> = (100..900).step_by(2).collect();
        let cuts = Cuts::new(&[&a, &b, &[]], 1000, |_| 100);
        let stretches: Vec<_> = cuts.stretches().collect();
        assert!(stretches.len() > 3);
        assert_eq!(stretches.first().map(|(from, _)| *from), Some(&[0; 3][..]));
        assert_eq!(stretches.last().map(|(_, to)| *to), Some(&[a.len(), b.len(), 0][..]));
        for pair in stretches.windows(2) {
            let (_, cut) = pair[0];
            assert_eq!(cut, pair[1].0, "stretches follow each other");
            assert!(cut.iter().all(|position| position % GROUP == 0));
            // Rounding down to a group moves a cut by at most seven of the list's rows.
            let (row_a, row_b) = (a[cut[0]], b.get(cut[1]).copied().unwrap_or(1000));
            assert!(row_a.abs_diff(row_b) <= 64 + 8 * 3 || !(100..=900).contains(&row_a), "{row_a} {row_b}");
        }
        assert!(stretches.iter().all(|(from, to)| (0..3).all(|list| from[list] <= to[list])));
        assert_eq!(Cuts::new(&[&a], 1000, |_| 8).stretches().count(), a.len().div_ceil(8));
        assert_eq!(Cuts::new(&[&[]], 1000, |_| 8).stretches().count(), 0);
        assert_eq!(Cuts::new(&[&[], &[]], 1000, |_| 8).stretches().count(), 1);
        assert_eq!(Cuts::new(&[], 1000, |_| 8).stretches().count(), 0);
    }
}
