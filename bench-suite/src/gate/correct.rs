//! Whether a kernel computes what it should, before anybody times it: against f64, within the bounds that
//! [`Cpu`] documents. The tests of `kernels-cpu` look far more closely; this is what a gate can afford each time.

use kernels_cpu::{
    Activation, Cpu, Format, InputRounding, Kernel, Matrix, Operator,
    synthetic::{Random, Rotation},
};

use crate::{Failure, Result};

const NEURONS: usize = 83;
/// Eleven blocks: no whole number of steps of any kernel.
const HIDDEN: usize = 352;
const DENSITY: f64 = 0.5;
const BLOCK: usize = 32;

/// A small layer with blocks of unlike size, so that no two of them can be mistaken for each other.
#[derive(Debug, Clone)]
pub struct Problem {
    format: Format,
    weights: [Vec<u8>; 3],
    x: Vec<f32>,
    h: Vec<f32>,
    active: Vec<u32>,
}

/// What can be wrong with a kernel, as changes to what it reads that leave the answer alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Two blocks of each row have changed places, as two scales would.
    BlocksSwapped,
    /// The last block of each row is not read.
    LastBlockDropped,
    /// Each neuron's row is the one after it.
    NextRow,
    /// One neuron is added twice, as by two threads.
    TwiceAdded,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 4] = [Self::BlocksSwapped, Self::LastBlockDropped, Self::NextRow, Self::TwiceAdded];
}

impl Problem {
    /// A random layer.
    ///
    /// # Errors
    /// None in practice.
    pub fn new(format: Format, seed: u64) -> Result<Self> {
        let mut random = Random::new(seed);
        let mut matrix = || {
            let mut bytes = Vec::new();
            for _ in 0..NEURONS {
                let mut row = random.vector(HIDDEN);
                for block in row.chunks_mut(BLOCK) {
                    let size = 2.0_f32.powi(random.below(6) as i32 - 8);
                    block.iter_mut().for_each(|w| *w *= size);
                }
                format.encode(&row, &mut bytes)?;
            }
            Ok::<_, Failure>(bytes)
        };
        let weights = [matrix()?, matrix()?, matrix()?];
        let active = Rotation::new(NEURONS, DENSITY, seed).next_set().to_vec();
        Ok(Self { format, weights, x: random.vector(HIDDEN), h: random.vector(active.len()), active })
    }

    /// The same with a fault in what a kernel reads.
    ///
    /// # Errors
    /// None in practice.
    pub fn with(&self, fault: Fault) -> Result<Self> {
        let mut broken = self.clone();
        let row_bytes = self.format.row_bytes(HIDDEN)?;
        let block_bytes = self.format.row_bytes(BLOCK)?;
        let rows = broken.weights.iter_mut().flat_map(|weights| weights.chunks_mut(row_bytes));
        match fault {
            Fault::BlocksSwapped => rows.for_each(|row| row[..2 * block_bytes].rotate_left(block_bytes)),
            Fault::LastBlockDropped => rows.for_each(|row| row[row_bytes - block_bytes..].fill(0)),
            Fault::NextRow => broken.weights.iter_mut().for_each(|weights| weights.rotate_left(row_bytes)),
            Fault::TwiceAdded => [&mut broken.h, &mut broken.x].into_iter().for_each(|v| {
                // For the row operators: a product that is counted twice.
                if let Some(largest) = v.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs())) {
                    *largest *= 2.0;
                }
            }),
        }
        Ok(broken)
    }

    fn matrices(&self) -> Result<[Matrix<'_>; 3]> {
        let matrix = |i: usize| Matrix::new(self.format, NEURONS, HIDDEN, &self.weights[i]);
        Ok([matrix(0)?, matrix(1)?, matrix(2)?])
    }

    /// What `cpu` makes of it: one number for each active neuron, or for each column for [`Operator::Down`].
    ///
    /// # Errors
    /// None in practice.
    pub fn run(&self, cpu: &Cpu, operator: Operator) -> Result<Vec<f32>> {
        let [gate, up, down] = self.matrices()?;
        let mut out = vec![f32::NAN; self.active.len()];
        match operator {
            Operator::Gemv => cpu.gemv(&gate, &self.x, &self.active, &mut out)?,
            Operator::GateUp => cpu.gate_up(&gate, &up, Activation::Relu, &self.x, &self.active, &mut out)?,
            Operator::Down => {
                out = self.x.clone();
                cpu.down(&down, &self.h, &self.active, &mut out)?;
            }
        }
        Ok(out)
    }

    /// Holds results of `operator` against f64.
    ///
    /// # Errors
    /// One that is further off than `kernel` may be, or that is missing.
    pub fn check(&self, operator: Operator, kernel: &Kernel, results: &[f32]) -> Result<()> {
        let wanted = self.wanted(operator, kernel)?;
        if results.len() != wanted.len() {
            let (given, wanted) = (results.len(), wanted.len());
            return Err(Failure::short(format!("{} gives {given} results, wanted {wanted}", kernel.name(operator))));
        }
        for (index, (&got, Known { value, bound })) in results.iter().zip(wanted).enumerate() {
            let off = (f64::from(got) - value).abs();
            if off.is_nan() || off > bound {
                let name = kernel.name(operator);
                return Err(Failure::short(format!(
                    "{name}: result {index} is {got}, wanted {value} to within {bound:.1e}"
                )));
            }
        }
        Ok(())
    }

    fn wanted(&self, operator: Operator, kernel: &Kernel) -> Result<Vec<Known>> {
        let [gate, up, down] = self.matrices()?;
        let rounding = kernel.input_rounding();
        Ok(match operator {
            Operator::Gemv => self.dots(&gate, rounding),
            Operator::GateUp => {
                let pairs = self.dots(&gate, rounding).into_iter().zip(self.dots(&up, rounding));
                pairs.map(|(gate, up)| gate.relu().times(up)).collect()
            }
            Operator::Down => self.sums(&down, kernel.hidden_rounding()),
        })
    }

    fn row(&self, w: &Matrix<'_>, index: u32) -> Vec<f64> {
        let row = self.format.decode_row(w.row(index as usize).unwrap_or_default());
        row.into_iter().map(f64::from).collect()
    }

    /// `W[active] . x` with the bound of [`Cpu::gemv`].
    fn dots(&self, w: &Matrix<'_>, rounding: InputRounding) -> Vec<Known> {
        let lost = |block: &[f32]| {
            let largest = block.iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
            let of = |x: &f32| f64::from(x.abs()) * (gamma(HIDDEN) + rounding.of_element) + rounding.of_block * largest;
            block.iter().map(of).collect::<Vec<_>>()
        };
        let lost: Vec<f64> = self.x.chunks(BLOCK).flat_map(lost).collect();
        let dot = |&index: &u32| {
            let row = self.row(w, index);
            let value = row.iter().zip(&self.x).map(|(w, x)| w * f64::from(*x)).sum();
            Known { value, bound: row.iter().zip(&lost).map(|(w, lost)| w.abs() * lost).sum() }
        };
        self.active.iter().map(dot).collect()
    }

    /// `y + sum of h W[active]` with the bound of [`Cpu::down`], columns together.
    fn sums(&self, w: &Matrix<'_>, hidden_rounding: f64) -> Vec<Known> {
        let mut known: Vec<Known> = self
            .x
            .iter()
            .map(|&y| Known { value: f64::from(y), bound: gamma(self.active.len()) * f64::from(y.abs()) })
            .collect();
        for (h, active) in self.h.chunks(8).zip(self.active.chunks(8)) {
            let rows: Vec<Vec<f64>> = active.iter().map(|&index| self.row(w, index)).collect();
            for (c, known) in known.iter_mut().enumerate() {
                // With at least 4 levels used of each sign, a scale is at most a quarter of the largest weight.
                let scale = |row: &Vec<f64>| largest(&row[c / BLOCK * BLOCK..][..BLOCK]) / 4.0;
                let step = rows.iter().zip(h).map(|(row, h)| f64::from(h.abs()) * scale(row)).fold(0.0, f64::max);
                for (row, &h) in rows.iter().zip(h) {
                    let term = f64::from(h) * row[c];
                    known.value += term;
                    // No weight is more than 8 scales.
                    known.bound += gamma(self.active.len()) * term.abs() + hidden_rounding * step * 8.0;
                }
            }
        }
        known
    }
}

/// A value and how far off a kernel may be.
#[derive(Debug, Clone, Copy)]
struct Known {
    value: f64,
    bound: f64,
}

impl Known {
    fn relu(self) -> Self {
        Self { value: self.value.max(0.0), ..self }
    }

    fn times(self, other: Self) -> Self {
        let value = self.value * other.value;
        let carried = self.bound * (other.value.abs() + other.bound) + self.value.abs() * other.bound;
        Self { value, bound: carried + value.abs() * gamma(1) }
    }
}

/// Twice `gamma(k + 3)` of Higham, lemma 3.1: more than rounding may do, far less than a fault does.
fn gamma(k: usize) -> f64 {
    (k + 3) as f64 / f64::from(1 << 23)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// Holds every kernel that `cpu` runs against f64 on a layer drawn from `seed`.
///
/// # Errors
/// A kernel that is off.
pub fn check_kernels(cpu: &Cpu, seed: u64) -> Result<()> {
    for format in Format::ALL {
        let problem = Problem::new(format, seed)?;
        for operator in Operator::ALL {
            problem.check(operator, cpu.kernel(format), &problem.run(cpu, operator)?)?;
        }
    }
    Ok(())
}

/// Plants every fault into every kernel that `cpu` runs; which were planted, and which of them nobody noticed.
///
/// # Errors
/// None in practice.
pub fn plant_faults(cpu: &Cpu, seed: u64) -> Result<(usize, Vec<String>)> {
    let (mut planted, mut unnoticed) = (0, Vec::new());
    for format in Format::ALL {
        let problem = Problem::new(format, seed)?;
        for (operator, fault) in Operator::ALL.into_iter().flat_map(|o| Fault::ALL.map(|fault| (o, fault))) {
            let kernel = cpu.kernel(format);
            planted += 1;
            if problem.check(operator, kernel, &problem.with(fault)?.run(cpu, operator)?).is_ok() {
                unnoticed.push(format!("{fault:?} in {}", kernel.name(operator)));
            }
        }
    }
    Ok((planted, unnoticed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels_cpu::Isa;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn right_kernels_pass_and_every_fault_is_noticed(seed: u64) {
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let cpu = Cpu::with(isa, 2).unwrap();
                check_kernels(&cpu, seed).unwrap();
                let (planted, unnoticed) = plant_faults(&cpu, seed).unwrap();
                prop_assert_eq!(planted, 60);
                prop_assert!(unnoticed.is_empty(), "{unnoticed:?}");
            }
        }

        #[test]
        fn results_that_are_missing_or_poisoned_are_noticed(seed: u64) {
            let cpu = Cpu::with(Isa::Scalar, 1).unwrap();
            let problem = Problem::new(Format::F16, seed).unwrap();
            let mut results = problem.run(&cpu, Operator::Gemv).unwrap();
            let last = results.len() - 1;
            prop_assert!(problem.check(Operator::Gemv, cpu.kernel(Format::F16), &results[..last]).is_err());
            results[last] = f32::NAN;
            prop_assert!(problem.check(Operator::Gemv, cpu.kernel(Format::F16), &results).is_err());
        }
    }
}
