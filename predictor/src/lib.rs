//! Who may fire: one score per neuron from a hidden state, before the FFN has run.
//!
//! A predictor costs bytes on every token and pays by letting the FFN skip rows, so both sides are measured here:
//! [`LowRank::cost`] says what it reads, [`Quality`] what it finds and what it misses. What is done with the scores
//! — where to cut — is not this crate's business, but for [`Cut`], by which predictors are compared.
//!
//! | | reads a token | wrong about who fires | from |
//! |---|---|---|---|
//! | [`LowRank`] | `rank · (hidden + neurons)` weights | both ways | a file, or [`train`] and [`fit`] on a model's own [`Samples`] |
//! | [`SignBits`] | one bit a gate weight | both ways | the gate alone |
//! | [`GateFirst`] | the whole gate | never | the gate itself |
//!
//! ```
//! use kernels_cpu::{Cpu, Format, Matrix};
//! use predictor::{LowRank, Quality};
//!
//! # fn main() -> Result<(), predictor::Error> {
//! // Rank 1 over two inputs, three neurons: score[i] = fc2[i] * max(0, x[0] - x[1]).
//! let (mut fc1, mut fc2) = (Vec::new(), Vec::new());
//! Format::F32.encode(&[1.0, -1.0], &mut fc1)?;
//! Format::F32.encode(&[2.0, -1.0, 0.5], &mut fc2)?;
//! let mut predictor =
//!     LowRank::new(Matrix::new(Format::F32, 1, 2, &fc1)?, Matrix::new(Format::F32, 3, 1, &fc2)?)?;
//!
//! let mut scores = [0.0; 3];
//! predictor.scores(&Cpu::new()?, &[3.0, 1.0], &mut scores)?;
//! assert_eq!(scores, [4.0, -2.0, 1.0]);
//!
//! // Let those above zero fire; in truth neurons 0 and 1 do.
//! let quality = Quality::of(&[0, 2], &[0, 1], &[3.0, 1.0, 0.0])?;
//! assert_eq!((quality.recall(), quality.precision()), (0.5, 0.5));
//! assert_eq!(quality.missed_mass(), 0.25);
//! # Ok(())
//! # }
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cut;
mod encoded;
mod error;
mod gate_first;
mod linear;
mod low_rank;
mod multiply;
mod quality;
mod rank;
mod samples;
mod scalar;
mod sign_bits;
mod start;
mod train;

pub use cut::Cut;
pub use encoded::Encoded;
pub use error::Error;
pub use gate_first::GateFirst;
pub use low_rank::{Cost, LowRank};
pub use quality::Quality;
pub use rank::{FfnBytes, Fitted, fit, scores};
pub use samples::Samples;
pub use sign_bits::SignBits;
pub use train::{Epoch, MOST_WEIGHT, Trained, Training, train};
