//! The operators in f64 with the error that f32 arithmetic may add, and a layer of random weights to try them on.

#![allow(dead_code, unreachable_pub)] // each test file uses its part
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    env,
    io::{Write, stderr},
    sync::Mutex,
};

use kernels_cpu::{Activation, Format, InputRounding, Isa, KERNELS, Kernel, Matrix, synthetic::Random};

/// Half a unit in the last place of f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;

/// Higham's gamma: the relative error that `k` roundings can pile up.
pub fn gamma(k: usize) -> f64 {
    let ku = k as f64 * U;
    ku / (1.0 - ku)
}

/// A value and how far from it a correct f32 kernel may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

impl Bounded {
    pub fn admits(self, got: f32) -> bool {
        (f64::from(got) - self.value).abs() <= self.error
    }
}

/// Smallest error of a result near zero: a few denormals.
const TINY: f64 = 1e-44;

/// `row . x`: `cols` products, as many additions, one scale multiply a block; and what the kernel loses of `x`.
pub fn dot(row: &[f32], x: &[f32], rounding: InputRounding) -> Bounded {
    let terms = || row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
    let magnitude: f64 = terms().map(f64::abs).sum();
    let of_blocks: f64 = row.chunks(32).zip(x.chunks(32)).map(|(row, x)| magnitude_of(row) * largest(x)).sum();
    let input = rounding.of_element * magnitude + rounding.of_block * of_blocks;
    // The rounded input is a little larger than the given one, and so are the roundings of its products.
    Bounded { value: terms().sum(), error: gamma(row.len() + 3) * (magnitude + input) + 1.001 * input + TINY }
}

fn magnitude_of(row: &[f32]) -> f64 {
    row.iter().map(|&w| f64::from(w.abs())).sum()
}

fn largest(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |m, &x| f64::from(x.abs()).max(m))
}

pub fn gate_up(gate: &[f32], up: &[f32], activation: Activation, x: &[f32], rounding: InputRounding) -> Bounded {
    let (g, u) = (dot(gate, x, rounding), dot(up, x, rounding));
    let act = |g: f64| match activation {
        Activation::Relu => g.max(0.0),
        Activation::Silu => g / (1.0 + (-g).exp()),
    };
    // SiLU's slope is at most 1.1; the f32 exponential and quotient add a few roundings that grow with |g|.
    let a = act(g.value);
    let a_error = 1.1 * g.error + (8.0 + g.value.abs()) * U * (a.abs() + g.value.abs() * 1e-6) + TINY;
    Bounded {
        value: a * u.value,
        error: a.abs() * u.error + u.value.abs() * a_error + a_error * u.error + 2.0 * U * (a * u.value).abs() + TINY,
    }
}

/// One column of `y += sum h[j] * W[active[j]]`.
pub fn down(y: f32, column: &[(f32, f32)]) -> Bounded {
    let terms = || column.iter().map(|&(h, w)| f64::from(h) * f64::from(w));
    let magnitude = f64::from(y).abs() + terms().map(f64::abs).sum::<f64>();
    Bounded { value: f64::from(y) + terms().sum::<f64>(), error: gamma(column.len() + 3) * magnitude + TINY }
}

/// Random weights in one format at an odd address.
pub struct Weights {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
    shift: usize,
}

impl Weights {
    pub fn random(format: Format, rows: usize, cols: usize, shift: usize, random: &mut Random) -> Self {
        let mut bytes = vec![0xa5; shift];
        for _ in 0..rows {
            format.encode(&random.vector(cols), &mut bytes).unwrap();
        }
        Self { format, rows, cols, bytes, shift }
    }

    pub fn view(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.rows, self.cols, &self.bytes[self.shift..]).unwrap()
    }

    /// Row `index` as f32.
    pub fn row(&self, index: u32) -> Vec<f32> {
        self.format.decode_row(self.view().row(index as usize).unwrap())
    }
}

/// Each row with probability `density`.
pub fn random_active(rows: usize, density: f32, random: &mut Random) -> Vec<u32> {
    (0..rows as u32).filter(|_| random.signed() < 2.0 * density - 1.0).collect()
}

/// The kernels that this processor runs. Others are named on standard error, once; where `THRESHER_REQUIRE_ISA=1`
/// the absence of the one that `THRESHER_ISA` names, or of any where it names none, fails the test instead.
pub fn runnable_kernels() -> impl Iterator<Item = &'static Kernel> {
    static SAID: Mutex<BTreeSet<Isa>> = Mutex::new(BTreeSet::new());
    let forced = env::var("THRESHER_ISA").ok().filter(|name| !name.is_empty()).map(|name| name.parse::<Isa>().unwrap());
    let required = env::var("THRESHER_REQUIRE_ISA").is_ok_and(|v| v == "1");
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        assert!(
            !required || forced.is_some_and(|f| f != isa),
            "THRESHER_REQUIRE_ISA=1, but this processor lacks {isa}"
        );
        if SAID.lock().unwrap().insert(isa) {
            // Not `eprintln!`, which the test harness swallows where the test passes.
            let _ = writeln!(stderr(), "skipped: {isa} kernels, this processor lacks {isa}");
        }
    }
    KERNELS.iter().filter(move |k| k.is_available() && forced.is_none_or(|f| f == k.isa()))
}
