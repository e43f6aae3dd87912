//! Instruction counts out of what gungraun's benches print: a JSON summary of each.

use std::{collections::BTreeMap, io::Read};

use serde::Deserialize;

use super::baseline::{Column, Rows, Worse};
use crate::{Failure, Result};

/// Valgrind counts the same whatever the machine does beside; what is left is libc, which differs between systems.
pub const COLUMNS: [Column; 1] = [Column { name: "instructions", worse: Worse::More(0.01) }];

/// No bench is as short as this: callgrind has lost it, as it does where functions within have its name in theirs.
const LEAST: f64 = 1000.0;

/// Callgrind's name for instructions executed.
const INSTRUCTIONS: &str = "Ir";

#[derive(Deserialize)]
struct Summary {
    function_name: String,
    id: Option<String>,
    profiles: Vec<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Metric {
    values: Values,
}

/// Beside this count there is that of the run before, if there was one; which of them is there is part of the type.
#[derive(Deserialize)]
struct Values {
    new: Option<f64>,
}

/// Reads summaries, one after the other; `name` stands for the file in errors. `gate_up.avx2_q8_0` becomes
/// `gate_up/avx2/q8_0`, as kernels are called everywhere.
///
/// # Errors
/// Not summaries of gungraun, or none; the same bench twice; one that counts next to nothing.
pub fn read(summaries: impl Read, name: &str) -> Result<Rows> {
    let wanted = "wanted what a bench prints with `--output-format=json`";
    let refused = |what: String| Failure::input(format!("{name}: {what}: {wanted}"));
    let mut rows = Rows::new();
    for summary in serde_json::Deserializer::from_reader(summaries).into_iter::<Summary>() {
        let summary = summary.map_err(|e| refused(e.to_string()))?;
        let bench = match &summary.id {
            Some(id) => format!("{}/{}", summary.function_name, id.replacen('_', "/", 1)),
            None => summary.function_name.clone(),
        };
        let counts = summary.profiles.iter().filter_map(|p| p.data.total.metrics.get(INSTRUCTIONS)?.values.new);
        let count = counts.fold(None, |sum, count| Some(sum.unwrap_or(0.0) + count));
        let count = count.ok_or_else(|| refused(format!("{bench} has no count of instructions")))?;
        if count < LEAST {
            return Err(refused(format!("{bench} executes {count} instructions, which cannot be all of it")));
        }
        if rows.insert(bench.clone(), vec![count as u64]).is_some() {
            return Err(refused(format!("{bench} stands there twice")));
        }
    }
    if rows.is_empty() { Err(refused("no bench in it".to_owned())) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(function: &str, id: &str, values: &str) -> String {
        format!(
            r#"{{"function_name": "{function}", "id": {id}, "version": "7", "profiles": [{{"tool": "Callgrind", "data":
            {{"parts": [], "total": {{"metrics": {{"Ir": {{"values": {values}}}}}}}}}}}]}}"#
        )
    }

    #[test]
    fn summaries_are_read_whether_there_was_a_run_before_or_not() {
        let text = summary("gate_up", r#""avx2_q8_0""#, r#"{"new": 130692}"#)
            + "\n"
            + &summary("top_k", r#""scalar""#, r#"{"new": 7000, "old": 9}"#)
            + &summary("read", "null", r#"{"new": 3000}"#);
        let rows: Vec<_> = read(text.as_bytes(), "x").unwrap().into_iter().collect();
        let wanted = [("gate_up/avx2/q8_0", 130_692), ("read", 3000), ("top_k/scalar", 7000)];
        assert_eq!(rows, wanted.map(|(name, count)| (name.to_owned(), vec![count])));
    }

    #[test]
    fn anything_else_is_refused() {
        let twice = summary("a", "null", r#"{"new": 1000}"#).repeat(2);
        let lost = summary("a", "null", r#"{"new": 80}"#);
        let without = summary("a", "null", r#"{"old": 1}"#);
        for (text, word) in [
            ("", "no bench"),
            ("{}", "missing field"),
            ("x", "expected"),
            (&twice, "twice"),
            (&without, "no count"),
            (&lost, "80"),
        ] {
            let failure = read(text.as_bytes(), "counts.json").unwrap_err();
            assert!(failure.message.contains(word) && failure.message.contains("counts.json"), "{}", failure.message);
        }
    }
}
