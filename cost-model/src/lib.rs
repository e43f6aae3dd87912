//! What measured kernels are worth: latency, memory, Performance-Efficiency Ratio and dollars of
//! LLaMA-70B decode, composed from measurement records.
//!
//! The crate knows model shapes, prices, quality figures and records; it never knows how anything
//! was measured. It is arithmetic: a record goes in, numbers come out, each with its [`origin`].
//!
//! | step | module |
//! |---|---|
//! | criterion's output to measurements | [`mod@criterion`] |
//! | a record of one machine: read, check, write, merge | [`record`], [`machine`] |
//! | time over bytes or density, with intervals | [`curve`] |
//! | one token out of operators | [`compose`], [`memory`] |
//! | which neurons lie on the GPU, which on the CPU | [`placement`] |
//! | densities per layer; how unevenly neurons fire, what a batch reads | [`sparsity`], [`skew`] |
//! | accuracy, or that it is unknown | [`quality`] |
//! | how a model fared under each policy, problem by problem | [`evaluation`] |
//! | how sure a pass rate is; results of other harnesses | [`pass_rate`], [`harness`] |
//! | dollars | [`money`] |
//! | every configuration at once; which of them to choose | [`grid`], [`answer`] |
//! | PER in three forms | [`per`], [`anchors`], [`per_table`] |
//! | ours against the dense kernels of others | [`peers`] |
//! | policies against each other on the same tokens | [`policies`] |
//! | the density that a predictor has to stay below | [`break_even`] |
//! | shares of the roof over commits | [`history`] |
//! | what a data sheet is worth: a GPU composed from another's record, against its own | [`across`] |
//! | decode speeds that others published, against predictions | [`published`], [`catalogue`] |
//! | assumptions of a run | [`scenario`] |
//! | rows for CSV and JSON | [`table`] |
//! | the report, as data and as one HTML page | [`report`], [`correlation`], [`page`] |
//!
//! # Example
//! Compose Llama-2-70B at density 0.1 in every layer from a record (here a made-up one):
//!
//! ```
//! use std::path::Path;
//! use cost_model::compose::{Composer, Configuration, Scorer};
//! use cost_model::format::WeightFormat;
//! use cost_model::model::ModelShape;
//! use cost_model::money::{Prices, usd_per_mtok};
//! use cost_model::origin::{Origin, Sourced};
//! use cost_model::record::Record;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
//! let record = Record::read(&folder.join("example-record.json"))?;
//! let model = ModelShape::named("llama-2-70b")?;
//! let token = Composer::new(&record)?.compose(&Configuration {
//!     model,
//!     format: WeightFormat::Q8_0,
//!     policy: "top-k:density=0.10".into(),
//!     scorer: Scorer::LowRank(1024),
//!     densities: Sourced::new(vec![0.1; model.layers], Origin::assumed("an example")),
//!     context_tokens: 2048,
//!     batch: 1,
//!     skew: model.skew()?,
//!     kv_format: WeightFormat::F16,
//!     threads: 2,
//!     isa: "avx2".into(),
//! })?;
//! for term in &token.terms {
//!     println!("{:36} {:9.3} ms  {}", term.kind, term.ms.median, term.origin);
//! }
//!
//! let machine = &record.machine;
//! let price = Prices::own()?.machine_usd_per_hour(machine.logical_cores, machine.memory_bytes)?;
//! let usd = usd_per_mtok(price.value, token.tok_s, 0.5)?;
//! println!("{:.2} tok/s, {:.2} USD per million tokens", token.tok_s.median, usd.median);
//! assert!(token.ms_per_token.low <= token.ms_per_token.median);
//! assert_eq!(price.origin.kind(), "assumed");
//! # Ok(())
//! # }
//! ```

pub mod across;
pub mod affine;
pub mod anchors;
pub mod answer;
pub mod atomic;
pub mod break_even;
pub mod catalogue;
mod check;
pub mod compose;
pub mod correlation;
pub mod criterion;
pub mod curve;
pub mod estimate;
pub mod evaluation;
mod family;
pub mod fit;
pub mod format;
pub mod grid;
pub mod harness;
mod hash;
pub mod history;
pub mod machine;
pub mod memory;
pub mod model;
pub mod money;
mod number;
pub mod operator;
pub mod origin;
pub mod page;
pub mod pass_rate;
pub mod peers;
pub mod per;
pub mod per_table;
pub mod placement;
pub mod policies;
pub mod published;
pub mod quality;
pub mod record;
pub mod report;
pub mod scenario;
mod setting;
mod sharing;
pub mod skew;
pub mod sparsity;
pub mod table;
