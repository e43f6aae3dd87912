//! The operators on device memory: arguments checked once, kernels launched.

mod batch;
mod graph;
mod opened;
mod roof;
mod select;
mod step;

use std::sync::{Arc, OnceLock};

use cudarc::{
    driver::{
        CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, DriverError,
        LaunchConfig, PushKernelArg, sys::CUfunction_attribute,
    },
    nvrtc::Ptx,
};

use opened::Opened;

use crate::{
    Activation, Device, Error, Format, KERNELS, Kernel, Operator, Probe,
    active::{Listed, check_active, check_listed},
    launch::Grid,
    params::{
        DownParams, GateUpParams, GemvParams, THRESHER_DOWN_BATCH_SHARED, THRESHER_IDENTITY, THRESHER_RELU,
        THRESHER_SILU,
    },
    probe::{describe_error, probe_ordinal},
    shape::{Shape, check_length},
};

// SAFETY: plain C structs, laid out as the kernels read them (src/layout.rs), whose pointers are
// device addresses.
unsafe impl DeviceRepr for GemvParams {}
// SAFETY: as above.
unsafe impl DeviceRepr for GateUpParams {}
// SAFETY: as above.
unsafe impl DeviceRepr for DownParams {}

pub use batch::ActiveUnion;
pub use graph::Graph;
pub use roof::MemoryRoof;
pub use select::Count;
pub use step::{PackedMatrix, Step, StepBuilder};

/// A GPU with the kernels loaded, and one stream of work: calls run in the order they are made.
///
/// Methods that end in `_on_device` only enqueue work and return; [`Gpu::synchronize`] waits for it.
#[derive(Debug)]
pub struct Gpu {
    device: Device,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// In the order of [`KERNELS`], up to those of a batch.
    functions: Vec<CudaFunction>,
    /// The next of them, up to the step's.
    batched: OnceLock<Vec<CudaFunction>>,
    /// The step's, compiled for this GPU when first wanted: it takes the driver seconds.
    steps: OnceLock<Arc<CudaModule>>,
    /// After all that is on the GPU.
    opened: Arc<Opened>,
}

/// Row-major weights in one [`Format`] in device memory, without padding between rows.
#[derive(Debug)]
pub struct Matrix {
    shape: Shape,
    bytes: CudaSlice<u8>,
}

/// f32 values in device memory.
#[derive(Debug)]
pub struct Vector {
    len: usize,
    values: CudaSlice<f32>,
}

/// A strictly ascending list of rows in device memory, with its length beside it.
///
/// It is uploaded ([`Gpu::upload_active`]), or selected on the GPU from the scores of a layer's neurons
/// ([`Gpu::active_set`]). The length of a selected list is known to the GPU alone; there `len` is the
/// number of neurons, and the operators write the first values of an output of that length.
#[derive(Debug)]
pub struct ActiveSet {
    len: usize,
    listed: Listed,
    indices: CudaSlice<u32>,
    count: CudaSlice<u32>,
}

impl Matrix {
    /// Format of the weights.
    pub fn format(&self) -> Format {
        self.shape.format
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Weights in a row.
    pub fn cols(&self) -> usize {
        self.shape.cols
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape.row_bytes
    }

    /// Refuses a down matrix that does not belong to `gate`; its format may be another.
    pub(crate) fn require_shape_of(&self, gate: &Self) -> Result<(), Error> {
        self.shape.require_rows_and_cols_of("down", &gate.shape)
    }
}

impl Vector {
    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl ActiveSet {
    /// Rows listed; of a list that the GPU selects, the most that it may hold.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether `len` is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Gpu {
    /// Opens GPU `ordinal` and loads the kernels of one token on it; those of batches and steps are loaded when first
    /// wanted. A process opens a GPU once: threads share the `Gpu`.
    ///
    /// # Errors
    /// No such GPU, one that cannot run the kernels, or one that is open already; the driver refuses a call.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        let device = match probe_ordinal(ordinal) {
            Probe::Device(device) => device,
            other => return Err(Error::NoGpu(other)),
        };
        let opened = Arc::new(Opened::new(ordinal)?);
        let context = CudaContext::new(ordinal).map_err(driver("opening the GPU"))?;
        // SAFETY: events order the streams that share an allocation, and this context has one stream.
        unsafe { context.disable_event_tracking() };
        // Not the default stream, which cannot be captured into a graph.
        let stream = context.new_stream().map_err(driver("opening a stream"))?;
        let functions = load_kernels(&context, &device, eager_kernels())?;
        Ok(Self { device, context, stream, functions, batched: OnceLock::new(), steps: OnceLock::new(), opened })
    }

    /// What the GPU is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The name of the kernel that runs `operator` on weights like `w`, such as `down/cuda/q8_0`.
    pub fn kernel_name(&self, operator: Operator, w: &Matrix) -> String {
        Kernel::of(operator, w.format()).to_string()
    }

    /// Copies `rows` x `cols` weights to the GPU.
    ///
    /// # Errors
    /// `bytes` of another length than the shape takes; rows that are not whole blocks; a shape past
    /// the kernels' 32-bit indices; not enough device memory.
    pub fn upload(&self, format: Format, rows: usize, cols: usize, bytes: &[u8]) -> Result<Matrix, Error> {
        let shape = Shape::of_bytes(format, rows, cols, bytes.len())?;
        Ok(Matrix { shape, bytes: self.copy_in("uploading weights", bytes)? })
    }

    /// Copies values to the GPU.
    ///
    /// # Errors
    /// Not enough device memory, or another refusal of the driver.
    pub fn upload_vector(&self, values: &[f32]) -> Result<Vector, Error> {
        Ok(Vector { len: values.len(), values: self.copy_in("uploading a vector", values)? })
    }

    /// `len` zeros on the GPU.
    ///
    /// # Errors
    /// As for [`Gpu::upload_vector`].
    pub fn zeros(&self, len: usize) -> Result<Vector, Error> {
        let values = self.stream.alloc_zeros(len.max(1)).map_err(driver("allocating a vector"))?;
        Ok(Vector { len, values })
    }

    /// Copies a list of rows to the GPU.
    ///
    /// # Errors
    /// A list that is not strictly ascending; a refusal of the driver.
    pub fn upload_active(&self, active: &[u32]) -> Result<ActiveSet, Error> {
        check_active(active, usize::MAX)?;
        // An ascending list of u32 has at most 2^32 entries; all of them would be 16 GiB.
        let count = u32::try_from(active.len()).unwrap_or(u32::MAX);
        Ok(ActiveSet {
            len: active.len(),
            listed: Listed::UpTo(active.last().copied()),
            indices: self.copy_in("uploading the active list", active)?,
            count: self.copy_in("uploading the active count", &[count])?,
        })
    }

    /// Copies values back, after all work enqueued so far.
    ///
    /// # Errors
    /// `out` of another length than `vector`; a failure of that work or of the copy.
    pub fn download(&self, vector: &Vector, out: &mut [f32]) -> Result<(), Error> {
        self.require_own("vector", &vector.values)?;
        check_length("out", out.len(), vector.len)?;
        if !out.is_empty() {
            let values = vector.values.slice(..vector.len);
            self.stream.memcpy_dtoh(&values, out).map_err(driver("downloading a vector"))?;
        }
        self.synchronize()
    }

    /// Waits for all work enqueued so far.
    ///
    /// # Errors
    /// A failure of that work.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(driver("waiting for the GPU"))
    }

    /// Row-sparse GEMV: `out[j] = W[active[j]] . x`.
    ///
    /// `x` has one element per column, `out` one per active row: `active.len()`. Reads only the rows listed. Every
    /// sum is at most `(cols / 32 + 16) * 2^-24 * sum |w||x|` away from the exact one, as long as no
    /// intermediate overflows.
    ///
    /// # Errors
    /// Vectors of another length; indices out of range; a refusal of the driver.
    pub fn gemv_on_device(&self, w: &Matrix, x: &Vector, active: &ActiveSet, out: &mut Vector) -> Result<(), Error> {
        self.require_own("w", &w.bytes)?;
        self.require_own_x_and_active(x, active)?;
        self.require_own("out", &out.values)?;
        check_length("x", x.len, w.cols())?;
        check_length("out", out.len, active.len)?;
        check_listed(active.len, active.listed, w.rows())?;

        let (weights, _weights) = w.bytes.device_ptr(&self.stream);
        let (x, _x) = x.values.device_ptr(&self.stream);
        let (indices, _indices) = active.indices.device_ptr(&self.stream);
        let (count, _count) = active.count.device_ptr(&self.stream);
        let (h, _h) = out.values.device_ptr_mut(&self.stream);
        let params = GemvParams {
            weights: weights as *const u8,
            x: x as *const f32,
            active: indices as *const u32,
            active_count: count as *const u32,
            h: h as *mut f32,
            row_bytes: w.row_bytes() as u64,
            cols: w.shape.cols_u32(),
        };
        let kernel = Kernel::of(Operator::Gemv, w.format());
        let grid = Grid::over_rows(active.len, self.device.multiprocessors);
        // SAFETY: the kernel takes these parameters; every address is an allocation of this context
        // that the guards above keep, as long as the checks above make it.
        unsafe { self.launch(kernel, grid, &params, "launching gemv") }
    }

    /// Gate and up of a gated FFN: `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`.
    ///
    /// Shapes, and the bound of both sums, as for [`Gpu::gemv_on_device`], for two matrices of one
    /// shape and format.
    ///
    /// # Errors
    /// As for [`Gpu::gemv_on_device`]; matrices that differ in shape or format.
    pub fn gate_up_on_device(
        &self,
        gate: &Matrix,
        up: &Matrix,
        activation: Activation,
        x: &Vector,
        active: &ActiveSet,
        h: &mut Vector,
    ) -> Result<(), Error> {
        self.require_own("gate", &gate.bytes)?;
        self.require_own("up", &up.bytes)?;
        self.require_own_x_and_active(x, active)?;
        self.require_own("h", &h.values)?;
        up.shape.require_like("up", &gate.shape)?;
        check_length("x", x.len, gate.cols())?;
        check_length("h", h.len, active.len)?;
        check_listed(active.len, active.listed, gate.rows())?;

        let (gates, _gates) = gate.bytes.device_ptr(&self.stream);
        let (ups, _ups) = up.bytes.device_ptr(&self.stream);
        let (x, _x) = x.values.device_ptr(&self.stream);
        let (indices, _indices) = active.indices.device_ptr(&self.stream);
        let (count, _count) = active.count.device_ptr(&self.stream);
        let (h, _h) = h.values.device_ptr_mut(&self.stream);
        let params = GateUpParams {
            gate: gates as *const u8,
            up: ups as *const u8,
            x: x as *const f32,
            active: indices as *const u32,
            active_count: count as *const u32,
            h: h as *mut f32,
            row_bytes: gate.row_bytes() as u64,
            cols: gate.shape.cols_u32(),
            activation: activation.code(),
        };
        let kernel = Kernel::of(Operator::GateUp, gate.format());
        let grid = Grid::over_rows(active.len, self.device.multiprocessors);
        // SAFETY: as in `gemv_on_device`.
        unsafe { self.launch(kernel, grid, &params, "launching gate_up") }
    }

    /// Neuron-major down: `y[c] += sum over j of h[j] * W[active[j]][c]`.
    ///
    /// `w` has one row per neuron. `h` has one element per active neuron, `y` one per column. No
    /// atomics; the order of addition is fixed by the list and the format. Every element is at most
    /// `(active / 32 + 24) * 2^-24 * (|y| + sum |h||w|)` away from the exact one, as long as no
    /// intermediate overflows.
    ///
    /// # Errors
    /// As for [`Gpu::gemv_on_device`].
    pub fn down_on_device(&self, w: &Matrix, h: &Vector, active: &ActiveSet, y: &mut Vector) -> Result<(), Error> {
        self.require_own("w", &w.bytes)?;
        self.require_own("h", &h.values)?;
        self.require_own("active", &active.indices)?;
        self.require_own("y", &y.values)?;
        check_length("h", h.len, active.len)?;
        check_length("y", y.len, w.cols())?;
        check_listed(active.len, active.listed, w.rows())?;
        if y.is_empty() {
            return Ok(());
        }

        let (weights, _weights) = w.bytes.device_ptr(&self.stream);
        let (h, _h) = h.values.device_ptr(&self.stream);
        let (indices, _indices) = active.indices.device_ptr(&self.stream);
        let (count, _count) = active.count.device_ptr(&self.stream);
        let (y, _y) = y.values.device_ptr_mut(&self.stream);
        let params = DownParams {
            weights: weights as *const u8,
            h: h as *const f32,
            active: indices as *const u32,
            active_count: count as *const u32,
            y: y as *mut f32,
            row_bytes: w.row_bytes() as u64,
            cols: w.shape.cols_u32(),
        };
        let kernel = Kernel::of(Operator::Down, w.format());
        let grid = Grid::over_columns(w.shape.cols_u32());
        // SAFETY: as in `gemv_on_device`.
        unsafe { self.launch(kernel, grid, &params, "launching down") }
    }

    /// # Safety
    /// `kernel` takes `params`, and what they point to is there for it until it has run.
    unsafe fn launch<P: DeviceRepr>(
        &self,
        kernel: Kernel,
        grid: Grid,
        params: &P,
        call: &'static str,
    ) -> Result<(), Error> {
        let config = LaunchConfig {
            grid_dim: (grid.blocks, 1, 1),
            block_dim: (grid.threads, 1, 1),
            shared_mem_bytes: grid.shared_bytes,
        };
        let mut launch = self.stream.launch_builder(self.function(kernel)?);
        launch.arg(params);
        // SAFETY: promised by the caller.
        unsafe { launch.launch(config) }.map_err(driver(call))?;
        Ok(())
    }

    /// Any but a step's.
    fn function(&self, kernel: Kernel) -> Result<&CudaFunction, Error> {
        let batched = self.batched.get().into_iter().flatten();
        let missing = || Error::Driver { call: "looking up a kernel", reason: format!("{kernel} is not loaded") };
        self.functions.iter().chain(batched).nth(kernel.index()).ok_or_else(missing)
    }

    /// Loads the kernels of batches, before the first union is there to launch them on: it takes the driver long.
    fn load_batched(&self) -> Result<(), Error> {
        if self.batched.get().is_none() {
            // No step runs meanwhile: see `Opened`.
            self.synchronize()?;
            let late = &KERNELS[eager_kernels().len()..];
            let batched = late.split(|kernel| kernel.operator() == Operator::Step).next().unwrap_or_default();
            let functions = load_kernels(&self.context, &self.device, batched)?;
            for (kernel, function) in batched.iter().zip(&functions) {
                if kernel.operator() == Operator::DownBatch {
                    allow_shared(function, THRESHER_DOWN_BATCH_SHARED as usize)?;
                }
            }
            // Another thread may have been faster; its functions are as good.
            let _ = self.batched.set(functions);
        }
        Ok(())
    }

    fn load_module(&self, ptx: &str) -> Result<Arc<CudaModule>, Error> {
        self.context.load_module(Ptx::from_src(ptx)).map_err(driver("compiling the embedded PTX"))
    }

    /// The kernel that runs steps on weights of one format.
    fn step_function(&self, kernel: Kernel) -> Result<CudaFunction, Error> {
        if self.steps.get().is_none() {
            // No step runs meanwhile: see `Opened`.
            self.synchronize()?;
            let module = self.load_module(Operator::Step.ptx_on(&self.device))?;
            // Another thread may have been faster; its module is as good.
            let _ = self.steps.set(module);
        }
        let looking = driver("looking up a kernel");
        let module =
            self.steps.get().ok_or(Error::Driver { call: "looking up a kernel", reason: "no module".into() })?;
        module.load_function(&kernel.entry()).map_err(looking)
    }

    /// The driver has no allocation of zero bytes, so an empty slice becomes one zero.
    fn copy_in<T>(&self, call: &'static str, values: &[T]) -> Result<CudaSlice<T>, Error>
    where
        T: DeviceRepr + cudarc::driver::ValidAsZeroBits,
    {
        if values.is_empty() {
            return self.stream.alloc_zeros(1).map_err(driver(call));
        }
        self.stream.clone_htod(values).map_err(driver(call))
    }

    fn require_own<T>(&self, operand: &'static str, memory: &CudaSlice<T>) -> Result<(), Error> {
        if memory.context() == &self.context {
            return Ok(());
        }
        Err(Error::OtherGpu { operand })
    }

    fn require_own_x_and_active(&self, x: &Vector, active: &ActiveSet) -> Result<(), Error> {
        self.require_own("x", &x.values)?;
        self.require_own("active", &active.indices)
    }
}

impl Activation {
    /// As `GateUpParams` spells it.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Relu => THRESHER_RELU,
            Self::Silu => THRESHER_SILU,
            Self::Identity => THRESHER_IDENTITY,
        }
    }
}

/// Those loaded with the GPU.
fn eager_kernels() -> &'static [Kernel] {
    KERNELS.split(|kernel| kernel.operator().is_late()).next().unwrap_or_default()
}

fn load_kernels(context: &Arc<CudaContext>, device: &Device, kernels: &[Kernel]) -> Result<Vec<CudaFunction>, Error> {
    let mut functions = Vec::with_capacity(kernels.len());
    // Kernels of one module follow each other.
    for kernels in kernels.chunk_by(|a, b| a.operator().ptx() == b.operator().ptx()) {
        let ptx = Ptx::from_src(kernels[0].operator().ptx_on(device));
        let module = context.load_module(ptx).map_err(driver("compiling the embedded PTX"))?;
        for kernel in kernels {
            let function = module.load_function(&kernel.entry()).map_err(driver("looking up a kernel"))?;
            functions.push(function);
        }
    }
    Ok(functions)
}

/// Lets a kernel have so much dynamic shared memory, which without asking is 48 KiB at most.
fn allow_shared(function: &CudaFunction, bytes: usize) -> Result<(), Error> {
    let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(most, i32::try_from(bytes).unwrap_or(i32::MAX)).map_err(driver("asking for shared memory"))
}

fn driver(call: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Driver { call, reason: describe_error(error) }
}
