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
    /// The rows that follow in the list, to be prefetched. At the end of the list its last row stands in: a row of
    /// the set is the one thing that is safe and free to touch.
    pub(crate) next: [*const u8; R],
}

impl<'a> ActiveRows<'a> {
    /// # Safety
    /// Every index is below `w.rows()`.
    pub(crate) unsafe fn new(w: &Matrix<'a>, active: &'a [u32]) -> Self {
        Self { first: w.bytes().as_ptr(), row_bytes: w.row_bytes(), active }
    }

    /// The list in groups of `R`, as far as whole groups go.
    pub(crate) fn groups<const R: usize>(self) -> impl Iterator<Item = Group<R>> {
        (0..self.active.len() / R).map(move |g| self.group(g * R))
    }

    /// The rows that [`groups`](Self::groups) of `R` leave over, one by one.
    pub(crate) fn rest<const R: usize>(self) -> impl Iterator<Item = Group<1>> {
        let len = self.active.len();
        (len / R * R..len).map(move |position| self.group(position))
    }

    fn group<const R: usize>(&self, position: usize) -> Group<R> {
        let starts = |from: usize| std::array::from_fn(|r| self.start(from + r));
        Group { position, row: starts(position), next: starts(position + R) }
    }

    fn start(&self, position: usize) -> *const u8 {
        let index = self.active[position.min(self.active.len() - 1)] as usize;
        // SAFETY: `index` is below `rows` by the contract of `new`, so the offset stays inside the weights.
        unsafe { self.first.add(index * self.row_bytes) }
    }
}
