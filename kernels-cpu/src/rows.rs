//! Addresses of the rows that an active list names, and what is fetched ahead of them.

use std::{
    arch::x86_64::{_MM_HINT_T1, _mm_prefetch},
    sync::LazyLock,
};

use crate::{Isa, Matrix};

/// Bytes of a cache line, and of two.
const LINE: usize = 64;
pub(crate) const PAIR: usize = 2 * LINE;

/// Whether a prefetch brings the line beside it too. On Zen 4 it does: to name both costs f16 3 to 7 % (fast memory); other
/// processors of AMD are taken to be like it. On a Xeon (Emerald Rapids) to name one costs f16 10 to 15 %.
static IN_PAIRS: LazyLock<bool> = LazyLock::new(Isa::is_amd);

/// The active rows of a matrix, by position in the active list.
#[derive(Clone, Copy)]
pub(crate) struct ActiveRows<'a> {
    first: *const u8,
    stride: usize,
    in_pairs: bool,
    active: &'a [u32],
}

/// `R` rows that a kernel reads side by side.
pub(crate) struct Group<const R: usize> {
    /// Position of the first of them in the active list.
    pub(crate) position: usize,
    /// Where each row starts. Past the end of the list its last row stands in: a row of the set is the one thing
    /// that is safe to touch and costs nothing.
    pub(crate) row: [*const u8; R],
    /// The rows that will be read after these, to be prefetched.
    pub(crate) next: [*const u8; R],
    in_pairs: bool,
}

impl<const R: usize> Group<R> {
    /// Starts to fetch the [`PAIR`] that lies `at` bytes into each of `rows`, which are this group's or the next one's.
    #[inline(always)]
    pub(crate) fn prefetch_pair(&self, rows: &[*const u8; R], at: usize) {
        prefetch_each(rows, at);
        if !self.in_pairs {
            prefetch_each(rows, at + LINE);
        }
    }
}

impl<'a> ActiveRows<'a> {
    /// # Safety
    /// Every index is below `w.rows()`.
    pub(crate) unsafe fn new(w: &Matrix<'a>, active: &'a [u32]) -> Self {
        Self { first: w.bytes().as_ptr(), stride: w.stride_bytes(), in_pairs: *IN_PAIRS, active }
    }

    /// The whole list in groups of `R`; the last group may reach past its end.
    pub(crate) fn groups<const R: usize>(self) -> impl Iterator<Item = Group<R>> {
        (0..self.active.len()).step_by(R).map(move |position| self.group(position))
    }

    /// As [`groups`](Self::groups) over two matrices, in the order gate, up, gate, up, …
    pub(crate) fn gate_up_groups<const R: usize>(gate: Self, up: Self) -> impl Iterator<Item = [Group<R>; 2]> {
        (0..gate.active.len()).step_by(R).map(move |position| {
            let (gate_rows, up_rows, in_pairs) = (gate.starts(position), up.starts(position), gate.in_pairs);
            [
                Group { position, row: gate_rows, next: up_rows, in_pairs },
                Group { position, row: up_rows, next: gate.starts(position + R), in_pairs },
            ]
        })
    }

    /// The `R` rows from `position` on.
    #[inline]
    pub(crate) fn group<const R: usize>(self, position: usize) -> Group<R> {
        Group { position, row: self.starts(position), next: self.starts(position + R), in_pairs: self.in_pairs }
    }

    /// Where groups of `R` that lie wholly within the list end.
    pub(crate) fn whole_groups<const R: usize>(self) -> usize {
        self.active.len() / R * R
    }

    /// Starts to fetch `bytes` bytes of each of the first `R` rows, from `offset` on, which lie within the row: nothing else
    /// runs ahead of a kernel's first group.
    pub(crate) fn prefetch_first<const R: usize>(self, offset: usize, bytes: usize) {
        let step = if self.in_pairs { PAIR } else { LINE };
        for row in self.starts::<R>(0).iter().take(self.active.len()) {
            for at in (offset..offset + bytes).step_by(step) {
                prefetch(row.wrapping_add(at));
            }
        }
    }

    #[inline]
    fn starts<const R: usize>(self, position: usize) -> [*const u8; R] {
        std::array::from_fn(|r| {
            let last = self.active.len().saturating_sub(1);
            let index = self.active.get((position + r).min(last)).map_or(0, |&index| index as usize);
            // SAFETY: `index` is below `rows` by the contract of `new` (or 0 for an empty list, whose pointers nobody
            // follows), so the offset stays inside the weights.
            unsafe { self.first.add(index * self.stride) }
        })
    }
}

/// Starts to fetch the line at `p` into L2. Not into L1: those fills occupy the few line buffers that demand loads
/// need, and rows of 16 KiB collide in its sets. On Zen 4 this alone took f16 from 17 to 25 GB/s a core. It never faults;
/// outside of the active rows it costs what it fetches.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8) {
    // SAFETY: a hint, valid for any address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
}

/// Starts to fetch what lies `at` bytes into each of `rows`, side by side: asked for in bursts, row by row, half of it
/// would be dropped (q8_0 on Zen 4: 18 instead of 23 GB/s a core).
#[inline(always)]
pub(crate) fn prefetch_each<const R: usize>(rows: &[*const u8; R], at: usize) {
    for row in rows {
        prefetch(row.wrapping_add(at));
    }
}

/// Both row operators of an instruction set, from its way to compute the dot products of one group.
///
/// `$dot(group, input)` returns the sums of the group's `$rows` rows.
macro_rules! row_operators {
    ($features:literal, <$($format:ident: $kind:ident)?>, $rows:expr, $ahead:expr, $dot:expr) => {
        /// `out[j] = W[active[j]] . x`
        ///
        /// # Safety
        /// The processor has the features above; `active` is in range, the input was prepared for this kernel and has
        /// `w.cols()` elements, `out` as many as `active`; `w` has the kernel's format.
        #[target_feature(enable = $features)]
        pub(crate) unsafe fn gemv<$($format: $kind)?>(
            w: &crate::Matrix<'_>,
            active: &[u32],
            input: &crate::input::Input<'_>,
            out: &mut [f32],
        ) {
            // SAFETY: `active` is in range, so each pointer of a group is the start of a row of `x.len()` weights.
            unsafe {
                let rows = crate::rows::ActiveRows::new(w, active);
                rows.prefetch_first::<$rows>(0, $ahead.min(w.row_bytes()));
                for group in rows.groups::<$rows>() {
                    let sums = $dot(&group, input);
                    out[group.position..].iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
                }
            }
        }

        /// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`: a group's gate rows, then its up rows, so that the
        /// prefetches of each enter the other and never stop.
        ///
        /// # Safety
        /// As for [`gemv`]; both matrices have one format and one shape.
        #[target_feature(enable = $features)]
        pub(crate) unsafe fn gate_up<$($format: $kind)?>(
            [gate, up]: [&crate::Matrix<'_>; 2],
            activation: crate::Activation,
            active: &[u32],
            input: &crate::input::Input<'_>,
            h: &mut [f32],
        ) {
            use crate::rows::ActiveRows;
            // SAFETY: as in `gemv`.
            unsafe {
                let ahead = $ahead.min(gate.row_bytes());
                let (gate, up) = (ActiveRows::new(gate, active), ActiveRows::new(up, active));
                gate.prefetch_first::<$rows>(0, ahead);
                for [gate, up] in ActiveRows::gate_up_groups::<$rows>(gate, up) {
                    let (g, u) = ($dot(&gate, input), $dot(&up, input));
                    activation.gate(&g, &u, &mut h[gate.position..]);
                }
            }
        }
    };
}
pub(crate) use row_operators;

/// Walks `$rows` in groups of 8 and what is left in groups of 4, 2 and 1, so that no neuron is added twice.
macro_rules! in_whole_groups {
    ($rows:expr, |$group:ident| $body:expr) => {{
        let rows = $rows;
        let mut position = rows.whole_groups::<8>();
        for $group in (0..position).step_by(8).map(|position| rows.group::<8>(position)) {
            $body;
        }
        if rows.whole_groups::<4>() > position {
            let $group = rows.group::<4>(position);
            $body;
            position += 4;
        }
        if rows.whole_groups::<2>() > position {
            let $group = rows.group::<2>(position);
            $body;
            position += 2;
        }
        if rows.whole_groups::<1>() > position {
            let $group = rows.group::<1>(position);
            $body;
        }
    }};
}
pub(crate) use in_whole_groups;
