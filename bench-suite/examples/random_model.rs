//! Writes a model of seeded random weights at any size, to time decode at shapes that nobody hands out weights for:
//!
//! ```sh
//! cargo run --release -p bench-suite --example random_model -- --layers 8 --hidden 4096 --format q8_0 m.gguf
//! ```

use std::{path::PathBuf, process::ExitCode};

use bench_suite::model::{
    Layout,
    synthetic::{Predictor, SyntheticModel},
};
use clap::Parser;
use kernels_cpu::{Activation, Format};

/// Write a model of random weights
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 2)]
    layers: usize,
    #[arg(long, default_value_t = 512)]
    hidden: usize,
    /// Neurons of an FFN [default: 3.5 per hidden element, as in LLaMA-70B]
    #[arg(long)]
    intermediate: Option<usize>,
    #[arg(long, default_value_t = 8)]
    heads: usize,
    #[arg(long, default_value_t = 1)]
    kv_heads: usize,
    #[arg(long, default_value_t = 1000)]
    vocabulary: usize,
    #[arg(long, default_value = "f16")]
    format: Format,
    /// SwiGLU instead of ReGLU
    #[arg(long)]
    silu: bool,
    /// PowerInfer's layout instead of llama.cpp's
    #[arg(long)]
    powerinfer: bool,
    /// Predictors of this rank and random weights
    #[arg(long, requires = "powerinfer")]
    rank: Option<usize>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    out: PathBuf,
}

fn main() -> ExitCode {
    let given = Arguments::parse();
    let spec = SyntheticModel {
        layers: given.layers,
        hidden: given.hidden,
        intermediate: given.intermediate.unwrap_or(given.hidden * 7 / 2),
        heads: given.heads,
        kv_heads: given.kv_heads,
        vocabulary: given.vocabulary,
        format: given.format,
        layout: if given.powerinfer { Layout::PowerInfer } else { Layout::LlamaCpp },
        activation: if given.silu { Activation::Silu } else { Activation::Relu },
        predictor: given.rank.map_or(Predictor::None, Predictor::Random),
        tied: false,
        scaled_rope: false,
        seed: given.seed,
    };
    match spec.write(&given.out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("random_model: {error}");
            ExitCode::from(2)
        }
    }
}
