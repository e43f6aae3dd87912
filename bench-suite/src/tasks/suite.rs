//! The two sets of problems: those held out, and those to train on.

use std::collections::HashSet;

use kernels_cpu::synthetic::Random;

use super::{
    families,
    family::Family,
    problem::{HIDDEN, Problem},
    split::{is_held_out, normal_form},
};

/// Problems of each family in the held-out set.
pub const PER_FAMILY: usize = 18;
const HELD_OUT_SEED: u64 = 0x7468_7265_7368;
/// Draws of one family before it counts as exhausted.
const DRAWS: usize = 20_000;

/// The held-out problems, the same on every machine: [`PER_FAMILY`] of each family, each with a solution of its own.
pub fn held_out() -> Vec<Problem> {
    held_out_with(HIDDEN)
}

/// The same problems with another number of hidden tests.
pub fn held_out_with(hidden: usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, family) in families::all().enumerate() {
        let mut random = Random::new(HELD_OUT_SEED.wrapping_add(index as u64) << 8);
        let mut solutions = HashSet::new();
        for _ in 0..DRAWS {
            if solutions.len() == PER_FAMILY {
                break;
            }
            let mut begin = Random::new(random.bits());
            let Some(problem) = Problem::draw(family, solutions.len(), hidden, &mut begin) else { continue };
            let fits = !family.seen || is_held_out(&problem);
            if fits && solutions.insert(normal_form(&problem.canonical_solution)) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// The family of a problem by its `task_id`; `None` where that names none of this program's.
pub fn family(task_id: &str) -> Option<&'static Family> {
    let name = task_id.strip_prefix("thresher/")?.split('/').next()?;
    families::all().find(|family| family.name == name)
}

/// Training problems, without end: seen families in turn, no solution that may be held out.
pub fn training(seed: u64) -> impl Iterator<Item = Problem> {
    let families: Vec<&'static Family> = families::all().filter(|family| family.seen).collect();
    let mut random = Random::new(seed);
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let family = families[number % families.len()];
            let problem = Problem::draw(family, number / families.len(), HIDDEN, &mut random);
            let Some(problem) = problem.filter(|problem| !is_held_out(problem)) else { continue };
            number += 1;
            return Some(problem);
        }
    })
}
