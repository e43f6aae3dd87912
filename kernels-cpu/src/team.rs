//! The threads: rayon's, kept awake from one operator to the next.
//!
//! An operator of a sparse layer lasts a few hundred microseconds, and a sleeping thread takes tens of them to wake.
//! So while [`Team::install`] runs, the other threads look for work without pause:
//!
//! ```text
//!   leader   |==gate,up==|==down==| attention |==gate,up==| ...      what `install` was given
//!   others   |==gate,up==|==down==|. . . . . .|==gate,up==| ...      `.` looks for work, then naps in between
//! ```
//!
//! Where there are as many threads as cores, each is bound to one. What an operator shares out goes over a [`Board`]; rayon
//! has the threads, and whatever else runs in a session goes over its queues.

use std::{
    cell::Cell,
    hint::spin_loop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rayon::{ThreadPool, ThreadPoolBuilder, Yield};
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{Error, board::Board};

/// How long a thread looks for work before it takes naps, and how long a nap is.
const AWAKE: Duration = Duration::from_millis(5);
const NAP: Duration = Duration::from_micros(50);
/// To wake two threads and be woken by them takes as long as one thread needs for this much from memory: about 100 us.
const WORTH_WAKING_BYTES: usize = 1 << 20;
/// Looks at the board for one at the clock.
const LOOKS: u32 = 256;
/// Looks at the board for one at rayon's queues, which takes as long as some ten.
const LOOKS_FOR_ONE_AT_QUEUES: u32 = 16;

#[derive(Debug)]
pub(crate) struct Team {
    pool: ThreadPool,
    board: Board,
}

thread_local! {
    /// Set while this thread runs what `install` was given: it must not fall asleep over another's session.
    static LEADS: Cell<bool> = const { Cell::new(false) };
}

impl Team {
    pub(crate) fn new(threads: usize) -> Result<Self, Error> {
        let cores = one_core_each(threads);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("thresher-{i}"))
            .start_handler(move |thread| bind(&cores, thread))
            .build()
            .map_err(|e| Error::System { what: "starting threads", reason: e.to_string() })?;
        Ok(Self { pool, board: Board::default() })
    }

    pub(crate) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `f` on one thread of the team while the others stay awake. It may do anything, with rayon too.
    pub(crate) fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.session(|session| {
            session.wait_for_all(self.threads());
            f()
        })
    }

    /// As [`install`](Self::install), without waiting for the others to wake, for an `f` whose parallel work is all done by
    /// [`each`](Self::each).
    pub(crate) fn install_at_once<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.session(|_| f())
    }

    fn session<R: Send>(&self, f: impl FnOnce(&Session) -> R + Send) -> R {
        self.pool.install(|| {
            let session = Session::default();
            if self.threads() == 1 || LEADS.get() {
                session.arrived.store(self.threads(), Ordering::Relaxed);
                return f(&session);
            }
            rayon::scope(|scope| {
                scope.spawn_broadcast(|_, _| session.look_for_work(&self.board));
                let _lead = session.lead();
                f(&session)
            })
        })
    }

    /// Whether work that reads `bytes` is better done by the caller alone: others would first have to be woken.
    pub(crate) fn leaves_alone(&self, bytes: usize) -> bool {
        self.threads() == 1 || (bytes < WORTH_WAKING_BYTES && self.pool.current_thread_index().is_none())
    }

    /// Runs `task` on each of `parts`, which read `bytes` together, shared between the threads where that is worth it.
    ///
    /// Each thread takes parts until there are none, and never waits for another in between: see
    /// [`Session::wait_for_all`].
    pub(crate) fn each<T: Send>(
        &self,
        bytes: usize,
        parts: impl Iterator<Item = T> + Send,
        task: impl Fn(T) + Sync + Send,
    ) {
        if self.leaves_alone(bytes) {
            return parts.for_each(task);
        }
        let parts: Vec<Mutex<Option<T>>> = parts.map(|part| Mutex::new(Some(part))).collect();
        let taken = AtomicUsize::new(0);
        let take_all = || {
            while let Some(part) = parts.get(taken.fetch_add(1, Ordering::Relaxed)) {
                // Nobody else takes this part: the lock is never waited for.
                if let Some(part) = part.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    task(part);
                }
            }
        };
        // Whichever thread it happens on, the caller must learn of it.
        let panicked = Mutex::new(None);
        let work = || {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(take_all)) {
                panicked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
            }
        };
        let shared = match self.pool.current_thread_index() {
            None => self.install_at_once(|| self.board.share(&work)),
            Some(_) => LEADS.get() && self.board.share(&work),
        };
        if !shared {
            self.pool.scope(|scope| {
                (1..self.threads()).for_each(|_| scope.spawn(|_| work()));
                work();
            });
        }
        if let Some(payload) = panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

/// A core for each thread, where there are as many as this process may use. Threads that hand work to each other are
/// easily put on one core by the system, and stay there for milliseconds: twice an operator's whole time.
#[cfg(target_os = "linux")]
fn one_core_each(threads: usize) -> Vec<CpuSet> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    let only = |core| {
        let mut set = CpuSet::new();
        set.set(core);
        set
    };
    let cores: Vec<CpuSet> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).map(only).collect();
    if threads > 1 && cores.len() == threads { cores } else { Vec::new() }
}

/// Advice only: where it is refused, threads move about and are merely slower.
#[cfg(target_os = "linux")]
fn bind(cores: &[CpuSet], thread: usize) {
    if let Some(core) = cores.get(thread) {
        let _ = sched_setaffinity(None, core);
    }
}

#[cfg(not(target_os = "linux"))]
fn one_core_each(_: usize) {}

#[cfg(not(target_os = "linux"))]
fn bind((): &(), _: usize) {}

/// One call of `install`.
#[derive(Default)]
struct Session {
    /// How many threads have come by.
    arrived: AtomicUsize,
    over: AtomicBool,
}

/// Ends a session, also where its closure panics.
struct Lead<'a>(&'a Session);

impl Session {
    fn lead(&self) -> Lead<'_> {
        LEADS.set(true);
        Lead(self)
    }

    /// Waits until all `threads` have come by. One that steals half of a parallel iterator before it does, and then waits
    /// for a stolen quarter, looks for work meanwhile: it would come by in there, and stay until the end of a session that
    /// is waiting for that half.
    fn wait_for_all(&self, threads: usize) {
        while self.arrived.load(Ordering::Relaxed) < threads {
            if rayon::yield_now() != Some(Yield::Executed) {
                thread::yield_now();
            }
        }
    }

    /// Takes whatever work the pool has until the session is over. The leader comes by here too, when it waits for
    /// the others, and so may the leader of another session: both have their own work to return to.
    fn look_for_work(&self, board: &Board) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        let mut joined = 0;
        let mut idle_since = Instant::now();
        while !LEADS.get() && !self.over.load(Ordering::Relaxed) {
            let worked = (0..LOOKS).any(|look| {
                spin_loop();
                board.join(&mut joined)
                    || (look % LOOKS_FOR_ONE_AT_QUEUES == 0 && rayon::yield_now() == Some(Yield::Executed))
            });
            if worked {
                idle_since = Instant::now();
            } else if idle_since.elapsed() > AWAKE {
                thread::sleep(NAP);
            }
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        LEADS.set(false);
        self.0.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// On one core every session waits for time slices, and in an emulator a slice is long.
    fn sessions() -> usize {
        let many = !cfg!(miri) && thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        if many { 2000 } else { 20 }
    }

    #[test]
    fn every_part_is_done_once_inside_and_outside_of_sessions() {
        for threads in [1, 2, 3] {
            let team = Team::new(threads).unwrap();
            let all = || {
                let done: Vec<AtomicUsize> = (0..100).map(AtomicUsize::new).collect();
                team.each(usize::MAX, done.iter(), |d| {
                    d.fetch_add(1000, Ordering::Relaxed);
                });
                assert!(done.iter().enumerate().all(|(i, d)| d.load(Ordering::Relaxed) == i + 1000));
            };
            all();
            team.install(|| (0..50).for_each(|_| all()));
            team.install(|| team.install(all));
        }
    }

    /// A thread that has stolen from a session before it joined must still finish what it stole: this hung once in some
    /// ten thousand sessions.
    #[test]
    fn short_sessions_end() {
        let team = Team::new(2).unwrap();
        let count = AtomicUsize::new(0);
        let add = |_| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let sessions = sessions();
        for _ in 0..sessions {
            team.install_at_once(|| team.each(usize::MAX, 0..32, add));
            team.install(|| (0..32).into_par_iter().with_max_len(1).for_each(add));
        }
        assert_eq!(count.into_inner(), sessions * 64);
    }

    #[test]
    fn two_leaders_do_not_wait_for_each_other() {
        let team = Team::new(2).unwrap();
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        team.install(|| {
                            team.each(usize::MAX, 0..8, |_| {
                                count.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4 * 50 * 8);
    }

    #[test]
    fn a_panic_ends_the_session() {
        let team = Team::new(2).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            team.install(|| resume_unwind(Box::new(())));
        }));
        assert!(panicked.is_err());
        team.install(|| team.each(usize::MAX, 0..4, |_| {}));
    }

    #[test]
    fn a_panic_on_any_thread_reaches_whoever_shared_the_work_out() {
        let team = Team::new(3).unwrap();
        for at in [0, 1, 40, 99] {
            let go = || team.each(usize::MAX, 0..100, |part| assert_ne!(part, at, "on purpose"));
            let outside = catch_unwind(AssertUnwindSafe(go));
            let inside = team.install(|| catch_unwind(AssertUnwindSafe(go)));
            assert!(outside.is_err() && inside.is_err(), "{at}");
        }
        let count = AtomicUsize::new(0);
        team.each(usize::MAX, 0..100, |_| _ = count.fetch_add(1, Ordering::Relaxed));
        assert_eq!(count.into_inner(), 100);
    }

    #[test]
    fn the_leader_of_one_team_may_share_with_another() {
        let [one, other] = [2, 2].map(|threads| Team::new(threads).unwrap());
        let count = AtomicUsize::new(0);
        one.install(|| other.each(usize::MAX, 0..100, |_| _ = count.fetch_add(1, Ordering::Relaxed)));
        assert_eq!(count.into_inner(), 100);
    }
}
