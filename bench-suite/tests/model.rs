//! Models: files that are not one are refused, and the message names the key or tensor.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use bench_suite::{
    gguf::{Gguf, Magic, Value, Writer},
    model::{
        Layout, Model,
        synthetic::{Predictor, SyntheticModel},
    },
};
use kernels_cpu::{Activation, Format};

/// What loading says of `spec`'s file after `change`: keys to set, tensors to leave out or to replace by zeros of a shape.
#[derive(Default)]
struct Change<'a> {
    keys: Vec<(&'a str, Value<'a>)>,
    without: Vec<&'a str>,
    tensors: Vec<(&'a str, Vec<usize>, Format)>,
}

fn changed(spec: &SyntheticModel, change: Change<'_>) -> Vec<u8> {
    let bytes = spec.bytes().unwrap();
    let file = Gguf::parse(&bytes).unwrap();
    let mut writer = Writer::default();
    writer.keys_of(&file);
    for (key, value) in change.keys {
        writer.key(key, value);
    }
    for tensor in file.tensors() {
        let replaced = change.tensors.iter().any(|(name, ..)| *name == tensor.name);
        if !change.without.contains(&tensor.name) && !replaced {
            writer.tensor(tensor.name, tensor.shape.sizes(), tensor.format, || Cow::Borrowed(tensor.bytes)).unwrap();
        }
    }
    for (name, shape, format) in change.tensors {
        let bytes = format.row_bytes(shape[0]).unwrap() * shape[1..].iter().product::<usize>();
        writer.tensor(name, &shape, format, move || vec![0; bytes].into()).unwrap();
    }
    writer.into_bytes(spec.magic()).unwrap()
}

fn refused(spec: &SyntheticModel, change: Change<'_>, words: &[&str]) {
    let bytes = changed(spec, change);
    let message = Model::load(&Gguf::parse(&bytes).unwrap()).map(drop).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

fn key<'a>(key: &'a str, value: Value<'a>) -> Change<'a> {
    Change { keys: vec![(key, value)], ..Change::default() }
}

fn without(tensor: &str) -> Change<'_> {
    Change { without: vec![tensor], ..Change::default() }
}

fn with(name: &str, shape: Vec<usize>, format: Format) -> Change<'_> {
    Change { tensors: vec![(name, shape, format)], ..Change::default() }
}

#[test]
fn metadata_is_checked_and_named() {
    let spec = SyntheticModel::default();
    let text = |text: &'static str| Value::String(text.into());
    refused(&spec, key("general.architecture", text("falcon")), &["general.architecture", "falcon", "llama"]);
    refused(&spec, key("llama.block_count", Value::U32(0)), &["llama.block_count", "is 0"]);
    refused(&spec, key("llama.block_count", Value::U32(3)), &["blk.2."]);
    refused(&spec, key("llama.block_count", Value::U32(1)), &["blk.1."]);
    refused(&spec, key("llama.block_count", Value::U64(u64::MAX)), &["llama.block_count"]);
    refused(&spec, key("llama.embedding_length", text("64")), &["llama.embedding_length", "\"64\""]);
    refused(&spec, key("llama.attention.head_count", Value::I32(-8)), &["llama.attention.head_count", "-8"]);
    refused(&spec, key("llama.attention.head_count", Value::U32(7)), &["llama.attention.head_count", "hidden size"]);
    refused(&spec, key("llama.attention.head_count_kv", Value::U32(3)), &["llama.attention.head_count_kv", "8 query"]);
    refused(&spec, key("llama.attention.value_length", Value::U32(4)), &["value_length", "head size 8"]);
    refused(&spec, key("llama.rope.dimension_count", Value::U32(4)), &["dimension_count", "head size 8"]);
    refused(&spec, key("llama.rope.scaling.type", text("yarn")), &["llama.rope.scaling.type", "yarn", "linear"]);
    refused(&spec, key("llama.rope.freq_base", Value::F32(f32::NAN)), &["llama.rope.freq_base", "NaN"]);
    refused(&spec, key("llama.rope.scaling.factor", Value::F32(-1.0)), &["llama.rope.scaling.factor", "-1"]);
    refused(&spec, key("llama.attention.layer_norm_rms_epsilon", Value::F32(-1.0)), &["layer_norm_rms_epsilon"]);
    refused(&spec, key("llama.hidden_activation", text("gelu")), &["llama.hidden_activation", "gelu", "relu"]);
    refused(&spec, key("llama.expert_count", Value::U32(8)), &["llama.expert_count", "experts"]);
    refused(&spec, key("powerinfer.sparse_threshold", Value::F32(f32::INFINITY)), &["sparse_threshold"]);
    let bytes = Writer::default().into_bytes(Magic::Gguf).unwrap();
    let message = Model::load(&Gguf::parse(&bytes).unwrap()).map(drop).unwrap_err().to_string();
    assert_eq!(message, "key `general.architecture` is missing");
}

#[test]
fn tensors_are_checked_and_named() {
    let spec = SyntheticModel::default();
    let (f32, q8_0) = (Format::F32, Format::Q8_0);
    for tensor in ["token_embd", "output_norm", "blk.0.attn_norm", "blk.1.attn_q", "blk.1.ffn_down", "blk.0.ffn_gate"] {
        let name = format!("{tensor}.weight");
        refused(&spec, without(&name), &[&name, "missing"]);
        refused(&spec, with(&name, vec![32, 3], f32), &[&name, "[32, 3]", "wanted"]);
        refused(&spec, with(&name, vec![32, 3, 2], f32), &[&name, "[32, 3, 2]"]);
    }
    refused(&spec, with("blk.0.attn_norm.weight", vec![64], q8_0), &["blk.0.attn_norm.weight", "Q8_0", "F32"]);
    refused(&spec, with("output.weight", vec![64, 299], f32), &["output.weight", "[64, 299]", "[64, 300]"]);
    refused(&spec, with("blk.0.ffn_up.weight", vec![64, 224], q8_0), &["blk.0.ffn_up.weight", "q8_0", "f32"]);
    refused(&spec, with("rope_freqs.weight", vec![4], f32), &["rope_freqs.weight", "positive"]);
    refused(&spec, with("blk.0.attn_q.bias", vec![64], f32), &["blk.0.attn_q.bias", "biases"]);
    refused(&spec, with("blk.2.attn_q.weight", vec![64, 64], f32), &["blk.2.attn_q.weight"]);
    refused(&spec, with("blk.0.ffn_gate_exps.weight", vec![64, 64, 8], f32), &["ffn_gate_exps", "experts"]);
    refused(&spec, with("blk.0.ffn_down_t.weight", vec![64, 224], f32), &["blk.0.ffn_down.weight", "ffn_down_t"]);

    let spec = SyntheticModel { layout: Layout::PowerInfer, predictor: Predictor::Random(32), ..spec };
    refused(&spec, without("blk.1.fc2.weight"), &["blk.1.fc2.weight", "missing"]);
    refused(&spec, with("blk.1.fc2.weight", vec![33, 224], f32), &["blk.1.fc2.weight", "[33, 224]", "[32, 224]"]);
    refused(&spec, without("blk.0.ffn_down_t.weight"), &["blk.0.ffn_down_t.weight", "missing"]);
    let none = Change { without: vec!["blk.1.fc1.weight", "blk.1.fc2.weight"], ..Change::default() };
    refused(&spec, none, &["layer 1", "predictor"]);
    refused(&spec, with("blk.0.gpu_idx", vec![224], f32), &["gpu_idx", "split"]);
}

#[test]
fn ranks_may_differ_from_layer_to_layer() {
    let spec = SyntheticModel { layout: Layout::PowerInfer, predictor: Predictor::Random(32), ..Default::default() };
    let rank = |rank: usize| {
        vec![("blk.1.fc1.weight", vec![64, rank], Format::F32), ("blk.1.fc2.weight", vec![rank, 224], Format::F32)]
    };
    let bytes = changed(&spec, Change { tensors: rank(5), ..Change::default() });
    let file = Gguf::parse(&bytes).unwrap();
    let model = Model::load(&file).unwrap();
    let ranks: Vec<usize> = model.layers.iter().map(|layer| layer.predictor.unwrap()[0].rows()).collect();
    assert_eq!(ranks, [32, 5]);
}

#[test]
fn the_layout_is_known_by_magic_or_predictors() {
    let spec = SyntheticModel { layout: Layout::PowerInfer, predictor: Predictor::Random(32), ..Default::default() };
    let load = |bytes: &[u8]| {
        let file = Gguf::parse(bytes).unwrap();
        let model = Model::load(&file).unwrap();
        (model.layout, model.config.activation)
    };
    let bytes = spec.bytes().unwrap();
    let plain = [b"GGUF", &bytes[4..]].concat();
    assert_eq!(load(&plain).0, Layout::PowerInfer);
    let none = SyntheticModel { predictor: Predictor::None, ..spec.clone() };
    assert_eq!(load(&none.bytes().unwrap()).0, Layout::PowerInfer);
    assert_eq!(load(&SyntheticModel::default().bytes().unwrap()).0, Layout::LlamaCpp);

    // Without a word about it, PowerInfer means ReLU and llama.cpp means SiLU.
    let mute = |spec: &SyntheticModel, value: Option<&'static str>| {
        let bytes = spec.bytes().unwrap();
        let file = Gguf::parse(&bytes).unwrap();
        let mut writer = Writer::default();
        for (key, value) in file.metadata().iter().filter(|(key, _)| *key != "llama.hidden_activation") {
            writer.key(*key, value.clone());
        }
        if let Some(value) = value {
            writer.key("llama.hidden_activation", Value::String(value.into()));
        }
        for tensor in file.tensors() {
            writer.tensor(tensor.name, tensor.shape.sizes(), tensor.format, || Cow::Borrowed(tensor.bytes)).unwrap();
        }
        load(&writer.into_bytes(spec.magic()).unwrap()).1
    };
    assert_eq!(mute(&spec, None), Activation::Relu);
    assert_eq!(mute(&spec, Some("swiglu")), Activation::Silu);
    assert_eq!(mute(&SyntheticModel::default(), None), Activation::Silu);
    assert_eq!(mute(&SyntheticModel::default(), Some("reglu")), Activation::Relu);
}
