//! Attention over a KV cache, the query heads of a group together (Ainslie et al. 2023): each key and value is read from
//! memory once, however many queries it meets.
//!
//! ```text
//!   keys of a head     |block 0         |block 1         |...      16 positions side by side, element by element:
//!     block            |k0[0] k1[0] .. k15[0]|k0[1] k1[1] ..|      a lane a position, no sums across lanes
//!   values of a head   |v0 . . . . |v1 . . . . |v2 ...             a row a position
//!
//!   a task: a head's stretch of positions, all queries of its group
//!     scores[q][p] = q . k_p  ─▶  weights = exp(scores - max)  ─▶  sums[q] = sum over p of weights[q][p] * v_p
//!   afterwards: the stretches of a head, in order, rescaled to the largest maximum of them all
//! ```
//! Stretches do not depend on the number of threads, so neither does the result.

use crate::{Cpu, Error, Format, Isa, WeightBuffer, cpu::check_length, scalar};

/// Positions whose keys lie side by side.
pub(crate) const BLOCK: usize = 16;
/// Values are padded with zeros to whole vectors of every instruction set.
const VECTOR: usize = 16;
/// Positions of a task.
const STRETCH: usize = 512;
const F32: usize = size_of::<f32>();

/// Keys and values of one layer in f32, head by head.
#[derive(Debug)]
pub struct KvCache {
    heads: usize,
    head_size: usize,
    capacity: usize,
    /// heads x blocks x head size x [`BLOCK`].
    keys: WeightBuffer,
    /// heads x capacity x padded head size.
    values: WeightBuffer,
}

impl KvCache {
    /// Room for `capacity` positions of `heads` KV heads. A position takes memory once it is stored.
    ///
    /// # Errors
    /// Sizes that do not fit the address space; the system refuses the memory.
    pub fn new(heads: usize, head_size: usize, capacity: usize) -> Result<Self, Error> {
        let bytes = |rows: Option<usize>, cols: Option<usize>| {
            let product =
                rows.zip(cols).and_then(|(rows, cols)| rows.checked_mul(cols)?.checked_mul(heads)?.checked_mul(F32));
            product.ok_or(Error::TooLarge { format: Format::F32, rows: capacity, cols: head_size })
        };
        let keys = bytes(capacity.checked_next_multiple_of(BLOCK), Some(head_size))?;
        let values = bytes(Some(capacity), head_size.checked_next_multiple_of(VECTOR))?;
        let (keys, values) = (WeightBuffer::zeroed(keys)?, WeightBuffer::zeroed(values)?);
        Ok(Self { heads, head_size, capacity, keys, values })
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// KV heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Elements of a head.
    pub fn head_size(&self) -> usize {
        self.head_size
    }

    /// Stores a position's `key` and `value`, heads x head size each.
    ///
    /// # Errors
    /// Slices of another length; a position beyond the capacity.
    pub fn store(&mut self, position: usize, key: &[f32], value: &[f32]) -> Result<(), Error> {
        check_length("key", key, self.heads * self.head_size)?;
        check_length("value", value, self.heads * self.head_size)?;
        if position >= self.capacity {
            return Err(Error::Position { given: position, capacity: self.capacity });
        }
        let (block, lane) = (position / BLOCK, position % BLOCK);
        let key_bytes = self.key_block_bytes();
        let value_bytes = self.value_bytes();
        let (blocks, capacity) = (self.blocks(), self.capacity);
        // Of heads without elements there is nothing to store.
        let size = self.head_size.max(1);
        for (head, (key, value)) in key.chunks_exact(size).zip(value.chunks_exact(size)).enumerate() {
            let start = (head * blocks + block) * key_bytes;
            let lanes = self.keys.bytes_mut()[start..start + key_bytes].chunks_exact_mut(F32).skip(lane).step_by(BLOCK);
            lanes.zip(key).for_each(|(bytes, k)| bytes.copy_from_slice(&k.to_le_bytes()));
            let start = (head * capacity + position) * value_bytes;
            let row = self.values.bytes_mut()[start..start + value_bytes].chunks_exact_mut(F32);
            row.zip(value).for_each(|(bytes, v)| bytes.copy_from_slice(&v.to_le_bytes()));
        }
        Ok(())
    }

    /// Bytes of keys and values that attention over `positions` reads.
    pub fn bytes_read(&self, positions: usize) -> usize {
        2 * self.heads * positions * self.head_size * F32
    }

    fn blocks(&self) -> usize {
        self.capacity.div_ceil(BLOCK)
    }

    fn key_block_bytes(&self) -> usize {
        BLOCK * self.head_size * F32
    }

    fn value_bytes(&self) -> usize {
        self.head_size.next_multiple_of(VECTOR) * F32
    }

    /// Keys in whole blocks, and values, of `positions` from `first` on, which is a multiple of [`BLOCK`].
    fn stretch(&self, head: usize, first: usize, positions: usize) -> (&[u8], &[u8]) {
        let block = head * self.blocks() + first / BLOCK;
        let (key, value) = (self.key_block_bytes(), self.value_bytes());
        let keys = &self.keys.bytes()[block * key..(block + positions.div_ceil(BLOCK)) * key];
        let start = head * self.capacity + first;
        (keys, &self.values.bytes()[start * value..(start + positions) * value])
    }
}

/// The steps of a task in one instruction set.
pub(crate) struct Kernel {
    /// `(keys, head size, queries, scores)`: scores of every query with every position of the blocks, a row a query.
    pub(crate) scores: unsafe fn(&[u8], usize, &[f32], &mut [f32]),
    /// Scores of one query, whole vectors, become weights: `exp(score - max)`, 0 for minus infinity. Maximum and sum.
    pub(crate) softmax: unsafe fn(&mut [f32]) -> (f32, f32),
    /// `(values, padded head size, weights, stride of their rows, sums)`: adds to the sums, a row a query.
    pub(crate) mix: unsafe fn(&[u8], usize, &[f32], usize, &mut [f32]),
}

/// What a task of `queries` queries works in.
struct Room {
    queries: usize,
    /// Positions, in whole blocks.
    scores: usize,
    /// Padded head size.
    row: usize,
}

impl Room {
    fn len(&self) -> usize {
        self.queries * (self.scores + self.row + 2)
    }
}

impl Cpu {
    /// `out` of each query head: the values at positions below `len`, weighted by the softmax of `query . key / sqrt(head
    /// size)`. `queries` and `out` are query heads x head size; the query heads that share a KV head follow each other.
    ///
    /// Scores are off by `e = gamma(head size + 4) * max over positions of sum |q||k| / sqrt(head size)` at most, and so, with
    /// `r = 2 (exp(2 e + u (max score - min score)) - 1 + 2^-21 + gamma(len + 8))`, an element of `out` by `r (1 + r)` of
    /// the sum of `weight |value|`, and by `len 2^-125 max |value|` for weights too small to count; `gamma` and `u` as for
    /// [`Cpu::gemv`].
    ///
    /// # Errors
    /// Slices of another length, or that are no whole number of groups; positions beyond the capacity.
    pub fn attend(&self, cache: &KvCache, len: usize, queries: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let KvCache { heads, head_size, capacity, .. } = *cache;
        let group = queries.len() / (heads * head_size).max(1);
        check_length("queries", queries, group * heads * head_size)?;
        check_length("out", out, queries.len())?;
        if len > capacity {
            return Err(Error::Position { given: len, capacity });
        }
        if out.is_empty() || len == 0 {
            out.fill(0.0);
            return Ok(());
        }
        let kernel = self.attention_kernel();
        let scale = 1.0 / (head_size as f32).sqrt();
        let room = Room {
            queries: group,
            scores: len.min(STRETCH).next_multiple_of(BLOCK),
            row: head_size.next_multiple_of(VECTOR),
        };
        let stretches = len.div_ceil(STRETCH);
        let mut scratch = self.take_scratch();
        // Queries first, scaled; then the rooms of all tasks.
        scratch.sums.resize(queries.len() + heads * stretches * room.len(), 0.0);
        let (scaled, rooms) = scratch.sums.split_at_mut(queries.len());
        scaled.iter_mut().zip(queries).for_each(|(scaled, q)| *scaled = q * scale);
        let scaled = &*scaled;
        let of_head = |head: usize| &scaled[head * group * head_size..][..group * head_size];
        let tasks = rooms.chunks_exact_mut(room.len()).enumerate();
        self.each(cache.bytes_read(len), tasks, |(task, space)| {
            let (head, first) = (task / stretches, task % stretches * STRETCH);
            let positions = STRETCH.min(len - first);
            attend_stretch(kernel, &room, cache.stretch(head, first, positions), positions, of_head(head), space);
        });
        let heads = rooms.chunks_exact(stretches * room.len()).zip(out.chunks_exact_mut(group * head_size));
        for (rooms, out) in heads {
            for (query, out) in out.chunks_exact_mut(head_size).enumerate() {
                merge(&room, rooms, query, out);
            }
        }
        self.keep_scratch(scratch);
        Ok(())
    }

    fn attention_kernel(&self) -> &'static Kernel {
        match self.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => &crate::avx512::attention::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &crate::avx2::attention::KERNEL,
            _ => &scalar::attention::KERNEL,
        }
    }
}

/// Leaves sums, maxima and sums of weights of every query in `space`.
fn attend_stretch(
    kernel: &Kernel,
    room: &Room,
    (keys, values): (&[u8], &[u8]),
    positions: usize,
    queries: &[f32],
    space: &mut [f32],
) {
    let stride = positions.next_multiple_of(BLOCK);
    let (scores, sums) = space.split_at_mut(room.queries * room.scores);
    let scores = &mut scores[..room.queries * stride];
    let (sums, scales) = sums.split_at_mut(room.queries * room.row);
    let head_size = queries.len() / room.queries;
    sums.fill(0.0);
    // SAFETY: the kernel's instruction set was checked when its `Cpu` was made; keys are whole blocks of `stride`
    // positions, scores and sums a row a query, values `positions` rows of `room.row`.
    unsafe {
        (kernel.scores)(keys, head_size, queries, scores);
        for (scores, scale) in scores.chunks_exact_mut(stride).zip(scales.as_chunks_mut::<2>().0) {
            scores[positions..].fill(f32::NEG_INFINITY);
            *scale = (kernel.softmax)(scores).into();
        }
        (kernel.mix)(values, room.row, scores, stride, sums);
    }
}

/// The stretches of one query: each rescaled from its own maximum to that of all.
fn merge(room: &Room, rooms: &[f32], query: usize, out: &mut [f32]) {
    let sums = |space: &[f32]| {
        let sums = &space[room.queries * room.scores..];
        let scale = &sums[room.queries * room.row + 2 * query..];
        (scale[0], scale[1])
    };
    let stretches = || rooms.chunks_exact(room.len());
    let max = stretches().map(|space| sums(space).0).fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    out.fill(0.0);
    for space in stretches() {
        let (own, sum) = sums(space);
        let factor = if own == max { 1.0 } else { (own - max).exp() };
        total += factor * sum;
        let row = &space[room.queries * room.scores + query * room.row..];
        out.iter_mut().zip(row).for_each(|(out, v)| *out += factor * v);
    }
    out.iter_mut().for_each(|v| *v /= total);
}
