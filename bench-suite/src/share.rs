//! Work shared between the threads of a [`Cpu`](kernels_cpu::Cpu), in its session.

use std::sync::{Mutex, PoisonError};

/// Runs `task` on each of `parts` on the threads of the pool that the caller is in, within
/// [`Cpu::install`](kernels_cpu::Cpu::install).
///
/// Each thread takes parts until there are none and never waits for another in between, as the kernels' own threads do:
/// in rayon's parallel iterators it may wait, look for work meanwhile, find the session's loop, and stay in there until
/// the end of the session that waits for it.
///
/// # Errors
/// One of those of `task`.
pub(crate) fn share<T, E: Send>(
    parts: impl Iterator<Item = T> + Send,
    task: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let parts = Mutex::new(parts);
    let failure = Mutex::new(None);
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(part) = next() {
            if let Err(error) = task(part) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    };
    rayon::scope(|scope| {
        (1..rayon::current_num_threads()).for_each(|_| scope.spawn(|_| work()));
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
