//! `thresher train-predictor`: predictors from traces, written into a PowerInfer-layout model.

use std::{borrow::Cow, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use kernels_cpu::{Cpu, Format};
use predictor::{Encoded, Epoch, Training};
use serde::Serialize;

use crate::{
    Failure, Result,
    decode::Traced,
    embedded,
    gguf::{Gguf, Magic, MappedFile, Value, Writer},
    measure::progress_bar,
    model::Model,
    output::{TableFormat, print, print_csv, print_json, table},
    training::{Plan, Predictors, Row, train_predictors},
};

use super::{
    measure::writable_beside,
    models::{load, open},
};

/// Arguments of `thresher train-predictor`.
#[derive(Debug, Args)]
pub struct TrainPredictorArguments {
    /// A ReLU model: GGUF file, as llama.cpp or PowerInfer writes it; `embedded` is the small code model that this program carries
    #[arg(long, value_name = "FILE.gguf", default_value = embedded::NAME)]
    model: PathBuf,
    /// What its layers saw: `thresher trace` or `thresher run --trace` writes it
    #[arg(long, value_name = "FILE.safetensors", num_args = 1.., required = true)]
    trace: Vec<PathBuf>,
    /// Rank of every layer, or `auto`: layer by layer the one that reads the fewest bytes a token, FFN included
    #[arg(long, default_value = "auto")]
    rank: Rank,
    /// Share of the firing neurons to find
    #[arg(long, default_value_t = 0.95)]
    recall: f64,
    /// Format of the predictors: f32, f16, bf16, q8_0 or q4_0
    #[arg(long, default_value = "q8_0")]
    format: Format,
    /// Write the model with its predictors here, in PowerInfer's layout
    #[arg(long, value_name = "FILE.gguf", required_unless_present = "ahead")]
    out: Option<PathBuf>,
    /// Share of prompts that do not train: half of them choose epoch, rank and threshold, half are reported on
    #[arg(long, default_value_t = 0.25)]
    holdout: f64,
    /// Seed of the split, of the start and of the order of samples
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Passes over the training samples
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Minutes after which the best so far is taken
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: Option<u32>,
    /// Predict each layer from what the layer before it reads, and only report: such a prediction can run beside that layer's
    /// FFN, but no file says so
    #[arg(long, conflicts_with = "out")]
    ahead: bool,
    /// Layers trained at a time [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    #[command(flatten)]
    print: TableFormat,
}

/// A rank, or the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Auto,
    Of(usize),
}

impl FromStr for Rank {
    type Err = String;

    fn from_str(given: &str) -> std::result::Result<Self, String> {
        match given {
            "auto" => Ok(Self::Auto),
            _ => given.parse().map(Self::Of).map_err(|_| "wanted a whole number or `auto`".to_owned()),
        }
    }
}

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    threshold: f32,
    train_tokens: usize,
    choose_tokens: usize,
    report_tokens: usize,
    layers: &'a [Row],
}

/// Runs the command.
///
/// # Errors
/// A file that is not a ReLU model that runs here; traces of another model; settings out of range; a full disk.
pub fn run(arguments: &TrainPredictorArguments) -> Result<()> {
    let file = open(&arguments.model)?;
    let (contents, mut model, _) = load(&file)?;
    let cpu = Cpu::new()?;
    let files = arguments.trace.iter().map(|path| Ok(MappedFile::open(path)?)).collect::<Result<Vec<_>>>()?;
    let traces = files.iter().map(Traced::open).collect::<Result<Vec<_>>>()?;
    model.store_down_by_neuron(&cpu)?;
    let (recall, epochs) = (arguments.recall, usize::from(arguments.epochs));
    let plan = Plan {
        settings: Training { recall, epochs, seed: arguments.seed, ..Training::default() },
        rank: if let Rank::Of(rank) = arguments.rank { Some(rank) } else { None },
        format: arguments.format,
        holdout: arguments.holdout,
        ahead: arguments.ahead,
        threads: arguments.threads.map_or(cpu.threads(), usize::from),
        time: arguments.minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
    };
    if let Some(out) = &arguments.out {
        writable_beside(out)?;
    }
    let bar = progress_bar(model.config.layers as u64);
    let predictors = train_predictors(&model, &traces, &plan, |layer, epoch| {
        let Epoch { rank, done, of, density } = epoch;
        bar.set_position(layer as u64);
        bar.set_message(format!(
            "training layer {layer}: rank {rank}, epoch {done} of {of}: {:.1} % computed",
            100.0 * density
        ));
    })?;
    bar.finish_and_clear();
    if let Some(out) = &arguments.out {
        writer(&contents, &model, &predictors, arguments.format)?.write(Magic::PowerInfer, out)?;
    }
    show(arguments, &predictors)
}

/// The model in PowerInfer's layout with its new predictors; those it had are left out.
fn writer<'a>(file: &Gguf<'a>, model: &'a Model<'_>, predictors: &'a Predictors, format: Format) -> Result<Writer<'a>> {
    let mut out = Writer::default();
    out.keys_of(file)
        .key("llama.hidden_activation", Value::String("relu".into()))
        .key("powerinfer.sparse_threshold", Value::F32(predictors.threshold));
    let replaced = |name: &str| {
        name.starts_with("blk.")
            && [".fc1.weight", ".fc2.weight", ".ffn_down.weight", ".ffn_down_t.weight"]
                .iter()
                .any(|end| name.ends_with(end))
    };
    for tensor in file.tensors().iter().filter(|tensor| !replaced(tensor.name)) {
        let bytes = tensor.bytes;
        out.tensor(tensor.name, tensor.shape.sizes(), tensor.format, move || Cow::Borrowed(bytes))?;
    }
    for (layer, (weights, encoded)) in model.layers.iter().zip(&predictors.encoded).enumerate() {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let down = weights.down.by_neuron().ok_or_else(|| Failure::input("down is not stored by neuron"))?;
        let (shape, bytes) = ([down.cols(), down.rows()], down.bytes());
        out.tensor(&name("ffn_down_t"), &shape, down.format(), move || Cow::Borrowed(bytes))?;
        let Encoded { fc1, fc2, .. } = encoded;
        for ((part, matrix), bytes) in ["fc1", "fc2"].into_iter().zip(encoded.matrices()?).zip([fc1, fc2]) {
            out.tensor(&name(part), &[matrix.cols(), matrix.rows()], format, move || Cow::Borrowed(&bytes[..]))?;
        }
    }
    Ok(out)
}

fn show(arguments: &TrainPredictorArguments, predictors: &Predictors) -> Result<()> {
    let [train, choose, report] = predictors.tokens;
    if arguments.print.csv {
        return print_csv(&predictors.rows);
    }
    if arguments.print.json {
        let Predictors { threshold, rows: layers, .. } = predictors;
        let [train_tokens, choose_tokens, report_tokens] = predictors.tokens;
        return print_json(&Answer { threshold: *threshold, train_tokens, choose_tokens, report_tokens, layers });
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let cells = |row: &Row| {
        vec![
            row.layer.to_string(),
            row.kind.to_owned(),
            row.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string()),
            row.predictor_bytes.to_string(),
            percent(row.fires),
            percent(row.density),
            percent(row.recall),
            percent(row.precision),
            format!("{:.2} %", 100.0 * row.missed_mass),
            format!("{:.0}", row.bytes_a_token),
            percent(row.of_dense),
        ]
    };
    let header = [
        "layer",
        "kind",
        "rank",
        "bytes",
        "fires",
        "computed",
        "recall",
        "precision",
        "missed mass",
        "bytes a token",
        "of dense",
    ];
    let mut text = table(&header, 2, predictors.rows.iter().map(cells));
    text += &format!(
        "\n{} predictors, scores of {:.4} and more computed, gates then have the last word; {train} tokens trained, \
         {choose} chose epoch, rank and threshold, and these figures are of {report} others\n",
        arguments.format, predictors.threshold
    );
    for kind in ["low-rank", "sign-bits", "gate-first"] {
        let of_kind = || predictors.rows.iter().filter(|row| row.kind == kind);
        let bytes: f64 = of_kind().map(|row| row.bytes_a_token).sum();
        let dense: f64 = of_kind().map(|row| row.bytes_a_token / row.of_dense).sum();
        text += &format!("{kind}: {bytes:.0} bytes a token in all layers, {} of dense\n", percent(bytes / dense));
    }
    if predictors.stopped > 0 {
        text +=
            &format!("training was broken off in {} layers after --minutes: best so far taken\n", predictors.stopped);
    }
    if let Some(out) = &arguments.out {
        text += &format!("written to {}\n", out.display());
    }
    print(&text)
}
