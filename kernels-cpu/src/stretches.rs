//! How rows are dealt out to threads: long stretches first, since every stretch starts its reads anew; short ones last, so
//! that all threads end together.
//!
//! ```text
//!   two threads   |....... 1/4 .......|...... 3/16 ......|.... 9/64 ....|...|..|.|
//! ```
//! That is guided self-scheduling (Polychronopoulos and Kuck, IEEE Transactions on Computers 36, 1987), each stretch half
//! of what that rule gives: a core that another guest slows down must not hold the others up.

use std::{mem, ops::Range};

/// Stretches begin at multiples of this: kernels then form the groups that they form over the whole list.
pub(crate) const GROUP: usize = 8;

/// Rows of the next stretch, where `left` are left for `threads` threads.
pub(crate) fn next(left: usize, threads: usize) -> usize {
    if threads == 1 { left } else { left.div_ceil(2 * threads).next_multiple_of(GROUP).min(left) }
}

/// All stretches of `rows` rows for `threads` threads, in order.
pub(crate) fn stretches(rows: usize, threads: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    each_of(rows, move |left| next(left, threads))
}

/// `rows` rows in stretches of `length(left)`, where `left` are left.
pub(crate) fn each_of(
    rows: usize,
    length: impl Fn(usize) -> usize + Clone,
) -> impl Iterator<Item = Range<usize>> + Clone {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = rows - start;
        (left > 0).then(|| {
            let end = start + length(left).clamp(1, left);
            mem::replace(&mut start, end)..end
        })
    })
}

/// The parts of `slice` that lie in each of `ranges`, which follow each other from its start.
pub(crate) fn parts<T>(slice: &mut [T], ranges: impl Iterator<Item = Range<usize>>) -> impl Iterator<Item = &mut [T]> {
    let mut rest = slice;
    ranges.map(move |range| {
        let (part, after) = mem::take(&mut rest).split_at_mut(range.len());
        rest = after;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_whole_groups_and_together_all_rows() {
        for threads in [1, 2, 3, 16, 64] {
            let all = [0, 1, 7, 8, 9, 100, 2867, 28672];
            for &rows in if cfg!(miri) { &all[..6] } else { &all } {
                let mut values: Vec<usize> = (0..rows).collect();
                let ranges = stretches(rows, threads);
                let (mut end, mut longest) = (0, usize::MAX);
                for (range, part) in ranges.clone().zip(parts(&mut values, ranges)) {
                    assert!(range.start == end && range.start % GROUP == 0 && !range.is_empty());
                    assert!(range.len() <= longest, "stretches do not grow");
                    assert!(part.iter().copied().eq(range.clone()));
                    (end, longest) = (range.end, range.len());
                }
                assert_eq!(end, rows);
                assert!(threads == 1 || longest <= GROUP || rows == 0);
            }
        }
        assert_eq!(stretches(2867, 1).count(), 1);
        assert!(stretches(2867, 2).count() < 20, "two threads take a tenth of ten thousand rows in few strides");
        assert!(stretches(2867, 16).count() < 16 * 7, "and so do sixteen");
    }
}
