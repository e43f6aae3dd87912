//! The dense FFN of cuBLAS: three GEMVs through `cublasGemmEx` with one column, captured in a graph as ours is.
//!
//! ```text
//!   x ─▶ gate ─▶ g        row per output, 16-bit weights and vectors, sums in f32
//!   x ─▶ up   ─▶ u
//!   g ─▶ down ─▶ y        the activation is left out: cuBLAS has none, and what it would take is in its favour
//! ```
//! The library is loaded at run time, where it is installed.

use std::{ffi::c_int, ptr, sync::Arc};

use cudarc::{
    cublas::{CudaBlas, result::gemm_ex, sys},
    driver::{CudaContext, CudaGraph, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, sys as driver},
};
use kernels_cpu::{Format, Matrix, synthetic::Random};

use super::layers::Host;
use crate::{Failure, Result, workload::SHAPE};

/// What NVIDIA recommends for Hopper; without a workspace of its own the library allocates while it is captured.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Rows of gate that are compared with sums in f64.
const CHECKED_ROWS: usize = 64;

/// cuBLAS on a stream of its own.
pub struct Cublas {
    blas: CudaBlas,
    stream: Arc<CudaStream>,
    workspace: Arc<CudaSlice<u8>>,
}

/// Dense FFNs, captured.
pub struct DenseFfns {
    graph: CudaGraph,
    stream: Arc<CudaStream>,
    count: usize,
    // What the graph reads and writes.
    _layers: Vec<[CudaSlice<u8>; 3]>,
    _vectors: [CudaSlice<u8>; 4],
    _workspace: Arc<CudaSlice<u8>>,
}

/// Whether the library is installed where the loader finds it.
pub fn is_there() -> bool {
    // SAFETY: loads and unloads the library, whose constructors have no precondition.
    unsafe { sys::is_culib_present() }
}

impl Cublas {
    /// Formats that it multiplies with sums in f32.
    pub const FORMATS: [Format; 2] = [Format::F16, Format::Bf16];

    /// On GPU `ordinal`; `None` where the library is not installed.
    ///
    /// # Errors
    /// The driver or the library fails.
    pub fn open(ordinal: usize) -> Result<Option<Self>> {
        if !is_there() {
            return Ok(None);
        }
        let context = CudaContext::new(ordinal)?;
        // SAFETY: everything here is allocated, used and freed on the one stream below.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let blas = CudaBlas::new(stream.clone())?;
        let workspace = Arc::new(stream.alloc_zeros::<u8>(WORKSPACE_BYTES)?);
        let address = workspace.device_ptr(&stream).0;
        // SAFETY: the workspace lives as long as the handle and every graph, and is as large as is said.
        unsafe { sys::cublasSetWorkspace_v2(*blas.handle(), address as *mut _, WORKSPACE_BYTES) }.result()?;
        Ok(Some(Self { blas, stream, workspace }))
    }

    /// Version, as the library reports it.
    ///
    /// # Errors
    /// It does not.
    pub fn version(&self) -> Result<String> {
        let mut version: c_int = 0;
        // SAFETY: the library writes one int.
        unsafe { sys::cublasGetVersion_v2(*self.blas.handle(), &raw mut version) }.result()?;
        Ok(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
    }

    /// `count` FFNs over the weights of `host` at `copies` addresses in turn. Gate is held against f64 first.
    ///
    /// # Errors
    /// A format that is none of [`Cublas::FORMATS`]; not enough device memory; the library computes something else.
    pub fn dense_ffns(&self, host: &Host, copies: usize, count: usize) -> Result<DenseFfns> {
        let format = host.format();
        let data = match format {
            Format::F16 => sys::cudaDataType::CUDA_R_16F,
            Format::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            other => return Err(Failure::input(format!("cuBLAS has no {other}: name f16 or bf16"))),
        };
        let (neurons, hidden) = (SHAPE.intermediate, SHAPE.hidden);
        let layers = self.upload(host, copies)?;
        let mut host_x = Vec::new();
        format.encode(&Random::new(2).vector(hidden), &mut host_x)?;
        let x = self.stream.clone_htod(&host_x)?;
        let vector = |len: usize| self.stream.alloc_zeros::<u8>(2 * len);
        let (mut g, mut u, mut y) = (vector(neurons)?, vector(neurons)?, vector(hidden)?);
        // Once outside of a capture: the library loads its kernels when they are first called.
        let mut run = |count: usize| -> Result<()> {
            for [gate, up, down] in layers.iter().cycle().take(count) {
                self.gemv(data, (neurons, hidden), gate, &x, &mut g)?;
                self.gemv(data, (neurons, hidden), up, &x, &mut u)?;
                self.gemv(data, (hidden, neurons), down, &g, &mut y)?;
            }
            Ok(())
        };
        run(1)?;
        self.stream.synchronize()?;
        self.stream.begin_capture(driver::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let enqueued = run(count);
        let graph = self.stream.end_capture(driver::CUgraphInstantiate_flags(0));
        enqueued?;
        let graph = graph?.ok_or_else(|| Failure::short("capturing cuBLAS left no graph"))?;
        let gates = self.stream.clone_dtoh(&g)?;
        self.stream.synchronize()?;
        check(host, &format.decode_row(&host_x), &format.decode_row(&gates))?;
        Ok(DenseFfns {
            graph,
            stream: self.stream.clone(),
            count,
            _layers: layers,
            _vectors: [x, g, u, y],
            _workspace: self.workspace.clone(),
        })
    }

    fn upload(&self, host: &Host, copies: usize) -> Result<Vec<[CudaSlice<u8>; 3]>> {
        let (neurons, hidden) = (SHAPE.intermediate, SHAPE.hidden);
        // Down is turned, and random weights are random whichever way round.
        let part = |turn| Ok::<_, Failure>(self.stream.clone_htod(host.bytes(neurons, hidden, turn * neurons)?)?);
        let mut layers = vec![[part(0)?, part(1)?, part(2)?]];
        while layers.len() < copies {
            let [gate, up, down] = &layers[0];
            let copy = |w| self.stream.clone_dtod(w);
            layers.push([copy(gate)?, copy(up)?, copy(down)?]);
        }
        Ok(layers)
    }

    /// `y = W x`, `W` of `outputs` rows of `inputs` weights.
    fn gemv(
        &self,
        data: sys::cudaDataType,
        (outputs, inputs): (usize, usize),
        w: &CudaSlice<u8>,
        x: &CudaSlice<u8>,
        y: &mut CudaSlice<u8>,
    ) -> Result<()> {
        if w.len() != 2 * outputs * inputs || x.len() < 2 * inputs || y.len() < 2 * outputs {
            return Err(Failure::input(format!("no {outputs} x {inputs} GEMV over memory of these lengths")));
        }
        let ((w, _w), (x, _x), (y, _y)) =
            (w.device_ptr(&self.stream), x.device_ptr(&self.stream), y.device_ptr_mut(&self.stream));
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (m, k) = (outputs as c_int, inputs as c_int);
        // A row-major matrix is a column-major one turned.
        let (turned, plain) = (sys::cublasOperation_t::CUBLAS_OP_T, sys::cublasOperation_t::CUBLAS_OP_N);
        let sums = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        // SAFETY: the three lie in device memory as long as was checked above; alpha and beta are f32 on the host, as
        // sums in f32 ask for.
        unsafe {
            gemm_ex(
                *self.blas.handle(),
                turned,
                plain,
                m,
                1,
                k,
                ptr::from_ref(&one).cast(),
                w as *const _,
                data,
                k,
                x as *const _,
                data,
                k,
                ptr::from_ref(&zero).cast(),
                y as *mut _,
                data,
                m,
                sums,
                algorithm,
            )
        }?;
        Ok(())
    }
}

impl DenseFfns {
    /// Replays the graph: seconds of one FFN.
    ///
    /// # Errors
    /// The driver fails.
    pub fn seconds(&self) -> Result<f64> {
        let event = || self.stream.record_event(Some(driver::CUevent_flags::CU_EVENT_DEFAULT));
        let start = event()?;
        self.graph.launch()?;
        let end = event()?;
        Ok(f64::from(start.elapsed_ms(&end)?) / 1e3 / self.count as f64)
    }
}

/// Holds some of the gates against f64, within what rounding to 16 bits and sums in f32 may cost.
fn check(host: &Host, x: &[f32], gates: &[f32]) -> Result<()> {
    let (format, hidden) = (host.format(), SHAPE.hidden);
    let w = Matrix::new(format, CHECKED_ROWS, hidden, host.bytes(CHECKED_ROWS, hidden, 0)?)?;
    let half_step = if format == Format::F16 { 2.0_f64.powi(-11) } else { 2.0_f64.powi(-8) };
    for (row, (bytes, &got)) in w.bytes().chunks(format.row_bytes(hidden)?).zip(gates).enumerate() {
        let weights = format.decode_row(bytes);
        let products = weights.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
        let (exact, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
        let allowed = half_step * exact.abs() + 1e-5 * size;
        if (f64::from(got) - exact).abs().is_nan() || (f64::from(got) - exact).abs() > allowed {
            return Err(Failure::short(format!(
                "cuBLAS makes {got} of row {row} in {format} and {exact:.6} is right, give or take {allowed:.1e}: it is \
                 not timed"
            )));
        }
    }
    Ok(())
}
