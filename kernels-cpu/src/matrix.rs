//! A checked view of weights in memory.

use std::fmt;

use crate::{Error, Format};

/// Row-major weights in one [`Format`], borrowed: `rows` rows of `cols` weights, one row every `stride_bytes`.
/// Any alignment will do, so a memory-mapped tensor can be used where it lies.
///
/// ```text
///   new      |row 0|row 1|row 2|            strided  |row 0|......|row 1|......|row 2|
///   bundle   |gate 0|up 0|down 0|gate 1|up 1|down 1|...    three matrices, one neuron in one piece
/// ```
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    stride: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Weights of `rows` x `cols` that lie in `bytes` without gaps.
    ///
    /// # Errors
    /// `bytes` of another length than the shape takes; rows that are not whole blocks.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, Error> {
        let row_bytes = format.row_bytes(cols)?;
        let wanted = row_bytes.checked_mul(rows).ok_or(Error::TooLarge { format, rows, cols })?;
        if bytes.len() != wanted {
            return Err(Error::Bytes { format, rows, cols, given: bytes.len(), wanted });
        }
        Ok(Self { format, rows, cols, row_bytes, stride: row_bytes, bytes })
    }

    /// Weights of `rows` x `cols` whose rows start `stride_bytes` apart, the first one where `bytes` start. What lies
    /// between rows is never read.
    ///
    /// # Errors
    /// `bytes` that do not end where the last row does; rows that overlap or are not whole blocks.
    pub fn strided(
        format: Format,
        rows: usize,
        cols: usize,
        stride_bytes: usize,
        bytes: &'a [u8],
    ) -> Result<Self, Error> {
        let row_bytes = format.row_bytes(cols)?;
        if stride_bytes < row_bytes {
            return Err(Error::Stride { given: stride_bytes, row_bytes });
        }
        let gaps = stride_bytes.checked_mul(rows.saturating_sub(1));
        let wanted = gaps.and_then(|gaps| gaps.checked_add(row_bytes)).ok_or(Error::TooLarge { format, rows, cols })?;
        let wanted = if rows == 0 { 0 } else { wanted };
        if bytes.len() != wanted {
            return Err(Error::Bytes { format, rows, cols, given: bytes.len(), wanted });
        }
        Ok(Self { format, rows, cols, row_bytes, stride: stride_bytes, bytes })
    }

    /// Gate, up and down of a layer whose neurons lie in one piece each: gate row, up row, down row, next neuron.
    ///
    /// Worth it for small rows and few of them. Time of [`Cpu::ffn`](crate::Cpu::ffn) over three matrices by that over a
    /// bundle, with 95 % intervals, for 28672 neurons of 8192 weights on two cores of an EPYC with Zen 4 (AVX-512 VNNI,
    /// 81 rounds of `thresher roof --layout`):
    ///
    /// | density | f16 | q8_0 | q4_0 |
    /// |---|---|---|---|
    /// | 1.0 | 0.98 (0.98 to 0.99) | 1.02 (1.00 to 1.03) | 1.00 (0.99 to 1.02) |
    /// | 0.1 | 1.00 (0.99 to 1.00) | 1.02 (1.01 to 1.04) | 1.05 (1.01 to 1.07) |
    /// | 0.05 | 1.02 (1.01 to 1.03) | 1.09 (1.07 to 1.12) | 1.15 (1.13 to 1.18) |
    ///
    /// # Errors
    /// `bytes` of another length than `neurons` x 3 rows of `cols` weights; rows that are not whole blocks.
    pub fn bundle(format: Format, neurons: usize, cols: usize, bytes: &'a [u8]) -> Result<[Self; 3], Error> {
        let rows = neurons.checked_mul(3).ok_or(Error::TooLarge { format, rows: neurons, cols })?;
        let all = Self::new(format, rows, cols, bytes)?;
        let end = all.row_bytes * rows.saturating_sub(2);
        let part = |part: usize| {
            let (from, to) = if neurons == 0 { (0, 0) } else { (part * all.row_bytes, end + part * all.row_bytes) };
            Self { rows: neurons, stride: 3 * all.row_bytes, bytes: &bytes[from..to], ..all }
        };
        Ok([part(0), part(1), part(2)])
    }

    /// Format of the weights.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Bytes from the start of one row to the start of the next.
    pub fn stride_bytes(&self) -> usize {
        self.stride
    }

    /// All bytes from the first row's start to the last row's end, gaps included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of row `index`, where there is one.
    pub fn row(&self, index: usize) -> Option<&'a [u8]> {
        if index >= self.rows {
            return None;
        }
        self.bytes.get(index * self.stride..)?.get(..self.row_bytes)
    }

    pub(crate) fn require_like(&self, operand: &'static str, partner: &Matrix<'_>) -> Result<(), Error> {
        let same = |m: &Matrix<'_>| (m.format, m.rows, m.cols);
        if same(self) == same(partner) {
            return Ok(());
        }
        Err(Error::Mismatch { operand, given: self.to_string(), wanted: partner.to_string() })
    }
}

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x {}", self.format, self.rows, self.cols)
    }
}

impl fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({self})")
    }
}
