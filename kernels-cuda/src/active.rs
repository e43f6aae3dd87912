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

/// The same for a list known to be ascending, of which only `len` and `last` are at hand.
pub(crate) fn check_last(len: usize, last: Option<u32>, rows: usize) -> Result<(), Error> {
    match last {
        Some(index) if index as usize >= rows => Err(Error::OutOfRange { position: len - 1, index, rows }),
        _ => Ok(()),
    }
}
