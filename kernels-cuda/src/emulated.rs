//! The kernels run on the host: the sources that nvcc compiles, compiled as C++ against
//! `kernels/emulation/host.h`, which says what this can show and what it cannot.
//!
//! A test tool, in this crate for its tests (feature `emulation`): slow, and only where build.rs
//! found a C++17 compiler on Linux.

mod batch;
mod step;

use std::ffi::{CString, c_char, c_int, c_void};

use crate::{
    Activation, Error, Format, Kernel, Operator,
    active::check_active,
    launch::Grid,
    params::{DownParams, GateUpParams, GemvParams, SelectThresholdParams, SelectTopKParams},
    shape::{Shape, check_length, check_rank, check_scores},
};

pub use step::{PackedMatrix, Step, StepBuilder};

/// Memory that a launch may touch; anything else is a fault.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    start: *const c_void,
    bytes: u64,
    writable: u32,
}

/// `EmulatedLaunch` of kernels/emulation/launch.h.
#[repr(C)]
struct Launch {
    name: *const c_char,
    params: *const c_void,
    buffers: *const Buffer,
    buffer_count: usize,
    order: u64,
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
    cooperative: u32,
}

unsafe extern "C" {
    fn thresher_emulate(launch: *const Launch, message: *mut c_char, message_capacity: usize) -> c_int;
    fn thresher_layout(name: *const c_char, values: *mut usize, capacity: usize) -> usize;
    fn thresher_constant(name: *const c_char) -> i64;
}

/// Why an operator gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The arguments were refused before anything ran.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The kernel did what no kernel may: the first such act.
    #[error("{0}")]
    Fault(String),
}

/// A GPU of the emulated kind. The operators are those of [`crate::Gpu`], with weights as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Emulator {
    /// Multiprocessors: with few, kernels stride over their rows more often.
    pub multiprocessors: u32,
    /// Order of threads between two waits: 0 is ascending, any other value seeds a random order.
    pub order: u64,
    /// Place weights, `x`, `h` and `y` where only their elements are aligned, so that the kernels
    /// take their narrow loads whatever the shape.
    pub misaligned: bool,
    /// Select by a cluster of blocks, as Hopper and newer do, instead of one block.
    pub hopper: bool,
}

impl Emulator {
    /// [`crate::Gpu::gemv`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn gemv(
        &self,
        (format, rows, cols): (Format, usize, usize),
        w: &[u8],
        x: &[f32],
        active: &[u32],
        out: &mut [f32],
    ) -> Result<(), Failure> {
        let shape = Shape::of_bytes(format, rows, cols, w.len())?;
        check_length("x", x.len(), cols)?;
        check_length("out", out.len(), active.len())?;
        check_active(active, rows)?;
        self.gemv_unchecked(shape, w, x, active, out)
    }

    fn gemv_unchecked(
        &self,
        shape: Shape,
        w: &[u8],
        x: &[f32],
        active: &[u32],
        out: &mut [f32],
    ) -> Result<(), Failure> {
        let mut memory = Memory::default();
        let w = memory.weights(self, shape.format, w);
        let x = memory.floats(self, x);
        let (indices, count) = memory.active(active);
        let h = memory.output(self, out);
        let params = GemvParams {
            weights: w,
            x,
            active: indices,
            active_count: count,
            h,
            row_bytes: shape.row_bytes as u64,
            cols: shape.cols_u32(),
        };
        let kernel = Kernel::of(Operator::Gemv, shape.format).entry();
        let grid = Grid::over_rows(active.len(), self.multiprocessors);
        self.launch(&kernel, grid, &params, &memory)?;
        memory.read_back(out);
        Ok(())
    }

    /// [`crate::Gpu::gate_up`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    #[allow(clippy::too_many_arguments, reason = "those of the operator")]
    pub fn gate_up(
        &self,
        (format, rows, cols): (Format, usize, usize),
        gate: &[u8],
        up: &[u8],
        activation: Activation,
        x: &[f32],
        active: &[u32],
        h: &mut [f32],
    ) -> Result<(), Failure> {
        let shape = Shape::of_bytes(format, rows, cols, gate.len())?;
        Shape::of_bytes(format, rows, cols, up.len())?.require_like("up", &shape)?;
        check_length("x", x.len(), cols)?;
        check_length("h", h.len(), active.len())?;
        check_active(active, rows)?;

        let mut memory = Memory::default();
        let gate = memory.weights(self, format, gate);
        let up = memory.weights(self, format, up);
        let x = memory.floats(self, x);
        let (indices, count) = memory.active(active);
        let out = memory.output(self, h);
        let params = GateUpParams {
            gate,
            up,
            x,
            active: indices,
            active_count: count,
            h: out,
            row_bytes: shape.row_bytes as u64,
            cols: shape.cols_u32(),
            activation: activation.code(),
        };
        let kernel = Kernel::of(Operator::GateUp, format).entry();
        let grid = Grid::over_rows(active.len(), self.multiprocessors);
        self.launch(&kernel, grid, &params, &memory)?;
        memory.read_back(h);
        Ok(())
    }

    /// [`crate::Gpu::down`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn down(
        &self,
        (format, rows, cols): (Format, usize, usize),
        w: &[u8],
        h: &[f32],
        active: &[u32],
        y: &mut [f32],
    ) -> Result<(), Failure> {
        let shape = Shape::of_bytes(format, rows, cols, w.len())?;
        check_length("h", h.len(), active.len())?;
        check_length("y", y.len(), cols)?;
        check_active(active, rows)?;

        let mut memory = Memory::default();
        let w = memory.weights(self, format, w);
        let h = memory.floats(self, h);
        let (indices, count) = memory.active(active);
        let out = memory.output(self, y);
        let params = DownParams {
            weights: w,
            h,
            active: indices,
            active_count: count,
            y: out,
            row_bytes: shape.row_bytes as u64,
            cols: shape.cols_u32(),
        };
        let kernel = Kernel::of(Operator::Down, format).entry();
        let grid = Grid::over_columns(shape.cols_u32());
        self.launch(&kernel, grid, &params, &memory)?;
        memory.read_back(y);
        Ok(())
    }

    /// [`crate::Gpu::select_threshold`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn select_threshold(&self, scores: &[f32], threshold: f32) -> Result<Vec<u32>, Failure> {
        check_scores(scores.len())?;
        let mut memory = Memory::default();
        let at = memory.floats(self, scores);
        let threshold = memory.floats(self, &[threshold]);
        let list = memory.list(scores.len());
        let params = SelectThresholdParams {
            scores: at,
            threshold,
            active: list.active,
            active_count: list.active_count,
            count: scores.len() as u32,
        };
        self.launch_selection(Operator::SelectThreshold, &params, &memory)?;
        memory.read_list(&list)
    }

    /// [`crate::Gpu::select_top_k`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn select_top_k(&self, scores: &[f32], k: usize) -> Result<Vec<u32>, Failure> {
        let k = check_rank(k, scores.len())?;
        let mut memory = Memory::default();
        let at = memory.floats(self, scores);
        let k = memory.place(&k.to_ne_bytes(), 0, false).cast_const().cast();
        let list = memory.list(scores.len());
        let params = SelectTopKParams {
            scores: at,
            k,
            active: list.active,
            active_count: list.active_count,
            count: scores.len() as u32,
        };
        self.launch_selection(Operator::SelectTopK, &params, &memory)?;
        memory.read_list(&list)
    }

    fn launch_selection<P>(&self, operator: Operator, params: &P, memory: &Memory) -> Result<(), Failure> {
        let kernel = Kernel::of(operator, Format::F32).entry();
        let grid = Grid::of_selection(self.hopper);
        if self.hopper {
            // The name that kernels/emulation/kernels.cpp gives what both PTX call `kernel`.
            self.launch_cooperative(&format!("{kernel} of a cluster"), grid, params, memory)
        } else {
            self.launch(&kernel, grid, params, memory)
        }
    }

    /// Runs the blocks one after another.
    fn launch<P>(&self, kernel: &str, grid: Grid, params: &P, memory: &Memory) -> Result<(), Failure> {
        self.launch_any(kernel, grid, false, params, memory)
    }

    /// Runs all blocks at once; they may wait for each other through counters in global memory
    /// (`grid_add`, `grid_read` of kernels/pipeline.cuh), and be one cluster (kernels/cluster.cuh).
    ///
    /// # Errors
    /// The first fault of the kernel, or a geometry that no GPU or this emulation can hold.
    fn launch_cooperative<P>(&self, kernel: &str, grid: Grid, params: &P, memory: &Memory) -> Result<(), Failure> {
        self.launch_any(kernel, grid, true, params, memory)
    }

    fn launch_any<P>(
        &self,
        kernel: &str,
        grid: Grid,
        cooperative: bool,
        params: &P,
        memory: &Memory,
    ) -> Result<(), Failure> {
        let name = CString::new(kernel).map_err(|e| Failure::Fault(e.to_string()))?;
        let mut message = [0_u8; 512];
        let launch = Launch {
            name: name.as_ptr(),
            params: (&raw const *params).cast(),
            buffers: memory.buffers.as_ptr(),
            buffer_count: memory.buffers.len(),
            order: self.order,
            blocks: grid.blocks,
            threads: grid.threads,
            shared_bytes: grid.shared_bytes,
            cooperative: u32::from(cooperative),
        };
        // SAFETY: what the launch points to and message are valid for the call; every kernel reads
        // and writes memory through checks against `buffers`, which `memory` owns.
        let code = unsafe { thresher_emulate(&raw const launch, message.as_mut_ptr().cast(), message.len()) };
        if code == 0 {
            return Ok(());
        }
        let end = message.iter().position(|&b| b == 0).unwrap_or(message.len());
        Err(Failure::Fault(String::from_utf8_lossy(&message[..end]).into_owned()))
    }
}

/// Where a selection writes its list.
struct List {
    active: *mut u32,
    active_count: *mut u32,
    capacity: usize,
}

/// The memory of one launch: copies of the arguments, where the kernels may look for them.
#[derive(Default)]
struct Memory {
    /// 16-byte units keep the alignment that device memory has.
    allocations: Vec<Vec<u128>>,
    buffers: Vec<Buffer>,
}

impl Memory {
    fn weights(&mut self, emulator: &Emulator, format: Format, bytes: &[u8]) -> *const u8 {
        let element = match format {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 | Format::Q8_0 | Format::Q4_0 => 2,
        };
        self.place(bytes, if emulator.misaligned { element } else { 0 }, false)
    }

    fn floats(&mut self, emulator: &Emulator, values: &[f32]) -> *const f32 {
        self.place_floats(emulator, values, false).cast_const()
    }

    /// What `read_back` reads after the launch.
    fn output(&mut self, emulator: &Emulator, values: &[f32]) -> *mut f32 {
        self.place_floats(emulator, values, true)
    }

    fn active(&mut self, active: &[u32]) -> (*const u32, *const u32) {
        let bytes: Vec<u8> = active.iter().flat_map(|i| i.to_ne_bytes()).collect();
        let count = (active.len() as u32).to_ne_bytes();
        let indices = self.place(&bytes, 0, false).cast_const().cast();
        (indices, self.place(&count, 0, false).cast_const().cast())
    }

    /// Room for a list of rows, each of its words poisoned.
    fn list(&mut self, capacity: usize) -> List {
        let poisoned = |words: usize| vec![0xff; words * size_of::<u32>()];
        List {
            active: self.place(&poisoned(capacity), 0, true).cast(),
            active_count: self.place(&poisoned(1), 0, true).cast(),
            capacity,
        }
    }

    /// The list as the kernel left it; what lies past its end must be as it was.
    fn read_list(&self, list: &List) -> Result<Vec<u32>, Failure> {
        // SAFETY: `list` placed one word and `capacity` words there, and `self` still holds them.
        let (count, words) =
            unsafe { (list.active_count.read() as usize, std::slice::from_raw_parts(list.active, list.capacity)) };
        match words.split_at_checked(count) {
            Some((active, rest)) if rest.iter().all(|&word| word == u32::MAX) => Ok(active.to_vec()),
            _ => Err(Failure::Fault(format!(
                "a list of {count} in room for {} has something past its end",
                list.capacity
            ))),
        }
    }

    fn place_floats(&mut self, emulator: &Emulator, values: &[f32], writable: bool) -> *mut f32 {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        self.place(&bytes, if emulator.misaligned { 4 } else { 0 }, writable).cast()
    }

    fn place(&mut self, bytes: &[u8], offset: usize, writable: bool) -> *mut u8 {
        let mut allocation = vec![0_u128; (offset + bytes.len()).div_ceil(16)];
        let base: *mut u8 = allocation.as_mut_ptr().cast();
        // SAFETY: the allocation has room for `offset` and `bytes`; moving the Vec into
        // `allocations` does not move what it holds.
        let start = unsafe {
            let start = base.add(offset);
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            start
        };
        self.allocations.push(allocation);
        self.buffers.push(Buffer {
            start: start.cast_const().cast(),
            bytes: bytes.len() as u64,
            writable: u32::from(writable),
        });
        start
    }

    fn read_back(&self, values: &mut [f32]) {
        if let Some(buffer) = self.buffers.iter().rfind(|b| b.writable == 1) {
            // SAFETY: `output` placed as many values there.
            unsafe {
                values.as_mut_ptr().copy_from_nonoverlapping(buffer.start.cast(), values.len());
            }
        }
    }
}

/// Size, alignment and field offsets of a struct of `kernels/params.h` as the C++ compiler lays it
/// out; empty if there is no such struct.
pub fn layout(name: &str) -> Vec<usize> {
    let Ok(name) = CString::new(name) else {
        return Vec::new();
    };
    let mut values = vec![0; 32];
    // SAFETY: the name is a C string, and `values` has the capacity given.
    let count = unsafe { thresher_layout(name.as_ptr(), values.as_mut_ptr(), values.len()) };
    values.truncate(count);
    values
}

/// The value of a constant of `kernels/params.h`.
pub fn constant(name: &str) -> Option<i64> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string.
    let value = unsafe { thresher_constant(name.as_ptr()) };
    (value >= 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCENDING: Emulator = Emulator { multiprocessors: 1, order: 0, misaligned: false, hopper: true };

    const ONE_BLOCK: Grid = Grid { blocks: 1, threads: 64, shared_bytes: 0 };
    const CLUSTER: Grid = Grid { blocks: 8, threads: 64, shared_bytes: 256 };

    /// Runs a kernel of kernels/emulation/faulty.h on one block, with 8 values of `x` and as many
    /// outputs as threads.
    fn run(kernel: &str, emulator: Emulator) -> Result<Vec<f32>, Failure> {
        run_on(ONE_BLOCK, kernel, emulator)
    }

    fn run_on(grid: Grid, kernel: &str, emulator: Emulator) -> Result<Vec<f32>, Failure> {
        let mut out = vec![0.0; 64];
        let mut memory = Memory::default();
        let x = memory.floats(&emulator, &[1.0; 8]);
        let (active, active_count) = memory.active(&[0]);
        let params = GemvParams {
            weights: x.cast(),
            x,
            active,
            active_count,
            h: memory.output(&emulator, &out),
            row_bytes: 32,
            cols: 8,
        };
        emulator.launch_any(kernel, grid, grid.blocks > 1, &params, &memory)?;
        memory.read_back(&mut out);
        Ok(out)
    }

    fn fault_of(kernel: &str) -> String {
        match run(kernel, ASCENDING) {
            Err(Failure::Fault(message)) => message,
            other => panic!("{kernel} was not caught: {other:?}"),
        }
    }

    #[test]
    fn a_read_past_a_buffer_is_caught() {
        let message = fault_of("faulty_bounds");
        assert!(message.contains("outside every buffer"), "{message}");
    }

    #[test]
    fn a_misaligned_wide_load_is_caught() {
        let message = fault_of("faulty_alignment");
        assert!(message.contains("do not divide"), "{message}");
    }

    #[test]
    fn two_writers_of_one_value_are_caught() {
        let message = fault_of("faulty_store");
        assert!(message.contains("writes what another"), "{message}");
    }

    #[test]
    fn a_barrier_that_some_threads_miss_is_caught() {
        let message = fault_of("faulty_barrier");
        assert!(message.contains("never reach"), "{message}");
    }

    #[test]
    fn a_shuffle_from_an_absent_lane_is_caught() {
        let message = fault_of("faulty_shuffle");
        assert!(message.contains("takes no part"), "{message}");
    }

    #[test]
    fn unwritten_shared_memory_is_nan() {
        let out = run("faulty_shared", ASCENDING).unwrap();
        for (thread, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), thread % 2 == 1, "thread {thread}");
        }
    }

    #[test]
    fn a_missing_barrier_shows_in_the_result() {
        let out = run("faulty_order", ASCENDING).unwrap();
        assert!(out[0].is_nan(), "read before its neighbour wrote");
        let shuffled = Emulator { order: 7, ..ASCENDING };
        let bits = |out: Vec<f32>| out.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_ne!(bits(out), bits(run("faulty_order", shuffled).unwrap()));
    }

    #[test]
    fn an_index_beyond_the_matrix_is_caught_in_every_format() {
        for format in Format::ALL {
            let shape = Shape::of_bytes(format, 4, 64, 4 * format.row_bytes(64).unwrap()).unwrap();
            let w = vec![0; 4 * shape.row_bytes];
            let result = ASCENDING.gemv_unchecked(shape, &w, &[0.0; 64], &[1, 4], &mut [f32::NAN; 2]);
            let Err(Failure::Fault(message)) = result else {
                panic!("{format}: {result:?}");
            };
            assert!(message.contains("outside every buffer"), "{message}");
        }
    }

    #[test]
    fn a_read_only_load_of_what_the_launch_wrote_is_caught() {
        let message = fault_of("faulty_cache");
        assert!(message.contains("read-only cache"), "{message}");
    }

    /// `RingParams` of kernels/emulation/faulty.h.
    #[repr(C)]
    struct RingParams {
        rows: *const u8,
        partials: *mut f32,
        totals: *mut f32,
        arrived: *mut u32,
        left: *mut u32,
        row_count: u32,
        cols: u32,
    }

    #[derive(Debug, Clone, Copy)]
    struct Ring {
        blocks: u32,
        threads: u32,
        rows: u32,
        cols: u32,
    }

    const RING: Ring = Ring { blocks: 4, threads: 160, rows: 22, cols: 132 };

    impl Ring {
        /// Slots, barriers, and a sum for each warp but the first.
        fn shared_bytes(self) -> u32 {
            2 * self.cols * 4 + 4 * 8 + (self.threads / 32 - 1) * 4
        }

        /// Values whose sums are exact in any order.
        fn values(self) -> Vec<f32> {
            (0..self.rows * self.cols).map(|i| ((i * 37 + i / self.cols) % 201) as f32 - 100.0).collect()
        }

        /// Launches the kernel twice on the same memory; the sum of all values from every block.
        fn run(self, kernel: &str, order: u64) -> Result<Vec<f32>, Failure> {
            let emulator = Emulator { order, ..ASCENDING };
            let mut totals = vec![f32::NAN; self.blocks as usize];
            let mut memory = Memory::default();
            let rows = memory.floats(&emulator, &self.values());
            let partials = memory.output(&emulator, &totals);
            let counters: *mut u32 = memory.place(&[0; 8], 0, true).cast();
            let params = RingParams {
                rows: rows.cast(),
                partials,
                arrived: counters,
                left: counters.wrapping_add(1),
                row_count: self.rows,
                cols: self.cols,
                totals: memory.output(&emulator, &totals),
            };
            let grid = Grid { blocks: self.blocks, threads: self.threads, shared_bytes: self.shared_bytes() };
            for _ in 0..2 {
                emulator.launch_cooperative(kernel, grid, &params, &memory)?;
            }
            memory.read_back(&mut totals);
            Ok(totals)
        }

        fn fault_of(self, kernel: &str, order: u64) -> String {
            match self.run(kernel, order) {
                Err(Failure::Fault(message)) => message,
                other => panic!("{kernel} was not caught in order {order}: {other:?}"),
            }
        }
    }

    const ORDERS: std::ops::RangeInclusive<u64> = 0..=8;

    #[test]
    fn a_right_cooperative_kernel_gives_the_same_in_every_order() {
        for ring in [
            RING,
            Ring { blocks: 1, threads: 64, rows: 1, cols: 4 },
            Ring { blocks: 5, threads: 96, rows: 3, cols: 36 },
            Ring { blocks: 3, threads: 544, rows: 17, cols: 1028 },
        ] {
            let total: f32 = ring.values().iter().sum();
            for order in ORDERS {
                let totals = ring.run("ring_sum", order).unwrap();
                assert!(totals.iter().all(|&t| t == total), "{ring:?} order {order}: {totals:?}, not {total}");
            }
        }
    }

    /// Faults that show in every order.
    #[test]
    fn wrong_use_of_copies_and_barriers_is_caught_in_every_order() {
        for (kernel, what) in [
            ("faulty_copy_past_buffer", "from outside every buffer"),
            ("faulty_copy_misaligned", "multiples of 16"),
            ("faulty_copy_outside_shared", "outside its block's dynamic shared memory"),
            ("faulty_copy_of_written", "what this launch wrote"),
            ("faulty_copy_left_behind", "still under way"),
            #[cfg(not(feature = "sanitizers"))]
            ("faulty_shared_overrun", "past its dynamic shared memory"),
            ("faulty_no_init", "nobody initialised"),
            ("faulty_no_arrival", "wait for a phase of a barrier that never completes"),
            ("faulty_too_few_warps", "the others never reach"),
            ("faulty_missing_block", "poll a counter that the others never change"),
            ("faulty_no_grid_barrier", "with no grid barrier between"),
        ] {
            for order in ORDERS {
                let message = RING.fault_of(kernel, order);
                assert!(message.contains(what), "{kernel} order {order}: {message}");
            }
        }
    }

    #[test]
    fn a_consumer_that_does_not_wait_reads_nan() {
        // Two rows a block: each slot is used once.
        let totals = Ring { rows: 8, ..RING }.run("faulty_no_wait", 0).unwrap();
        assert!(totals.iter().all(|t| t.is_nan()), "{totals:?}");
    }

    /// Faults that need some order of threads to show, as on a GPU.
    #[test]
    fn a_missing_wait_is_caught_in_some_order() {
        let total: f32 = RING.values().iter().sum();
        for kernel in ["faulty_no_wait", "faulty_no_empty_wait", "faulty_no_block_barrier", "faulty_bad_reset"] {
            let right = |totals: Vec<f32>| totals.iter().all(|&t| t == total);
            let caught = ORDERS.filter(|&order| !RING.run(kernel, order).is_ok_and(right)).count();
            assert!(caught >= 1, "{kernel}");
        }
    }

    /// A kernel of a cluster in an order of threads: the sum of every block.
    fn cluster_sums(kernel: &str, order: u64) -> Result<Vec<f32>, Failure> {
        let mut out = run_on(CLUSTER, kernel, Emulator { order, ..ASCENDING })?;
        out.truncate(CLUSTER.blocks as usize);
        Ok(out)
    }

    /// Of 0 to 7 and of 100 to 107.
    const CLUSTER_SUMS: [f32; 8] = [856.0; 8];

    #[test]
    fn a_right_kernel_of_a_cluster_gives_the_same_in_every_order() {
        for order in ORDERS {
            assert_eq!(cluster_sums("cluster_sum", order).unwrap(), CLUSTER_SUMS, "order {order}");
        }
    }

    #[test]
    fn wrong_words_to_another_block_are_caught_in_every_order() {
        for (kernel, wanted) in [
            ("faulty_no_expect", &["never completes"][..]),
            ("faulty_early_return", &["still under way", "which has returned"][..]),
            ("faulty_outside_cluster", &["to block 8 of 8"][..]),
            ("faulty_outside_shared", &["do not fit dynamic shared memory"][..]),
        ] {
            for order in ORDERS {
                let Err(Failure::Fault(message)) = cluster_sums(kernel, order) else {
                    panic!("{kernel} was not caught in order {order}");
                };
                assert!(wanted.iter().any(|what| message.contains(what)), "{kernel} order {order}: {message}");
            }
        }
    }

    #[test]
    fn words_that_come_too_early_or_are_read_too_early_are_caught_in_some_order() {
        for kernel in ["faulty_no_cluster_barrier", "faulty_no_receive", "faulty_no_meeting"] {
            let right = |sums: Vec<f32>| sums == CLUSTER_SUMS;
            let caught = ORDERS.filter(|&order| !cluster_sums(kernel, order).is_ok_and(right)).count();
            assert!(caught >= 1, "{kernel}");
        }
    }

    /// What the emulation alone cannot show, or only where it lies near: see kernels/emulation/host.h.
    #[cfg(feature = "sanitizers")]
    mod sanitized {
        use std::process::Command;

        use super::*;

        const PLANTED: &str = "THRESHER_PLANTED_KERNEL";

        #[test]
        #[ignore = "ends the process; the test below starts it"]
        fn run_planted() {
            let kernel = std::env::var(PLANTED).unwrap();
            match kernel.as_str() {
                "faulty_shared_overrun" => drop(RING.run(&kernel, 0)),
                _ => drop(run_on(Grid { shared_bytes: 64, ..ONE_BLOCK }, &kernel, ASCENDING)),
            }
        }

        #[test]
        fn planted_faults_end_the_process() {
            for (kernel, report) in [
                ("faulty_own_array", "out of bounds"),
                ("faulty_shared_array", "out of bounds"),
                ("faulty_shift", "shift exponent"),
                ("faulty_dynamic_shared", "use-after-poison"),
                ("faulty_shared_overrun", "use-after-poison"),
            ] {
                let test = Command::new(std::env::current_exe().unwrap())
                    .args(["--ignored", "--exact", "emulated::tests::sanitized::run_planted", "--nocapture"])
                    .env(PLANTED, kernel)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&test.stderr);
                assert!(!test.status.success() && said.contains(report), "{kernel}: {}: {said}", test.status);
            }
        }
    }

    #[test]
    fn a_cooperative_launch_that_no_gpu_holds_is_refused() {
        let message = Ring { cols: 64 * 1024, ..RING }.fault_of("ring_sum", 0);
        assert!(message.contains("bytes of shared memory"), "{message}");
        let message = Ring { blocks: 100_000, ..RING }.fault_of("ring_sum", 0);
        assert!(message.contains("too many"), "{message}");
    }

    #[test]
    fn an_unknown_kernel_is_refused() {
        let message = fault_of("no_such_kernel");
        assert!(message.contains("no_such_kernel"), "{message}");
    }
}
