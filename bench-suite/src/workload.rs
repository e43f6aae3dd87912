//! The operators at the shape of one 70B layer, as things to time.
//!
//! All 70B models here share one FFN shape, so one block of random weights serves: 3 x 28672 rows of 8192, hundreds of
//! megabytes, far more than any cache. Active sets rotate through all rows and dense operators walk from one part of
//! the block to the next, so nothing is read again while a cache could still hold it.

use cost_model::{format::WeightFormat, model::ModelShape, operator::Operator, record::Measurement};
use kernels_cpu::{
    Activation, Cpu, Format, Matrix, Operator as KernelOperator,
    synthetic::{OwnedMatrix, Random, Rotation},
};
use predictor::LowRank;
use threshold::{Policy, PolicySpec, ScoreStream};

use crate::{
    Result,
    audited::AuditedPolicy,
    peers::{DenseFfn, Layout, Peer},
    timing,
};

/// The shape that is timed.
pub const SHAPE: ModelShape = ModelShape::LLAMA_2_70B;
const NEURONS: usize = SHAPE.intermediate;
const HIDDEN: usize = SHAPE.hidden;

/// What is timed, as a record names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// What is computed.
    pub operator: Operator,
    /// Name of the kernel that runs.
    pub kernel: String,
    /// Instruction set.
    pub isa: String,
    /// Weight format.
    pub format: WeightFormat,
    /// Neurons or outputs.
    pub rows: usize,
    /// Length of the vector that each row meets.
    pub cols: usize,
    /// Share of rows computed.
    pub density: f64,
    /// Threads.
    pub threads: usize,
    /// Bytes touched by one call.
    pub bytes: u64,
    /// For select: the policy.
    pub policy: Option<String>,
    /// For predictor: its rank.
    pub rank: Option<usize>,
}

impl Subject {
    /// One string that `--only` is matched against, such as `gate_up/avx512/f16 28672x8192 density 0.1 t2`.
    pub fn id(&self) -> String {
        let detail = match (&self.policy, self.rank) {
            (Some(policy), _) => policy.clone(),
            (None, Some(rank)) => format!("rank {rank}"),
            (None, None) => format!("density {}", self.density),
        };
        format!("{} {}x{} {detail} t{}", self.kernel, self.rows, self.cols, self.threads)
    }
}

/// A subject with what it takes to run it once, and the times it took.
pub struct Case<'a> {
    /// What is timed.
    pub subject: Subject,
    /// Runs it once.
    pub run: Box<dyn FnMut() -> Result<()> + Send + 'a>,
    /// Seconds, round by round.
    pub seconds: Vec<f64>,
    /// Seconds over the roof's seconds of the same round; empty where memory is not what bounds it.
    pub ratios: Vec<f64>,
}

impl<'a> Case<'a> {
    fn new(subject: Subject, run: impl FnMut() -> Result<()> + Send + 'a) -> Self {
        Self { subject, run: Box::new(run), seconds: Vec::new(), ratios: Vec::new() }
    }

    /// The measurement, once there are times.
    pub fn measurement(&self) -> Option<Measurement> {
        let subject = self.subject.clone();
        Some(Measurement {
            operator: subject.operator,
            kernel: subject.kernel,
            isa: subject.isa,
            format: subject.format,
            rows: subject.rows,
            cols: subject.cols,
            density: subject.density,
            threads: subject.threads,
            bytes: subject.bytes,
            seconds: timing::median(&self.seconds)?,
            ratio: timing::median(&self.ratios),
            policy: subject.policy,
            rank: subject.rank,
        })
    }
}

/// Weights of one layer, and room to walk in.
pub struct Layer {
    format: Format,
    weights: OwnedMatrix,
    x: Vec<f32>,
}

impl Layer {
    /// Bytes that a layer in that format takes.
    ///
    /// # Errors
    /// None at this shape, which is whole blocks in every format.
    pub fn bytes(format: Format) -> Result<usize> {
        Ok(3 * NEURONS * format.row_bytes(HIDDEN)?)
    }

    /// Random weights, filled by all cores.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn new(format: Format) -> Result<Self> {
        let weights = OwnedMatrix::random(format, 3 * NEURONS, HIDDEN, 1)?;
        Ok(Self { format, weights, x: Random::new(2).vector(HIDDEN) })
    }

    /// All bytes, to measure how fast they can be read.
    ///
    /// # Errors
    /// None in practice.
    pub fn all_bytes(&self) -> Result<&[u8]> {
        Ok(self.weights.view()?.bytes())
    }

    /// `rows` x `cols` weights, taken from the block at the `turn`-th place where they fit whole.
    fn part(&self, rows: usize, cols: usize, turn: usize) -> Result<Matrix<'_>> {
        let all = self.weights.view()?;
        let len = rows * self.format.row_bytes(cols)?;
        let places = (all.bytes().len() / len).max(1);
        let start = turn % places * len;
        Ok(Matrix::new(self.format, rows, cols, &all.bytes()[start..start + len])?)
    }

    fn ffn(&self) -> Result<[Matrix<'_>; 3]> {
        let matrix = |turn| self.part(NEURONS, HIDDEN, turn);
        Ok([matrix(0)?, matrix(1)?, matrix(2)?])
    }

    fn subject(&self, cpu: &Cpu, operator: Operator, rows: usize, density: f64) -> Subject {
        let format = record_format(self.format);
        Subject {
            operator,
            kernel: format!("{operator}/{}/{}", cpu.isa(), self.format),
            isa: cpu.isa().to_string(),
            format,
            rows,
            cols: HIDDEN,
            density,
            threads: cpu.threads(),
            bytes: operator.weight_bytes(format, (rows, HIDDEN), density, 0),
            policy: None,
            rank: None,
        }
    }

    /// Gate and up at a density.
    ///
    /// # Errors
    /// None in practice.
    pub fn gate_up<'a>(&'a self, cpu: &'a Cpu, density: f64) -> Result<Case<'a>> {
        let [gate, up, _] = self.ffn()?;
        let mut sets = Rotation::new(NEURONS, density, 3);
        let mut h = vec![0.0; sets.set_len()];
        let mut subject = self.subject(cpu, Operator::GateUp, NEURONS, density);
        subject.kernel = cpu.kernel_name(KernelOperator::GateUp, &gate);
        Ok(Case::new(subject, move || {
            Ok(cpu.gate_up(&gate, &up, Activation::Relu, &self.x, sets.next_set(), &mut h)?)
        }))
    }

    /// Down at a density.
    ///
    /// # Errors
    /// None in practice.
    pub fn down<'a>(&'a self, cpu: &'a Cpu, density: f64) -> Result<Case<'a>> {
        let [_, _, down] = self.ffn()?;
        let mut sets = Rotation::new(NEURONS, density, 4);
        let h = Random::new(5).vector(sets.set_len());
        let mut y = vec![0.0; HIDDEN];
        let mut subject = self.subject(cpu, Operator::Down, NEURONS, density);
        subject.kernel = cpu.kernel_name(KernelOperator::Down, &down);
        Ok(Case::new(subject, move || Ok(cpu.down(&down, &h, sets.next_set(), &mut y)?)))
    }

    /// Gate, up and down one after the other at a density: what the parts compose to, measured as a whole.
    ///
    /// # Errors
    /// None in practice.
    pub fn whole_ffn<'a>(&'a self, cpu: &'a Cpu, density: f64) -> Result<Case<'a>> {
        let [gate, up, down] = self.ffn()?;
        let mut sets = Rotation::new(NEURONS, density, 6);
        let mut h = vec![0.0; sets.set_len()];
        let mut y = vec![0.0; HIDDEN];
        let subject = self.subject(cpu, Operator::Ffn, NEURONS, density);
        Ok(Case::new(subject, move || {
            let active = sets.next_set();
            cpu.gate_up(&gate, &up, Activation::Relu, &self.x, active, &mut h)?;
            Ok(cpu.down(&down, &h, active, &mut y)?)
        }))
    }

    /// The dense FFN of somebody else over the same bytes, in the layout that suits it.
    ///
    /// # Errors
    /// The peer does not read this format.
    pub fn peer_ffn<'a>(&'a self, cpu: &'a Cpu, peer: &dyn Peer) -> Result<Case<'a>> {
        let (layout, wide, tall) = (peer.layout(), (HIDDEN, NEURONS), (NEURONS, HIDDEN));
        let (gate_shape, down_shape) = if layout == Layout::RowPerOutput { (tall, wide) } else { (wide, tall) };
        let part = |(rows, cols), turn| self.part(rows, cols, turn);
        let ffn = [part(gate_shape, 0)?, part(gate_shape, 1)?, part(down_shape, 2)?];
        let mut run = peer.ffn(DenseFfn::new(layout, ffn)?, cpu.threads())?;
        let mut y = vec![0.0; HIDDEN];
        let kernel = format!("{}/{}", peer.name(), self.format);
        let subject = Subject { kernel, isa: peer.name().to_owned(), ..self.subject(cpu, Operator::Ffn, NEURONS, 1.0) };
        Ok(Case::new(subject, move || run(&self.x, &mut y)))
    }

    /// A dense projection with `rows` outputs, as attention and the LM head have.
    ///
    /// # Errors
    /// None in practice.
    pub fn gemv<'a>(&'a self, cpu: &'a Cpu, rows: usize) -> Result<Case<'a>> {
        let all: Vec<u32> = (0..rows as u32).collect();
        let mut out = vec![0.0; rows];
        let mut turn = 0;
        let mut subject = self.subject(cpu, Operator::Gemv, rows, 1.0);
        subject.kernel = cpu.kernel_name(KernelOperator::Gemv, &self.part(rows, HIDDEN, 0)?);
        Ok(Case::new(subject, move || {
            turn += 1;
            Ok(cpu.gemv(&self.part(rows, HIDDEN, turn)?, &self.x, &all, &mut out)?)
        }))
    }

    /// A rank in whole blocks of this format.
    pub fn padded(&self, rank: usize) -> usize {
        rank.next_multiple_of(self.format.block_len())
    }

    /// A low-rank predictor; the rank is padded to whole blocks.
    ///
    /// # Errors
    /// None in practice.
    pub fn predictor<'a>(&'a self, cpu: &'a Cpu, rank: usize) -> Result<Case<'a>> {
        let rank = self.padded(rank);
        // Even places for fc1 and odd ones for fc2 would overlap in part: both walk at their own pace instead.
        let turns =
            (0..8).map(|turn| Ok(LowRank::new(self.part(rank, HIDDEN, 7 * turn)?, self.part(NEURONS, rank, turn)?)?));
        let mut predictors = turns.collect::<Result<Vec<_>>>()?;
        let mut scores = vec![0.0; NEURONS];
        let mut turn = 0;
        let bytes = predictors[0].cost().bytes as u64;
        let subject = Subject { bytes, rank: Some(rank), ..self.subject(cpu, Operator::Predictor, NEURONS, 1.0) };
        Ok(Case::new(subject, move || {
            turn = (turn + 1) % predictors.len();
            Ok(predictors[turn].scores(cpu, &self.x, &mut scores)?)
        }))
    }
}

/// Selection by a policy over the scores of a few tokens; a closed loop audits and observes too.
///
/// # Errors
/// The policy cannot be built or refuses the scores.
pub fn select<'a>(spec: PolicySpec, policy: Box<dyn Policy>, stream: &mut ScoreStream) -> Result<Case<'a>> {
    let neurons = stream.shape().neurons();
    let mut tokens = vec![vec![0.0; neurons]; 8];
    for scores in &mut tokens {
        stream.next_token(0, scores)?;
    }
    let mut policy = AuditedPolicy::new(policy)?;
    let mut turn = 0;
    let subject = Subject {
        operator: Operator::Select,
        kernel: format!("select/{}/{spec}", threshold::select::isa()),
        isa: threshold::select::isa().to_owned(),
        format: WeightFormat::F32,
        rows: neurons,
        cols: 1,
        density: 1.0,
        threads: 1,
        bytes: Operator::Select.weight_bytes(WeightFormat::F32, (neurons, 1), 1.0, 0),
        policy: Some(spec.to_string()),
        rank: None,
    };
    Ok(Case::new(subject, move || {
        turn = (turn + 1) % tokens.len();
        policy.step(0, &tokens[turn])
    }))
}

/// The record's name for a kernel's format.
pub fn record_format(format: Format) -> WeightFormat {
    match format {
        Format::F32 => WeightFormat::F32,
        Format::F16 => WeightFormat::F16,
        Format::Bf16 => WeightFormat::Bf16,
        Format::Q8_0 => WeightFormat::Q8_0,
        Format::Q4_0 => WeightFormat::Q4_0,
    }
}

/// The kernels' name for a record's format.
pub fn kernel_format(format: WeightFormat) -> Format {
    match format {
        WeightFormat::F32 => Format::F32,
        WeightFormat::F16 => Format::F16,
        WeightFormat::Bf16 => Format::Bf16,
        WeightFormat::Q8_0 => Format::Q8_0,
        WeightFormat::Q4_0 => Format::Q4_0,
    }
}
