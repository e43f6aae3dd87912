//! `thresher inspect`: what a model file holds, checked whole as for loading.

use std::path::PathBuf;

use clap::Args;
use kernels_cpu::Activation;
use serde::Serialize;

use crate::{
    Result, embedded,
    gguf::{Gguf, Magic},
    model::{Layout, Model},
    output::{TableFormat, print, print_csv, print_json, table},
    tokenizer::Tokenizer,
};

use super::models::{load, open};

/// Arguments of `thresher inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// GGUF file, as llama.cpp or PowerInfer writes it; `embedded` is the small code model that this program carries
    #[arg(default_value = embedded::NAME)]
    file: PathBuf,
    #[command(flatten)]
    format: TableFormat,
}

/// A tensor of the file.
#[derive(Debug, Serialize)]
struct TensorRow {
    tensor: String,
    format: String,
    shape: String,
    bytes: usize,
}

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    summary: Vec<(&'static str, String)>,
    metadata: Vec<(String, String)>,
    tensors: Vec<TensorRow>,
}

/// Runs the command.
///
/// # Errors
/// A file that is not a model that runs here.
pub fn run(arguments: &InspectArguments) -> Result<()> {
    let file = open(&arguments.file)?;
    let (contents, model, tokenizer) = load(&file)?;
    let tensors = contents.tensors().iter().map(|tensor| TensorRow {
        tensor: tensor.name.to_owned(),
        format: tensor.format.to_string(),
        shape: tensor.shape.to_string(),
        bytes: tensor.bytes.len(),
    });
    let answer = Answer {
        summary: summary(&contents, &model, tokenizer.as_ref()),
        metadata: contents.metadata().iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect(),
        tensors: tensors.collect(),
    };
    if arguments.format.csv {
        return print_csv(&answer.tensors);
    }
    if arguments.format.json {
        return print_json(&answer);
    }
    let pairs =
        |pairs: &[(String, String)]| table(&["key", "value"], 2, pairs.iter().map(|(k, v)| vec![k.clone(), v.clone()]));
    let rows = answer
        .tensors
        .iter()
        .map(|row| vec![row.tensor.clone(), row.format.clone(), row.shape.clone(), row.bytes.to_string()]);
    let width = answer.summary.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let summary: String = answer.summary.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    print(&format!(
        "{summary}\n{}\n{}",
        pairs(&answer.metadata),
        table(&["tensor", "format", "shape", "bytes"], 3, rows)
    ))
}

fn summary(file: &Gguf<'_>, model: &Model<'_>, tokenizer: Option<&Tokenizer>) -> Vec<(&'static str, String)> {
    let config = &model.config;
    let magic = if file.magic() == Magic::Gguf { "GGUF" } else { "PWRI" };
    let bytes: usize = file.tensors().iter().map(|tensor| tensor.bytes.len()).sum();
    let ffn: usize = model.layers.iter().map(crate::model::Layer::ffn_bytes).sum();
    let layout = match model.layout {
        Layout::LlamaCpp => "llama.cpp's: down is copied by neuron for sparse policies",
        Layout::PowerInfer => "PowerInfer's",
    };
    let rope = &config.rope;
    let factors = if rope.factors.is_some() { ", with factors" } else { "" };
    let ranks: Vec<String> =
        model.layers.iter().filter_map(|layer| layer.predictor).map(|[fc1, _]| fc1.rows().to_string()).collect();
    let predictors =
        if ranks.is_empty() { "none: gates score".to_owned() } else { format!("ranks {}", ranks.join(", ")) };
    let threshold = config.sparse_threshold.map_or_else(|| "none".to_owned(), |threshold| threshold.to_string());
    vec![
        (
            "file",
            format!("{magic} version {}, {} tensors, {bytes} bytes of weights", file.version(), file.tensors().len()),
        ),
        ("layout", layout.to_owned()),
        (
            "model",
            format!(
                "{} layers, hidden {}, {} neurons, {} query heads and {} KV heads of {}, vocabulary {}, context {}",
                config.layers,
                config.hidden,
                config.intermediate,
                config.heads,
                config.kv_heads,
                config.head_size,
                model.vocabulary(),
                config.context
            ),
        ),
        ("activation", if config.activation == Activation::Relu { "ReLU" } else { "SiLU" }.to_owned()),
        ("rope", format!("base {}, scale {}{factors}", rope.base, rope.scale)),
        ("FFN", format!("{ffn} bytes a dense token")),
        ("predictors", predictors),
        ("threshold", threshold),
        ("tokenizer", tokenizer.map_or_else(|| "none".to_owned(), Tokenizer::kind)),
    ]
}
