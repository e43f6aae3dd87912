//! Every reader, on the corpus that fuzzing starts from and on bytes near it: it ends in a result or an error, never in a
//! panic. What once broke a reader lies in the corpus too. `ci/fuzz` goes on from here, guided by coverage.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../fuzz/targets.rs"]
mod targets;

use std::{fs, panic::catch_unwind, path::Path};

use kernels_cpu::synthetic::Random;
use targets::TARGETS;

/// Mutants of a reader; the same in every run.
const MUTANTS: usize = 400;

/// What numbers, lists, texts and tables are broken with.
const PIECES: [&[u8]; 20] = [
    b"0",
    b"-1",
    b"1e400",
    b"1e-320",
    b"NaN",
    b"18446744073709551616",
    b"\"",
    b"\\u0000",
    b"null",
    b"[]",
    b"{}",
    b",",
    b":",
    b"=",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    "é".as_bytes(),
    b" ",
];

fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

fn mutant(inputs: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = bytes.len().min(at + (1 << random.below(7)));
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => {
                let other = &inputs[random.below(inputs.len())].1;
                let from = random.below(other.len() + 1);
                let piece = other[from..other.len().min(from + (1 << random.below(7)))].to_vec();
                drop(bytes.splice(at..end, piece));
            }
            5 => drop(bytes.splice(at..end.min(at + 4), PIECES[random.below(PIECES.len())].iter().copied())),
            _ => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
        }
    }
    bytes
}

#[test]
fn the_corpus_and_what_is_near_it_break_no_reader() {
    for (number, (name, read)) in TARGETS.into_iter().enumerate() {
        let inputs = inputs(name);
        for (path, bytes) in &inputs {
            assert!(catch_unwind(|| read(bytes)).is_ok(), "{path}");
        }
        for seed in 0..MUTANTS {
            let bytes = mutant(&inputs, &mut Random::new((number * MUTANTS + seed) as u64));
            if catch_unwind(|| read(&bytes)).is_err() {
                let kept = std::env::temp_dir().join(format!("thresher-{name}-{seed}"));
                fs::write(&kept, &bytes).unwrap();
                panic!("{name} panicked: {}", kept.display());
            }
        }
    }
}

/// So that none is forgotten, and none is tried in vain.
#[test]
fn every_folder_of_the_corpus_has_a_reader() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut names = TARGETS.map(|(name, _)| name.to_owned());
    folders.sort();
    names.sort();
    assert_eq!(folders, names);
}
