//! Active sets from scores.
//!
//! A sparse FFN computes only some of its neurons. Something upstream scores them, a predictor or the gate
//! itself; this crate turns one layer's scores into the strictly ascending list of neurons to compute, and
//! learns from what came of it. It is pure: no I/O, no threads, no model, and no `unsafe` outside of the
//! instruction-set folders of [`select`]. It never knows where scores come from.
//!
//! ```
//! use threshold::{Audit, Auditor, Feedback, Inputs, Picked, PolicySpec, Shape};
//!
//! // A model of 2 layers of 8 neurons; hold the missed output mass at 5 %.
//! let shape = Shape::new(2, 8)?;
//! let spec: PolicySpec = "dynamic:miss=0.05".parse()?;
//! let mut policy = spec.build(shape, &Inputs::default())?;
//! let mut auditor = Auditor::new(42, 2, shape.neurons())?;
//! let (mut active, mut picked) = (Vec::new(), Picked::default());
//!
//! for token in 0..400 {
//!     for layer in 0..shape.layers() {
//!         // Stands for a predictor: here it knows each neuron's mass.
//!         let mass: Vec<f32> = (0..8).map(|i| ((i * 5 + token) % 8) as f32).collect();
//!
//!         policy.select(layer, &mass, &mut active)?;
//!
//!         // Stands for the kernels: they compute the active rows, and a few of the others.
//!         let kept = active.iter().map(|&row| f64::from(mass[row as usize])).sum();
//!         auditor.pick(&mass, &active, &mut picked)?;
//!         let sampled: Vec<f32> = picked.rows().iter().map(|&row| mass[row as usize]).collect();
//!         let audit = Audit::from_sample(kept, &picked, &sampled)?;
//!
//!         policy.observe(layer, &Feedback { computed: active.len(), useful: None, audit: Some(audit) })?;
//!     }
//! }
//! // 0 + 1 of a mass of 28 is 3.6 %, 0 + 1 + 2 is 11 %: two or three of eight rows are skipped.
//! assert!((5..=6).contains(&active.len()));
//! # Ok::<(), threshold::Error>(())
//! ```
//!
//! # Policies
//!
//! | spelling | rule | holds | needs |
//! |---|---|---|---|
//! | `dense` | every neuron | quality | |
//! | `fixed`, `fixed:0.0` | score ≥ one global threshold | neither | the model file's threshold, or one written out |
//! | `per-layer:density=0.10` | score ≥ the layer's threshold | density, on the calibration text | a [`Calibration`] |
//! | `per-layer:density=0.10,allocation=greedy` | the same, rows where they miss least | mean density, there | its masses |
//! | `per-layer:density=0.10,allocation=squares` | the same, where the squares of misses are least | mean density, there | its masses |
//! | `top-k:density=0.10` | the k largest scores | density, exactly | |
//! | `statistical-top-k:density=0.10` | score ≥ mean + z · deviation | density of Gaussian scores | |
//! | `top-p:mass=0.95` | the fewest that hold the score mass | missed score mass, exactly | scores ≥ 0 |
//! | `relative:fraction=0.10` | score ≥ a fraction of the largest | neither | scores ≥ 0 |
//! | `budget:density=0.10` | as `top-p`, mass by feedback | mean density, for any sequence | scores ≥ 0 |
//! | `dynamic:miss=0.02` | as `top-p`, mass by feedback | missed mass, on average, for any sequence | audits |
//! | `dynamic:miss=0.02,allocation=squares` | the same, misses shared out to layers | their mean, for any sequence | audits, a calibration's masses |
//! | `dynamic:miss=0.02,level=rank` | as `top-k`, k by feedback | the same | audits |
//! | `oracle:miss=0.02` | the fewest true masses | missed mass, exactly | true masses in place of scores |
//!
//! [`PolicySpec`] reads and writes the spelling and builds the [`Policy`]. Density is the share of neurons
//! computed; miss is the share of output mass that the skipped ones would have given. A score equal to the
//! threshold is active; of equal scores at the end of a top-k the lowest indices win; a NaN is an error that
//! says where. Rules that are relative to a token's own scores never select nothing. The guarantees of `dynamic` and
//! `budget`, with their proofs and conditions, are in the modules [`dynamic`] and [`budget`].
//!
//! # Feedback
//!
//! After the kernels ran, [`Policy::observe`] takes what they saw. Density and precision are free; what was
//! missed takes an audit: an [`Auditor`] picks a few skipped rows, where scores are highest and anywhere, the caller computes their masses, and
//! [`Audit::from_sample`] estimates the missed mass without bias. Only policies that
//! [need audits](Policy::needs_audit) are worth that work.
//!
//! # Cost
//!
//! Policies hold constant memory and allocate nothing per token. [`select`] holds the kernels, scalar, AVX2 and
//! AVX-512, chosen at run time as [`Isa`] says: thresholding is one branch-free pass, top-k two and a sample, and
//! never a sort.
//!
//! # Without a model
//!
//! [`ScoreStream`] draws masses and scores from published per-layer quantiles ([`QuantileTable`]), with hot
//! neurons and with drift between prompts. [`comparison`] holds all policies against each other on it, as `cargo bench -p
//! threshold` does, or on recorded traces, as `thresher policies` does.

#![deny(unsafe_code)]

mod allocation;
mod audit;
mod audited;
pub mod budget;
mod calibration;
pub mod comparison;
mod dense;
pub mod dynamic;
mod error;
mod feedback;
mod fixed;
mod isa;
mod normal;
mod oracle;
mod per_layer;
mod policy;
mod prng;
mod quantiles;
mod quantity;
mod relative;
pub mod select;
mod spec;
mod statistical_top_k;
pub mod stream;
mod top_k;
mod top_p;

pub use allocation::Allocation;
pub use audit::{Audit, Auditor, Picked};
pub use audited::{AuditedPolicy, Schedule};
pub use budget::Budget;
pub use calibration::{Calibration, CalibrationBuilder};
pub use dense::Dense;
pub use dynamic::Dynamic;
pub use error::Error;
pub use feedback::Feedback;
pub use fixed::Fixed;
pub use isa::Isa;
pub use oracle::Oracle;
pub use per_layer::PerLayer;
pub use policy::{Policy, Shape};
pub use quantiles::QuantileTable;
pub use quantity::{Density, Fraction, Mass, Miss, Threshold};
pub use relative::Relative;
pub use spec::{FORMS, Inputs, PolicySpec};
pub use statistical_top_k::StatisticalTopK;
pub use stream::{Knobs, ScoreStream};
pub use top_k::TopK;
pub use top_p::TopP;
