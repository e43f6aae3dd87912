//! Activation-sparse GEMV on CUDA: the operators of the CPU crate, under the same names.
//!
//! | operator | computes | reads |
//! |---|---|---|
//! | `select_threshold` | `active` = the rows with `scores[i] >= threshold` | f32 scores |
//! | `select_top_k` | `active` = the k rows of the largest scores, of equal ones the lowest | f32 scores |
//! | `gemv` | `out[j] = W[active[j]] . x` | row per neuron |
//! | `gate_up` | `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)` | row per neuron, twice |
//! | `down` | `y[c] += sum over j of h[j] * W[active[j]][c]` | row per neuron ("transposed") |
//! | `gemv_batch`, `gate_up_batch`, `down_batch` | the same for up to eight tokens | each row once |
//! | `unite` | the rows that any of some tokens lists, and which tokens do | lists |
//!
//! Weights are f32, f16, bf16, q8_0 or q4_0 ([`Format`]); activations and sums are f32. `active` lists rows in
//! strictly ascending order; dense is the list of all rows, through the same code. A list selected on
//! the GPU ([`Gpu::active_set`]) goes to the operators without passing through the host. No float is
//! added by atomics, and every sum has an order that depends on shapes alone: equal inputs give equal
//! bits.
//!
//! # Batches
//! Two to eight tokens go through the FFN together, each over active rows of its own, and a row that several list is
//! read once. [`Gpu::gemv_batch`], [`Gpu::gate_up_batch`], [`Gpu::down_batch`] and [`Gpu::ffn_batch`] are the
//! operators above for such tokens. On the device an [`ActiveUnion`] stands for the lists: the rows that any token lists,
//! and for each a byte with a bit for every token that does; [`Gpu::unite_on_device`] makes one of lists that were
//! selected there. Each token's result is the same, bit for bit, as by the operator for one token, whatever else is in
//! the batch. A row never meets a token that does not list it: its infinities and NaNs stay where they are.
//!
//! # Steps
//! [`StepBuilder`] puts the same work together as one launch: a predictor's projections, a selection by
//! threshold and an FFN, layer after layer. Weights stream through shared memory ahead of their use, a
//! neuron's value never leaves the block that computed it, and no block waits at a barrier of the grid
//! where a value says by itself that it has come; `kernels/step.cu` draws it, `PERFORMANCE.md` says what that is
//! worth. [`Gpu::capture`] makes a CUDA graph of steps, replayed with what the host writes in between.
//! The order of a step's sums depends on the number of multiprocessors too: equal bits on equal GPUs.
//!
//! ```
//! # use kernels_cuda::{Activation, Format, Gpu, Probe, Rows, StepBuilder, probe};
//! # fn main() -> Result<(), kernels_cuda::Error> {
//! # if !matches!(probe(), Probe::Device(_)) { return Ok(()); }
//! let gpu = Gpu::open(0)?;
//! let ones = [0x3f80_u16; 6].map(u16::to_le_bytes).concat();
//! let w = gpu.upload_packed(Format::Bf16, 3, 2, &ones)?;
//!
//! let mut builder = StepBuilder::new(&gpu, Format::Bf16)?;
//! let x = builder.input(2);
//! let scores = builder.project(&w, x, Activation::Identity)?;
//! let rows = builder.select(scores)?;
//! let y = builder.ffn(&w, &w, &w, Activation::Relu, x, rows, None)?;
//! let step = builder.build(&[y])?;
//!
//! step.write_input(x, &[1.0, 2.0])?;
//! step.write_threshold(rows, 3.0)?;
//! let graph = gpu.capture(&[&step])?;
//! graph.replay()?;
//! let mut out = [0.0; 2];
//! step.read(y, &mut out)?;
//! assert_eq!(out, [27.0; 2]);
//! assert_eq!(step.computed(y)?, 3);
//! # Ok(())
//! # }
//! ```
//!
//! # Where there is no GPU
//! The crate builds without CUDA: the driver is loaded at run time, and the kernels are embedded as
//! PTX (for `compute_80`, Ampere and newer) which the driver compiles for the GPU it finds. Compiling
//! the CUDA source at run time would need NVRTC, a part of the toolkit, on every user's machine; PTX
//! needs the driver only. The step and the selections have PTX for Hopper beside it, whose copy engine and
//! clusters of blocks they use. `build-ptx.sh` makes it, from `kernels/*.cu`, and a test fails when it is
//! out of date.
//!
//! [`probe`] says what there is, and why it cannot be used if so; nothing here panics for want of a
//! driver. The tests run the same `kernels/*.cu` on the host, compiled as C++ (feature `emulation`,
//! which only this crate's own tests turn on), and on the GPU too where there is one.
//!
//! # Example
//! ```
//! use kernels_cuda::{Activation, Format, Gpu, Probe, probe};
//!
//! # fn main() -> Result<(), kernels_cuda::Error> {
//! let found = probe();
//! if !matches!(found, Probe::Device(_)) {
//!     println!("skipped: {found}");
//!     return Ok(());
//! }
//! let gpu = Gpu::open(0)?;
//! let rows = [[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
//! let bytes: Vec<u8> = rows.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
//! let w = gpu.upload(Format::F32, 3, 2, &bytes)?;
//!
//! let mut h = [0.0; 2];
//! gpu.gate_up(&w, &w, Activation::Relu, &[1.0, 1.0], &[0, 2], &mut h)?;
//! assert_eq!(h, [9.0, 121.0]);
//!
//! let mut y = [0.0; 2];
//! gpu.down(&w, &h, &[0, 2], &mut y)?;
//! assert_eq!(y, [614.0, 744.0]);
//! # Ok(())
//! # }
//! ```

mod active;
mod batch;
#[cfg(emulated)]
pub mod emulated;
mod error;
mod format;
mod gpu;
mod kernel;
mod launch;
#[cfg(all(test, emulated))]
mod layout;
mod packed;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "made by bindgen")]
mod params;
mod probe;
mod shape;
mod slices;
mod step;

pub use batch::{DownToken, FfnToken, MAX_BATCH, RowsToken};
pub use error::Error;
pub use format::{Activation, Format, Q4_0_BYTES, Q4_0_LEN, Q8_0_BYTES, Q8_0_LEN};
pub use gpu::{ActiveSet, ActiveUnion, Count, Gpu, Graph, Matrix, MemoryRoof, PackedMatrix, Step, StepBuilder, Vector};
pub use kernel::{KERNELS, Kernel, Operator};
pub use probe::{Device, Probe, probe};
pub use step::{List, Rows, Selection, Value};
