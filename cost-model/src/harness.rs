//! Results files of outside harnesses as quality records: evalplus and lm-evaluation-harness.
//!
//! Both are read by their content: evalplus writes `{"date", "hash", "eval": {task: [sample]}}`, lm-evaluation-harness
//! `{"results": {task: {"pass@1,FILTER": share}}, "n-samples", "config", "model_name", "git_hash", …}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    origin::Origin,
    pass_rate::{pass_at_k, wilson_95},
    quality::Accuracy,
};

/// pass@1 of a model on a benchmark, as somebody's harness found it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityRecord {
    /// Model.
    pub model: String,
    /// Benchmark: `humaneval`, `humaneval+`, `mbpp` …
    pub benchmark: String,
    /// Mean over problems, from 0 to 1.
    pub pass_at_1: f64,
    /// Problems.
    pub problems: u64,
    /// Wilson's 95 % interval.
    pub interval_95: (f64, f64),
    /// Which file said so.
    pub origin: Origin,
}

impl QualityRecord {
    /// The record as a known accuracy.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy::Known { value: self.pass_at_1, origin: self.origin.clone() }
    }
}

/// Why a results file has no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HarnessError {
    /// Not JSON, or a field of another type.
    #[error("{name}: {source}; wanted a results file of evalplus or lm-evaluation-harness")]
    Json {
        /// The file.
        name: String,
        /// What was found.
        source: serde_json::Error,
    },
    /// Read, but not to be used.
    #[error("{name}: {what}")]
    Content {
        /// The file.
        name: String,
        /// What is wrong, and what was wanted.
        what: String,
    },
}

/// Reads a results file; `name` stands for it in errors and origins. evalplus does not write the model's name: `model`
/// does, and else the file's name.
///
/// # Errors
/// [`HarnessError`]
pub fn read_results(bytes: &[u8], name: &str, model: Option<&str>) -> Result<Vec<QualityRecord>, HarnessError> {
    let results: Results =
        serde_json::from_slice(bytes).map_err(|source| HarnessError::Json { name: name.to_owned(), source })?;
    let records = match results {
        Results::EvalPlus(file) => evalplus(&file, name, model),
        Results::LmEval(file) => lm_eval(&file, name, model),
    };
    records.map_err(|what| HarnessError::Content { name: name.to_owned(), what })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Results {
    EvalPlus(EvalPlus),
    LmEval(LmEval),
}

#[derive(Deserialize)]
struct EvalPlus {
    date: Option<String>,
    hash: Option<String>,
    eval: BTreeMap<String, Vec<Sample>>,
}

#[derive(Deserialize)]
struct Sample {
    base_status: String,
    /// Missing or null if only the base tests were run.
    plus_status: Option<String>,
}

#[derive(Deserialize)]
struct LmEval {
    results: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    #[serde(rename = "n-samples", default)]
    samples: BTreeMap<String, Samples>,
    model_name: Option<String>,
    git_hash: Option<String>,
}

#[derive(Deserialize)]
struct Samples {
    effective: u64,
}

const PASS: &str = "pass";

fn evalplus(file: &EvalPlus, name: &str, model: Option<&str>) -> Result<Vec<QualityRecord>, String> {
    let (Some(first), problems) = (file.eval.keys().next(), file.eval.len() as u64) else {
        return Err("no problem in `eval`".to_owned());
    };
    // `HumanEval/0`, `Mbpp/2`.
    let benchmark = first.split('/').next().unwrap_or(first).to_lowercase();
    let from = name.rsplit('/').next().unwrap_or(name);
    let stem = ["_eval_results.json", ".eval_results.json", ".json"].iter().find_map(|end| from.strip_suffix(end));
    let citation = format!(
        "evalplus, {name}, {}, dataset {}",
        file.date.as_deref().unwrap_or("undated"),
        file.hash.as_deref().unwrap_or("unnamed")
    );
    let record = |benchmark: String, passed: &dyn Fn(&Sample) -> bool| {
        let mut sum = 0.0;
        for (task, samples) in &file.eval {
            let count = samples.iter().filter(|sample| passed(sample)).count() as u64;
            sum += pass_at_k(samples.len() as u64, count, 1).map_err(|e| format!("{task}: {e}"))?;
        }
        let pass_at_1 = sum / problems as f64;
        Ok::<_, String>(QualityRecord {
            model: model.or(stem).unwrap_or(from).to_owned(),
            benchmark,
            pass_at_1,
            problems,
            interval_95: wilson_95(pass_at_1, problems).map_err(|e| e.to_string())?,
            origin: Origin::published(citation.clone()),
        })
    };
    let mut records = vec![record(benchmark.clone(), &|sample| sample.base_status == PASS)?];
    if file.eval.values().flatten().all(|sample| sample.plus_status.is_some()) {
        let both = |sample: &Sample| sample.base_status == PASS && sample.plus_status.as_deref() == Some(PASS);
        records.push(record(benchmark + "+", &both)?);
    }
    Ok(records)
}

fn lm_eval(file: &LmEval, name: &str, model: Option<&str>) -> Result<Vec<QualityRecord>, String> {
    let mut records = Vec::new();
    for (task, metrics) in &file.results {
        // `pass@1,create_test`, `pass_at_1,none`; their `_stderr` twins end otherwise.
        let metric = |key: &&String| matches!(key.split(',').next(), Some("pass@1" | "pass_at_1"));
        let Some(key) = metrics.keys().find(metric) else { continue };
        let share = metrics[key].as_f64().filter(|share| (0.0..=1.0).contains(share));
        let pass_at_1 = share.ok_or_else(|| format!("{task}: `{key}` is {}; wanted 0 to 1", metrics[key]))?;
        let samples = file.samples.get(task);
        let problems =
            samples.ok_or_else(|| format!("{task}: no count in `n-samples`; wanted how many were tried"))?.effective;
        let hash = file.git_hash.as_deref().unwrap_or("unnamed");
        records.push(QualityRecord {
            model: model.or(file.model_name.as_deref()).unwrap_or("unnamed").to_owned(),
            benchmark: task.clone(),
            pass_at_1,
            problems,
            interval_95: wilson_95(pass_at_1, problems).map_err(|e| format!("{task}: {e}"))?,
            origin: Origin::published(format!("lm-evaluation-harness, {name}, {key}, commit {hash}")),
        });
    }
    if records.is_empty() {
        return Err("no task with pass@1 in `results`; run humaneval or mbpp".to_owned());
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUS: &str = r#"{"date": "2026-05-01 10:00", "hash": "fe585eb4df8c88d844eeb463ea4d0302", "eval": {
        "HumanEval/0": [{"task_id": "HumanEval/0", "solution": "x", "base_status": "pass", "plus_status": "pass",
                         "base_fail_tests": [], "plus_fail_tests": []}],
        "HumanEval/1": [{"task_id": "HumanEval/1", "solution": "x", "base_status": "pass", "plus_status": "fail"}],
        "HumanEval/2": [{"task_id": "HumanEval/2", "solution": "x", "base_status": "fail", "plus_status": "pass"}],
        "HumanEval/3": [{"task_id": "HumanEval/3", "solution": "x", "base_status": "timeout", "plus_status": "fail"}]}}"#;

    const LM_EVAL: &str = r#"{"results": {"humaneval": {"alias": "humaneval", "pass@1,create_test": 0.25,
        "pass@1_stderr,create_test": 0.034}, "arc": {"acc,none": 0.5}},
        "n-samples": {"humaneval": {"original": 164, "effective": 164}, "arc": {"original": 9, "effective": 9}},
        "config": {"model": "hf"}, "git_hash": "abc123", "model_name": "codellama/CodeLlama-7b-hf", "date": 1.7e9}"#;

    #[test]
    fn evalplus_files_are_read() {
        let records = read_results(PLUS.as_bytes(), "out/llama_temp_0.0_eval_results.json", None).unwrap();
        let found: Vec<_> = records.iter().map(|r| (r.benchmark.as_str(), r.pass_at_1, r.problems)).collect();
        assert_eq!(found, [("humaneval", 0.5, 4), ("humaneval+", 0.25, 4)]);
        assert_eq!(records[0].model, "llama_temp_0.0");
        assert_eq!(records[0].interval_95, wilson_95(0.5, 4).unwrap());
        assert!(records[0].origin.to_string().contains("fe585eb4"));
        assert_eq!(records[1].accuracy().value(), Some(0.25));
        let base = PLUS.replace(r#""plus_status": "pass""#, r#""plus_status": null"#);
        assert_eq!(read_results(base.as_bytes(), "x", Some("mine")).unwrap().len(), 1);
        let twice = PLUS.replacen("[{", r#"[{"base_status": "fail", "plus_status": "fail"}, {"#, 1);
        let records = read_results(twice.as_bytes(), "x", Some("mine")).unwrap();
        assert_eq!(records[0].pass_at_1, 0.375);
    }

    #[test]
    fn lm_evaluation_harness_files_are_read() {
        let records = read_results(LM_EVAL.as_bytes(), "results.json", None).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].pass_at_1, records[0].problems), (0.25, 164));
        assert_eq!(records[0].model, "codellama/CodeLlama-7b-hf");
        assert_eq!(records[0].interval_95, wilson_95(0.25, 164).unwrap());
        let json = serde_json::to_string(&records).unwrap();
        assert_eq!(serde_json::from_str::<Vec<QualityRecord>>(&json).unwrap(), records);
    }

    #[test]
    fn other_files_are_refused() {
        for (bytes, word) in [
            ("{", "EOF"),
            ("{}", "evalplus or lm-evaluation-harness"),
            (r#"{"eval": {}}"#, "no problem"),
            (r#"{"eval": {"HumanEval/0": []}}"#, "HumanEval/0"),
            (r#"{"results": {"arc": {"acc,none": 0.5}}}"#, "pass@1"),
            (r#"{"results": {"humaneval": {"pass@1,none": 0.5}}}"#, "n-samples"),
            (
                r#"{"results": {"humaneval": {"pass@1,none": 7}}, "n-samples": {"humaneval": {"effective": 164}}}"#,
                "0 to 1",
            ),
        ] {
            let error = read_results(bytes.as_bytes(), "file.json", None).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("file.json"), "{error}");
        }
    }
}
