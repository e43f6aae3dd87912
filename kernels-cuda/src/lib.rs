//! Activation-sparse GEMV on CUDA: the operators of the CPU crate, under the same names.
//!
//! | operator | computes | reads |
//! |---|---|---|
//! | `select_threshold` | `active` = the rows with `scores[i] >= threshold` | f32 scores |
//! | `select_top_k` | `active` = the k rows of the largest scores, of equal ones the lowest | f32 scores |
//! | `gemv` | `out[j] = W[active[j]] . x` | row per neuron |
//! | `gate_up` | `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)` | row per neuron, twice |
//! | `down` | `y[c] += sum over j of h[j] * W[active[j]][c]` | row per neuron ("transposed") |
//!
//! Weights are f32, f16, bf16, q8_0 or q4_0 ([`Format`]); activations and sums are f32. `active` lists rows in
//! strictly ascending order; dense is the list of all rows, through the same code. A list selected on
//! the GPU ([`Gpu::active_set`]) goes to the operators without passing through the host. No float is
//! added by atomics, and every sum has an order that depends on shapes alone: equal inputs give equal
//! bits.
//!
//! # Where there is no GPU
//! The crate builds without CUDA: the driver is loaded at run time, and the kernels are embedded as
//! PTX (for `compute_80`, Ampere and newer) which the driver compiles for the GPU it finds. Compiling
//! the CUDA source at run time would need NVRTC, a part of the toolkit, on every user's machine; PTX
//! needs the driver only. `build-ptx.sh` makes it, from `kernels/*.cu`, and a test fails when it is
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

pub use error::Error;
pub use format::{Activation, Format, Q4_0_BYTES, Q4_0_LEN, Q8_0_BYTES, Q8_0_LEN};
pub use gpu::{ActiveSet, Count, Gpu, Graph, Matrix, PackedMatrix, Step, StepBuilder, Vector};
pub use kernel::{KERNELS, Kernel, Operator};
pub use probe::{Device, Probe, probe};
pub use step::{List, Rows, Selection, Value};
