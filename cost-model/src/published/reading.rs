//! A row against the catalogue: what runs where, what had to be assumed, what is unknown.

use std::collections::BTreeSet;
use std::fmt;

use crate::catalogue::spelling::{Text, number_before};
use crate::catalogue::{Catalogue, DeviceKind, Engine, EngineClass, Quant, Shape, Split};

use crate::origin::Origin;
use crate::skew::{Firing, Skew, Statement};

use super::machine::machine;
use super::table::Row;
use super::time::{Placement, Setup, UNIFIED_SHARE, Work};
use super::work::work;

const BYTES_PER_GB: f64 = 1e9;
const BITS_PER_BYTE: f64 = 8.0;
/// Keys and values in 16 bits.
const KV_BYTES_PER_VALUE: f64 = 2.0;
/// Published speeds are rounded, specifications too.
const ROOF_TOLERANCE: f64 = 1.02;
/// `PowerInfer`, 8.3.4: predictors over models, averaged over its models.
const USUAL_PREDICTOR_SHARE: f64 = 0.071;
const MOST_DEVICES: f64 = 4096.0;
const MOST_SEQUENCES: f64 = 1e6;

/// Words by which a row says that tokens were guessed ahead.
const SPECULATIVE: [&str; 7] = ["speculative", "speculation", "draft", "eagle", "medusa", "lookahead", "mtp"];
/// Words by which a row says that its speed is that of one of several sequences.
const PER_SEQUENCE: [&str; 4] = ["per user", "per stream", "per request", "per sequence"];

/// Why a row counts for nothing, or for less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flag {
    /// The speed is above what the machine's bandwidth allows.
    Impossible,
    /// Weights do not fit in the memory that is named.
    DoesNotFit,
    /// Tokens were guessed ahead, which this model does not do.
    Speculative,
    /// A name that the catalogue does not have: which column, what it says.
    Unknown(&'static str, String),
    /// The device's bandwidth is neither in the row nor in the catalogue.
    NoBandwidth(String),
    /// A cell that is no number, or none that can be: which column, what it says.
    Unreadable(&'static str, String),
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible => f.write_str("impossible"),
            Self::DoesNotFit => f.write_str("does not fit"),
            Self::Speculative => f.write_str("speculative"),
            Self::Unknown(column, text) => write!(f, "unknown {column}: {text}"),
            Self::NoBandwidth(text) => write!(f, "no bandwidth: {text}"),
            Self::Unreadable(column, text) => write!(f, "unreadable {column}: {text}"),
        }
    }
}

/// A row, understood as far as it can be.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// `None` where something that decides the time is unknown.
    pub(super) setup: Option<Setup>,
    /// Tokens per second over all sequences as published, if that is a number.
    pub(super) published: Option<f64>,
    /// Sequences over which [`Reading::published`] was summed up from what the row says of one.
    pub(super) summed_over: f64,
    pub(super) class: Option<EngineClass>,
    /// The row's devices, by name: what a prediction for it must not have seen.
    pub(super) devices: BTreeSet<String>,
    pub(super) flags: Vec<Flag>,
    pub(super) assumed: Vec<String>,
}

impl Reading {
    pub(super) fn of(row: &Row, catalogue: &Catalogue) -> Self {
        let mut flags = Vec::new();
        let mut assumed = Vec::new();
        let count = number("n_devices", &row.devices, MOST_DEVICES, &mut flags).map(f64::floor);
        let sequences = number("batch_or_concurrency", &row.concurrency, MOST_SEQUENCES, &mut flags);
        let published = row.tok_s.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0);
        if published.is_none() {
            flags.push(Flag::Unreadable("tok_s", row.tok_s.clone()));
        }
        let engine = catalogue.engine(&row.engine);
        if engine.is_none() {
            flags.push(Flag::Unknown("engine", row.engine.clone()));
        }
        let remarks = Text::new(&[&*row.engine, &row.context, &row.tag].join(" "));
        if SPECULATIVE.iter().any(|word| remarks.fit(word).is_some()) {
            flags.push(Flag::Speculative);
        }
        let of_one = PER_SEQUENCE.iter().any(|words| remarks.fit(words).is_some());
        let summed_over = sequences.filter(|_| of_one).unwrap_or(1.0);
        if sequences.is_some_and(|n| n > 1.0) {
            assumed.push(format!("tok_s is {}", if of_one { "that of one sequence" } else { "over all sequences" }));
        }
        let class = engine.map(|e| e.class);
        let shape = shape(row, catalogue, &mut flags, &mut assumed);
        let quant = quant(row, catalogue, class, &mut flags, &mut assumed);
        let (devices, machine) = machine(row, catalogue, &mut flags);
        let mut setup = None;
        if let (Some(shape), Some(quant), Some(machine), Some(count), Some(sequences)) =
            (shape, quant, machine, count, sequences)
        {
            let stored = stored_bytes(&shape, &quant);
            match machine.placement(class.unwrap_or(EngineClass::Graph), stored, count, &mut assumed) {
                Ok(placement) => {
                    let work = described(work(&row.context), &mut assumed);
                    let at = catalogue.engine.iter().position(|e| Some(e) == engine);
                    setup = Some(assemble(&shape, &quant, engine.zip(at), placement, sequences, work));
                }
                Err(flag) => flags.push(flag),
            }
        }
        let published = published.map(|tok_s| tok_s * summed_over);
        if let Some(setup) = &setup {
            if published.is_some_and(|tok_s| tok_s > ROOF_TOLERANCE * setup.roof()) {
                flags.push(Flag::Impossible);
                assumed.push(format!("the bandwidth allows {:.1} tok/s", setup.roof() / summed_over));
            }
            if !fits(setup) {
                flags.push(Flag::DoesNotFit);
                assumed.push(format!("{:.1} GB of weights", setup.stored_bytes / BYTES_PER_GB));
            }
        }
        Self { setup, published, summed_over, class, devices, flags, assumed }
    }
}

/// A count of at least 1; an empty cell stands for 1.
fn number(column: &'static str, cell: &str, most: f64, flags: &mut Vec<Flag>) -> Option<f64> {
    if cell.is_empty() {
        return Some(1.0);
    }
    let number = cell.parse().ok().filter(|n: &f64| (1.0..=most).contains(n));
    if number.is_none() {
        flags.push(Flag::Unreadable(column, cell.to_owned()));
    }
    number
}

/// The model, or one of as many parameters as its name says.
fn shape(row: &Row, catalogue: &Catalogue, flags: &mut Vec<Flag>, assumed: &mut Vec<String>) -> Option<Shape> {
    if let Some(shape) = catalogue.model(&row.model) {
        return Some(shape.clone());
    }
    flags.push(Flag::Unknown("model", row.model.clone()));
    let wanted = number_before(&row.model, &["b"]).filter(|billions| (0.1..=2000.0).contains(billions))? * 1e9;
    let off = |shape: &Shape| (shape.weights() / wanted).ln().abs();
    let dense = catalogue.model.iter().filter(|m| m.experts.is_none());
    let near = dense.min_by(|a, b| off(a).total_cmp(&off(b)))?;
    assumed.push(format!("{} scaled to {:.1} billion weights", near.name, wanted / 1e9));
    Some(near.scaled_to(wanted))
}

fn quant(
    row: &Row,
    catalogue: &Catalogue,
    class: Option<EngineClass>,
    flags: &mut Vec<Flag>,
    assumed: &mut Vec<String>,
) -> Option<Quant> {
    let Some(quant) = catalogue.quant(&row.quant) else {
        flags.push(Flag::Unknown("quant", row.quant.clone()));
        return None;
    };
    // ggml has no 4-bit integers but its own.
    let ggml = matches!(class, Some(EngineClass::Ggml | EngineClass::HotCold));
    let own = if ggml && quant.name == "INT4" { catalogue.quant("Q4_0") } else { None };
    let quant = own.unwrap_or(quant);
    assumed.push(format!("{}: {} bits per weight", quant.name, quant.bits));
    Some(quant)
}

fn described(work: Work, assumed: &mut Vec<String>) -> Work {
    if work == Work::default() {
        assumed.push("an empty KV cache".into());
    } else if work.whole_request {
        assumed.push(format!(
            "a prompt of {:.0} tokens, its time included where layers or neurons are split",
            work.prompt
        ));
    }
    work
}

fn bytes(weights: f64, bits: f64) -> f64 {
    weights * bits / BITS_PER_BYTE
}

fn stored_bytes(shape: &Shape, quant: &Quant) -> f64 {
    let layers = bytes(shape.attention_weights() + shape.stored_ffn_weights(), quant.bits);
    layers + bytes(shape.head_weights(), quant.head_bits)
}

fn assemble(
    shape: &Shape,
    quant: &Quant,
    engine: Option<(&Engine, usize)>,
    placement: Placement,
    concurrency: f64,
    work: Work,
) -> Setup {
    Setup {
        // An engine that nobody knows is as most are.
        class: engine.map_or(EngineClass::Graph, |(e, _)| e.class),
        engine: engine.map(|(_, at)| at),
        split: engine.map_or(Split::Tensor, |(e, _)| e.split),
        serving: engine.is_some_and(|(e, _)| e.serving),
        kernel: quant.kernel,
        matrix_rate: quant.matrix_rate.unwrap_or(1.0),
        layers: f64::from(shape.layers),
        ffn_matrices: shape.ffn_matrices(),
        attention_bytes: bytes(shape.attention_weights(), quant.bits),
        ffn_bytes: bytes(shape.ffn_weights(), quant.bits),
        head_bytes: bytes(shape.head_weights(), quant.head_bits),
        stored_bytes: stored_bytes(shape, quant),
        weights: shape.attention_weights() + shape.ffn_weights() + shape.head_weights(),
        kv_bytes_per_token: shape.kv_values_per_token() * KV_BYTES_PER_VALUE,
        firing: firing(shape),
        predictor_share: shape.predictor_share.unwrap_or(USUAL_PREDICTOR_SHARE),
        placement,
        concurrency,
        work,
    }
}

/// How often a model's neurons fire, the hot ones by the published count; all alike where none was published. Nothing where
/// no sparsity was: all of them, always.
fn firing(shape: &Shape) -> Option<Firing> {
    let density = 1.0 - shape.sparsity?;
    let origin = || Origin::published(shape.source.clone());
    let counted = shape.hot_share.and_then(|hot| Skew::fit(hot, Statement::ACTIVATIONS, density, origin()).ok());
    counted.or_else(|| Skew::new(0.0, origin()).ok())?.at(density).ok()
}

/// Whether the memory that is named holds the weights.
fn fits(setup: &Setup) -> bool {
    let Placement::Resident { device, count } = &setup.placement else { return true };
    let share = if device.kind == DeviceKind::Unified { UNIFIED_SHARE } else { 1.0 };
    device.kind == DeviceKind::Cpu
        || device.memory_bytes.is_none_or(|memory| setup.stored_bytes <= share * memory * count)
}
