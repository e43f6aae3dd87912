//! Operators as phases of steps.
//!
//! ```text
//!   FFNs      x ─▶ FFN 0 ─▶ FFN 1 ─▶ ... ─▶ y        each needs all of the one before, and other weights, other rows
//!   layers    x ─▶ fc1 ─▶ fc2 ─▶ select ─▶ FFN ─▶ fc1 ─▶ ...
//!   others    x ─▶ fc1 ─▶ fc2   x ─▶ fc1 ─▶ fc2 ...  predictors need nothing of each other, nor do projections: what it
//!                                                    costs to wait for their last value is in `layers`
//! ```
//! To every FFN's result the first x is added, which is small enough that random weights leave it what it is: no value
//! grows out of range, however long the chain.

use std::sync::Arc;

use kernels_cpu::synthetic::{Random, Rotation};
use kernels_cuda::{Activation, Format, Gpu, List, PackedMatrix, Rows, Step, StepBuilder, Value};

use super::layers::Ffn;
use crate::{
    Failure, Result,
    timing::nearest_rank,
    workload::{Gate, SHAPE, neurons_at},
};

/// The largest element of x. An FFN of random weights up to 1/8, after a projection of them, makes about ten thousand times
/// the square of its input: here, a hundredth of it. Of 1e-4 bf16 tokens left f32's range within twenty layers.
const LARGEST_INPUT: f32 = 1e-6;

/// Steps to capture, and how many of what is timed they hold together.
pub struct Chain {
    /// In the order in which they are launched.
    pub steps: Vec<Step>,
    /// What a replay is divided by.
    pub count: usize,
}

/// A hidden state.
pub fn input() -> Vec<f32> {
    Random::new(2).vector(SHAPE.hidden).into_iter().map(|v| v * LARGEST_INPUT).collect()
}

/// `count` FFNs in one step at a density, over `layers` in turn and other rows each time.
///
/// # Errors
/// Not enough device memory; an FFN that computes another number of rows than it was told.
pub fn ffns(gpu: &Gpu, format: Format, layers: &[Ffn], density: f64, count: usize) -> Result<Chain> {
    let mut sets = Sets::new(layers.len(), density);
    let mut builder = StepBuilder::new(gpu, format)?;
    let first = builder.input(SHAPE.hidden);
    let mut lists = Vec::new();
    let mut x = first;
    for layer in layers.iter().cycle().take(count) {
        let rows = rows(&mut builder, density, &mut lists)?;
        x = ffn(&mut builder, layer, x, rows, first)?;
    }
    let step = builder.build(&[x])?;
    step.write_input(first, &input())?;
    for (turn, list) in lists.into_iter().enumerate() {
        step.write_list(list, sets.next(turn))?;
    }
    check(&step, x, sets.len())?;
    Ok(Chain { steps: vec![step], count })
}

/// The same FFNs, a launch each.
///
/// # Errors
/// As for [`ffns`].
pub fn launched_ffns(gpu: &Gpu, format: Format, layers: &[Ffn], density: f64, count: usize) -> Result<Chain> {
    let mut sets = Sets::new(layers.len(), density);
    let mut steps = Vec::new();
    for (turn, layer) in layers.iter().cycle().take(count).enumerate() {
        let mut builder = StepBuilder::new(gpu, format)?;
        let x = builder.input(SHAPE.hidden);
        let mut lists = Vec::new();
        let rows = rows(&mut builder, density, &mut lists)?;
        let y = ffn(&mut builder, layer, x, rows, x)?;
        let step = builder.build(&[y])?;
        step.write_input(x, &input())?;
        for list in lists {
            step.write_list(list, sets.next(turn))?;
        }
        check(&step, y, sets.len())?;
        steps.push(step);
    }
    Ok(Chain { steps, count })
}

/// `count` low-rank predictors in one step: `fc2 relu(fc1 x)`.
///
/// # Errors
/// Not enough device memory.
pub fn predictors(gpu: &Gpu, format: Format, predictors: &[Predictor], count: usize) -> Result<Chain> {
    let mut builder = StepBuilder::new(gpu, format)?;
    let x = builder.input(SHAPE.hidden);
    let mut last = x;
    for predictor in predictors.iter().cycle().take(count) {
        last = predictor.scores(&mut builder, x)?;
    }
    one_step(builder, format, x, last, SHAPE.intermediate, count)
}

/// `count` projections with `rows` outputs in one step.
///
/// # Errors
/// Not enough device memory.
pub fn projections(
    gpu: &Gpu,
    format: Format,
    rows: usize,
    matrices: &[Arc<PackedMatrix>],
    count: usize,
) -> Result<Chain> {
    let mut builder = StepBuilder::new(gpu, format)?;
    let x = builder.input(SHAPE.hidden);
    let mut last = x;
    for matrix in matrices.iter().cycle().take(count) {
        last = builder.project(matrix, x, Activation::Identity)?;
    }
    one_step(builder, format, x, last, rows, count)
}

/// `count` FFNs in one step whose gates, of every neuron, let about a share of them through to up and down. Returns the
/// share that does come through, too.
///
/// # Errors
/// Not enough device memory; gates that are not numbers.
pub fn gate_first_ffns(gpu: &Gpu, format: Format, layers: &[Ffn], density: f64, count: usize) -> Result<(Chain, f64)> {
    let gates = gates(gpu, format, None, layers)?;
    let gates: Vec<Gate> = gates.iter().map(|gates| Gate::keeping(neurons_at(density), gates)).collect();
    let mut builder = StepBuilder::new(gpu, format)?;
    let first = builder.input(SHAPE.hidden);
    let (mut x, mut values) = (first, Vec::new());
    for (layer, gate) in layers.iter().zip(&gates).cycle().take(count) {
        x = gate_first_ffn(&mut builder, layer, gate, x, first)?;
        values.push(x);
    }
    let step = builder.build(&[x])?;
    step.write_input(first, &input())?;
    step.run()?;
    let through = densities(&step, &values)?.iter().sum::<f64>() / count as f64;
    check_numbers(&step, x)?;
    Ok((Chain { steps: vec![step], count }, through))
}

/// `gate . x` of every layer, for the first x, or for what `before` makes of it.
pub(super) fn gates(
    gpu: &Gpu,
    format: Format,
    before: Option<&Arc<PackedMatrix>>,
    layers: &[Ffn],
) -> Result<Vec<Vec<f32>>> {
    let mut builder = StepBuilder::new(gpu, format)?;
    let first = builder.input(SHAPE.hidden);
    let x = match before {
        Some(matrix) => builder.project(matrix, first, Activation::Identity)?,
        None => first,
    };
    let mut values = Vec::new();
    for layer in layers {
        values.push(builder.project(&layer.gate, x, Activation::Identity)?);
    }
    let step = builder.build(&values)?;
    step.write_input(first, &input())?;
    step.run()?;
    values.into_iter().map(|value| read(&step, value, SHAPE.intermediate)).collect()
}

/// An FFN whose up and down are read where the gate lets a neuron through.
pub(super) fn gate_first_ffn(
    builder: &mut StepBuilder<'_>,
    layer: &Ffn,
    gate: &Gate,
    x: Value,
    residual: Value,
) -> Result<Value> {
    let activation = match gate.activation {
        kernels_cpu::Activation::Relu => Activation::Relu,
        kernels_cpu::Activation::Silu => Activation::Silu,
    };
    let Ffn { gate: matrix, up, down } = layer;
    Ok(builder.ffn_gate_first(matrix, up, down, activation, gate.threshold, x, Rows::Every, Some(residual))?)
}

/// Share of neurons that each of these FFNs computed when their step ran last.
pub(super) fn densities(step: &Step, ffns: &[Value]) -> Result<Vec<f64>> {
    let density = |&value: &Value| Ok(f64::from(step.computed(value)?) / SHAPE.intermediate as f64);
    ffns.iter().map(density).collect()
}

/// fc1 and fc2 of a low-rank predictor.
#[derive(Debug, Clone)]
pub struct Predictor {
    /// Rank x hidden.
    pub fc1: Arc<PackedMatrix>,
    /// Neurons x rank.
    pub fc2: Arc<PackedMatrix>,
}

impl Predictor {
    /// A score for every neuron.
    pub(super) fn scores(&self, builder: &mut StepBuilder<'_>, x: Value) -> Result<Value> {
        let hidden = builder.project(&self.fc1, x, Activation::Relu)?;
        Ok(builder.project(&self.fc2, hidden, Activation::Identity)?)
    }
}

/// `count` layers in one step: a predictor, a threshold on its scores that leaves that density, the FFN over what is
/// left.
///
/// # Errors
/// Not enough device memory; scores that are not numbers, or of which no threshold leaves as many as are wanted.
pub fn whole_layers(
    gpu: &Gpu,
    format: Format,
    layers: &[Ffn],
    predictors: &[Predictor],
    density: f64,
    count: usize,
) -> Result<Chain> {
    let wanted = neurons_at(density);
    let mut builder = StepBuilder::new(gpu, format)?;
    let first = builder.input(SHAPE.hidden);
    let (mut x, mut selections, mut given) = (first, Vec::new(), Vec::new());
    for (layer, predictor) in layers.iter().cycle().zip(predictors.iter().cycle()).take(count) {
        let scores = predictor.scores(&mut builder, x)?;
        let rows = builder.select(scores)?;
        x = ffn(&mut builder, layer, x, rows, first)?;
        selections.push((scores, rows));
        given.push(x);
    }
    let scores = selections.iter().map(|(scores, _)| *scores);
    let step = builder.build(&scores.chain([x]).collect::<Vec<_>>())?;
    step.write_input(first, &input())?;
    let left = set_thresholds(&step, &selections, wanted)?;
    check_ffns(&step, &given, Some(&left))?;
    Ok(Chain { steps: vec![step], count })
}

/// Gives every selection of a step, by its scores and in the order of the step, the threshold that leaves `wanted` rows.
/// Returns how many each leaves.
///
/// # Errors
/// Scores that are not numbers, or of which no threshold leaves as many.
pub(super) fn set_thresholds(step: &Step, selections: &[(Value, Rows)], wanted: usize) -> Result<Vec<usize>> {
    // A layer's scores follow from the thresholds of the layers before it.
    for &(_, rows) in selections {
        step.write_threshold(rows, f32::INFINITY)?;
    }
    let mut scores = vec![0.0; SHAPE.intermediate];
    let mut left = Vec::new();
    for &(value, rows) in selections {
        step.run()?;
        step.read(value, &mut scores)?;
        let (threshold, of_it) = threshold_that_leaves(&mut scores, wanted)?;
        step.write_threshold(rows, threshold)?;
        left.push(of_it);
    }
    Ok(left)
}

/// The `wanted`-th largest of `scores`, which it reorders, and how many reach it: a few more where it has equals, as one in
/// a thousand has.
fn threshold_that_leaves(scores: &mut [f32], wanted: usize) -> Result<(f32, usize)> {
    let finite = scores.iter().all(|score| score.is_finite());
    let at = scores.len().checked_sub(wanted).filter(|at| finite && *at < scores.len());
    let threshold = at.map(|at| *scores.select_nth_unstable_by(at, f32::total_cmp).1);
    let left = |threshold| scores.iter().filter(|&&score| score >= threshold).count();
    match threshold.map(|threshold| (threshold, left(threshold))) {
        Some((threshold, left)) if left <= wanted + wanted / 100 => Ok((threshold, left)),
        _ => {
            scores.sort_by(f32::total_cmp);
            Err(Failure::short(format!(
                "no threshold leaves {wanted} of {} scores, median {:?}: the predictor's kernel is wrong",
                scores.len(),
                nearest_rank(scores, 0.5)
            )))
        }
    }
}

/// Every row, or those of a list that joins `lists`.
pub(super) fn rows(builder: &mut StepBuilder<'_>, density: f64, lists: &mut Vec<List>) -> Result<Rows> {
    if density == 1.0 {
        return Ok(Rows::Every);
    }
    let list = builder.list(SHAPE.intermediate);
    lists.push(list);
    Ok(Rows::Listed(list))
}

/// `residual` and the FFN of `x` over those rows.
pub(super) fn ffn(builder: &mut StepBuilder<'_>, layer: &Ffn, x: Value, rows: Rows, residual: Value) -> Result<Value> {
    Ok(builder.ffn(&layer.gate, &layer.up, &layer.down, Activation::Relu, x, rows, Some(residual))?)
}

fn one_step(
    builder: StepBuilder<'_>,
    format: Format,
    x: Value,
    last: Value,
    outputs: usize,
    count: usize,
) -> Result<Chain> {
    let step = builder.build(&[last])?;
    step.write_input(x, &input())?;
    step.run()?;
    if !are_worth_timing(&read(&step, last, outputs)?) {
        let phases = step.phases();
        return Err(Failure::short(format!(
            "{phases} projections in {format} end in {outputs} values that are no numbers, or zeros alone: not timed"
        )));
    }
    Ok(Chain { steps: vec![step], count })
}

/// What a kernel leaves that ran: numbers, not zeros alone.
pub(super) fn are_worth_timing(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite()) && values.iter().any(|&value| value != 0.0)
}

fn read(step: &Step, value: Value, len: usize) -> Result<Vec<f32>> {
    let mut values = vec![f32::NAN; len];
    step.read(value, &mut values)?;
    Ok(values)
}

/// Runs a step once: its last FFN must have computed as many rows as it was told, and numbers.
///
/// # Errors
/// It has not.
pub fn check(step: &Step, y: Value, wanted: usize) -> Result<()> {
    check_ffns(step, &[y], Some(&[wanted]))
}

/// Runs a step once: its FFNs must have computed as many rows as they were told, where they were told, and the last of them
/// numbers.
///
/// # Errors
/// They have not.
pub(super) fn check_ffns(step: &Step, ffns: &[Value], wanted: Option<&[usize]>) -> Result<()> {
    step.run()?;
    for (&ffn, &wanted) in ffns.iter().zip(wanted.unwrap_or_default()) {
        let computed = step.computed(ffn)? as usize;
        if computed != wanted {
            return Err(Failure::short(format!(
                "an FFN computed {computed} rows and was told {wanted}: it is not timed"
            )));
        }
    }
    ffns.last().map_or(Ok(()), |&last| check_numbers(step, last))
}

/// Fails unless a chain ends in numbers.
fn check_numbers(step: &Step, y: Value) -> Result<()> {
    if read(step, y, SHAPE.hidden)?.iter().any(|value| !value.is_finite()) {
        return Err(Failure::short("a chain of FFNs ends in what is no number: it is not timed"));
    }
    Ok(())
}

/// Active rows of each layer in turn, none again before all others of that layer.
pub struct Sets(Vec<Rotation>);

impl Sets {
    /// Of `layers` layers at a density.
    pub fn new(layers: usize, density: f64) -> Self {
        Self((0..layers as u64).map(|layer| Rotation::new(SHAPE.intermediate, density, 100 + layer)).collect())
    }

    /// The rows of the `turn`-th FFN.
    pub fn next(&mut self, turn: usize) -> &[u32] {
        let layers = self.0.len();
        self.0[turn % layers].next_set()
    }

    /// Rows in each set.
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, Rotation::set_len)
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_leaves_what_is_wanted() {
        let scores = Random::new(3).vector(1000);
        for wanted in [1, 100, 999, 1000] {
            let (threshold, left) = threshold_that_leaves(&mut scores.clone(), wanted).unwrap();
            assert_eq!((scores.iter().filter(|&&s| s >= threshold).count(), left), (wanted, wanted));
        }
        let mut twins = [vec![0.5; 2], Random::new(3).vector(998)].concat();
        let (_, left) = threshold_that_leaves(&mut twins.clone(), 200).unwrap();
        twins.sort_by(|a, b| b.total_cmp(a));
        let at = twins.iter().position(|&score| score == 0.5).unwrap();
        assert_eq!(threshold_that_leaves(&mut twins, at + 1).unwrap(), (0.5, at + 2));
        assert_eq!(left, 200);
        for mut bad in [vec![1.0, 1.0], vec![f32::NAN, 1.0], vec![0.0, f32::INFINITY], Vec::new()] {
            assert_eq!(threshold_that_leaves(&mut bad, 1).unwrap_err().code, 1);
        }
    }

    #[test]
    fn rows_of_a_layer_come_again_when_all_have_been() {
        let mut sets = Sets::new(4, 0.25);
        let mut seen = vec![0; SHAPE.intermediate];
        for turn in 0..16 {
            let own = sets.next(turn).to_vec();
            assert_eq!(own.len(), sets.len());
            if turn % 4 == 0 {
                own.iter().for_each(|&row| seen[row as usize] += 1);
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }
}
