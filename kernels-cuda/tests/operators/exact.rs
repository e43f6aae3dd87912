//! Exact answers, in f64, and how far from them a kernel may be.

use kernels_cuda::Activation;
use proptest::prelude::*;

use crate::problem::Problem;

/// 2^-24: the most that one f32 rounding changes a result, relative to it.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// An exact value and how far from it a kernel may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact {
    pub(crate) value: f64,
    pub(crate) tolerance: f64,
}

impl Exact {
    pub(crate) fn check(self, got: f32, what: &str) -> Result<(), TestCaseError> {
        let error = (f64::from(got) - self.value).abs();
        prop_assert!(
            error <= self.tolerance,
            "{what}: {got} is {error:e} from {}, allowed {:e}",
            self.value,
            self.tolerance
        );
        Ok(())
    }
}

/// The sum of products, to the bound that `Gpu::gemv_on_device` promises.
pub(crate) fn exact_dot(row: &[f64], x: &[f32]) -> Exact {
    let terms = row.iter().zip(x).map(|(w, &x)| w * f64::from(x));
    let size: f64 = terms.clone().map(f64::abs).sum();
    Exact {
        value: terms.sum(),
        tolerance: (row.len() as f64 / 32.0 + 16.0) * ROUNDING * size + f64::from(f32::MIN_POSITIVE),
    }
}

/// act(g) * u from sums within their bounds. Both activations have a slope of at most 1.1; SiLU adds
/// the errors of exp, sum and quotient, the product one rounding.
pub(crate) fn exact_gated(activation: Activation, gate: Exact, up: Exact) -> Exact {
    let activated = match activation {
        Activation::Relu => gate.value.max(0.0),
        Activation::Silu => gate.value / (1.0 + (-gate.value).exp()),
        Activation::Identity => gate.value,
    };
    let gate_error = 1.1 * gate.tolerance + 8.0 * ROUNDING * activated.abs();
    let value = activated * up.value;
    Exact {
        value,
        tolerance: gate_error * (up.value.abs() + up.tolerance)
            + activated.abs() * up.tolerance
            + ROUNDING * value.abs() * 2.0
            + f64::from(f32::MIN_POSITIVE),
    }
}

/// Column `c` of the accumulated output, to the bound that `Gpu::down_on_device` promises.
pub(crate) fn exact_down(problem: &Problem, c: usize) -> Exact {
    let terms = problem.active.iter().zip(&problem.h);
    let terms = terms.map(|(&row, &h)| problem.up.row(row)[c] * f64::from(h));
    let before = f64::from(problem.y[c]);
    let size = before.abs() + terms.clone().map(f64::abs).sum::<f64>();
    Exact {
        value: before + terms.sum::<f64>(),
        tolerance: (problem.active.len() as f64 / 32.0 + 24.0) * ROUNDING * size + f64::from(f32::MIN_POSITIVE),
    }
}
