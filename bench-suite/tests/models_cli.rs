//! `inspect`, `logits` and `run` as a user runs them, on small models of random weights.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use bench_suite::{
    embedded,
    gguf::Gguf,
    model::{
        Layout,
        synthetic::{Predictor, SyntheticModel},
    },
    tasks::suite,
};
use cost_model::evaluation::Evaluation;
use kernels_cpu::{Activation, Format};
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{
    oracle,
    program::{done, refused, text, thresher},
};
use tempfile::TempDir;

fn model(spec: &SyntheticModel) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    spec.write(&path).unwrap();
    (folder, path)
}

fn powerinfer() -> SyntheticModel {
    SyntheticModel { layout: Layout::PowerInfer, predictor: Predictor::Random(32), ..SyntheticModel::default() }
}

#[test]
fn inspect_tells_what_a_file_holds() {
    let (_folder, path) = model(&powerinfer());
    let printed = done(&["inspect", text(&path)]);
    for word in
        ["PWRI version 3", "2 layers, hidden 64, 224 neurons", "ReLU", "ranks 32, 32", "SentencePiece", "blk.1.fc2"]
    {
        assert!(printed.contains(word), "`{word}` is not in:\n{printed}");
    }
    let json: Value = serde_json::from_str(&done(&["inspect", text(&path), "--json"])).unwrap();
    let csv = done(&["inspect", text(&path), "--csv"]);
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!(csv.lines().count(), 1 + tensors.len());
    assert!(csv.starts_with("tensor,format,shape,bytes\n"));
    assert!(csv.contains("blk.0.ffn_down_t.weight,f32,\"[64, 224]\",57344\n"));
}

#[test]
fn files_that_are_no_models_are_refused_in_one_line() {
    let (folder, path) = model(&SyntheticModel::default());
    let bytes = fs::read(&path).unwrap();
    let changed = folder.path().join("changed.gguf");
    let refuse = |bytes: &[u8], words: &[&str]| {
        fs::write(&changed, bytes).unwrap();
        for command in
            [vec!["inspect"], vec!["logits", "--tokens", "1", "--model"], vec!["run", "--prompt", "a", "--model"]]
        {
            refused(&[&command[..], &[text(&changed)]].concat(), &[&["changed.gguf"], words].concat());
        }
    };
    refuse(&bytes[..bytes.len() - 100], &["tensor `blk.1.ffn_down.weight`"]);
    refuse(&bytes[..300], &["truncated"]);
    refuse(b"{}", &["GGUF"]);
    // The type of a tensor follows its name, dimensions and sizes.
    let mut other = bytes.clone();
    let name = b"blk.0.ffn_up.weight";
    let at = other.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    other[at] = 14;
    refuse(&other, &["tensor `blk.0.ffn_up.weight`", "Q6_K", "Q4_0"]);
    refused(&["inspect", "no/such.gguf"], &["no/such.gguf"]);
    // Without a vocabulary there are logits, but no text.
    let (_folder, mute) = model(&SyntheticModel { vocabulary: 50, ..SyntheticModel::default() });
    done(&["logits", "--model", text(&mute), "--tokens", "1"]);
    refused(&["run", "--model", text(&mute), "--prompt", "a"], &["tokenizer.ggml.model"]);
}

#[test]
fn logits_are_those_of_the_file() {
    let (_folder, path) = model(&SyntheticModel { format: Format::Q8_0, ..powerinfer() });
    let bytes = fs::read(&path).unwrap();
    let wanted = oracle::logits(&Gguf::parse(&bytes).unwrap(), &[1, 40, 7]);
    // The threshold lets everything through: the same numbers by way of the predictors.
    for policy in ["dense", "fixed:-1e30", "top-k:density=1"] {
        let csv = done(&["logits", "--model", text(&path), "--tokens", "1,40,7", "--csv", "--policy", policy]);
        let mut rows = csv::Reader::from_reader(csv.as_bytes());
        assert_eq!(rows.headers().unwrap(), vec!["token", "logit"]);
        let rows: Vec<(usize, f64)> = rows.deserialize().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 300);
        for (index, ((token, logit), wanted)) in rows.iter().zip(&wanted).enumerate() {
            assert!(*token == index && (logit - wanted).abs() < 0.2, "{policy}: {logit} is not {wanted}");
        }
    }
    let best = (0..300).max_by(|&a, &b| wanted[a].total_cmp(&wanted[b])).unwrap();
    let printed = done(&["logits", "--model", text(&path), "--tokens", "1,40,7"]);
    assert!(printed.lines().nth(2).unwrap().contains(&format!(" {best} ")), "{best} does not lead:\n{printed}");
    refused(&["logits", "--model", text(&path), "--tokens", "1,300"], &["token 300", "300 tokens"]);
    refused(&["logits", "--model", text(&path), "--tokens", "1", "--policy", "top-q"], &["top-q"]);
    let (_folder, plain) = model(&SyntheticModel::default());
    refused(&["logits", "--model", text(&plain), "--tokens", "1", "--policy", "fixed"], &["model file"]);
}

#[test]
fn run_tells_what_each_layer_did() {
    let (_folder, path) = model(&SyntheticModel::default());
    let run = |more: &[&str]| {
        done(
            &[&["run", "--model", text(&path), "--prompt", "def f(x):", "--tokens", "20", "--ignore-end"], more]
                .concat(),
        )
    };
    let json = |more: &[&str]| serde_json::from_str::<Value>(&run(&[more, &["--json"]].concat())).unwrap();
    let dense = json(&[]);
    assert_eq!(dense["tokens"].as_array().unwrap().len(), 20);
    assert_eq!(dense["ms_per_token"]["tokens"], 19);
    assert_eq!(dense["prompt_tokens"], 11);
    let lossless = json(&["--policy", "fixed:0.0"]);
    assert_eq!(lossless["tokens"], dense["tokens"]);
    assert!(lossless["scorer"].as_str().unwrap().contains("gates"));
    for layer in lossless["layers"].as_array().unwrap() {
        assert_eq!(layer["miss"], 0.0);
        assert!(layer["density"].as_f64().unwrap() < 0.7);
    }
    for policy in ["top-k:density=0.25", "per-layer:density=0.25", "dynamic:miss=0.1"] {
        let csv = run(&["--policy", policy, "--csv"]);
        assert!(csv.starts_with("layer,density,fired,miss,audited\n") && csv.lines().count() == 3, "{csv}");
    }
    let printed = run(&["--policy", "top-k:density=0.25"]);
    for word in ["top-k:density=0.25", "p50", "p95", "p99", "25.00 %", "gates"] {
        assert!(printed.contains(word), "`{word}` is not in:\n{printed}");
    }
    let drawn = |seed: &str| json(&["--temperature", "1", "--top-p", "0.95", "--seed", seed])["tokens"].clone();
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));

    let refuse = |more: &[&str], words: &[&str]| {
        refused(&[&["run", "--model", text(&path), "--prompt", "a"], more].concat(), words);
    };
    refuse(&["--tokens", "2048"], &["2051", "2048"]);
    refuse(&["--tokens", "4294967295"], &["context"]);
    refuse(&["--temperature=-1"], &["temperature"]);
    refuse(&["--top-p", "0"], &["top-p"]);
    refuse(&["--trace", "no/such/folder/t.safetensors"], &["no/such/folder"]);
    // A pipe that closes is no failure.
    assert!(thresher(&["run", "--model", text(&path), "--prompt", "a", "--tokens", "1"]).status.success());
}

/// Gate and up are those of the residual beside them, computed here from the file in f64.
#[test]
fn a_trace_holds_what_the_layers_saw() {
    let spec = SyntheticModel { format: Format::F16, activation: Activation::Silu, ..SyntheticModel::default() };
    let (folder, path) = model(&spec);
    let trace = folder.path().join("t.safetensors");
    let arguments =
        ["--policy", "top-k:density=0.5", "--tokens", "5", "--ignore-end", "--json", "--trace", text(&trace)];
    let run = done(&[&["run", "--model", text(&path), "--prompt", "ab"], &arguments[..]].concat());
    let run: Value = serde_json::from_str(&run).unwrap();

    let bytes = fs::read(&trace).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: String, len: usize| -> Vec<Vec<f64>> {
        let tensor = tensors.tensor(&name).unwrap();
        assert_eq!(tensor.shape(), [8, len], "{name}");
        let values: Vec<f64> = tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect();
        values.chunks(len).map(<[f64]>::to_vec).collect()
    };
    // The begin of text, a space, a and b; then what was decoded, but for the last, which was not read again.
    let tokens: Vec<u32> =
        tensors.tensor("tokens").unwrap().data().as_chunks().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
    assert_eq!(tokens.len(), 8);
    let decoded: Vec<u64> = run["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    assert!(tokens[4..].iter().zip(&decoded).all(|(&a, &b)| u64::from(a) == b));

    let file = fs::read(&path).unwrap();
    let file = Gguf::parse(&file).unwrap();
    let weights = |name: String| -> Vec<f64> {
        let tensor = file.tensor(&name).unwrap();
        tensor.format.decode_row(tensor.bytes).into_iter().map(f64::from).collect()
    };
    for layer in 0..2 {
        let residuals = floats(format!("layers.{layer}.residual"), 64);
        let norm = weights(format!("blk.{layer}.ffn_norm.weight"));
        for part in ["gate", "up"] {
            let matrix = weights(format!("blk.{layer}.ffn_{part}.weight"));
            for (residual, seen) in residuals.iter().zip(floats(format!("layers.{layer}.{part}"), 224)) {
                let root = (residual.iter().map(|v| v * v).sum::<f64>() / 64.0 + 1e-5).sqrt();
                for (row, seen) in matrix.chunks(64).zip(seen) {
                    let wanted: f64 = row.iter().zip(residual).zip(&norm).map(|((w, x), n)| w * x / root * n).sum();
                    assert!((seen - wanted).abs() < 1e-4, "{layer} {part}: {seen} is not {wanted}");
                }
            }
        }
    }
}

/// The embedded model on a few tasks: every policy at the density asked for, the same from a trace of its own as from a file.
#[test]
fn policies_are_compared_at_one_density() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("t.safetensors");
    let out = folder.path().join("out");
    done(&["trace", "--tasks", "9", "--tokens", "40", "--out", text(&trace)]);
    let compared = ["policies", "--scores", "gate", "--density", "0.06", "--csv", "--threads", "2"];
    let csv = done(&[&compared[..], &["--trace", text(&trace), "--out", text(&out)]].concat());
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|own| own == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), threshold::comparison::Kind::ALL.len());
    for row in &rows {
        let number = |name: &str| row[column(name)].parse::<f64>().unwrap();
        // `relative` has none so low on these few tokens.
        assert!((number("density") / 0.06 - 1.0).abs() < 0.05 || &row[column("kind")] == "relative", "{row:?}");
        for what in ["miss", "worst_layer", "p99_token"] {
            let ends = [format!("{what}_low"), format!("{what}_high")].map(|end| number(&end));
            assert!(ends[0] <= ends[1] && (0.0..=1.0).contains(&number(what)), "{row:?}");
        }
        assert_eq!(row[column("less_miss")].is_empty(), &row[column("kind")] == "dynamic", "{row:?}");
    }
    for name in ["policies.html", "policies.svg"] {
        let drawn = fs::read_to_string(out.join(name)).unwrap();
        assert!(drawn.contains("allocation=squares") && drawn.contains("class=\"point "), "{name}");
    }
    // A trace in a file holds what the layers saw to the digits of f32, and where a threshold stands on such a digit, tails
    // and shares between layers jump: means come out alike.
    let own = done(&[&compared[..], &["--tasks", "9", "--tokens", "40"]].concat());
    let own: Vec<csv::StringRecord> =
        csv::Reader::from_reader(own.as_bytes()).records().map(|row| row.unwrap()).collect();
    assert_eq!(own.len(), rows.len());
    let named = ["kind", "density", "miss"];
    for (own, given) in own.iter().zip(&rows) {
        for at in named.map(column) {
            match (own[at].parse::<f64>(), given[at].parse::<f64>()) {
                (Ok(a), Ok(b)) => assert!((a - b).abs() <= 0.02 * a.max(b), "{own:?} {given:?}"),
                _ => assert_eq!(own[at], given[at]),
            }
        }
    }

    refused(&["policies", "--trace", text(&trace), "--density", "1.5"], &["--density is 1.5"]);
    refused(&["policies", "--trace", text(&trace), "--against", "best"], &["--against", "dynamic", "top-k"]);
    refused(&["policies", "--trace", text(&trace), "--scores", "predictor"], &["no predictors", "train-predictor"]);
    refused(&["policies", "--trace", "no/such.safetensors"], &["no/such.safetensors"]);
    refused(&["policies", "--stream", "llama-9"], &["llama-9"]);
    let (_other, other) = model(&SyntheticModel::default());
    refused(
        &["policies", "--model", text(&other), "--trace", text(&trace)],
        &["tensor `layers.0.residual`", "another model"],
    );
}

#[test]
fn eval_lets_a_model_complete_tasks_the_same_on_any_number_of_threads() {
    let (folder, path) = model(&SyntheticModel::default());
    let saved = ["1", "2"].map(|threads| {
        let save = folder.path().join(threads);
        let policies = ["--policy", "dense", "fixed:0.0", "per-layer:density=0.25", "top-k:density=0.50"];
        let few = ["--every", "120", "--tokens", "6", "--threads", threads, "--save", text(&save), "--csv"];
        let printed = done(&[&["eval", "--model", text(&path)], &policies[..], &few[..]].concat());
        let rows: Vec<Vec<&str>> = printed.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let totals: Vec<&str> = rows.iter().map(|row| row[3]).collect();
        assert_eq!((rows.len(), totals.iter().all(|total| *total == "14")), (4, true), "{printed}");
        let density = |row: usize| rows[row][1].parse::<f64>().unwrap();
        assert_eq!((rows[0][0], density(0), density(3)), ("dense", 1.0, 0.5), "{printed}");
        assert!(density(1) > 0.2 && density(1) < 0.8, "half of random gates are open: {printed}");
        fs::read_to_string(save).unwrap()
    });
    assert_eq!(saved[0], saved[1]);
    refused(&["eval", "--model", text(&path), "--tokens", "2048"], &["context of 2048"]);
    refused(&["eval", "--model", text(&path), "--completions", "c.jsonl"], &["--completions"]);
}

/// What `--record` writes says what `--csv` prints, and a report takes it.
#[test]
fn eval_records_what_it_finds() {
    let (folder, path) = model(&SyntheticModel::default());
    let [record, page] = ["q.json", "report"].map(|name| folder.path().join(name));
    let few = ["--every", "120", "--tokens", "6", "--csv"];
    let evaluate = |more: &[&str]| done(&[&["eval", "--model", text(&path)], more, &few[..]].concat());
    let policies = ["--policy", "dense", "fixed:0.0", "budget:density=0.20", "--record", text(&record)];
    let printed = evaluate(&policies);
    let evaluation = Evaluation::read(&record).unwrap();
    let mut rows = csv::Reader::from_reader(printed.as_bytes());
    for (row, policy) in rows.records().map(Result::unwrap).zip(&evaluation.policies) {
        let rate = evaluation.pass_rate(policy).unwrap();
        assert_eq!((&row[0], &row[2], &row[3]), (policy.policy.as_str(), &*rate.passed.to_string(), "14"));
        assert_eq!((&row[1], &row[8]), (&*policy.density.to_string(), &*policy.fired_density.to_string()));
        let layers = policy.layers.iter().map(|layer| layer.density).sum::<f64>() / 2.0;
        assert!((layers - policy.density).abs() < 1e-9, "{layers} and {}", policy.density);
    }
    assert_eq!(evaluation.policies.len(), 3);
    assert_eq!((evaluation.problems(), evaluation.model.layers), (14, 2));
    let problems: Vec<_> = suite::held_out().into_iter().step_by(120).collect();
    let seen = problems.iter().filter(|problem| suite::family(&problem.task_id).unwrap().seen).count();
    assert_eq!(
        evaluation.families.iter().filter(|family| family.seen).map(|family| family.problems).sum::<usize>(),
        seen
    );
    // Settled on training problems: random gates are open for half of the neurons, and a budget starts dense.
    assert!(evaluation.policies[2].density < 0.3, "{}", evaluation.policies[2].density);

    // Without policies named: a curve of each kind, with thresholds from this model's gates.
    let curve = evaluate(&[]);
    let kind = |line: &str| line.split([':', ',']).next().unwrap().to_owned();
    let mut kinds: Vec<String> = curve.lines().skip(1).map(kind).collect();
    kinds.dedup();
    assert_eq!(kinds, ["dense", "fixed", "per-layer", "top-k", "budget", "dynamic", "top-p"]);

    let machine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records/epyc-zen4-2core.json");
    let compose = ["compose", text(&machine), "--out", text(&page), "--quality", text(&record)];
    assert!(done(&compose).contains("not carried over"));
    assert!(fs::read_to_string(page.join("quality.csv")).unwrap().lines().count() == 4);
    refused(&[&compose[..], &[text(&record)]].concat(), &["q.json", "second quality record"]);
    refused(&[&compose[..4], &["--quality", text(&machine)]].concat(), &["thresher-record/1", "thresher-quality/1"]);
    refused(&["eval", "--policy", "fixed:0.0", "--record", text(&record)], &["add dense"]);
    refused(&["eval", "--record", "no/such/q.json"], &["no/such"]);
}

/// Commands that take a model take the embedded one where none is named. The committed record is of that very model, over
/// all problems, under the policies that `eval` runs by default.
#[test]
fn the_embedded_model_is_the_default() {
    let Ok(bytes) = embedded::model() else {
        println!("skipped: this build has no embedded model");
        refused(&["inspect"], &["no embedded model", "--model"]);
        return refused(&["run", "--prompt", "a"], &["no embedded model"]);
    };
    assert!(bytes.as_ptr().addr().is_multiple_of(64));
    assert_eq!(done(&["inspect"]), done(&["inspect", "embedded"]));
    let tokens = ["--tokens", "1,40,7", "--csv"];
    assert_eq!(done(&[&["logits"], &tokens[..]].concat()), {
        let (folder, _) = model(&SyntheticModel::default());
        let path = folder.path().join("copy.gguf");
        fs::write(&path, bytes).unwrap();
        done(&[&["logits", "--model", text(&path)], &tokens[..]].concat())
    });
    let Some(record) = embedded::quality() else { return println!("skipped: this build has no quality record") };
    let record = Evaluation::parse(record, "embedded").unwrap();
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(record.model.sha256, hash, "run ci/embedded");
    assert_eq!(record.problems(), suite::held_out().len());
    for kind in ["dense", "fixed", "per-layer", "top-k", "budget", "dynamic", "top-p"] {
        assert!(record.policies.iter().any(|policy| policy.policy.split(':').next() == Some(kind)), "{kind}");
    }
}
