//! LLaMA models: what a GGUF file must say to be one, and its weights where they lie in the map.
//!
//! | | llama.cpp's layout | PowerInfer's layout |
//! |---|---|---|
//! | known by | | magic `PWRI`, or any `blk.N.fc1` |
//! | activation | SiLU | ReLU |
//! | down | `ffn_down`: one row per output | `ffn_down_t`: one row per neuron |
//! | predictor | none: the gate itself is the score | `fc1`, `fc2` of any rank, fed the residual before the FFN's norm |
//! | threshold | none | `powerinfer.sparse_threshold` |
//!
//! `llama.hidden_activation` overrides the activation in both: `relu`, `reglu`, `silu`, `swish`, `swiglu`. It is the key
//! and the spelling that llama.cpp defines (`llama-arch.cpp`, `llama-model.cpp`), though it reads them for other
//! architectures only: it runs every file of architecture `llama` with SiLU. PowerInfer has no key; its sparse path is
//! ReLU always (`llama.cpp:5041` at d3ebd7c).
//!
//! [`Model::load`] copies norms and nothing else. Sparse policies need down neuron by neuron:
//! [`Model::store_down_by_neuron`] makes that copy for llama.cpp's layout, once.

mod config;
mod error;
mod load;
pub mod synthetic;
mod transpose;

pub use config::{Config, Rope};
pub use error::Error;
pub use load::{Down, Layer, Layout, Model};
