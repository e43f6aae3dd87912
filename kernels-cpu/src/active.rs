//! The one check that makes unchecked row addresses safe.

use crate::Error;

/// Strictly ascending and below `rows`.
pub(crate) fn check_active(active: &[u32], rows: usize) -> Result<(), Error> {
    // One pass without early exit, which the compiler vectorises; the slow search runs only to name the culprit.
    let ascending = active.windows(2).fold(true, |ok, pair| ok & (pair[0] < pair[1]));
    let in_range = active.last().is_none_or(|&last| (last as usize) < rows);
    if ascending && in_range { Ok(()) } else { Err(culprit(active, rows)) }
}

#[cold]
fn culprit(active: &[u32], rows: usize) -> Error {
    let mut previous = None;
    for (position, &index) in active.iter().enumerate() {
        if index as usize >= rows {
            return Error::OutOfRange { position, index, rows };
        }
        if let Some(previous) = previous.filter(|&p| p >= index) {
            return Error::NotAscending { position, index, previous };
        }
        previous = Some(index);
    }
    unreachable!("called only for a list that breaks one of the two rules")
}
