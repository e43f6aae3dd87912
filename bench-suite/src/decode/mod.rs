//! Decoding: one token after another through a model, its FFNs under a policy.
//!
//! ```text
//!   token ─▶ embedding ─▶ x
//!   each layer   x ─▶ norm ─▶ q, k, v ─▶ rope ─▶ cache ─▶ attention ─▶ output ─▶ + x
//!                x ─┬───────────────▶ predictor ─▶ scores ─▶ policy ─▶ active ─┐
//!                   └─▶ norm ─▶ gate ─▶ (scores, where there is no predictor)  ▼
//!                                up, down of the active rows ─────────────────▶ + x
//!   x ─▶ norm ─▶ output ─▶ logits ─▶ sampler ─▶ next token
//! ```
//! [`Decoder`] owns the cache and every buffer; [`Model`](crate::model::Model) stays borrowed. Nothing of the decoder's
//! own is allocated per token; the kernels deal their work out in small lists that they do allocate.

mod attention;
mod calibration;
mod clock;
mod decoder;
mod ffn;
mod norm;
mod rope;
mod sampler;
mod trace;
mod traced;

pub use calibration::{Text, calibrate, calibrate_on, needs_calibration};
pub use clock::{Clock, Part};
pub use decoder::{Decoder, Seen};
pub use ffn::{LayerStatistics, Scorer};
pub use sampler::Sampler;
pub use trace::Trace;
pub use traced::Traced;

pub(crate) use ffn::{down_norms, gate_scores, predictors};
