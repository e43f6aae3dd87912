//! Addresses of the rows that an active list names.

use crate::Matrix;

/// The active rows of a matrix, by position in the active list.
#[derive(Clone, Copy)]
pub(crate) struct ActiveRows<'a> {
    first: *const u8,
    row_bytes: usize,
    active: &'a [u32],
}

/// `R` rows that a kernel reads side by side.
pub(crate) struct Group<const R: usize> {
    /// Position of the first of them in the active list.
    pub(crate) position: usize,
    /// Where each row starts.
    pub(crate) row: [*const u8; R],
    /// The rows that will be read after these, to be prefetched. At the end of the list its last row stands in: a row
    /// of the set is the one thing that is safe and free to touch.
    pub(crate) next: [*const u8; R],
}

impl<'a> ActiveRows<'a> {
    /// # Safety
    /// Every index is below `w.rows()`.
    pub(crate) unsafe fn new(w: &Matrix<'a>, active: &'a [u32]) -> Self {
        Self { first: w.bytes().as_ptr(), row_bytes: w.row_bytes(), active }
    }

    /// The list from position `from` on, in groups of `R` as far as whole groups go.
    pub(crate) fn groups<const R: usize>(self, from: usize) -> impl Iterator<Item = Group<R>> {
        self.positions::<R>(from).map(move |position| Group {
            position,
            row: self.starts(position),
            next: self.starts(position + R),
        })
    }

    /// As [`groups`](Self::groups) over two matrices, in the order gate, up, gate, up, …
    pub(crate) fn gate_up_groups<const R: usize>(
        gate: Self,
        up: Self,
        from: usize,
    ) -> impl Iterator<Item = [Group<R>; 2]> {
        gate.positions::<R>(from).map(move |position| {
            let (gate_rows, up_rows) = (gate.starts(position), up.starts(position));
            [
                Group { position, row: gate_rows, next: up_rows },
                Group { position, row: up_rows, next: gate.starts(position + R) },
            ]
        })
    }

    /// Where [`groups`](Self::groups) of `R` from the start of the list end, and single rows take over.
    pub(crate) fn whole_groups<const R: usize>(&self) -> usize {
        self.active.len() / R * R
    }

    /// Starts to fetch `bytes` of the first `R` rows from `offset` on: nothing else runs ahead of a kernel's first group.
    pub(crate) fn prefetch_first<const R: usize>(&self, offset: usize, bytes: usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let end = (offset + bytes).min(self.row_bytes);
        for row in self.starts::<R>(0).iter().take(self.active.len()) {
            for at in (offset..end).step_by(64) {
                // SAFETY: `at` lies within the row.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(row.add(at).cast()) };
            }
        }
    }

    fn positions<const R: usize>(&self, from: usize) -> impl Iterator<Item = usize> + use<R> {
        (from..(self.active.len() + 1).saturating_sub(R)).step_by(R)
    }

    fn starts<const R: usize>(&self, position: usize) -> [*const u8; R] {
        std::array::from_fn(|r| {
            let last = self.active.len().saturating_sub(1);
            let index = self.active.get((position + r).min(last)).map_or(0, |&index| index as usize);
            // SAFETY: `index` is below `rows` by the contract of `new` (or 0 for an empty list, whose pointers nobody
            // follows), so the offset stays inside the weights.
            unsafe { self.first.add(index * self.row_bytes) }
        })
    }
}
