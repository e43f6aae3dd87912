//! Work in numbered parts, each on one thread of its own: what reads its weights out of caches is faster side by side than
//! with all threads on one part.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use kernels_cpu::Cpu;

use crate::{Failure, Result};

/// Runs `task` on the parts 0 to `parts` - 1, `threads` at a time, each with a processor of one thread. Results are in the
/// order of the parts.
///
/// # Errors
/// One of those of `task`; a thread that panicked.
pub(crate) fn each_alone<T: Send>(
    parts: usize,
    threads: usize,
    task: impl Fn(usize, &Cpu) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, T)>> {
        let cpu = Cpu::with_threads(1)?;
        let mut own = Vec::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return Ok(own);
            }
            own.push((part, task(part, &cpu)?));
        }
    };
    let mut all = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1).min(parts)).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| Failure::input("a thread has panicked"))??);
        }
        Ok::<_, Failure>(all)
    })?;
    all.sort_unstable_by_key(|(part, _)| *part);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
