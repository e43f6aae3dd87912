//! One [`Gpu`](super::Gpu) of each GPU in a process.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::Error;

/// While it lives, no other opens the same GPU: whatever is enqueued there follows each other on one stream.
///
/// The blocks of a step wait for each other and take the whole GPU. Steps on several streams were seen never to end, which
/// led here; the fault turned out to be the step's own (PERFORMANCE.md, "Steps that never ended"). Since then tests that
/// each open the GPU, in parallel, have ended: twice, which is too few to let two steps meet on one GPU.
#[derive(Debug)]
pub(super) struct Opened {
    ordinal: usize,
}

static OPEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

impl Opened {
    pub(super) fn new(ordinal: usize) -> Result<Self, Error> {
        if OPEN.lock().unwrap_or_else(PoisonError::into_inner).insert(ordinal) {
            return Ok(Self { ordinal });
        }
        Err(Error::AlreadyOpen { ordinal })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.ordinal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_opened_once_at_a_time() {
        let first = Opened::new(1000).unwrap();
        assert_eq!(Opened::new(1000).unwrap_err(), Error::AlreadyOpen { ordinal: 1000 });
        let other = Opened::new(1001).unwrap();
        drop(first);
        drop(Opened::new(1000).unwrap());
        drop(other);
    }
}
