//! Steps in the emulation: the plans of [`crate::StepBuilder`], bound to host memory.

use std::sync::Arc;

use super::{Buffer, Emulator, Failure, Memory};
use crate::{
    Activation, Error, Format, Kernel, Operator,
    active::check_active,
    launch::Grid,
    packed::PackedShape,
    params::THRESHER_STEP_THREADS,
    shape::{Shape, check_length},
    step::{Bound, List, Plan, Room, Rows, Value, bind, words_of},
};

/// Packed weights, 16-byte aligned.
#[derive(Debug)]
pub struct PackedMatrix {
    shape: PackedShape,
    memory: Vec<u128>,
}

impl PackedMatrix {
    /// As [`crate::Gpu::upload_packed`].
    ///
    /// # Errors
    /// As there.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &[u8]) -> Result<Arc<Self>, Error> {
        let shape = PackedShape::of(Shape::of_bytes(format, rows, cols, bytes.len())?)?;
        let memory = shape.pack(bytes).chunks(16).map(quad).collect();
        Ok(Arc::new(Self { shape, memory }))
    }
}

/// 16 bytes, the missing ones zero.
fn quad(bytes: &[u8]) -> u128 {
    let mut all = [0; 16];
    all[..bytes.len()].copy_from_slice(bytes);
    u128::from_ne_bytes(all)
}

/// As [`crate::StepBuilder`].
#[derive(Debug)]
pub struct StepBuilder {
    plan: Plan<Arc<PackedMatrix>>,
}

/// As [`crate::Step`].
#[derive(Debug)]
pub struct Step {
    plan: Plan<Arc<PackedMatrix>>,
    bound: Bound<usize>,
    memory: HostRoom,
}

/// Zeroed words, by number.
#[derive(Debug, Default)]
struct HostRoom {
    allocations: Vec<(usize, Vec<u128>)>,
}

impl HostRoom {
    fn start(&self, words: usize) -> *mut u32 {
        self.allocations[words].1.as_ptr().cast_mut().cast()
    }

    fn write(&mut self, words: usize, values: &[u32]) {
        assert!(values.len() <= self.allocations[words].0, "as long as what was asked for");
        // SAFETY: the allocation has as many words, and no launch is under way.
        unsafe { self.start(words).copy_from_nonoverlapping(values.as_ptr(), values.len()) }
    }

    fn read(&self, words: usize, out: &mut [u32]) {
        assert!(out.len() <= self.allocations[words].0, "as long as what was asked for");
        // SAFETY: as in `write`.
        unsafe { out.as_mut_ptr().copy_from_nonoverlapping(self.start(words), out.len()) }
    }
}

impl Room for HostRoom {
    type Words = usize;

    fn zeros(&mut self, count: usize) -> Result<usize, Error> {
        self.allocations.push((count, vec![0; count.div_ceil(4).max(1)]));
        Ok(self.allocations.len() - 1)
    }

    fn address(&mut self, words: &mut usize) -> u64 {
        self.start(*words) as u64
    }
}

impl StepBuilder {
    /// A step on a grid of as many blocks as the emulator has multiprocessors.
    pub fn new(emulator: &Emulator, format: Format) -> Self {
        Self { plan: Plan::new(format, emulator.multiprocessors) }
    }

    /// As [`crate::StepBuilder::input`].
    pub fn input(&mut self, len: usize) -> Value {
        self.plan.input(len)
    }

    /// As [`crate::StepBuilder::list`].
    pub fn list(&mut self, neurons: usize) -> List {
        self.plan.list(neurons)
    }

    /// As [`crate::StepBuilder::project`].
    ///
    /// # Errors
    /// As there.
    pub fn project(&mut self, matrix: &Arc<PackedMatrix>, x: Value, activation: Activation) -> Result<Value, Error> {
        self.plan.project((matrix.clone(), matrix.shape), x, activation)
    }

    /// As [`crate::StepBuilder::select`].
    ///
    /// # Errors
    /// As there.
    pub fn select(&mut self, scores: Value) -> Result<Rows, Error> {
        self.plan.select(scores)
    }

    /// As [`crate::StepBuilder::ffn`].
    ///
    /// # Errors
    /// As there.
    pub fn ffn(
        &mut self,
        [gate, up, down]: [&Arc<PackedMatrix>; 3],
        activation: Activation,
        x: Value,
        rows: Rows,
        residual: Option<Value>,
    ) -> Result<Value, Error> {
        let matrices = [gate, up, down].map(|matrix| (matrix.clone(), matrix.shape));
        self.plan.ffn(matrices, x, rows, activation, None, residual)
    }

    /// As [`crate::StepBuilder::ffn_gate_first`].
    ///
    /// # Errors
    /// As there.
    pub fn ffn_gate_first(
        &mut self,
        [gate, up, down]: [&Arc<PackedMatrix>; 3],
        activation: Activation,
        threshold: f32,
        x: Value,
        rows: Rows,
        residual: Option<Value>,
    ) -> Result<Value, Error> {
        let matrices = [gate, up, down].map(|matrix| (matrix.clone(), matrix.shape));
        self.plan.ffn(matrices, x, rows, activation, Some(threshold), residual)
    }

    /// As [`crate::StepBuilder::build`], for blocks of `shared_bytes` of shared memory.
    ///
    /// # Errors
    /// A kept value of another step.
    pub fn build(self, kept: &[Value], shared_bytes: usize) -> Result<Step, Error> {
        let mut memory = HostRoom::default();
        let bound = bind(&self.plan, kept, shared_bytes, &mut memory, |matrix| matrix.memory.as_ptr() as u64)?;
        memory.write(bound.phase_words, &words_of(&bound.phases));
        for (words, threshold) in bound.gate_thresholds.iter().flatten() {
            memory.write(*words, &[threshold.to_bits()]);
        }
        Ok(Step { plan: self.plan, bound, memory })
    }
}

impl Step {
    /// As [`crate::Step::write_input`].
    ///
    /// # Errors
    /// As there.
    pub fn write_input(&mut self, input: Value, values: &[f32]) -> Result<(), Error> {
        let of = self.plan.value_of("input", input)?;
        check_length("values", values.len(), of.len)?;
        if let Some(words) = self.bound.plain[input.index()].filter(|_| of.phase.is_none()) {
            self.memory.write(words, &values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        }
        Ok(())
    }

    /// As [`crate::Step::write_list`].
    ///
    /// # Errors
    /// As there.
    pub fn write_list(&mut self, list: List, rows: &[u32]) -> Result<(), Error> {
        check_active(rows, self.plan.lists[list.index()])?;
        let (indices, count) = self.bound.lists[list.index()];
        self.memory.write(indices, rows);
        self.memory.write(count, &[rows.len() as u32]);
        Ok(())
    }

    /// As [`crate::Step::write_threshold`].
    pub fn write_threshold(&mut self, rows: Rows, threshold: f32) {
        if let Rows::Selected(selection) = rows {
            self.memory.write(self.bound.thresholds[selection.index()], &[threshold.to_bits()]);
        }
    }

    /// As [`crate::Step::write_gate_threshold`].
    pub fn write_gate_threshold(&mut self, value: Value, threshold: f32) {
        let phase = self.plan.values[value.index()].phase;
        if let Some((words, _)) = phase.and_then(|phase| self.bound.gate_thresholds[phase].as_ref()) {
            self.memory.write(*words, &[threshold.to_bits()]);
        }
    }

    /// Runs the step once.
    ///
    /// # Errors
    /// A fault of the kernel.
    pub fn run(&mut self, emulator: &Emulator) -> Result<(), Failure> {
        let mut memory = Memory::default();
        for phase in &self.plan.phases {
            for matrix in &phase.matrices {
                let bytes = 16 * matrix.memory.len() as u64;
                memory.buffers.push(Buffer { start: matrix.memory.as_ptr().cast(), bytes, writable: 0 });
            }
        }
        memory.buffers.sort_by_key(|buffer| buffer.start);
        memory.buffers.dedup_by_key(|buffer| buffer.start);
        for (words, (count, _)) in self.memory.allocations.iter().enumerate() {
            let start = self.memory.start(words).cast_const().cast();
            memory.buffers.push(Buffer { start, bytes: 4 * *count as u64, writable: 1 });
        }
        let kernel = Kernel::of(Operator::Step, self.plan.format()).entry();
        let grid = Grid {
            blocks: self.plan.blocks() as u32,
            threads: THRESHER_STEP_THREADS,
            shared_bytes: self.bound.shared_bytes as u32,
        };
        emulator.launch_cooperative(&kernel, grid, &self.bound.params, &memory)
    }

    /// As [`crate::Step::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, value: Value, out: &mut [f32]) -> Result<(), Error> {
        check_length("out", out.len(), self.plan.value_of("value", value)?.len)?;
        let mut bits = vec![0; out.len()];
        if let Some(words) = self.bound.plain[value.index()] {
            self.memory.read(words, &mut bits);
        }
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = f32::from_bits(bits);
        }
        Ok(())
    }

    /// As [`crate::Step::computed`]; 0 for a value that no FFN gives.
    ///
    /// # Errors
    /// A value of another step.
    pub fn computed(&self, value: Value) -> Result<u32, Error> {
        let of = self.plan.value_of("value", value)?;
        let mut of_blocks = vec![0; self.plan.blocks()];
        if let Some(words) = of.phase.and_then(|phase| self.bound.computed[phase]) {
            self.memory.read(words, &mut of_blocks);
        }
        Ok(of_blocks.iter().sum())
    }
}
