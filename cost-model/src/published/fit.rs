//! The most probable parameters given rows: each row's log time with an error of a tenth, each parameter's logarithm near what
//! was believed before.
//!
//! Gauss-Newton steps over the logarithms; a row that is off by more than two errors pulls no harder than one that is off by two.
//! With more parameters than a family has rows, the priors decide: that is the shrinkage towards what is common to all.

use super::parameter::{Parameter, Space};
use super::time::Setup;

/// Standard deviation of a row's log time.
const ROW_ERROR: f64 = 0.1;
/// Errors from which on a row pulls no harder.
const OUTLIER: f64 = 2.0;
const STEPS: usize = 25;
/// Of a logarithm, in one step.
const LONGEST_STEP: f64 = 0.7;
const CONVERGED: f64 = 1e-4;
const NUDGE: f64 = 1e-5;

/// A row to learn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson<'a> {
    pub(super) setup: &'a Setup,
    pub(super) ln_seconds_per_token: f64,
    /// How much it counts; rows of one device and engine class tell less together than as many of different ones.
    pub(super) weight: f64,
}

/// Parameters, as logarithms, by place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fitted(pub(super) Vec<f64>);

impl Fitted {
    pub(super) fn get(&self, parameter: Parameter) -> f64 {
        self.0.get(parameter.0).copied().unwrap_or(0.0).exp()
    }
}

/// Which parameters a row depends on, in order.
pub(super) fn used_by(setup: &Setup, fitted: &Fitted) -> Vec<Parameter> {
    let mut used = Vec::new();
    setup.ln_seconds_per_token(&mut |parameter| {
        used.push(parameter);
        fitted.get(parameter)
    });
    used.sort_unstable();
    used.dedup();
    used
}

/// Fits from `start`.
pub(super) fn fit(space: &Space, lessons: &[Lesson<'_>], start: &Fitted) -> Fitted {
    let priors = space.priors();
    let used: Vec<Vec<Parameter>> = lessons.iter().map(|lesson| used_by(lesson.setup, start)).collect();
    let mut at = start.clone();
    for _ in 0..STEPS {
        let mut normal = Normal::new(space.len());
        for parameter in space.all() {
            let precision = space.describe(parameter).spread.powi(-2);
            normal.add(parameter.0, parameter.0, precision);
            normal.right[parameter.0] += precision * (priors[parameter.0] - at.0[parameter.0]);
        }
        for (lesson, used) in lessons.iter().zip(&used) {
            learn(&mut normal, lesson, used, &at);
        }
        let Some(step) = normal.solve() else { break };
        let longest = step.iter().fold(0.0_f64, |longest, s| longest.max(s.abs()));
        if !longest.is_finite() {
            break;
        }
        let scale = (LONGEST_STEP / longest.max(LONGEST_STEP)).min(1.0);
        for (value, step) in at.0.iter_mut().zip(&step) {
            *value += scale * step;
        }
        if longest < CONVERGED {
            break;
        }
    }
    at
}

fn learn(normal: &mut Normal, lesson: &Lesson<'_>, used: &[Parameter], at: &Fitted) {
    let predicted = |nudged: Option<Parameter>| {
        lesson.setup.ln_seconds_per_token(&mut |parameter| {
            let value = at.get(parameter);
            if nudged == Some(parameter) { value * NUDGE.exp() } else { value }
        })
    };
    let here = predicted(None);
    let residual = lesson.ln_seconds_per_token - here;
    if !residual.is_finite() {
        return;
    }
    let errors = residual.abs() / ROW_ERROR;
    let weight = lesson.weight / ROW_ERROR.powi(2) * (OUTLIER / errors.max(OUTLIER));
    let slopes: Vec<f64> = used.iter().map(|&p| (predicted(Some(p)) - here) / NUDGE).collect();
    for (p, slope) in used.iter().zip(&slopes) {
        normal.right[p.0] += weight * slope * residual;
        for (q, other) in used.iter().zip(&slopes) {
            normal.add(p.0, q.0, weight * slope * other);
        }
    }
}

/// Symmetric equations of positive definite matrix.
struct Normal {
    size: usize,
    matrix: Vec<f64>,
    right: Vec<f64>,
}

impl Normal {
    fn new(size: usize) -> Self {
        Self { size, matrix: vec![0.0; size * size], right: vec![0.0; size] }
    }

    fn add(&mut self, row: usize, column: usize, value: f64) {
        self.matrix[row * self.size + column] += value;
    }

    /// By Cholesky; `None` if the matrix is not positive definite.
    fn solve(mut self) -> Option<Vec<f64>> {
        let n = self.size;
        for i in 0..n {
            for j in 0..=i {
                let dot: f64 = (0..j).map(|k| self.matrix[i * n + k] * self.matrix[j * n + k]).sum();
                let rest = self.matrix[i * n + j] - dot;
                self.matrix[i * n + j] = if i == j {
                    if rest.is_nan() || rest <= 0.0 {
                        return None;
                    }
                    rest.sqrt()
                } else {
                    rest / self.matrix[j * n + j]
                };
            }
        }
        for i in 0..n {
            let dot: f64 = (0..i).map(|k| self.matrix[i * n + k] * self.right[k]).sum();
            self.right[i] = (self.right[i] - dot) / self.matrix[i * n + i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|k| self.matrix[k * n + i] * self.right[k]).sum();
            self.right[i] = (self.right[i] - dot) / self.matrix[i * n + i];
        }
        Some(self.right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equations_are_solved(values in proptest::collection::vec(-2.0..2.0_f64, 16), right in proptest::array::uniform4(-5.0..5.0_f64)) {
            // A = B Bt + I is positive definite.
            let mut normal = Normal::new(4);
            for i in 0..4 {
                normal.add(i, i, 1.0);
                for j in 0..4 {
                    let dot = (0..4).map(|k| values[4 * i + k] * values[4 * j + k]).sum();
                    normal.add(i, j, dot);
                }
                normal.right[i] = right[i];
            }
            let matrix = normal.matrix.clone();
            let x = normal.solve().unwrap();
            for i in 0..4 {
                let back: f64 = (0..4).map(|j| matrix[4 * i + j] * x[j]).sum();
                prop_assert!((back - right[i]).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_solution() {
        assert_eq!(Normal::new(2).solve(), None);
    }
}
