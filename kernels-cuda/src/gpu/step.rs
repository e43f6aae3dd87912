//! Steps on the GPU: put together, run, captured in graphs.

use std::sync::Arc;

use cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg, result,
    sys::CUdevice_attribute,
};

use super::{Gpu, allow_shared, driver, opened::Opened};
use crate::{
    Activation, Error, Format, Kernel, Operator,
    active::check_active,
    packed::PackedShape,
    params::{StepParams, THRESHER_STEP_THREADS},
    shape::{Shape, check_length},
    step::{Bound, List, Plan, Room, Rows, Value, bind, check_magnitude, words_of},
};

// SAFETY: as for the structs in gpu.rs.
unsafe impl DeviceRepr for StepParams {}

/// Weights in device memory as a step reads them: rows padded to whole stretches of 512 columns, digits of
/// quantised weights apart from their scales.
#[derive(Debug)]
pub struct PackedMatrix {
    shape: PackedShape,
    bytes: CudaSlice<u8>,
}

impl PackedMatrix {
    /// Format of the weights.
    pub fn format(&self) -> Format {
        self.shape.shape.format
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.shape.shape.rows
    }

    /// Weights in a row.
    pub fn cols(&self) -> usize {
        self.shape.shape.cols
    }

    /// Bytes of the weights as a model file holds them, without padding.
    pub fn weight_bytes(&self) -> usize {
        self.shape.shape.rows * self.shape.shape.row_bytes
    }
}

/// Puts a step together, phase by phase.
#[derive(Debug)]
pub struct StepBuilder<'gpu> {
    gpu: &'gpu Gpu,
    plan: Plan<Arc<PackedMatrix>>,
}

/// Phases in one launch, with the memory that they work on.
#[derive(Debug)]
pub struct Step {
    pub(super) stream: Arc<CudaStream>,
    plan: Plan<Arc<PackedMatrix>>,
    bound: Bound<CudaSlice<u32>>,
    function: CudaFunction,
    /// After all that is on the GPU.
    _opened: Arc<Opened>,
}

/// Zeroed words on a GPU.
struct DeviceRoom<'gpu> {
    gpu: &'gpu Gpu,
}

impl Room for DeviceRoom<'_> {
    type Words = CudaSlice<u32>;

    fn zeros(&mut self, count: usize) -> Result<Self::Words, Error> {
        self.gpu.stream.alloc_zeros(count.max(1)).map_err(driver("allocating a step's memory"))
    }

    fn address(&mut self, words: &mut Self::Words) -> u64 {
        words.device_ptr_mut(&self.gpu.stream).0
    }
}

impl Gpu {
    /// Packs `rows` x `cols` weights, laid out as for [`Gpu::upload`], and copies them to the GPU.
    ///
    /// # Errors
    /// As for [`Gpu::upload`]; rows of more than 8192 columns.
    pub fn upload_packed(
        &self,
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &[u8],
    ) -> Result<Arc<PackedMatrix>, Error> {
        let shape = PackedShape::of(Shape::of_bytes(format, rows, cols, bytes.len())?)?;
        let bytes = self.copy_in("uploading weights", &shape.pack(bytes))?;
        Ok(Arc::new(PackedMatrix { shape, bytes }))
    }

    /// The same weights at another address.
    ///
    /// # Errors
    /// Not enough device memory; a matrix of another GPU.
    pub fn duplicate_packed(&self, matrix: &PackedMatrix) -> Result<Arc<PackedMatrix>, Error> {
        self.require_own("matrix", &matrix.bytes)?;
        let bytes = self.stream.clone_dtod(&matrix.bytes).map_err(driver("copying weights"))?;
        Ok(Arc::new(PackedMatrix { shape: matrix.shape, bytes }))
    }

    fn shared_bytes_of_a_block(&self) -> Result<usize, Error> {
        let most = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let bytes = self.context.attribute(most).map_err(driver("asking for the shared memory of a block"))?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }
}

impl<'gpu> StepBuilder<'gpu> {
    /// A step without phases, on weights of one format.
    ///
    /// # Errors
    /// f32 on a GPU before Hopper.
    pub fn new(gpu: &'gpu Gpu, format: Format) -> Result<Self, Error> {
        if format == Format::F32 && !gpu.device.is_hopper_or_newer() {
            let capability = gpu.device.compute_capability;
            return Err(Error::FormatNeedsHopper { format, capability });
        }
        Ok(Self { gpu, plan: Plan::new(format, gpu.device.multiprocessors) })
    }

    /// A vector of `len` values that the host writes: [`Step::write_input`].
    pub fn input(&mut self, len: usize) -> Value {
        self.plan.input(len)
    }

    /// Rows among `neurons` that the host lists: [`Step::write_list`].
    pub fn list(&mut self, neurons: usize) -> List {
        self.plan.list(neurons)
    }

    /// `act(W x)`, every row.
    ///
    /// # Errors
    /// A matrix of another format or GPU than the step's; an `x` that is not as long as a row.
    pub fn project(&mut self, matrix: &Arc<PackedMatrix>, x: Value, activation: Activation) -> Result<Value, Error> {
        self.gpu.require_own("matrix", &matrix.bytes)?;
        self.plan.project((matrix.clone(), matrix.shape), x, activation)
    }

    /// The rows whose score, in the value of the newest projection, is at least a threshold that the host
    /// writes: [`Step::write_threshold`]. A NaN score reaches no threshold.
    ///
    /// # Errors
    /// `scores` not of the newest phase; more rows than blocks of the grid can hold, 512 each.
    pub fn select(&mut self, scores: Value) -> Result<Rows, Error> {
        self.plan.select(scores)
    }

    /// `residual + sum over the rows j of act(gate[j] . x) (up[j] . x) down[j]`; `down` has one row per
    /// neuron.
    ///
    /// Sums are in f32. With quantised weights `x` counts in 16 bits: each value moves by at most
    /// 1/65500 of the largest of 16 neighbours.
    ///
    /// # Errors
    /// Matrices that differ in shape or from the step in format or GPU; vectors of another length; rows
    /// selected by another phase than the newest.
    #[allow(clippy::too_many_arguments, reason = "those of an FFN")]
    pub fn ffn(
        &mut self,
        gate: &Arc<PackedMatrix>,
        up: &Arc<PackedMatrix>,
        down: &Arc<PackedMatrix>,
        activation: Activation,
        x: Value,
        rows: Rows,
        residual: Option<Value>,
    ) -> Result<Value, Error> {
        let matrices = self.own([gate, up, down])?;
        self.plan.ffn(matrices, x, rows, activation, None, residual)
    }

    /// The same with the gate first: a neuron whose activation `act(gate[j] . x)` is at most `threshold` in magnitude
    /// adds nothing, and neither its up row nor its down row is read. With ReLU and `0.0` this loses nothing but what
    /// an infinity or NaN in those rows would have brought. A NaN activation counts.
    ///
    /// [`Step::write_gate_threshold`] sets another threshold between runs.
    ///
    /// # Errors
    /// As for [`StepBuilder::ffn`]; a threshold that is negative or NaN.
    #[allow(clippy::too_many_arguments, reason = "those of an FFN")]
    pub fn ffn_gate_first(
        &mut self,
        gate: &Arc<PackedMatrix>,
        up: &Arc<PackedMatrix>,
        down: &Arc<PackedMatrix>,
        activation: Activation,
        threshold: f32,
        x: Value,
        rows: Rows,
        residual: Option<Value>,
    ) -> Result<Value, Error> {
        let matrices = self.own([gate, up, down])?;
        self.plan.ffn(matrices, x, rows, activation, Some(threshold), residual)
    }

    fn own(&self, matrices: [&Arc<PackedMatrix>; 3]) -> Result<[(Arc<PackedMatrix>, PackedShape); 3], Error> {
        for (operand, matrix) in ["gate", "up", "down"].into_iter().zip(matrices) {
            self.gpu.require_own(operand, &matrix.bytes)?;
        }
        Ok(matrices.map(|matrix| (matrix.clone(), matrix.shape)))
    }

    /// The step, with `kept` to be read back.
    ///
    /// # Errors
    /// Not enough device memory; a refusal of the driver.
    pub fn build(self, kept: &[Value]) -> Result<Step, Error> {
        let Self { gpu, plan } = self;
        let shared_bytes = gpu.shared_bytes_of_a_block()?;
        let mut bound =
            bind(&plan, kept, shared_bytes, &mut DeviceRoom { gpu }, |matrix| matrix.bytes.device_ptr(&gpu.stream).0)?;
        let phases = words_of(&bound.phases);
        if !phases.is_empty() {
            gpu.stream.memcpy_htod(&phases, &mut bound.phase_words).map_err(driver("uploading a step"))?;
        }
        for (words, threshold) in bound.gate_thresholds.iter().flatten() {
            write_words(&gpu.stream, Some(words), &[threshold.to_bits()])?;
        }
        let function = gpu.step_function(Kernel::of(Operator::Step, plan.format()))?;
        allow_shared(&function, bound.shared_bytes)?;
        gpu.synchronize()?;
        Ok(Step { stream: gpu.stream.clone(), plan, bound, function, _opened: gpu.opened.clone() })
    }
}

impl Step {
    /// Phases.
    pub fn phases(&self) -> usize {
        self.plan.phases.len()
    }

    /// Writes an input of the step, before what is enqueued next.
    ///
    /// # Errors
    /// A value that is not an input; values of another length; a refusal of the driver.
    pub fn write_input(&self, input: Value, values: &[f32]) -> Result<(), Error> {
        let of = self.plan.value_of("input", input)?;
        if of.phase.is_some() {
            return Err(Error::NotThis { operand: "input", wanted: "input", to_do: "take it from StepBuilder::input" });
        }
        check_length("values", values.len(), of.len)?;
        let bits: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
        write_words(&self.stream, self.bound.plain[input.index()].as_ref(), &bits)
    }

    /// Writes a list of the step, before what is enqueued next.
    ///
    /// # Errors
    /// Rows that are not strictly ascending or out of range; a list of another step.
    pub fn write_list(&self, list: List, rows: &[u32]) -> Result<(), Error> {
        let neurons = *self.plan.lists.get(list.index()).ok_or(Error::Foreign { operand: "list" })?;
        check_active(rows, neurons)?;
        let (indices, count) = &self.bound.lists[list.index()];
        write_words(&self.stream, Some(indices), rows)?;
        write_words(&self.stream, Some(count), &[rows.len() as u32])
    }

    /// Writes the threshold of a selection of the step, before what is enqueued next.
    ///
    /// # Errors
    /// Rows that are not a selection of this step.
    pub fn write_threshold(&self, rows: Rows, threshold: f32) -> Result<(), Error> {
        let not = Error::NotThis { operand: "rows", wanted: "selection", to_do: "take them from StepBuilder::select" };
        let Rows::Selected(selection) = rows else {
            return Err(not);
        };
        let words = self.bound.thresholds.get(selection.index());
        write_words(&self.stream, Some(words.ok_or(not)?), &[threshold.to_bits()])
    }

    /// Writes the threshold of an FFN whose gate comes first, by the value that it gives, before what is enqueued
    /// next.
    ///
    /// # Errors
    /// A value that no such FFN of this step gives; a threshold that is negative or NaN.
    pub fn write_gate_threshold(&self, value: Value, threshold: f32) -> Result<(), Error> {
        check_magnitude(threshold)?;
        let of = self.plan.value_of("value", value)?;
        let words = of.phase.and_then(|phase| self.bound.gate_thresholds[phase].as_ref());
        let (words, _) = words.ok_or(Error::NotThis {
            operand: "value",
            wanted: "value of an FFN whose gate comes first",
            to_do: "take it from StepBuilder::ffn_gate_first",
        })?;
        write_words(&self.stream, Some(words), &[threshold.to_bits()])
    }

    /// Enqueues one launch of the step.
    ///
    /// # Errors
    /// A refusal of the driver.
    pub fn run(&self) -> Result<(), Error> {
        let config = LaunchConfig {
            grid_dim: (self.plan.blocks() as u32, 1, 1),
            block_dim: (THRESHER_STEP_THREADS, 1, 1),
            shared_mem_bytes: self.bound.shared_bytes as u32,
        };
        let mut launch = self.stream.launch_builder(&self.function);
        launch.arg(&self.bound.params);
        // SAFETY: the kernel takes these parameters; the step owns every address in them, and launches of
        // one stream follow each other. Cooperative, so that all blocks are resident.
        unsafe { launch.launch_cooperative(config) }.map_err(driver("launching a step"))?;
        Ok(())
    }

    /// Copies a kept value back, after all work enqueued so far.
    ///
    /// # Errors
    /// A value that the step does not keep; `out` of another length; a failure of the work.
    pub fn read(&self, value: Value, out: &mut [f32]) -> Result<(), Error> {
        let of = self.plan.value_of("value", value)?;
        check_length("out", out.len(), of.len)?;
        let words = self.bound.plain[value.index()].as_ref().ok_or(Error::NotThis {
            operand: "value",
            wanted: "kept value",
            to_do: "pass it to StepBuilder::build",
        })?;
        let mut bits = vec![0_u32; out.len()];
        if !bits.is_empty() {
            let view = words.slice(..bits.len());
            self.stream.memcpy_dtoh(&view, &mut bits).map_err(driver("reading a value"))?;
        }
        self.synchronize()?;
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = f32::from_bits(bits);
        }
        Ok(())
    }

    /// How many neurons' down rows the FFN that gives `value` read, after all work enqueued so far: all of its rows, or
    /// with the gate first those whose activation counts.
    ///
    /// # Errors
    /// A value that no FFN gives; a failure of the work.
    pub fn computed(&self, value: Value) -> Result<u32, Error> {
        let of = self.plan.value_of("value", value)?;
        let words = of.phase.and_then(|phase| self.bound.computed[phase].as_ref());
        let words = words.ok_or(Error::NotThis {
            operand: "value",
            wanted: "FFN's value",
            to_do: "take it from StepBuilder::ffn",
        })?;
        let mut of_blocks = vec![0; self.plan.blocks()];
        self.stream.memcpy_dtoh(words, &mut of_blocks).map_err(driver("reading a count"))?;
        self.synchronize()?;
        Ok(of_blocks.iter().sum())
    }

    fn synchronize(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(driver("waiting for the GPU"))
    }
}

/// Through a shared reference, since a graph that is to be replayed holds one: launches and writes of the stream
/// follow each other all the same.
fn write_words(stream: &Arc<CudaStream>, words: Option<&CudaSlice<u32>>, values: &[u32]) -> Result<(), Error> {
    let Some(words) = words.filter(|_| !values.is_empty()) else {
        return Ok(());
    };
    check_length("values", values.len(), values.len().min(words.len()))?;
    {
        let (at, _guard) = words.device_ptr(stream);
        // SAFETY: `words` is at least as long; what reads it is enqueued on this stream before or after.
        unsafe { result::memcpy_htod_async(at, values, stream.cu_stream()) }.map_err(driver("writing to a step"))?;
    }
    // The host's memory is the caller's again on return.
    stream.synchronize().map_err(driver("writing to a step"))
}
