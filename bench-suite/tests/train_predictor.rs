//! `trace` and `train-predictor` as a user runs them, on a small model of random weights.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use bench_suite::{
    decode::Traced,
    gguf::{Gguf, MappedFile},
    model::{Model, synthetic::SyntheticModel},
    training::Split,
};
use kernels_cpu::{Activation, Format};
use safetensors::SafeTensors;
use serde_json::Value;
use support::program::{done, refused, text};
use tempfile::TempDir;

/// A model in llama.cpp's layout, and a trace of it over some tasks.
struct Setup {
    folder: TempDir,
    model: PathBuf,
    trace: PathBuf,
}

impl Setup {
    fn new(spec: &SyntheticModel, tasks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (model, trace) = (folder.path().join("m.gguf"), folder.path().join("t.safetensors"));
        spec.write(&model).unwrap();
        done(&["trace", "--model", text(&model), "--tasks", tasks, "--tokens", "8", "--out", text(&trace)]);
        Self { folder, model, trace }
    }

    fn train(&self, more: &[&str], out: &Path) -> Vec<String> {
        let fixed = ["train-predictor", "--model", text(&self.model), "--epochs", "2", "--trace", text(&self.trace)];
        let out = ["--out", text(out)];
        [&fixed[..], more, &out].concat().into_iter().map(str::to_owned).collect()
    }
}

fn run(arguments: &[String]) -> String {
    done(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_trace_tells_where_prompts_begin() {
    let setup = Setup::new(&SyntheticModel::default(), "5");
    let file = MappedFile::open(&setup.trace).unwrap();
    let traced = Traced::open(&file).unwrap();
    let prompts = traced.prompts();
    let tensors = SafeTensors::deserialize(file.bytes()).unwrap();
    let tokens: Vec<u32> =
        tensors.tensor("tokens").unwrap().data().as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
    assert_eq!((prompts.len(), prompts[0].start, prompts[4].end), (5, 0, tokens.len()));
    for pair in prompts.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
    }
    // The begin of text stands where a prompt begins, and nowhere else.
    let begins: Vec<usize> = (0..tokens.len()).filter(|&place| tokens[place] == 1).collect();
    assert!(prompts.iter().all(|prompt| begins.contains(&prompt.start)), "{prompts:?} {begins:?}");

    // Each prompt is in one part, and each part has some.
    let split = Split::new(&[traced], 0.5, 3).unwrap();
    let mut all: Vec<usize> =
        [&split.train, &split.choose, &split.report].into_iter().flatten().map(|(_, range)| range.start).collect();
    all.sort_unstable();
    assert_eq!(all, prompts.iter().map(|range| range.start).collect::<Vec<_>>());
    assert!(!split.train.is_empty() && !split.choose.is_empty() && !split.report.is_empty());
}

/// The same model with predictors: the same tokens where everything is computed, and policies that use them.
#[test]
fn a_trained_file_is_the_same_model_with_predictors() {
    let setup = Setup::new(&SyntheticModel { format: Format::F16, ..SyntheticModel::default() }, "24");
    let out = setup.folder.path().join("p.gguf");
    let csv = run(&setup.train(&["--rank", "32", "--format", "q8_0", "--csv"], &out));
    let header =
        "layer,kind,format,rank,predictor_bytes,cut,fires,density,recall,precision,missed_mass,bytes_a_token,of_dense";
    assert_eq!(csv.lines().next().unwrap(), header);
    assert_eq!(csv.lines().count(), 1 + 3 * 2, "{csv}");
    let rows: Vec<Vec<String>> = csv.lines().skip(1).map(|l| l.split(',').map(str::to_owned).collect()).collect();
    for row in &rows {
        let number = |column: usize| row[column].parse::<f64>().unwrap();
        let (recall, missed) = (number(8), number(10));
        match row[1].as_str() {
            "gate-first" => assert_eq!((recall, missed, number(9)), (1.0, 0.0, 1.0), "{csv}"),
            "low-rank" => assert!(recall > 0.85 && missed < 0.1 && number(7) < 1.0 && row[3] == "32", "{csv}"),
            kind => assert!(kind == "sign-bits" && recall > 0.85 && number(4) == 224.0 * 8.0, "{csv}"),
        }
    }

    let bytes = fs::read(&out).unwrap();
    let file = Gguf::parse(&bytes).unwrap();
    let model = Model::load(&file).unwrap();
    assert!(model.has_predictors() && model.config.sparse_threshold.is_some());
    let inspected = done(&["inspect", text(&out)]);
    assert!(inspected.contains("PWRI") && inspected.contains("ranks 32, 32"), "{inspected}");
    let decoded = |path: &Path, policy: &str| {
        let run = ["run", "--model", text(path), "--prompt", "def f(x):", "--tokens", "12", "--ignore-end", "--json"];
        serde_json::from_str::<Value>(&done(&[&run[..], &["--policy", policy]].concat())).unwrap()
    };
    let dense = decoded(&setup.model, "dense")["tokens"].clone();
    assert_eq!(decoded(&out, "dense")["tokens"], dense);
    assert_eq!(decoded(&out, "fixed:-1e30")["tokens"], dense);
    let fixed = decoded(&out, "fixed");
    assert!(fixed["scorer"].as_str().unwrap().contains("predictors"));
    let density = fixed["layers"][0]["density"].as_f64().unwrap();
    assert!(density > 0.2 && density < 1.0, "{fixed}");

    // A file that has predictors already gets new ones, and any number of threads gives the same file.
    let again = setup.folder.path().join("q.gguf");
    let train = setup.train(&["--rank", "32", "--threads", "1"], &again);
    run(&train
        .iter()
        .map(|a| if *a == text(&setup.model) { text(&out).to_owned() } else { a.clone() })
        .collect::<Vec<_>>());
    assert_eq!(fs::read(&again).unwrap(), bytes);
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let setup = Setup::new(&SyntheticModel::default(), "4");
    let out = setup.folder.path().join("p.gguf");
    let refuse = |model: &Path, trace: &Path, more: &[&str], words: &[&str]| {
        let fixed = ["train-predictor", "--model", text(model), "--trace", text(trace), "--out", text(&out)];
        refused(&[&fixed[..], more].concat(), words);
        assert!(!out.exists());
    };
    let (model, trace) = (&setup.model, &setup.trace);
    refuse(model, model, &[], &["not a trace"]);
    refuse(model, trace, &["--rank", "many"], &["--rank", "auto"]);
    refuse(model, trace, &["--rank", "33"], &["33"]);
    refuse(model, trace, &["--recall", "0"], &["recall is 0"]);
    refuse(model, trace, &["--holdout", "1"], &["--holdout is 1"]);
    refuse(model, trace, &["--holdout", "0.99"], &["4 prompts"]);
    refuse(model, trace, &["--format", "q3"], &["q3"]);
    let other = |spec: SyntheticModel| {
        let path = setup.folder.path().join("other.gguf");
        spec.write(&path).unwrap();
        path
    };
    refuse(&other(SyntheticModel { seed: 2, ..SyntheticModel::default() }), trace, &[], &["another model"]);
    refuse(&other(SyntheticModel { intermediate: 96, ..SyntheticModel::default() }), trace, &[], &["F32 [", "96]"]);
    refuse(&other(SyntheticModel { activation: Activation::Silu, ..SyntheticModel::default() }), trace, &[], &["SiLU"]);
    let nowhere = setup.folder.path().join("no/p.gguf");
    let fixed = ["train-predictor", "--model", text(model), "--trace", text(trace), "--epochs", "1", "--rank", "32"];
    refused(&[&fixed[..], &["--out", text(&nowhere)]].concat(), &["/no", "choose a folder"]);
}

/// What the layer before reads predicts too; there is no file for it.
#[test]
fn predicting_ahead_reports_and_writes_nothing() {
    let setup = Setup::new(&SyntheticModel::default(), "8");
    let fixed = ["train-predictor", "--model", text(&setup.model), "--trace", text(&setup.trace)];
    let ahead = ["--ahead", "--rank", "32", "--epochs", "1", "--json"];
    let json: Value = serde_json::from_str(&done(&[&fixed[..], &ahead].concat())).unwrap();
    assert_eq!(json["layers"].as_array().unwrap().len(), 6);
    refused(&[&fixed[..], &["--ahead", "--out", "p.gguf"]].concat(), &["--ahead"]);
}

/// The trace in the repository is what the embedded model sees now, whatever instruction set wrote it: the same tokens,
/// and numbers that differ by rounding.
#[test]
fn the_committed_trace_is_of_the_embedded_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("t.safetensors");
    done(&["trace", "--tasks", "1", "--tokens", "12", "--out", text(&out)]);
    let [anew, committed] =
        [out, Path::new(env!("CARGO_MANIFEST_DIR")).join("data/trace.safetensors")].map(|path| fs::read(path).unwrap());
    let [anew, committed] = [&anew, &committed].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let mut names = committed.names();
    names.sort_unstable();
    assert_eq!(names.len(), 2 + 6 * 3);
    for name in names {
        let [a, b] = [&anew, &committed].map(|tensors| tensors.tensor(name).unwrap());
        assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{name}");
        if !name.starts_with("layers") {
            assert_eq!(a.data(), b.data(), "{name}");
            continue;
        }
        let [a, b] = [a, b].map(|tensor| {
            tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<f32>>()
        });
        let largest = a.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
        let off = a.iter().zip(&b).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
        assert!(off <= 1e-3 * largest, "{name}: {off} of {largest}");
    }
}
