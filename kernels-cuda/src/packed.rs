//! Weights as the step kernel reads them: kernels/planes.cuh says how they lie.

use crate::{
    Error, Format,
    params::{THRESHER_STEP_COLUMNS, THRESHER_STEP_STRETCH},
    shape::Shape,
};

/// Columns whose digits one thread holds.
const THREAD_COLUMNS: usize = 16;

/// Bytes that memory is read in; a copy that begins inside of one is slower.
const LINE: usize = 128;
/// A row shorter than this is not padded to a line.
const SHORT: usize = 4096;

/// A matrix's shape, and how its rows lie once packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedShape {
    pub(crate) shape: Shape,
    /// Columns with the padding, in zeros.
    pub(crate) padded_cols: usize,
    /// Bytes of a packed row, a multiple of 16.
    pub(crate) row_bytes: usize,
}

impl PackedShape {
    /// Refuses what [`Shape::of_bytes`] refuses, and rows of more columns than a block's threads hold.
    pub(crate) fn of(shape: Shape) -> Result<Self, Error> {
        let most = THRESHER_STEP_COLUMNS as usize;
        if shape.cols > most {
            return Err(Error::WideRow { cols: shape.cols, most });
        }
        let padded_cols = shape.cols.max(1).next_multiple_of(THRESHER_STEP_STRETCH as usize);
        let bytes = shape.format.row_bytes(padded_cols)?;
        // Rows that begin at lines, where that adds a few percent at most.
        let row_bytes = if bytes < SHORT { bytes } else { bytes.next_multiple_of(LINE) };
        Ok(Self { shape, padded_cols, row_bytes })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shape.rows * self.row_bytes
    }

    /// Rows that the consumers of a block hold beside each other, 16 columns a thread.
    pub(crate) fn rows_beside(&self) -> usize {
        crate::params::THRESHER_STEP_CONSUMERS as usize / (self.padded_cols / THREAD_COLUMNS)
    }

    /// Rows after which one begins at a line again.
    pub(crate) fn rows_a_run(&self) -> usize {
        // A row is a multiple of 16 bytes, so at most eight.
        (1..=LINE / 16).find(|rows| (rows * self.row_bytes).is_multiple_of(LINE)).unwrap_or(1)
    }

    /// Bytes of a slot of the ring that holds as many rows as consumers take at a time.
    pub(crate) fn slot_bytes(&self) -> usize {
        (2 * pairs(self.shape.format) * self.rows_beside() * self.row_bytes).next_multiple_of(128)
    }

    /// `bytes`, rows as ggml lays them out, packed.
    pub(crate) fn pack(&self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = vec![0; self.bytes()];
        // Padding is zero weights: digits that stand for zero, under a scale of zero.
        if self.shape.format == Format::Q8_0 {
            for row in packed.chunks_exact_mut(self.row_bytes) {
                row[..self.padded_cols].fill(ZERO_BYTE);
            }
        }
        if self.shape.row_bytes > 0 {
            let rows = bytes.chunks_exact(self.shape.row_bytes);
            for (row, to) in rows.zip(packed.chunks_exact_mut(self.row_bytes)) {
                self.pack_row(row, to);
            }
        }
        packed
    }

    fn pack_row(&self, row: &[u8], to: &mut [u8]) {
        let format = self.shape.format;
        match format {
            Format::F32 | Format::F16 | Format::Bf16 => to[..row.len()].copy_from_slice(row),
            Format::Q8_0 => {
                let (digits, scales) = to.split_at_mut(self.padded_cols);
                for (i, block) in row.chunks_exact(format.block_bytes()).enumerate() {
                    scales[2 * i..2 * i + 2].copy_from_slice(&block[..2]);
                    for (to, &digit) in digits[32 * i..].iter_mut().zip(&block[2..]) {
                        *to = digit ^ ZERO_BYTE;
                    }
                }
            }
            Format::Q4_0 => {
                let (digits, scales) = to.split_at_mut(self.padded_cols / 2);
                for (i, block) in row.chunks_exact(format.block_bytes()).enumerate() {
                    scales[2 * i..2 * i + 2].copy_from_slice(&block[..2]);
                    for (eight, to) in digits[16 * i..16 * i + 16].chunks_exact_mut(4).enumerate() {
                        to.copy_from_slice(&eight_digits(&block[2..], 8 * eight).to_le_bytes());
                    }
                }
            }
        }
    }
}

/// A signed byte of zero with 128 added.
const ZERO_BYTE: u8 = 0x80;

/// Eight columns of a q4_0 block, from `first` on, as a word whose digits from the lowest are of columns
/// 0 2 4 6 1 3 5 7.
fn eight_digits(block: &[u8], first: usize) -> u32 {
    // ggml: byte i holds column i in its low half and column i + 16 in its high half.
    let digit = |column: usize| u32::from(block[column % 16] >> (column / 16 * 4) & 15);
    (0..8).map(|i| digit(first + i % 4 * 2 + i / 4) << (4 * i)).sum()
}

/// Pairs of rows that a thread takes from a slot at a time: PAIRS of kernels/planes.cuh.
pub(crate) const fn pairs(format: Format) -> usize {
    match format {
        Format::F32 | Format::F16 | Format::Bf16 => 1,
        Format::Q8_0 => 2,
        Format::Q4_0 => 4,
    }
}
