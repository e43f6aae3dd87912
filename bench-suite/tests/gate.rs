//! The files in `ci/` that gates compare with or plant, and programs that are none of this gate.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bench_suite::{
    gate::{
        baseline::{Baseline, Column},
        counts,
        limits::{Limits, limit},
        loops, mutants,
        worker::Worker,
    },
    workload::record_format,
};

const COUNTS: &str = include_str!("../../ci/instructions.txt");
const LOOPS: &str = include_str!("../../ci/hot-loops.txt");

/// Of another compiler the verdicts are skipped: a baseline that is not of the pinned one would gate nothing.
#[test]
fn baselines_are_of_the_compiler_that_is_pinned() {
    let toolchain = include_str!("../../rust-toolchain.toml");
    let pinned = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let files: [(&str, &[Column]); 2] = [(COUNTS, &counts::COLUMNS), (LOOPS, &loops::COLUMNS)];
    for (text, columns) in files {
        let baseline = Baseline::parse(text, "a baseline", columns).unwrap();
        assert_eq!(baseline.compiler.split_whitespace().nth(1), Some(pinned), "bless it with that compiler");
    }
}

/// A kernel is counted on each instruction set that valgrind has, in each format, or its loops are in the list.
#[test]
fn every_kernel_is_in_a_baseline() {
    let counts = Baseline::parse(COUNTS, "counts", &counts::COLUMNS).unwrap();
    let loops = Baseline::parse(LOOPS, "loops", &loops::COLUMNS).unwrap();
    for kernel in kernels_cpu::KERNELS {
        let isa = kernel.isa().to_string();
        if isa.starts_with("avx512") {
            let files = ["dot", "accumulate"].map(|part| format!("{isa}::{part}"));
            let has = |file: &String| loops.rows.keys().any(|name| name.starts_with(file.as_str()));
            assert!(files.iter().all(has), "{kernel:?} has no loop in ci/hot-loops.txt");
        } else {
            for operator in kernels_cpu::Operator::ALL {
                let name = kernel.name(operator);
                assert!(counts.rows.contains_key(&name), "{name} is not in ci/instructions.txt");
            }
        }
    }
}

#[test]
fn every_format_has_limits() {
    let limits = Limits::parse(include_str!("../../ci/limits.toml"), "limits").unwrap();
    for (kernel, operator) in
        kernels_cpu::KERNELS.iter().flat_map(|k| ["gate_up", "down"].map(|operator| (k, operator)))
    {
        for table in [&limits.roof, &limits.dense, &limits.scalar] {
            let found = limit(table, operator, record_format(kernel.format()));
            assert!(found.is_some(), "{operator} of {kernel:?} lacks a limit in ci/limits.toml");
        }
    }
}

/// `cargo gate mutants` takes too long for every change, but its list is kept up to date with the code.
#[test]
fn every_fault_can_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for mutant in mutants::parse(include_str!("../../ci/mutants.toml"), "ci/mutants.toml").unwrap() {
        for change in &mutant.change {
            let [before, after] = change.apply(&root).unwrap();
            assert_ne!(before, after, "{}", mutant.name);
        }
    }
}

#[test]
fn programs_that_are_no_workers_are_refused() {
    let refused = |program: &str, arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Worker::start(Path::new(program), &arguments).unwrap_err().message
    };
    let thresher = env!("CARGO_BIN_EXE_thresher");
    // As a build from before there was a gate.
    assert!(refused(thresher, &["no-such-command"]).contains("ends without an answer"));
    assert!(refused(thresher, &["--version"]).contains("wanted `thresher-gate-worker/1`"));
    assert!(refused("no/such/program", &[]).contains("no/such/program"));
}
