//! The shape of a matrix, checked once.

use std::fmt;

use crate::{Error, Format, params::THRESHER_SELECT_MAX_SCORES};

/// Kernels hold a byte offset within a row in 32 bits; four bytes a weight leave this many columns
/// with room for a last step past the end.
const MAX_COLS: usize = 1 << 28;

/// A shape that the kernels can address, in rows that are whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) format: Format,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_bytes: usize,
}

impl Shape {
    /// The shape that `given` bytes of weights are to fill.
    pub(crate) fn of_bytes(format: Format, rows: usize, cols: usize, given: usize) -> Result<Self, Error> {
        let row_bytes = format.row_bytes(cols)?;
        let too_large = Error::TooLarge { format, rows, cols };
        if cols > MAX_COLS || u32::try_from(rows).is_err() {
            return Err(too_large);
        }
        let wanted = row_bytes.checked_mul(rows).ok_or(too_large)?;
        if given != wanted {
            return Err(Error::Bytes { format, rows, cols, given, wanted });
        }
        Ok(Self { format, rows, cols, row_bytes })
    }

    /// `cols` as the kernels take it; `MAX_COLS` keeps it exact.
    pub(crate) fn cols_u32(&self) -> u32 {
        self.cols as u32
    }

    pub(crate) fn require_like(&self, operand: &'static str, partner: &Self) -> Result<(), Error> {
        if self == partner {
            return Ok(());
        }
        Err(self.mismatch(operand, partner))
    }

    /// The same but for the format.
    pub(crate) fn require_rows_and_cols_of(&self, operand: &'static str, partner: &Self) -> Result<(), Error> {
        if (self.rows, self.cols) == (partner.rows, partner.cols) {
            return Ok(());
        }
        Err(self.mismatch(operand, partner))
    }

    fn mismatch(&self, operand: &'static str, partner: &Self) -> Error {
        Error::Mismatch { operand, given: self.to_string(), wanted: partner.to_string() }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x {}", self.format, self.rows, self.cols)
    }
}

pub(crate) fn check_length(operand: &'static str, given: usize, wanted: usize) -> Result<(), Error> {
    if given == wanted {
        return Ok(());
    }
    Err(Error::Length { operand, given, wanted })
}

/// Refuses more scores than one selection takes.
pub(crate) fn check_scores(given: usize) -> Result<(), Error> {
    let most = THRESHER_SELECT_MAX_SCORES as usize;
    if given > most {
        return Err(Error::TooManyScores { given, most });
    }
    Ok(())
}

/// Refuses a rank beyond the scores; `k` as the kernels take it.
pub(crate) fn check_rank(k: usize, scores: usize) -> Result<u32, Error> {
    check_scores(scores)?;
    u32::try_from(k).ok().filter(|_| k <= scores).ok_or(Error::Rank { k, scores })
}
