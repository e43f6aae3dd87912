//! The board of `kernels-cpu` under loom, which runs a test in every order that its threads can meet in and that the memory
//! model allows, up to three switches: of the orderings in `board.rs` none was found that it lets weaken.

#[cfg(test)]
#[path = "../../src/board.rs"]
mod board;

#[cfg(test)]
mod sync {
    pub(crate) use loom::{
        hint::spin_loop,
        sync::{
            Mutex,
            atomic::{AtomicPtr, AtomicUsize, Ordering},
        },
        thread::yield_now,
    };
}

#[cfg(test)]
mod tests {
    use loom::{cell::UnsafeCell, model::Builder, sync::Arc, thread};

    use crate::{
        board::Board,
        sync::{AtomicUsize, Ordering},
    };

    /// Something that lives as long as the work does; loom reports two threads at it, or one that comes later.
    struct Part(UnsafeCell<u32>);

    // SAFETY: that no two threads are at it at once is what the tests are about: loom stops them where two are.
    unsafe impl Sync for Part {}

    /// Work over two parts, and whether it was shared: afterwards each was done once.
    fn share(board: &Board) -> bool {
        let parts = [0, 0].map(|done| Part(UnsafeCell::new(done)));
        let taken = AtomicUsize::new(0);
        let shared = board.share(&|| {
            while let Some(part) = parts.get(taken.fetch_add(1, Ordering::Relaxed)) {
                // SAFETY: as above.
                part.0.with_mut(|done| unsafe { *done += 1 });
            }
        });
        // SAFETY: as above.
        assert!(!shared || parts.iter().all(|part| part.0.with(|done| unsafe { *done }) == 1));
        shared
    }

    /// Another thread at the board.
    fn beside<R: 'static>(board: &Arc<Board>, f: impl FnOnce(&Board) -> R + Send + 'static) -> thread::JoinHandle<R> {
        let board = Arc::clone(board);
        thread::spawn(move || f(&board))
    }

    fn in_every_order(test: impl Fn() + Sync + Send + 'static) {
        let mut model = Builder::new();
        model.preemption_bound = Some(3);
        model.check(test);
    }

    #[test]
    fn nobody_is_at_work_that_was_taken_down() {
        in_every_order(|| {
            let board = Arc::new(Board::default());
            let joining = beside(&board, |board| {
                let mut last = 0;
                (0..2).for_each(|_| _ = board.join(&mut last));
            });
            (0..2).for_each(|_| assert!(share(&board)));
            joining.join().expect("a thread that joins");
        });
    }

    #[test]
    fn of_two_leaders_one_has_the_board() {
        in_every_order(|| {
            let board = Arc::new(Board::default());
            let other = beside(&board, share);
            let own = share(&board);
            assert!(own | other.join().expect("the other leader"));
        });
    }
}
