//! A checked view of weights in memory.

use std::fmt;

use crate::{Error, Format};

/// Row-major weights in one [`Format`], borrowed: `rows` rows of `cols` weights, without padding between rows.
/// Any alignment will do, so a memory-mapped tensor can be used where it lies.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Weights of `rows` x `cols` that lie in `bytes`.
    ///
    /// # Errors
    /// `bytes` of another length than the shape takes; rows that are not whole blocks.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, Error> {
        let row_bytes = format.row_bytes(cols)?;
        let wanted = row_bytes.checked_mul(rows).ok_or(Error::TooLarge { format, rows, cols })?;
        if bytes.len() != wanted {
            return Err(Error::Bytes { format, rows, cols, given: bytes.len(), wanted });
        }
        Ok(Self { format, rows, cols, row_bytes, bytes })
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

    /// All bytes, row after row.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of row `index`, where there is one.
    pub fn row(&self, index: usize) -> Option<&'a [u8]> {
        let start = index.checked_mul(self.row_bytes)?;
        self.bytes.get(start..start.checked_add(self.row_bytes)?).filter(|_| index < self.rows)
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
