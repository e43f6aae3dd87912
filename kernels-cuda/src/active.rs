//! The checks of an active list that make unchecked row addresses safe.

use crate::Error;

/// Refuses a list that is not strictly ascending or not below `rows`, naming the first culprit.
pub(crate) fn check_active(active: &[u32], rows: usize) -> Result<(), Error> {
    let mut previous = None;
    for (position, &index) in active.iter().enumerate() {
        if index as usize >= rows {
            return Err(Error::OutOfRange { position, index, rows });
        }
        if let Some(previous) = previous.filter(|&p| p >= index) {
            return Err(Error::NotAscending { position, index, previous });
        }
        previous = Some(index);
    }
    Ok(())
}

/// What the host knows of a list on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Uploaded and found ascending: its last row.
    UpTo(Option<u32>),
    /// Written by a selection on the GPU: rows below the set's length, in a number that only the GPU
    /// knows.
    OnDevice,
}

/// [`check_active`] for a list on the GPU, ascending by what it is, of length `len`.
pub(crate) fn check_listed(len: usize, listed: Listed, rows: usize) -> Result<(), Error> {
    match listed {
        Listed::UpTo(Some(index)) if index as usize >= rows => {
            Err(Error::OutOfRange { position: len - 1, index, rows })
        }
        Listed::OnDevice if len > rows => Err(Error::TooFewRows { neurons: len, rows }),
        _ => Ok(()),
    }
}
