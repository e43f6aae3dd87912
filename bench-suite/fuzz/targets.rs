//! Every reader of what comes from outside, as a function that is given any bytes: it ends, without a panic, and what it
//! accepts can be used. `main.rs` looks for bytes that break this, guided by coverage; `tests/readers.rs` tries the corpus
//! and what is near it, in every run of the tests.

use std::{fs, sync::OnceLock};

use bench_suite::{
    decode::{Decoder, Sampler, Traced, calibrate},
    embedded,
    gate::{baseline::Baseline, counts, limits::Limits, loops, mutants},
    gguf::Gguf,
    model::Model,
    tasks::{
        outcome::Outcome,
        score::{Completion, function_alone, score},
    },
    tokenizer::Tokenizer,
};
use cost_model::{
    anchors::Anchors,
    criterion::read_criterion,
    evaluation::Evaluation,
    harness::read_results,
    history::History,
    money::Prices,
    page,
    per_table::{PerOptions, per_table, read_per_csv},
    record::Record,
    report::Report,
    scenario::Scenario,
    sparsity::SparsityTable,
};
use jiff::Timestamp;
use kernels_cpu::Cpu;
use threshold::{Inputs, PolicySpec};

/// A reader: its name, which is that of its folder in `corpus/`, and what is done with bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 15] = [
    ("gguf", |bytes| _ = gguf(bytes, one_thread())),
    ("trace", trace),
    ("tokenizer", tokenizer),
    ("policy", |bytes| text(bytes, policy)),
    ("record", |bytes| text(bytes, record)),
    ("evaluation", |bytes| text(bytes, evaluation)),
    ("scenario", |bytes| text(bytes, scenario)),
    ("anchors", |bytes| text(bytes, anchors)),
    ("per_csv", per_csv),
    ("prices_csv", |bytes| text(bytes, prices)),
    ("sparsity_csv", |bytes| text(bytes, sparsity)),
    ("harness", harness),
    ("criterion", criterion),
    ("completions", |bytes| text(bytes, completions)),
    ("gate", gate),
];

/// How far a model file came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Nothing,
    File,
    Model,
    Logits,
}

fn one_thread() -> &'static Cpu {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    CPU.get_or_init(|| Cpu::with_threads(1).unwrap())
}

/// Everything that can be done with a model file, errors ignored.
pub(crate) fn gguf(bytes: &[u8], cpu: &Cpu) -> Reached {
    let Ok(file) = Gguf::parse(bytes) else { return Reached::Nothing };
    if let Ok(tokenizer) = Tokenizer::load(&file) {
        if let Ok(tokens) = tokenizer.encode("ab <s>é日本 \n<|x|>", true) {
            tokenizer.decode(&tokens);
        }
        (0..tokenizer.vocabulary() as u32).for_each(|token| drop(tokenizer.piece(token).to_vec()));
    }
    let Ok(mut model) = Model::load(&file) else { return Reached::File };
    let mut reached = Reached::Model;
    for policy in ["dense", "fixed", "fixed:0.0", "top-k:density=0.3", "dynamic:miss=0.1"] {
        let Ok(mut decoder) = Decoder::new(&model, cpu, &policy.parse().unwrap(), &Inputs::default(), 3) else {
            continue;
        };
        let mut sampler = Sampler::new(0.7, 0.9, 1).unwrap();
        let mut token = 1;
        for _ in 0..3 {
            if decoder.push(token).is_err() {
                break;
            }
            let Ok(next) = decoder.logits().and_then(|logits| sampler.next(logits)) else { break };
            (token, reached) = (next, Reached::Logits);
        }
        drop(decoder);
        // Dense was with down as it lies; all others want it by neuron.
        if model.store_down_by_neuron(cpu).is_err() {
            break;
        }
    }
    let _ = calibrate(&model, cpu, &[1, 2]);
    reached
}

fn trace(bytes: &[u8]) {
    let Ok(traced) = Traced::parse(bytes, "a trace".to_owned()) else { return };
    let prompts = traced.prompts();
    assert!(prompts.iter().all(|prompt| !prompt.is_empty()) && !prompts.is_empty());
    let _ = [("residual", 2), ("gate", 4), ("up", 4)].map(|(part, width)| traced.layer(0, part, width));
}

/// Text that a model writes or is given, through the tokenizer of the embedded one.
fn tokenizer(bytes: &[u8]) {
    static TOKENIZER: OnceLock<Option<Tokenizer>> = OnceLock::new();
    let load = || Tokenizer::load(&Gguf::parse(embedded::model().ok()?).unwrap()).ok();
    text(bytes, |text| {
        assert!(text.starts_with(function_alone(text)));
        let Some(tokenizer) = TOKENIZER.get_or_init(load) else { return };
        for control in [false, true] {
            let _ = tokenizer.encode(text, control).map(|tokens| tokenizer.decode(&tokens));
        }
    });
}

fn text(bytes: &[u8], read: impl Fn(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
}

fn policy(text: &str) {
    let Ok(spec) = text.parse::<PolicySpec>() else { return };
    assert_eq!(spec.to_string().parse::<PolicySpec>().unwrap(), spec);
    let shape = threshold::Shape::new(2, 5).unwrap();
    let Ok(mut policy) = spec.build(shape, &Inputs::default()) else { return };
    let mut active = Vec::new();
    policy.select(1, &[0.5, -1.0, 0.0, 2.0, 0.25], &mut active).unwrap();
    assert!(active.is_sorted_by(|a, b| a < b) && active.iter().all(|&row| row < 5));
}

fn record(text: &str) {
    let Ok(record) = Record::parse(text, "a record") else { return };
    let again = Record::parse(&record.json().unwrap(), "its own text").unwrap();
    let Ok(records) = Record::merge([record, again]) else { return };
    page::history_html(&History::of(&records));
    static SCENARIO: OnceLock<Scenario> = OnceLock::new();
    let scenario = SCENARIO.get_or_init(|| Scenario::parse("models = [\"llama-2-70b\"]", "a scenario").unwrap());
    if let Ok(report) = Report::build(&records, scenario, &[], Timestamp::UNIX_EPOCH, Vec::new()) {
        page::html(&report);
        report.json().unwrap();
    }
}

fn evaluation(text: &str) {
    let Ok(evaluation) = Evaluation::parse(text, "a quality record") else { return };
    evaluation.origin();
    for policy in &evaluation.policies {
        evaluation.pass_rate(policy);
        evaluation.pass_rate_of(policy, true);
        evaluation.dense().map(|dense| policy.against(dense));
    }
}

fn scenario(text: &str) {
    static RECORDS: OnceLock<Vec<Record>> = OnceLock::new();
    let Ok(scenario) = Scenario::parse(text, "a scenario") else { return };
    let example = include_str!("../../cost-model/tests/fixtures/example-record.json");
    let records = RECORDS.get_or_init(|| vec![Record::parse(example, "an example").unwrap()]);
    if let Ok(report) = Report::build(records, &scenario, &[], Timestamp::UNIX_EPOCH, Vec::new()) {
        page::html(&report);
    }
}

fn anchors(text: &str) {
    if let Ok(anchors) = Anchors::parse(text, "anchors") {
        anchors.for_task("GSM8K");
    }
}

fn per_csv(bytes: &[u8]) {
    let Ok(rows) = read_per_csv(bytes, "a table") else { return };
    let anchored = PerOptions { anchors: Anchors::own().ok(), ratio: None };
    for options in [PerOptions::default(), anchored] {
        if let Ok(table) = per_table(&rows, &options) {
            table.write_csv(std::io::sink()).unwrap();
        }
    }
}

fn prices(text: &str) {
    let Ok(prices) = Prices::parse(text, "prices") else { return };
    prices.iter().for_each(|price| drop(prices.get(&price.item, &price.offer)));
    let _ = prices.machine_usd_per_hour(2, 16 << 30);
    let _ = prices.gpu_usd_per_hour("NVIDIA H200", 141 << 30, 80 << 30);
}

fn sparsity(text: &str) {
    let Ok(table) = SparsityTable::parse(text, "thresholds") else { return };
    let _ = table.threshold(0, 0.1).map(|threshold| table.density(0, threshold));
    let _ = table.global_threshold(0.1);
}

fn harness(bytes: &[u8]) {
    for record in read_results(bytes, "results.json", None).into_iter().flatten() {
        assert!((0.0..=1.0).contains(&record.pass_at_1), "{record:?}");
    }
}

/// The three files that Criterion leaves of a benchmark, with a zero byte between.
fn criterion(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    fs::create_dir(&new).unwrap();
    let mut parts = bytes.splitn(3, |&byte| byte == 0);
    for name in ["benchmark.json", "estimates.json", "sample.json"] {
        fs::write(new.join(name), parts.next().unwrap_or_default()).unwrap();
    }
    let _ = read_criterion(folder.path());
}

/// One a line, each second one taken as passed.
fn completions(text: &str) {
    let lines = text.lines().map(serde_json::from_str::<Completion>);
    let Ok(completions) = lines.collect::<Result<Vec<_>, _>>() else { return };
    let outcomes: Vec<Outcome> =
        (0..completions.len()).map(|i| if i % 2 == 0 { Outcome::Passed } else { Outcome::OutOfSteps }).collect();
    let _ = score(&completions, &outcomes, &[1, 2]);
}

/// What the gate compares with, and what it is told by valgrind and objdump.
fn gate(bytes: &[u8]) {
    let _ = counts::read(bytes, "counts");
    let _ = loops::read(bytes);
    text(bytes, |text| {
        for columns in [&counts::COLUMNS[..], &loops::COLUMNS] {
            let _ = Baseline::parse(text, "a baseline", columns).map(|b| b.changes(&b.rows, columns));
        }
        let _ = Limits::parse(text, "limits");
        let _ = mutants::parse(text, "mutants");
    });
}
