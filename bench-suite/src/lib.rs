//! The roof of the house: measures this machine, composes LLaMA-70B decode out of what it measured, and says what
//! that is worth. The program is `thresher`; this library is its rooms.
//!
//! | step | module |
//! |---|---|
//! | what this machine is | [`machine`] |
//! | time one thing often, beside others, and say how sure | [`timing`] |
//! | hold a machine of changing speed at one | `steady` |
//! | operators at the shape of a 70B layer, as things to time | [`workload`] |
//! | a measurement record out of them | [`measure`] |
//! | what a machine draws meanwhile | [`power`] |
//! | the same on a GPU, beside cuBLAS, and eighty layers of it | [`gpu`] |
//! | what one small call costs; two layouts; several tokens at once | [`start`], [`layouts`], [`batches`] |
//! | other people's dense kernels, and ours against them | [`peers`], [`contest`] |
//! | layers to decode through, and that decode against what its operators compose to | [`stack`], [`validation`] |
//! | what each policy does on 70B activations | [`outcomes`] |
//! | policies against each other on the same tokens, recorded or synthetic | [`study`] |
//! | model files, the models in them, text into tokens, tokens out of models | [`gguf`], [`model`], [`tokenizer`], [`decode`] |
//! | the model that the program carries | [`embedded`] |
//! | predictors from traces, and how they do on prompts held out | [`training`] |
//! | code tasks in HumanEval's form, and their execution | [`tasks`] |
//! | what a change must not make worse | [`gate`] |
//! | one file per command of the program | [`commands`] |

mod alone;
pub mod batches;
pub mod commands;
pub mod contest;
pub mod decode;
pub mod embedded;
pub mod failure;
pub mod gate;
pub mod gguf;
pub mod gpu;
pub mod layouts;
pub mod machine;
pub mod measure;
pub mod model;
pub mod outcomes;
pub mod output;
pub mod peers;
pub mod power;
mod replace;
mod share;
pub mod stack;
pub mod start;
mod steady;
pub mod study;
pub mod summary;
pub mod tasks;
pub mod timing;
pub mod tokenizer;
pub mod training;
pub mod validation;
pub mod workload;

pub use failure::{Failure, Result};
