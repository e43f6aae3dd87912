//! ggml: the kernels under llama.cpp, as one graph on its own pool of threads.
//!
//! `ggml` reads the very bytes that our kernels read: the formats are its own. `ggml-packed` reads q4_0 with the blocks
//! of eight rows interleaved, as llama.cpp packs them when it loads a model.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    marker::PhantomData,
    mem::transmute,
    ptr::null_mut,
    slice,
};

use kernels_cpu::{Format, Matrix, WeightBuffer};
use llama_cpp_sys_2 as sys;

use super::{DenseFfn, Peer, Run};
use crate::{Failure, Result};

/// What ggml asks of the address of a tensor.
const ALIGNMENT: usize = 32;
/// Tensors of the graph below, and some more.
const TENSORS: usize = 16;

/// Which layout of the weights it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ggml {
    /// The caller's.
    Plain,
    /// Its own, made once from the caller's.
    Packed,
}

impl Peer for Ggml {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "ggml",
            Self::Packed => "ggml-packed",
        }
    }

    fn version(&self) -> String {
        // SAFETY: takes nothing and returns a C string that is never freed.
        let version = unsafe { CStr::from_ptr(sys::ggml_version()) }.to_string_lossy();
        format!("{version} ({})", instruction_sets().join(" "))
    }

    fn formats(&self) -> &'static [Format] {
        match self {
            Self::Plain => &Format::ALL,
            // Of our formats it packs this one alone, and on x86 only for AVX2.
            Self::Packed if instruction_sets().contains(&"avx2") => &[Format::Q4_0],
            Self::Packed => &[],
        }
    }

    fn at_its_best(&self) -> Result<()> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && !instruction_sets().contains(&"avx512") {
            return Err(Failure::input(
                "ggml was built without AVX-512, which this processor has: build with ci/peers, which asks for it",
            ));
        }
        Ok(())
    }

    fn ffn<'a>(&self, ffn: DenseFfn<'a>, threads: usize) -> Result<Run<'a>> {
        ffn.require(self)?;
        let mut graph = Graph::new(ffn, *self == Self::Packed, c_int::try_from(threads)?)?;
        Ok(Box::new(move |x, y| {
            ffn.check(x, y)?;
            graph.run(x, y)
        }))
    }
}

/// Those that ggml says it was built with, of those that matter here.
fn instruction_sets() -> Vec<&'static str> {
    // SAFETY: these take nothing and return a constant.
    let all = unsafe {
        [
            ("avx2", sys::ggml_cpu_has_avx2()),
            ("avx_vnni", sys::ggml_cpu_has_avx_vnni()),
            ("avx512", sys::ggml_cpu_has_avx512()),
            ("avx512_vbmi", sys::ggml_cpu_has_avx512_vbmi()),
            ("avx512_vnni", sys::ggml_cpu_has_avx512_vnni()),
            ("avx512_bf16", sys::ggml_cpu_has_avx512_bf16()),
            ("amx_int8", sys::ggml_cpu_has_amx_int8()),
            ("neon", sys::ggml_cpu_has_neon()),
            ("dotprod", sys::ggml_cpu_has_dotprod()),
        ]
    };
    all.into_iter().filter(|(_, has)| *has != 0).map(|(name, _)| name).collect()
}

fn type_of(format: Format) -> sys::ggml_type {
    match format {
        Format::F32 => sys::GGML_TYPE_F32,
        Format::F16 => sys::GGML_TYPE_F16,
        Format::Bf16 => sys::GGML_TYPE_BF16,
        Format::Q8_0 => sys::GGML_TYPE_Q8_0,
        Format::Q4_0 => sys::GGML_TYPE_Q4_0,
    }
}

/// `y = down (relu(gate x) * (up x))`, with everything that runs it. Null pointers are what was not made yet.
struct Graph<'a> {
    context: *mut sys::ggml_context,
    pool: *mut sys::ggml_threadpool,
    graph: *mut sys::ggml_cgraph,
    x: *mut sys::ggml_tensor,
    y: *mut sys::ggml_tensor,
    threads: c_int,
    /// What ggml works in, aligned as `malloc` would.
    work: Vec<u128>,
    packed: Option<Packed>,
    weights: PhantomData<&'a [u8]>,
}

// SAFETY: everything pointed at belongs to this graph alone, and ggml ties none of it to a thread.
unsafe impl Send for Graph<'_> {}

impl<'a> Graph<'a> {
    fn new(ffn: DenseFfn<'a>, packed: bool, threads: c_int) -> Result<Self> {
        let vectors = size_of::<f32>() * (2 * ffn.hidden() + 3 * ffn.neurons());
        let mut own = Self {
            context: null_mut(),
            pool: null_mut(),
            graph: null_mut(),
            x: null_mut(),
            y: null_mut(),
            threads,
            work: Vec::new(),
            packed: packed.then(|| Packed::new(&ffn)).transpose()?,
            weights: PhantomData,
        };
        // SAFETY: the context is checked before it is used and has room for what is made in it: tensors with their
        // vectors and one graph. Weights have no room in it; their tensors point to what `'a` or `packed` keeps alive.
        unsafe {
            sys::ggml_log_set(Some(quiet), null_mut());
            sys::ggml_cpu_init();
            let overhead = TENSORS * (sys::ggml_tensor_overhead() + ALIGNMENT) + sys::ggml_graph_overhead();
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: overhead + vectors,
                mem_buffer: null_mut(),
                no_alloc: true,
            });
            own.context = not_null(context, "a context")?;
            let gate = own.weight_tensor(&ffn.gate)?;
            let up = own.weight_tensor(&ffn.up)?;
            let down = own.weight_tensor(&ffn.down)?;
            sys::ggml_set_no_alloc(context, false);
            own.x = sys::ggml_new_tensor_1d(context, sys::GGML_TYPE_F32, i64::try_from(ffn.hidden())?);
            let gate = sys::ggml_mul_mat(context, gate, own.x);
            let up = sys::ggml_mul_mat(context, up, own.x);
            own.y = sys::ggml_mul_mat(context, down, sys::ggml_reglu_split(context, gate, up));
            own.graph = not_null(sys::ggml_new_graph(context), "a graph")?;
            sys::ggml_build_forward_expand(own.graph, own.y);

            let mut parameters = sys::ggml_threadpool_params_default(threads);
            // Between runs its threads sleep instead of polling: they would take the cores from whoever runs next.
            parameters.poll = 0;
            own.pool = not_null(sys::ggml_threadpool_new(&mut parameters), "threads")?;
            let plan = sys::ggml_graph_plan(own.graph, threads, own.pool);
            own.work = vec![0; plan.work_size.div_ceil(size_of::<u128>())];
        }
        Ok(own)
    }

    /// # Safety
    /// The context has room for a tensor and allocates no data.
    unsafe fn weight_tensor(&mut self, w: &Matrix<'a>) -> Result<*mut sys::ggml_tensor> {
        let (rows, cols) = (i64::try_from(w.rows())?, i64::try_from(w.cols())?);
        // SAFETY: by the contract; the context is not null.
        let tensor = unsafe { sys::ggml_new_tensor_2d(self.context, type_of(w.format()), cols, rows) };
        let tensor = not_null(tensor, "a tensor")?;
        let bytes = match &mut self.packed {
            // SAFETY: the tensor is new and of w's shape and format.
            Some(packed) => unsafe { packed.pack(tensor, w)? },
            None => w.bytes().as_ptr(),
        };
        if !bytes.addr().is_multiple_of(ALIGNMENT) {
            return Err(Failure::input(format!("{w} is not aligned to {ALIGNMENT} bytes, as ggml wants: copy it")));
        }
        // SAFETY: the tensor is ours; ggml reads weights and never writes them.
        unsafe { (*tensor).data = bytes.cast_mut().cast() };
        Ok(tensor)
    }

    /// Lengths are the caller's to check.
    fn run(&mut self, x: &[f32], y: &mut [f32]) -> Result<()> {
        // SAFETY: `x` and `y` have as many elements as the tensors; graph and pool were made in `new`, and `work` is
        // as large as the plan of the same graph, pool and threads wants it.
        let status = unsafe {
            slice::from_raw_parts_mut((*self.x).data.cast(), x.len()).copy_from_slice(x);
            let mut plan = sys::ggml_graph_plan(self.graph, self.threads, self.pool);
            plan.work_data = self.work.as_mut_ptr().cast();
            let status = sys::ggml_graph_compute(self.graph, &mut plan);
            y.copy_from_slice(slice::from_raw_parts((*self.y).data.cast(), y.len()));
            status
        };
        if status == sys::GGML_STATUS_SUCCESS { Ok(()) } else { Err(Failure::input(format!("ggml failed: {status}"))) }
    }
}

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `new` or null, used by nobody else, and freed once.
        unsafe {
            if !self.pool.is_null() {
                sys::ggml_threadpool_free(self.pool);
            }
            sys::ggml_free(self.context);
        }
    }
}

/// Weights in ggml's own order.
struct Packed {
    /// What makes ggml recognise a tensor as packed, and what packs; as large as the largest matrix.
    buffer: sys::ggml_backend_buffer_t,
    /// The packed weights: on huge pages, as ours and the caller's are.
    weights: Vec<WeightBuffer>,
}

impl Packed {
    fn new(ffn: &DenseFfn<'_>) -> Result<Self> {
        let largest = ffn.gate.bytes().len().max(ffn.down.bytes().len());
        // SAFETY: the buffer type lives as long as the program.
        let buffer = unsafe { sys::ggml_backend_buft_alloc_buffer(packing_buffers()?, largest) };
        Ok(Self { buffer: not_null(buffer, "memory for packed weights")?, weights: Vec::new() })
    }

    /// Marks the tensor as packed and returns its packed weights, which live as long as `self`.
    ///
    /// # Safety
    /// The tensor is new, without data, and of `w`'s shape and format.
    unsafe fn pack(&mut self, tensor: *mut sys::ggml_tensor, w: &Matrix<'_>) -> Result<*const u8> {
        let mut weights = WeightBuffer::zeroed(w.bytes().len())?;
        // SAFETY: the tensor takes as many bytes as `w` has, no more than the buffer, and is packed in place there.
        unsafe {
            let base = sys::ggml_backend_buffer_get_base(self.buffer);
            sys::ggml_backend_tensor_alloc(self.buffer, tensor, base);
            if (*tensor).extra.is_null() {
                return Err(Failure::input(format!("ggml does not pack {w} on this processor")));
            }
            sys::ggml_backend_tensor_set(tensor, w.bytes().as_ptr().cast(), 0, w.bytes().len());
            weights.bytes_mut().copy_from_slice(slice::from_raw_parts(base.cast(), w.bytes().len()));
        }
        let bytes = weights.bytes().as_ptr();
        self.weights.push(weights);
        Ok(bytes)
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        // SAFETY: made in `new` and freed once.
        unsafe { sys::ggml_backend_buffer_free(self.buffer) };
    }
}

/// ggml's buffers that pack what is put into them. They have no door of their own: one asks the CPU for what extra
/// kinds of buffer it has.
fn packing_buffers() -> Result<sys::ggml_backend_buffer_type_t> {
    // SAFETY: the registry, its CPU device and its buffer types live as long as the program, and the name looked up is
    // that of a function of this type; the list that it returns ends with null.
    unsafe {
        let registry = not_null(sys::ggml_backend_cpu_reg(), "its CPU backend")?;
        let device = sys::ggml_backend_reg_dev_get(registry, 0);
        let name = c"ggml_backend_dev_get_extra_bufts";
        let extra = not_null(sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr()), "extra buffers")?;
        let extra: sys::ggml_backend_dev_get_extra_bufts_t = transmute(extra);
        let mut next = extra.map_or(null_mut(), |extra| extra(device));
        while !next.is_null() && !(*next).is_null() {
            if CStr::from_ptr(sys::ggml_backend_buft_name(*next)) == c"CPU_REPACK" {
                return Ok(*next);
            }
            next = next.add(1);
        }
    }
    Err(Failure::input("this ggml was built without packing: build it with GGML_CPU_REPACK=ON"))
}

/// ggml would tell of every matrix that it packs.
unsafe extern "C" fn quiet(_level: sys::ggml_log_level, _text: *const c_char, _data: *mut c_void) {}

fn not_null<T>(pointer: *mut T, what: &str) -> Result<*mut T> {
    if pointer.is_null() { Err(Failure::input(format!("ggml could not make {what}"))) } else { Ok(pointer) }
}
