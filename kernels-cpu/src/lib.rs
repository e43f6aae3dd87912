//! Activation-sparse GEMV on CPUs: the rows that an active list names, and no others.
//!
//! In a ReLU-like FFN most neurons are silent for a given token. Given the few that are not, a layer needs two
//! operators, and both are bound by how fast their rows can be read:
//!
//! ```text
//!            gate, up: one dot product a row            down (neuron-major): one multiple of a row
//!   active   W                  x                       active   W                  y
//!     2      ################ . |  -> h[0]                2      ################ * h[0]  \
//!            ................   |                                ................          } summed into y
//!     7      ################ . |  -> h[1]                7      ################ * h[1]  /
//! ```
//!
//! Each exists for [`Format`]s f32, f16, bf16, q8_0 and q4_0 and for [`Isa`]s scalar, AVX2, AVX-512 and AVX-512 with VNNI,
//! chosen at run time. The instruction-set folders mirror each other file for file: `scalar` is the specification.
//! [`KERNELS`] lists them all. [`Cpu::new`] takes what is fastest on this processor, format by format;
//! `THRESHER_ISA=avx2` forces an instruction set. [`Cpu::ffn`] is the whole layer at once, for one token or
//! a few, and can let the gate decide which up and down rows are read at all. What was measured on the way is in
//! `PERFORMANCE.md`.
//!
//! ```
//! use kernels_cpu::{Activation, Cpu, Format, Matrix};
//!
//! # fn main() -> Result<(), kernels_cpu::Error> {
//! // Three neurons over two inputs.
//! let (mut gate, mut up, mut down) = (Vec::new(), Vec::new(), Vec::new());
//! Format::F32.encode(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &mut gate)?;
//! Format::F32.encode(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut up)?;
//! Format::F32.encode(&[1.0, 0.0, 0.0, 1.0, 2.0, 2.0], &mut down)?;
//! let matrix = |bytes| Matrix::new(Format::F32, 3, 2, bytes);
//!
//! let cpu = Cpu::new()?;
//! let active = [0, 2];
//! let (mut h, mut y) = ([0.0; 2], [0.0; 2]);
//! cpu.gate_up(&matrix(&gate)?, &matrix(&up)?, Activation::Relu, &[1.0, -3.0], &active, &mut h)?;
//! cpu.down(&matrix(&down)?, &h, &active, &mut y)?;
//! assert_eq!(h, [-5.0, 0.0]); // neuron 2's gate is 1 - 3 < 0
//! assert_eq!(y, [-5.0, 0.0]);
//! # Ok(())
//! # }
//! ```

mod activation;
mod active;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod board;
mod buffer;
mod cpu;
mod down;
mod error;
mod ffn;
mod format;
mod input;
mod isa;
mod matrix;
mod registry;
#[cfg(target_arch = "x86_64")]
mod rows;
mod scalar;
mod stretches;
mod sync;
pub mod synthetic;
mod team;

pub use activation::Activation;
pub use attention::KvCache;
pub use buffer::{WeightBuffer, huge_pages_setting};
pub use cpu::Cpu;
pub use error::Error;
pub use ffn::{Ffn, FfnToken, Gating, MAX_BATCH};
pub use format::Format;
pub use isa::Isa;
pub use matrix::Matrix;
pub use registry::{InputRounding, KERNELS, Kernel, Operator};
