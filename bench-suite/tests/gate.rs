//! The files in `ci/` that gates compare with.

#![allow(clippy::unwrap_used)]

use bench_suite::gate::{
    baseline::{Baseline, Column},
    counts, loops,
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
