//! Once its buffers have grown, no policy, audit or stream allocates.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use threshold::{
    Audit, Auditor, CalibrationBuilder, FORMS, Feedback, Inputs, Knobs, Picked, PolicySpec, QuantileTable, ScoreStream,
};

thread_local! {
    /// Per thread: the test harness allocates on its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory it handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract, passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract, passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn no_token_allocates() {
    let (neurons, layers) = (5000, 2);
    let before = allocations();
    let mut masses = vec![0.0; neurons];
    assert!(allocations() > before, "the counter counts");

    let table = QuantileTable::new(&[0.5, 0.9, 0.95], &[0.1, 0.4, 0.6, 0.0, 1.0, 2.0]).unwrap();
    let knobs = Knobs { prompt_tokens: 2, predictor_noise: 0.3, ..Knobs::default() };
    let mut stream = ScoreStream::new(&table, neurons, knobs).unwrap();
    let mut builder = CalibrationBuilder::new(stream.shape());
    let mut scores = vec![0.0; neurons];
    for layer in 0..layers {
        stream.next_token(layer, &mut masses).unwrap();
        stream.predict(layer, &masses, &mut scores).unwrap();
        builder.add(layer, &scores, &masses).unwrap();
    }
    let calibration = builder.clone().finish();
    let inputs = Inputs { model_threshold: Some(0.1), calibration: Some(&calibration), ..Inputs::default() };
    let mut auditor = Auditor::new(1, 64, neurons).unwrap();
    let mut active = Vec::with_capacity(neurons);
    let (mut picked, mut sampled) = (Picked::with_capacity(64), Vec::with_capacity(64));

    for spec in FORMS.into_iter().chain(["dynamic:miss=0.90"]) {
        let mut policy = spec.parse::<PolicySpec>().unwrap().build(stream.shape(), &inputs).unwrap();
        let before = allocations();
        for _ in 0..50 {
            for layer in 0..layers {
                stream.next_token(layer, &mut masses).unwrap();
                stream.predict(layer, &masses, &mut scores).unwrap();
                builder.add(layer, &scores, &masses).unwrap();
                policy.select(layer, &scores, &mut active).unwrap();
                auditor.pick(&scores, &active, &mut picked).unwrap();
                sampled.clear();
                sampled.extend(picked.rows().iter().map(|&row| masses[row as usize]));
                let kept = active.iter().map(|&row| f64::from(masses[row as usize])).sum();
                let audit = Some(Audit::from_sample(kept, &picked, &sampled).unwrap());
                policy.observe(layer, &Feedback { computed: active.len(), useful: None, audit }).unwrap();
            }
        }
        assert_eq!(allocations() - before, 0, "{spec}");
    }
}
