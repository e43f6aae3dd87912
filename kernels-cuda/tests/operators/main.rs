//! What users rely on, of every operator in every format. The same properties run on the emulated
//! kernels, in several orders of threads, and on the GPU where there is one.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod batch;
mod exact;
mod machine;
mod problem;
mod refusals;
mod select;
mod steps;

use exact::{exact_dot, exact_down, exact_gated};
use kernels_cuda::{Activation, Format};
use machine::{Machine, gpu};
use problem::{Problem, problem, problem_of};
use proptest::{prelude::*, test_runner::TestRunner};

const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Silu, Activation::Identity];

type Property = fn(&dyn Machine, &Problem) -> Result<(), TestCaseError>;

/// Everything that the operators answer to a problem, outputs poisoned before.
#[derive(Debug, PartialEq)]
struct Answers {
    gemv: Vec<f32>,
    gate_up: [Vec<f32>; 3],
    down: Vec<f32>,
}

fn solve(machine: &dyn Machine, p: &Problem) -> Result<Answers, TestCaseError> {
    let fail = |operator: &str, e: String| TestCaseError::fail(format!("{operator}: {e}"));
    let poisoned = || vec![f32::NAN; p.active.len()];

    let mut gemv = poisoned();
    machine.gemv(&p.gate, &p.x, &p.active, &mut gemv).map_err(|e| fail("gemv", e))?;

    let mut gate_up = [poisoned(), poisoned(), poisoned()];
    for (h, activation) in gate_up.iter_mut().zip(ACTIVATIONS) {
        machine.gate_up([&p.gate, &p.up], activation, &p.x, &p.active, h).map_err(|e| fail("gate_up", e))?;
    }

    let mut down = p.y.clone();
    machine.down(&p.up, &p.h, &p.active, &mut down).map_err(|e| fail("down", e))?;
    Ok(Answers { gemv, gate_up, down })
}

fn agrees_with_f64(machine: &dyn Machine, p: &Problem) -> Result<(), TestCaseError> {
    let answers = solve(machine, p)?;
    for (j, &row) in p.active.iter().enumerate() {
        let gate = exact_dot(p.gate.row(row), &p.x);
        let up = exact_dot(p.up.row(row), &p.x);
        gate.check(answers.gemv[j], &format!("gemv, row {row}"))?;
        for (h, activation) in answers.gate_up.iter().zip(ACTIVATIONS) {
            exact_gated(activation, gate, up).check(h[j], &format!("gate_up {activation:?}, row {row}"))?;
        }
    }
    for (c, &got) in answers.down.iter().enumerate() {
        exact_down(p, c).check(got, &format!("down, column {c}"))?;
    }
    Ok(())
}

/// A second run gives the same bits, and so does each row computed alone: which other rows are active
/// changes nothing.
fn repeats_to_the_bit(machine: &dyn Machine, p: &Problem) -> Result<(), TestCaseError> {
    let answers = solve(machine, p)?;
    prop_assert_eq!(&answers, &solve(machine, p)?);
    for (j, &row) in p.active.iter().enumerate() {
        let alone = Problem { active: vec![row], h: vec![p.h[j]], ..p.clone() };
        let alone = solve(machine, &alone)?;
        prop_assert_eq!(alone.gemv[0].to_bits(), answers.gemv[j].to_bits());
        for (one, all) in alone.gate_up.iter().zip(&answers.gate_up) {
            prop_assert_eq!(one[0].to_bits(), all[j].to_bits());
        }
    }
    Ok(())
}

/// A NaN weight makes its own row NaN through either activation, and no other row; a NaN in `h`
/// reaches every column.
fn carries_nan(machine: &dyn Machine, p: &Problem) -> Result<(), TestCaseError> {
    let Some(&poisoned) = p.active.last() else {
        return Ok(());
    };
    let mut p = p.clone();
    p.gate.poison(poisoned);
    if let Some(last) = p.h.last_mut() {
        *last = f32::NAN;
    }
    let answers = solve(machine, &p)?;
    for (j, &row) in p.active.iter().enumerate() {
        prop_assert_eq!(answers.gemv[j].is_nan(), row == poisoned);
        for h in &answers.gate_up {
            prop_assert_eq!(h[j].is_nan(), row == poisoned);
        }
    }
    prop_assert!(answers.down.iter().all(|y| y.is_nan()));
    Ok(())
}

/// More rows than the walkers of `down` take in one step, and as many as leave an odd rest.
fn many_neurons() -> impl Strategy<Value = Problem> {
    let format = prop::sample::select(Format::ALL.to_vec());
    (format, prop::sample::select(vec![255_usize, 600, 1100]))
        .prop_flat_map(|(format, rows)| problem_of(format, rows, 32))
}

/// Rows of several steps, in every format.
fn long_rows() -> impl Strategy<Value = Problem> {
    let format = prop::sample::select(Format::ALL.to_vec());
    (format, prop::sample::select(vec![2048_usize, 2080, 3072]))
        .prop_flat_map(|(format, cols)| problem_of(format, 3, cols))
}

fn check(machine: &dyn Machine, cases: u32, problems: &impl Strategy<Value = Problem>, property: Property) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(problems, |p| property(machine, &p)).unwrap();
}

fn check_all(machine: &dyn Machine, cases: u32, property: Property) {
    check(machine, cases, &problem(), property);
    check(machine, cases.div_ceil(8), &many_neurons(), property);
    check(machine, cases.div_ceil(8), &long_rows(), property);
}

#[cfg(emulated)]
mod emulated {
    use super::*;
    use kernels_cuda::emulated::Emulator;

    const ASCENDING: Emulator = Emulator { multiprocessors: 1, order: 0, misaligned: false, hopper: true };
    const SHUFFLED: Emulator = Emulator { order: 0x5eed, ..ASCENDING };
    const MISALIGNED: Emulator = Emulator { misaligned: true, ..ASCENDING };

    #[test]
    fn operators_agree_with_f64() {
        check_all(&ASCENDING, 48, agrees_with_f64);
    }

    #[test]
    fn operators_agree_with_f64_in_another_order_of_threads() {
        check_all(&SHUFFLED, 24, agrees_with_f64);
    }

    #[test]
    fn operators_agree_with_f64_on_misaligned_memory() {
        check_all(&MISALIGNED, 24, agrees_with_f64);
    }

    #[test]
    fn operators_repeat_to_the_bit() {
        check_all(&ASCENDING, 8, repeats_to_the_bit);
    }

    #[test]
    fn operators_carry_nan() {
        check_all(&ASCENDING, 8, carries_nan);
    }

    /// The result is a matter of the arguments alone.
    #[test]
    fn order_of_threads_alignment_and_size_of_gpu_change_no_bit() {
        fn same(_: &dyn Machine, p: &Problem) -> Result<(), TestCaseError> {
            let wanted = solve(&ASCENDING, p)?;
            let large = Emulator { multiprocessors: 132, ..ASCENDING };
            for other in [SHUFFLED, MISALIGNED, large] {
                prop_assert_eq!(&solve(&other, p)?, &wanted);
            }
            Ok(())
        }
        check_all(&ASCENDING, 16, same);
    }
}

/// Where build.rs could not compile the kernels for the host.
#[cfg(not(emulated))]
#[test]
fn emulated_kernels_skipped_no_cxx_compiler() {
    let reason = option_env!("NO_EMULATION_BECAUSE").unwrap_or("feature `emulation` is off");
    machine::say(&format!("skipped: emulated tests of {} CUDA kernels: {reason}", kernels_cuda::KERNELS.len()));
}

mod native {
    use super::*;

    #[test]
    fn operators_agree_with_f64() {
        if let Some(gpu) = gpu() {
            check_all(&*gpu, 256, agrees_with_f64);
        }
    }

    #[test]
    fn operators_repeat_to_the_bit() {
        if let Some(gpu) = gpu() {
            check_all(&*gpu, 64, repeats_to_the_bit);
        }
    }

    #[test]
    fn operators_carry_nan() {
        if let Some(gpu) = gpu() {
            check_all(&*gpu, 64, carries_nan);
        }
    }
}
