//! Work that one thread puts up for others to join. They look at one word; there is no queue and no lock to wait for.
//!
//! ```text
//!   leader   put up | work, work, .. | take down | wait until nobody is inside
//!   another   . . . . step inside | work, work, .. | step out . . . .
//!   a third   . . . . . . . . . . . . . . . . . . . step inside: nothing is up, step out . . . .
//! ```
//! Nobody waits for a thread that does not come.

use std::{ptr, sync::TryLockError};

// Those of the standard library, or of a model that tries every order: see `orders`.
use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, spin_loop, yield_now};

/// What is put up: it may run on several threads at once, and returns when nothing is left to be done.
type Work<'a> = &'a (dyn Fn() + Sync);

#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Odd while work is up; every work that is put up has a number of its own.
    number: Line<AtomicUsize>,
    work: AtomicPtr<Work<'static>>,
    /// Threads that may be at the work.
    inside: Line<AtomicUsize>,
    /// Held by whoever has put up work.
    leader: Mutex<()>,
}

/// A cache line of its own, and its neighbour, which some processors fetch with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// Looks at `inside` before the leader gives up its core: where threads outnumber cores, the one that is inside waits for it.
const LOOKS: u32 = 1 << 8;

impl Board {
    /// Does `work` together with all who come by, and returns when it is done. `false`, and nothing was done, if other
    /// work is up.
    pub(crate) fn share(&self, work: Work<'_>) -> bool {
        let _leader = match self.leader.try_lock() {
            Ok(leader) => leader,
            Err(TryLockError::Poisoned(leader)) => leader.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.work.store(ptr::from_ref(&work).cast_mut().cast(), Ordering::Relaxed);
        self.number.0.fetch_add(1, Ordering::Release);
        let _up = Up(self);
        work();
        true
    }

    /// Joins in the work that is up, if it is not number `last`, the last that this thread joined. Whether it did.
    pub(crate) fn join(&self, last: &mut usize) -> bool {
        let number = self.number.0.load(Ordering::Relaxed);
        if number.is_multiple_of(2) || number == *last {
            return false;
        }
        *last = number;
        self.inside.0.fetch_add(1, Ordering::Acquire);
        let _inside = Inside(self);
        let up = self.number.0.load(Ordering::Acquire) == number;
        if up {
            // SAFETY: this thread was counted inside before it saw that the work is still up. The leader takes it down
            // before it looks at the count, and returns from `share`, where the work lives, only when the count is zero.
            unsafe { (*self.work.load(Ordering::Relaxed))() };
        }
        up
    }
}

/// Work is up; taken down also where it panics.
struct Up<'a>(&'a Board);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.number.0.fetch_add(1, Ordering::Relaxed);
        // Not a load: whoever steps inside after it sees that the work is down, whoever did before it is counted.
        let mut inside = self.0.inside.0.fetch_add(0, Ordering::AcqRel);
        let mut looks = 0_u32;
        while inside > 0 {
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                yield_now();
            } else {
                spin_loop();
            }
            inside = self.0.inside.0.load(Ordering::Acquire);
        }
    }
}

/// A thread is inside; it steps out also where the work panics.
struct Inside<'a>(&'a Board);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.0.fetch_sub(1, Ordering::Release);
    }
}
