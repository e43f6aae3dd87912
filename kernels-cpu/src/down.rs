//! Neuron-major down, shared between threads.
//!
//! ```text
//!             columns of W and y
//!   active    |  range 0  |  range 1  |
//!   0 ..      |  piece 0  |  piece 0  |  -> y
//!   ..        |  piece 1  |  piece 1  |  -> a sum of its own, added to y at the end, piece after piece
//! ```
//! A task is a piece of the active list in a range of columns: no atomics, and nobody waits for a column. How the list
//! falls into pieces depends on its length alone, so sums do not depend on threads. Few threads take rows whole: split
//! by columns alone, two threads read q8_0 at 35 GB/s where one reads 23, since every row then starts twice.

use crate::{
    Cpu, Matrix,
    ffn::{Cuts, STRETCH_BYTES},
    stretches::GROUP,
};

/// The most pieces, and the least active neurons of one.
const PIECES: usize = 8;
const PIECE_ROWS: usize = 128;
/// A part of the time that threads may stand idle while others do the last tasks, were all tasks alike: one in this many.
const IDLE: usize = 8;
/// Ranges of columns start at multiples of this: whole blocks, whole cache lines.
const COLUMN_STEP: usize = 64;

/// What a token brings to down and takes from it.
pub(crate) struct Hidden<'a> {
    pub(crate) rows: &'a [u32],
    pub(crate) h: &'a [f32],
    /// Added to.
    pub(crate) y: &'a mut [f32],
    /// Memory for the sums of pieces.
    pub(crate) sums: &'a mut Vec<f32>,
}

/// What a token has in a piece.
struct Part<'a> {
    rows: &'a [u32],
    h: &'a [f32],
}

/// A piece of the lists in a range of columns: for each token that has the piece, where its sum goes.
struct Task<'a> {
    piece: usize,
    first_column: usize,
    sums: Vec<&'a mut [f32]>,
}

impl Cpu {
    /// `y[c] += sum over j of h[j] * W[rows[j]][c]` for each token; checks were made.
    pub(crate) fn accumulate(&self, w: &Matrix<'_>, tokens: &mut [Hidden<'_>]) {
        let (kernel, cols) = (self.kernel(w.format()), w.cols());
        if cols == 0 {
            return;
        }
        let longest = tokens.iter().map(|token| token.rows.len()).max().unwrap_or(0);
        let ranges = fair_ranges(longest.div_ceil(piece_len(longest)), self.threads());
        let width = cols.div_ceil(ranges).next_multiple_of(COLUMN_STEP);
        let ranges = cols.div_ceil(width);

        let mut pieces: Vec<Vec<Part<'_>>> = Vec::new();
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for Hidden { rows, h, y, sums } in &mut *tokens {
            let len = piece_len(rows.len());
            let count = rows.len().div_ceil(len);
            // What was there before is overwritten by the tasks.
            sums.resize(count.saturating_sub(1) * cols, 0.0);
            let sums = [&mut **y].into_iter().chain(sums.chunks_exact_mut(cols));
            for (piece, ((rows, h), sum)) in rows.chunks(len).zip(h.chunks(len)).zip(sums).enumerate() {
                if piece == pieces.len() {
                    pieces.push(Vec::new());
                    let task = |range: usize| Task { piece, first_column: range * width, sums: Vec::new() };
                    tasks.extend((0..ranges).map(task));
                }
                pieces[piece].push(Part { rows, h });
                let tasks = &mut tasks[piece * ranges..];
                tasks.iter_mut().zip(sum.chunks_mut(width)).for_each(|(task, sum)| task.sums.push(sum));
            }
        }
        let stretch = (STRETCH_BYTES / w.row_bytes().div_ceil(ranges).max(1)).max(GROUP);
        let cuts: Vec<Cuts> = pieces
            .iter()
            .map(|piece| {
                let lists: Vec<&[u32]> = piece.iter().map(|part| part.rows).collect();
                Cuts::new(&lists, w.rows(), |left| if lists.len() == 1 { left } else { stretch })
            })
            .collect();

        let bytes = pieces.iter().flatten().map(|part| part.rows.len() * w.row_bytes()).sum();
        self.each(bytes, tasks.into_iter(), |mut task| {
            if task.piece > 0 {
                task.sums.iter_mut().for_each(|sum| sum.fill(0.0));
            }
            for (from, to) in cuts[task.piece].stretches() {
                for (i, (sum, Part { rows, h })) in task.sums.iter_mut().zip(&pieces[task.piece]).enumerate() {
                    let part = from[i]..to[i];
                    let columns = task.first_column..task.first_column + sum.len();
                    // SAFETY: the callers checked lengths and indices, `Cpu::with` the instruction set; the range is
                    // within the row and starts and ends on whole blocks because `width` and the row do.
                    unsafe { (kernel.accumulate)(w, &rows[part.clone()], &h[part], columns, sum) };
                }
            }
        });
        for Hidden { y, sums, .. } in tokens {
            let width = cols.div_ceil(self.threads()).next_multiple_of(COLUMN_STEP);
            self.each(4 * sums.len(), y.chunks_mut(width).enumerate(), |(range, y)| {
                for sum in sums.chunks_exact(cols) {
                    y.iter_mut().zip(&sum[range * width..]).for_each(|(y, sum)| *y += sum);
                }
            });
        }
    }
}

/// Into how many ranges the columns fall: no more than it takes to give each of `threads` about as much to do, since every
/// range starts every row again.
fn fair_ranges(pieces: usize, threads: usize) -> usize {
    let fair = |ranges: &usize| {
        let tasks = pieces.max(1) * ranges;
        let done_meanwhile = tasks.div_ceil(threads) * threads;
        (done_meanwhile - tasks) * IDLE <= done_meanwhile
    };
    (1..threads).find(fair).unwrap_or(threads)
}

/// Active neurons of a piece: whole groups, so that kernels form the groups that they form over the whole list.
fn piece_len(rows: usize) -> usize {
    let pieces = (rows / PIECE_ROWS).clamp(1, PIECES);
    rows.div_ceil(pieces).next_multiple_of(GROUP).max(GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_split_only_where_pieces_do_not_go_round() {
        assert_eq!(
            [(8, 1), (8, 2), (8, 4), (8, 8), (5, 5)].map(|(pieces, threads)| fair_ranges(pieces, threads)),
            [1; 5]
        );
        assert_eq!([(8, 16), (1, 2), (5, 2), (4, 8)].map(|(pieces, threads)| fair_ranges(pieces, threads)), [2; 4]);
        assert_eq!([(8, 64), (0, 3)].map(|(pieces, threads)| fair_ranges(pieces, threads)), [7, 3]);
        for (pieces, threads) in (1..=PIECES).flat_map(|pieces| (1..=64).map(move |threads| (pieces, threads))) {
            let tasks = pieces * fair_ranges(pieces, threads);
            assert!(tasks.div_ceil(threads) * threads * (IDLE - 1) <= tasks * IDLE, "{pieces} {threads}");
        }
    }
}
