//! Steps: layers of predictor, selection and FFN in one launch. Every phase is checked against f64 on what
//! it was given, in a run that follows others on the same memory.

use kernels_cuda::{Activation, Format, List, Rows, Value};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::problem::{Random, Weights};

/// How the rows of a layer come about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    Every,
    Listed,
    Selected,
}

/// What a layer adds to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Residual {
    Nothing,
    X,
    /// What its first projection gave, where that is as long as the output.
    Projected,
    /// The input of the step, however many layers ago that was.
    Input,
}

#[derive(Debug, Clone)]
struct Layer {
    choice: Choice,
    activation: Activation,
    residual: Residual,
    /// Takes the step's input, not the layer before: nothing then says that the layer before is over.
    apart: bool,
    /// The gate first, with a threshold that may change from run to run.
    gate_first: bool,
    /// What stands for attention before it: a projection that nobody reads, and one whose output the rest of the layer takes.
    attention: Option<[Weights; 2]>,
    /// A predictor's two matrices; gate, up and down.
    weights: [Weights; 5],
}

/// A step of layers, and what it is run on.
#[derive(Debug, Clone)]
struct Story {
    format: Format,
    hidden: usize,
    rank: usize,
    neurons: usize,
    layers: Vec<Layer>,
    seed: u64,
}

/// Of each layer of one run: what attention and the predictor gave, the rows computed, and the output.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    attended: Option<Vec<f32>>,
    hidden_scores: Vec<f32>,
    scores: Vec<f32>,
    computed: u32,
    y: Vec<f32>,
}

/// One run of a step: its input, and for each layer a list and a threshold.
#[derive(Debug, Clone)]
struct Run {
    x: Vec<f32>,
    lists: Vec<Vec<u32>>,
    threshold: f32,
    /// Of activations, where the gate comes first.
    gate_threshold: f32,
}

const RUNS: usize = 3;

impl Story {
    fn runs(&self) -> Vec<Run> {
        let mut random = Random(self.seed);
        let mut run = || {
            let x = random.values(self.hidden);
            let mut list = || {
                let one_in = random.next() % 4 + 1;
                (0..self.neurons as u32).filter(|_| random.next().is_multiple_of(one_in)).collect()
            };
            let lists = self.layers.iter().map(|_| list()).collect();
            // In some runs nobody reaches it, in some everybody does.
            let threshold = [0.0, 0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY][random.next() as usize % 5];
            let gate_threshold = [0.0, 0.0, 0.25, 1.0, f32::INFINITY][random.next() as usize % 5];
            Run { x, lists, threshold, gate_threshold }
        };
        (0..RUNS).map(|_| run()).collect()
    }
}

/// What a builder does, on the emulation and on a GPU.
trait Builder {
    type Matrix;
    fn matrix(&mut self, w: &Weights) -> Self::Matrix;
    fn input(&mut self, len: usize) -> Value;
    fn list(&mut self, neurons: usize) -> List;
    fn project(&mut self, matrix: &Self::Matrix, x: Value, activation: Activation) -> Value;
    fn select(&mut self, scores: Value) -> Rows;
    fn ffn(
        &mut self,
        matrices: [&Self::Matrix; 3],
        activation: Activation,
        x: Value,
        rows: Rows,
        gate_first: bool,
        residual: Option<Value>,
    ) -> Value;
}

/// The values of a layer.
struct Handles {
    attended: Option<Value>,
    hidden_scores: Value,
    scores: Value,
    rows: Rows,
    y: Value,
}

fn build(story: &Story, builder: &mut impl Builder) -> (Value, Vec<Handles>) {
    let input = builder.input(story.hidden);
    let mut x = input;
    let mut handles = Vec::new();
    for layer in &story.layers {
        if layer.apart {
            x = input;
        }
        let [fc1, fc2, gate, up, down] = layer.weights.each_ref().map(|w| builder.matrix(w));
        let list = builder.list(story.neurons);
        let attended = layer.attention.as_ref().map(|[unread, output]| {
            let [unread, output] = [unread, output].map(|w| builder.matrix(w));
            builder.project(&unread, x, Activation::Identity);
            builder.project(&output, x, Activation::Identity)
        });
        x = attended.unwrap_or(x);
        let hidden_scores = builder.project(&fc1, x, Activation::Relu);
        let scores = builder.project(&fc2, hidden_scores, Activation::Identity);
        let rows = match layer.choice {
            Choice::Every => Rows::Every,
            Choice::Listed => Rows::Listed(list),
            Choice::Selected => builder.select(scores),
        };
        let residual = match layer.residual {
            Residual::X => Some(x),
            Residual::Projected if story.rank == story.hidden => Some(hidden_scores),
            Residual::Input => Some(input),
            _ => None,
        };
        let y = builder.ffn([&gate, &up, &down], layer.activation, x, rows, layer.gate_first, residual);
        handles.push(Handles { attended, hidden_scores, scores, rows, y });
        x = y;
    }
    (input, handles)
}

fn kept(handles: &[Handles]) -> Vec<Value> {
    handles.iter().flat_map(|h| [h.hidden_scores, h.scores, h.y].into_iter().chain(h.attended)).collect()
}

/// An f64 sum and how far off it a kernel may be.
#[derive(Clone, Copy, Default)]
struct Bounded {
    value: f64,
    off: f64,
}

/// 2^-23: what one rounding or one word of mail moves a value by, relative to it.
const ULP: f64 = 1.0 / (1 << 23) as f64;

/// W[row] . x. A sum of n terms in f32 is off by at most n roundings of the sum of magnitudes; a thread has
/// 16 terms, a row at most 512 threads, added in trees of 5 and in sequences of 16. Quantised weights meet
/// x in 16 bits.
fn dot(w: &Weights, row: u32, x: &[f32]) -> Bounded {
    let terms = w.row(row).iter().zip(x).map(|(w, &x)| w * f64::from(x));
    let size: f64 = terms.clone().map(f64::abs).sum();
    let mut off = 48.0 * ULP * size;
    if matches!(w.format, Format::Q8_0 | Format::Q4_0) {
        for (w, x) in w.row(row).chunks(16).zip(x.chunks(16)) {
            let largest = x.iter().fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
            off += largest / 65_500.0 * w.iter().map(|w| w.abs()).sum::<f64>();
        }
    }
    Bounded { value: terms.sum(), off: off + f64::from(f32::MIN_POSITIVE) }
}

fn activated(activation: Activation, g: Bounded) -> Bounded {
    if activation == Activation::Relu && g.value + g.off < 0.0 {
        return Bounded::default();
    }
    let value = match activation {
        Activation::Relu => g.value.max(0.0),
        Activation::Silu => g.value / (1.0 + (-g.value).exp()),
        Activation::Identity => g.value,
    };
    Bounded { value, off: 1.1 * g.off + 8.0 * ULP * value.abs() }
}

/// The largest weight that the block of column `c` could hold: quantised weights are added up with a bias
/// of up to 9 times that.
fn unit(w: &Weights, row: u32, c: usize) -> f64 {
    let block = c / w.format.block_len();
    let row_bytes = w.bytes.len() / w.rows;
    let at = row as usize * row_bytes + block * w.format.block_bytes();
    let scale = || half::f16::from_le_bytes([w.bytes[at], w.bytes[at + 1]]).to_f64().abs();
    match w.format {
        Format::F32 | Format::F16 | Format::Bf16 => w.row(row)[c].abs(),
        Format::Q8_0 => 1280.0 * scale(),
        Format::Q4_0 => 1040.0 * scale(),
    }
}

fn close(what: &str, got: f32, wanted: Bounded) -> Result<(), TestCaseError> {
    let error = (f64::from(got) - wanted.value).abs();
    prop_assert!(error <= wanted.off, "{what}: {got} is {error:e} from {}, allowed {:e}", wanted.value, wanted.off);
    Ok(())
}

fn check_layer(layer: &Layer, run: &Run, list: &[u32], x: &[f32], told: &Told) -> Result<(), TestCaseError> {
    if let (Some([_, output]), Some(attended)) = (&layer.attention, &told.attended) {
        for (row, &got) in attended.iter().enumerate() {
            close("output projection", got, dot(output, row as u32, x))?;
        }
    }
    let x = told.attended.as_deref().unwrap_or(x);
    let [fc1, fc2, gate, up, down] = &layer.weights;
    for (row, &got) in told.hidden_scores.iter().enumerate() {
        close("first projection", got, activated(Activation::Relu, dot(fc1, row as u32, x)))?;
    }
    for (row, &got) in told.scores.iter().enumerate() {
        close("second projection", got, dot(fc2, row as u32, &told.hidden_scores))?;
    }
    let active: Vec<u32> = match layer.choice {
        Choice::Every => (0..gate.rows as u32).collect(),
        Choice::Listed => list.to_vec(),
        // Exactly those that reach it, by the scores that the host reads.
        Choice::Selected => (0..gate.rows as u32).filter(|&row| told.scores[row as usize] >= run.threshold).collect(),
    };
    // Neurons that count, and those of which roundings decide.
    let (mut counting, mut unsure) = (0, 0);
    let h: Vec<Bounded> = active
        .iter()
        .map(|&row| {
            let (g, u) = (activated(layer.activation, dot(gate, row, x)), dot(up, row, x));
            let value = g.value * u.value;
            let off = g.off * (u.value.abs() + u.off) + g.value.abs() * u.off + 2.0 * ULP * value.abs();
            let threshold = f64::from(run.gate_threshold);
            if !layer.gate_first || g.value.abs() - g.off > threshold {
                counting += 1;
                return Bounded { value, off };
            }
            if g.value.abs() + g.off <= threshold {
                return Bounded::default();
            }
            unsure += 1;
            Bounded { value: value / 2.0, off: value.abs() / 2.0 + off }
        })
        .collect();
    let computed = told.computed as usize;
    prop_assert!((counting..=counting + unsure).contains(&computed), "{computed} of {counting} and {unsure}");
    for (c, &got) in told.y.iter().enumerate() {
        let before = match layer.residual {
            Residual::X => x[c],
            Residual::Projected if fc1.rows == fc1.cols => told.hidden_scores[c],
            Residual::Input => run.x[c],
            _ => 0.0,
        };
        let mut sum = Bounded { value: f64::from(before), off: 0.0 };
        let mut size = sum.value.abs();
        for (&row, h) in active.iter().zip(&h) {
            let w = down.row(row)[c];
            sum.value += h.value * w;
            sum.off += h.off * w.abs();
            size += (h.value.abs() + h.off) * (w.abs() + unit(down, row, c));
        }
        // Sequences of a block's neurons, of the grid's blocks over 32 reducers, and trees.
        sum.off += (active.len() as f64 / 2.0 + 64.0) * ULP * size + f64::from(f32::MIN_POSITIVE);
        close(&format!("output, column {c}"), got, sum)?;
    }
    Ok(())
}

fn check(story: &Story, tellings: &[Vec<Told>]) -> Result<(), TestCaseError> {
    for (run, told) in story.runs().iter().zip(tellings) {
        let mut x = run.x.clone();
        for ((layer, list), told) in story.layers.iter().zip(&run.lists).zip(told) {
            if layer.apart {
                x.clone_from(&run.x);
            }
            check_layer(layer, run, list, &x, told)?;
            x.clone_from(&told.y);
        }
    }
    Ok(())
}

/// Columns of the widest layer with attention.
const WIDEST_ATTENTION: usize = 320;

fn story(format: Format, hidden: usize, rank: usize, neurons: usize, layers: usize) -> impl Strategy<Value = Story> {
    // Rows of up to 5000 weights: their products stay around one.
    let shift = match format {
        Format::F32 | Format::F16 | Format::Bf16 => 5,
        Format::Q8_0 => 12,
        Format::Q4_0 => 8,
    };
    let layer = (
        prop::sample::select(vec![Choice::Every, Choice::Listed, Choice::Selected]),
        prop::sample::select(vec![Activation::Relu, Activation::Silu, Activation::Identity]),
        prop::sample::select(vec![Residual::Nothing, Residual::X, Residual::Projected, Residual::Input]),
        any::<[bool; 3]>(),
        any::<u64>(),
    )
        .prop_map(move |(choice, activation, residual, [apart, gate_first, attends], seed)| {
            let mut random = Random(seed);
            let shapes = [(rank, hidden), (neurons, rank), (neurons, hidden), (neurons, hidden), (neurons, hidden)];
            Layer {
                choice,
                activation,
                residual,
                apart,
                gate_first,
                // Square: of wide layers it would be most of the work.
                attention: (attends && hidden <= WIDEST_ATTENTION)
                    .then(|| [(rank, hidden), (hidden, hidden)].map(|s| random.small_weights(format, s.0, s.1, shift))),
                weights: shapes.map(|(rows, cols)| random.small_weights(format, rows, cols, shift)),
            }
        });
    (prop::collection::vec(layer, layers), any::<u64>()).prop_map(move |(layers, seed)| Story {
        format,
        hidden,
        rank,
        neurons,
        layers,
        seed,
    })
}

impl Story {
    /// The same story twice, every gate first: with neurons of no activation, once with up and down rows that are no
    /// numbers.
    fn with_silent_neurons(mut self) -> [Self; 2] {
        let mut random = Random(self.seed);
        let silent: Vec<usize> = (0..self.neurons).filter(|_| random.next().is_multiple_of(2)).collect();
        for layer in &mut self.layers {
            layer.gate_first = true;
            silent.iter().for_each(|&row| layer.weights[2].silence(row as u32));
        }
        let mut poisoned = self.clone();
        for layer in &mut poisoned.layers {
            for w in &mut layer.weights[3..] {
                silent.iter().for_each(|&row| w.poison(row as u32));
            }
        }
        [self, poisoned]
    }
}

/// Sizes around every edge: a row of less than a stretch, of several, of a number that does not divide the
/// threads; fewer neurons than blocks, and more than a slot holds.
fn stories() -> impl Strategy<Value = Story> {
    let format = prop::sample::select(Format::ALL.to_vec());
    let hidden = prop::sample::select(vec![1_usize, 31, 300, 512, 513, 1000, 2500, 5000]);
    (format, hidden, 1_usize..70, 1_usize..90, 1_usize..4).prop_flat_map(|(format, hidden, rank, neurons, layers)| {
        let whole = |len: usize| len.next_multiple_of(format.block_len());
        let rank = if hidden < 100 { hidden } else { rank };
        story(format, whole(hidden), whole(rank), neurons, layers)
    })
}

/// Many batches of sums in each phase: what a block's warps hand to each other goes round several times.
fn long_stories() -> impl Strategy<Value = Story> {
    prop::sample::select(Format::ALL.to_vec()).prop_flat_map(|format| story(format, 4608, 64, 200, 2))
}

/// Ranks of real predictors under a real hidden size.
fn wide_stories() -> impl Strategy<Value = Story> {
    let format = prop::sample::select(Format::ALL.to_vec());
    let rank = prop::sample::select(vec![512_usize, 960, 1024, 1920, 4096]);
    (format, rank).prop_flat_map(|(format, rank)| story(format, 8192, rank, 48, 1))
}

/// As many rows of short rows as a block of a real grid has: several slots, each of many beside each other.
fn tall_stories() -> impl Strategy<Value = Story> {
    let format = prop::sample::select(Format::ALL.to_vec());
    let rank = prop::sample::select(vec![32_usize, 512, 544, 1024, 1120]);
    (format, rank, 600_usize..800).prop_flat_map(|(format, rank, neurons)| story(format, 512, rank, neurons, 1))
}

/// Fewer rows than blocks in every phase: blocks that own nothing of it go ahead, and others fall behind. In half of
/// the stories every layer selects where the one before did.
fn small_stories() -> impl Strategy<Value = Story> {
    let format = prop::sample::select(Format::ALL.to_vec());
    let stories = (format, 1_usize..4, 1_usize..7, 2_usize..5).prop_flat_map(|(format, rank, neurons, layers)| {
        story(format, 64, rank.next_multiple_of(format.block_len()), neurons, layers)
    });
    (stories, any::<bool>()).prop_map(|(mut story, selects)| {
        if selects {
            story.layers.iter_mut().for_each(|layer| layer.choice = Choice::Selected);
        }
        story
    })
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[cfg(emulated)]
mod emulated {
    use std::sync::Arc;

    use kernels_cuda::emulated::{Emulator, Failure, PackedMatrix, StepBuilder};

    use super::*;

    struct Emulated(StepBuilder);

    impl Builder for Emulated {
        type Matrix = Arc<PackedMatrix>;

        fn matrix(&mut self, w: &Weights) -> Self::Matrix {
            PackedMatrix::new(w.format, w.rows, w.cols, &w.bytes).unwrap()
        }
        fn input(&mut self, len: usize) -> Value {
            self.0.input(len)
        }
        fn list(&mut self, neurons: usize) -> List {
            self.0.list(neurons)
        }
        fn project(&mut self, matrix: &Self::Matrix, x: Value, activation: Activation) -> Value {
            self.0.project(matrix, x, activation).unwrap()
        }
        fn select(&mut self, scores: Value) -> Rows {
            self.0.select(scores).unwrap()
        }
        fn ffn(
            &mut self,
            matrices: [&Self::Matrix; 3],
            activation: Activation,
            x: Value,
            rows: Rows,
            gate_first: bool,
            residual: Option<Value>,
        ) -> Value {
            if gate_first {
                return self.0.ffn_gate_first(matrices, activation, 0.0, x, rows, residual).unwrap();
            }
            self.0.ffn(matrices, activation, x, rows, residual).unwrap()
        }
    }

    fn tell(story: &Story, emulator: &Emulator, shared_bytes: usize) -> Result<Vec<Vec<Told>>, Failure> {
        let mut builder = Emulated(StepBuilder::new(emulator, story.format));
        let (input, handles) = build(story, &mut builder);
        let mut step = builder.0.build(&kept(&handles), shared_bytes)?;
        let mut tellings = Vec::new();
        for run in story.runs() {
            step.write_input(input, &run.x)?;
            for (handle, list) in handles.iter().zip(&run.lists) {
                if let Rows::Listed(rows) = handle.rows {
                    step.write_list(rows, list)?;
                }
                step.write_threshold(handle.rows, run.threshold);
            }
            for (handle, layer) in handles.iter().zip(&story.layers) {
                if layer.gate_first {
                    step.write_gate_threshold(handle.y, run.gate_threshold);
                }
            }
            step.run(emulator)?;
            let read = |value, len| {
                let mut out = vec![f32::NAN; len];
                step.read(value, &mut out).map(|()| out)
            };
            let layers: Result<Vec<_>, Failure> = handles
                .iter()
                .map(|h| {
                    Ok(Told {
                        attended: h.attended.map(|value| read(value, story.hidden)).transpose()?,
                        hidden_scores: read(h.hidden_scores, story.rank)?,
                        scores: read(h.scores, story.neurons)?,
                        computed: step.computed(h.y)?,
                        y: read(h.y, story.hidden)?,
                    })
                })
                .collect();
            tellings.push(layers?);
        }
        Ok(tellings)
    }

    const HOPPER: usize = 227 << 10;
    const GRID: Emulator = Emulator { multiprocessors: 3, order: 0, misaligned: false, hopper: true };

    fn told(story: &Story, emulator: &Emulator, shared_bytes: usize) -> Result<Vec<Vec<Told>>, TestCaseError> {
        tell(story, emulator, shared_bytes).map_err(|failure| TestCaseError::fail(failure.to_string()))
    }

    #[test]
    fn steps_agree_with_f64() {
        TestRunner::new(config(24)).run(&stories(), |story| check(&story, &told(&story, &GRID, HOPPER)?)).unwrap();
    }

    /// Neither the order in which threads run and copies land nor the slots of the ring change a bit.
    #[test]
    fn steps_give_the_same_bits_in_every_order() {
        TestRunner::new(config(8))
            .run(&stories(), |story| {
                let wanted = told(&story, &GRID, HOPPER)?;
                for order in 1..5 {
                    let shared_bytes = [HOPPER, 99 << 10][order as usize % 2];
                    prop_assert_eq!(&told(&story, &Emulator { order, ..GRID }, shared_bytes)?, &wanted, "{}", order);
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn nobody_is_overtaken_while_it_reads() {
        let orders = prop::collection::vec(1..=u64::MAX, 16);
        TestRunner::new(config(6))
            .run(&(small_stories(), orders), |(story, orders)| {
                let grid = Emulator { multiprocessors: 5, ..GRID };
                let wanted = told(&story, &grid, HOPPER)?;
                check(&story, &wanted)?;
                for order in orders {
                    prop_assert_eq!(&told(&story, &Emulator { order, ..grid }, HOPPER)?, &wanted, "{}", order);
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn long_steps_give_the_same_bits_in_every_order() {
        TestRunner::new(config(4))
            .run(&long_stories(), |story| {
                let wanted = told(&story, &GRID, HOPPER)?;
                check(&story, &wanted)?;
                for order in 1..7 {
                    prop_assert_eq!(&told(&story, &Emulator { order, ..GRID }, HOPPER)?, &wanted, "{}", order);
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn wide_steps_agree_with_f64() {
        TestRunner::new(config(8)).run(&wide_stories(), |story| check(&story, &told(&story, &GRID, HOPPER)?)).unwrap();
    }

    #[test]
    fn tall_steps_agree_with_f64() {
        TestRunner::new(config(10)).run(&tall_stories(), |story| check(&story, &told(&story, &GRID, HOPPER)?)).unwrap();
    }

    #[test]
    fn gate_first_leaves_rows_of_silent_neurons_out() {
        TestRunner::new(config(12))
            .run(&stories().prop_map(Story::with_silent_neurons), |[story, poisoned]| {
                prop_assert_eq!(told(&poisoned, &GRID, HOPPER)?, told(&story, &GRID, HOPPER)?);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn steps_run_on_a_grid_of_any_size() {
        TestRunner::new(config(6))
            .run(&stories(), |story| {
                for multiprocessors in [1, 2, 5] {
                    check(&story, &told(&story, &Emulator { multiprocessors, ..GRID }, HOPPER)?)?;
                }
                Ok(())
            })
            .unwrap();
    }
}

mod native {
    use std::sync::Arc;

    use kernels_cuda::{Gpu, PackedMatrix, StepBuilder};

    use super::*;
    use crate::machine::gpu;

    struct Native<'gpu>(&'gpu Gpu, StepBuilder<'gpu>);

    impl Builder for Native<'_> {
        type Matrix = Arc<PackedMatrix>;

        fn matrix(&mut self, w: &Weights) -> Self::Matrix {
            self.0.upload_packed(w.format, w.rows, w.cols, &w.bytes).unwrap()
        }
        fn input(&mut self, len: usize) -> Value {
            self.1.input(len)
        }
        fn list(&mut self, neurons: usize) -> List {
            self.1.list(neurons)
        }
        fn project(&mut self, matrix: &Self::Matrix, x: Value, activation: Activation) -> Value {
            self.1.project(matrix, x, activation).unwrap()
        }
        fn select(&mut self, scores: Value) -> Rows {
            self.1.select(scores).unwrap()
        }
        fn ffn(
            &mut self,
            [gate, up, down]: [&Self::Matrix; 3],
            activation: Activation,
            x: Value,
            rows: Rows,
            gate_first: bool,
            residual: Option<Value>,
        ) -> Value {
            if gate_first {
                return self.1.ffn_gate_first(gate, up, down, activation, 0.0, x, rows, residual).unwrap();
            }
            self.1.ffn(gate, up, down, activation, x, rows, residual).unwrap()
        }
    }

    /// Runs of one graph, replayed with what the host writes in between.
    fn tell(story: &Story, gpu: &Gpu) -> Vec<Vec<Told>> {
        let mut builder = Native(gpu, StepBuilder::new(gpu, story.format).unwrap());
        let (input, handles) = build(story, &mut builder);
        let step = builder.1.build(&kept(&handles)).unwrap();
        let graph = gpu.capture(&[&step]).unwrap();
        let mut tellings = Vec::new();
        for run in story.runs() {
            step.write_input(input, &run.x).unwrap();
            for (handle, list) in handles.iter().zip(&run.lists) {
                if let Rows::Listed(rows) = handle.rows {
                    step.write_list(rows, list).unwrap();
                }
                if matches!(handle.rows, Rows::Selected(_)) {
                    step.write_threshold(handle.rows, run.threshold).unwrap();
                }
            }
            for (handle, layer) in handles.iter().zip(&story.layers) {
                if layer.gate_first {
                    step.write_gate_threshold(handle.y, run.gate_threshold).unwrap();
                }
            }
            graph.replay().unwrap();
            let read = |value, len| {
                let mut out = vec![f32::NAN; len];
                step.read(value, &mut out).unwrap();
                out
            };
            let told = |h: &Handles| Told {
                attended: h.attended.map(|value| read(value, story.hidden)),
                hidden_scores: read(h.hidden_scores, story.rank),
                scores: read(h.scores, story.neurons),
                computed: step.computed(h.y).unwrap(),
                y: read(h.y, story.hidden),
            };
            tellings.push(handles.iter().map(told).collect());
        }
        tellings
    }

    #[test]
    fn steps_agree_with_f64() {
        if let Some(gpu) = gpu() {
            TestRunner::new(config(32)).run(&stories(), |story| check(&story, &tell(&story, &gpu))).unwrap();
        }
    }

    #[test]
    fn steps_repeat_to_the_bit() {
        if let Some(gpu) = gpu() {
            TestRunner::new(config(24))
                .run(&stories(), |story| {
                    prop_assert_eq!(tell(&story, &gpu), tell(&story, &gpu));
                    Ok(())
                })
                .unwrap();
        }
    }

    #[test]
    fn gate_first_leaves_rows_of_silent_neurons_out() {
        if let Some(gpu) = gpu() {
            TestRunner::new(config(12))
                .run(&stories().prop_map(Story::with_silent_neurons), |[story, poisoned]| {
                    prop_assert_eq!(tell(&poisoned, &gpu), tell(&story, &gpu));
                    Ok(())
                })
                .unwrap();
        }
    }
}
