//! The operators at the shape of one 70B layer, as things to time.
//!
//! All 70B models here share one FFN shape, so one block of random weights serves: 3 x 28672 rows of 8192, hundreds of
//! megabytes, far more than any cache. Active sets rotate through all rows and dense operators walk from one part of
//! the block to the next, so nothing is read again while a cache could still hold it.

use std::sync::Arc;

use cost_model::{format::WeightFormat, model::ModelShape, operator::Operator, record::Measurement};
use kernels_cpu::{
    Activation, Cpu, Ffn, FfnToken, Format, Gating, KvCache, Matrix, Operator as KernelOperator,
    synthetic::{OwnedMatrix, Random, Rotation},
};
use predictor::LowRank;
use threshold::{AuditedPolicy, Isa, Policy, PolicySpec, ScoreStream};

use crate::{
    Failure, Result,
    peers::{DenseFfn, Layout, Peer},
    steady, timing,
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
    /// For predictor and ffn_predicted: the rank of the predictor.
    pub rank: Option<usize>,
    /// For a batch: its tokens.
    pub tokens: Option<usize>,
}

impl Subject {
    /// One string that `--only` is matched against, such as `gate_up/avx512/f16 28672x8192 density 0.1 t2`.
    pub fn id(&self) -> String {
        let detail = match (&self.policy, self.rank) {
            (Some(policy), _) => policy.clone(),
            (None, Some(rank)) if self.operator == Operator::Predictor => format!("rank {rank}"),
            (None, Some(rank)) => format!("density {} rank {rank}", self.density),
            (None, None) => format!("density {}", self.density),
        };
        let tokens = self.tokens.map_or(String::new(), |tokens| format!(" tokens {tokens}"));
        format!("{} {}x{} {detail}{tokens} t{}", self.kernel, self.rows, self.cols, self.threads)
    }

    /// The measurement that these times make, if there are any; `ratios` are to the roof, of the same rounds.
    pub fn measurement(&self, seconds: &[f64], ratios: &[f64]) -> Option<Measurement> {
        let subject = self.clone();
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
            seconds: timing::median(seconds)?,
            ratio: timing::median(ratios),
            policy: subject.policy,
            rank: subject.rank,
            tokens: subject.tokens,
        })
    }
}

/// An operator of a layer, and what there is to choose about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Gate and up at a density.
    GateUp(f64),
    /// Down at a density.
    Down(f64),
    /// The whole FFN at a density.
    Ffn(f64),
    /// The whole FFN with a gate that lets that share of its neurons through.
    FfnGateFirst(f64),
    /// The whole FFN of as many tokens at a density each.
    FfnBatch(f64, usize),
    /// A dense projection with that many outputs.
    Gemv(usize),
    /// A low-rank predictor; its rank is padded to whole blocks.
    Predictor(usize),
}

impl Work {
    /// How a record names it. Where the density is what survives, this is the one that is aimed at.
    ///
    /// # Errors
    /// None in practice.
    pub fn subject(self, cpu: &Cpu, format: Format) -> Result<Subject> {
        let (operator, kernel_operator, rows, density, rank) = match self {
            Self::GateUp(density) => (Operator::GateUp, Some(KernelOperator::GateUp), NEURONS, density, None),
            Self::Down(density) => (Operator::Down, Some(KernelOperator::Down), NEURONS, density, None),
            Self::Ffn(density) => (Operator::Ffn, None, NEURONS, density, None),
            Self::FfnGateFirst(density) => (Operator::FfnGateFirst, None, NEURONS, density, None),
            Self::FfnBatch(density, _) => (Operator::FfnBatch, None, NEURONS, density, None),
            Self::Gemv(rows) => (Operator::Gemv, Some(KernelOperator::Gemv), rows, 1.0, None),
            Self::Predictor(rank) => {
                (Operator::Predictor, None, NEURONS, 1.0, Some(rank.next_multiple_of(format.block_len())))
            }
        };
        let kernel = cpu.kernel(format);
        let name = match kernel_operator {
            Some(part) => kernel.name(part),
            None => format!("{operator}/{}/{format}", kernel.isa()),
        };
        let weights = record_format(format);
        Ok(Subject {
            operator,
            kernel: name,
            isa: kernel.isa().to_string(),
            format: weights,
            rows,
            cols: HIDDEN,
            density,
            threads: cpu.threads(),
            bytes: operator.weight_bytes(weights, (rows, HIDDEN), density, rank.unwrap_or(0)),
            policy: None,
            rank,
            tokens: if let Self::FfnBatch(_, tokens) = self { Some(tokens) } else { None },
        })
    }
}

/// Hidden states that a gate takes turns on, so that not the same neurons survive twice in a row.
const GATED_TOKENS: u64 = 2;

/// Neurons that a density is of, at least one.
pub(crate) fn neurons_at(density: f64) -> usize {
    ((density * NEURONS as f64).round() as usize).clamp(1, NEURONS)
}

/// What lets a share of a layer's neurons through.
pub(crate) struct Gate {
    pub(crate) activation: Activation,
    /// The largest magnitude of an activation that is dropped.
    pub(crate) threshold: f32,
    /// Neurons that it lets through.
    pub(crate) kept: usize,
}

impl Gate {
    /// Lets the `wanted` neurons of largest activation through, fewer only where equals stand at the edge. ReLU where it leaves as
    /// many, which on random weights is half of them, SiLU above.
    pub(crate) fn keeping(wanted: usize, gates: &[f32]) -> Self {
        let positive = gates.iter().filter(|&&gate| gate > 0.0).count();
        let activation = if wanted <= positive { Activation::Relu } else { Activation::Silu };
        let mut magnitudes: Vec<f32> = gates.iter().map(|&gate| activation.apply(gate).abs()).collect();
        magnitudes.sort_by(|a, b| b.total_cmp(a));
        // What is at most the threshold is dropped: the largest magnitude that is not wanted.
        let threshold = magnitudes.get(wanted).copied().unwrap_or(0.0);
        let kept = magnitudes.partition_point(|&magnitude| magnitude > threshold);
        Self { activation, threshold, kept }
    }
}

/// Something to time in turn with others, and the times it took.
pub struct Timed<'a> {
    /// Bytes that it reads out of memory.
    pub bytes: u64,
    /// Runs it once.
    pub run: Box<dyn FnMut() -> Result<()> + Send + 'a>,
    /// Whether it has threads of its own: ours then have to be asleep.
    pub brings_threads: bool,
    /// It runs in one of so many rounds: more than 1 where a run takes as long as all others together.
    pub every: usize,
    /// Seconds, round by round.
    pub seconds: Vec<f64>,
    /// Bytes that memory gave in a second just before and just after each run; empty where nobody looked.
    pub bytes_per_s: Vec<[f64; 2]>,
}

impl<'a> Timed<'a> {
    /// To be timed; `run` has no threads of its own.
    pub fn new(bytes: u64, run: impl FnMut() -> Result<()> + Send + 'a) -> Self {
        Self {
            bytes,
            run: Box::new(run),
            brings_threads: false,
            every: 1,
            seconds: Vec::new(),
            bytes_per_s: Vec::new(),
        }
    }

    /// Each run's seconds over those that the roof, as it was around it, needs for as many bytes.
    pub fn ratios(&self) -> Vec<f64> {
        let runs = self.seconds.iter().zip(&self.bytes_per_s);
        runs.map(|(seconds, &around)| seconds * steady::mean(around) / self.bytes as f64).collect()
    }

    /// As if memory had been `bytes_per_s` fast around every run. Gives memory's share in the times, where there was one to tell.
    pub(crate) fn hold_at(&mut self, bytes_per_s: f64) -> Option<f64> {
        let share = steady::share_of_memory(&self.seconds, &self.bytes_per_s);
        self.seconds = steady::held_at(bytes_per_s, &self.seconds, &self.bytes_per_s);
        self.bytes_per_s.fill([bytes_per_s; 2]);
        share
    }
}

/// An operator to time.
pub struct Case<'a> {
    /// What it is.
    pub subject: Subject,
    /// How to run it, and the times it took.
    pub timed: Timed<'a>,
}

impl<'a> Case<'a> {
    fn new(subject: Subject, run: impl FnMut() -> Result<()> + Send + 'a) -> Self {
        Self { timed: Timed::new(subject.bytes, run), subject }
    }

    /// One operator over each of several layers in turn; `None` over none.
    pub(crate) fn in_turn(layers: Vec<Self>) -> Option<Self> {
        let first = layers.first()?;
        let (subject, every) = (first.subject.clone(), first.timed.every);
        debug_assert!(
            layers.iter().all(|layer| layer.subject.kernel == subject.kernel && layer.subject.rows == subject.rows)
        );
        let mut runs: Vec<_> = layers.into_iter().map(|layer| layer.timed.run).collect();
        let mut turn = 0;
        let mut case = Self::new(subject, move || {
            turn = (turn + 1) % runs.len();
            runs[turn]()
        });
        case.timed.every = every;
        Some(case)
    }

    /// The measurement, once there are times.
    pub fn measurement(&self) -> Option<Measurement> {
        self.subject.measurement(&self.timed.seconds, &self.timed.ratios())
    }
}

/// Weights of one layer, and room to walk in.
pub struct Layer {
    format: Format,
    weights: Arc<OwnedMatrix>,
    /// Projections of its own; products of other shapes walk over the weights.
    projections: Vec<Arc<OwnedMatrix>>,
    /// A predictor of its own; those of other ranks walk over the weights.
    predictor: Option<[Arc<OwnedMatrix>; 2]>,
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

    /// Random weights, filled by the threads of `cpu`, which should be those that read them or as many.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn new(cpu: &Cpu, format: Format) -> Result<Self> {
        let weights = cpu.install(|| OwnedMatrix::layer(format, NEURONS, HIDDEN, 1))?;
        Ok(Self::over(format, Arc::new(weights), Vec::new(), None))
    }

    /// Over weights that somebody else reads too: gate, up and down, a row per neuron each; projections of the hidden state;
    /// fc1 and fc2 of a predictor.
    pub(crate) fn over(
        format: Format,
        weights: Arc<OwnedMatrix>,
        projections: Vec<Arc<OwnedMatrix>>,
        predictor: Option<[Arc<OwnedMatrix>; 2]>,
    ) -> Self {
        Self { format, weights, projections, predictor, x: Random::new(2).vector(HIDDEN) }
    }

    /// Share of the weights that lie on huge pages now; `None` where the system does not tell.
    pub fn huge_page_share(&self) -> Option<f64> {
        self.weights.huge_page_share()
    }

    /// Neurons of the layer.
    pub fn neurons(&self) -> usize {
        NEURONS
    }

    /// Format of the weights.
    pub fn format(&self) -> Format {
        self.format
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

    /// An operator of this layer.
    ///
    /// # Errors
    /// None in practice.
    pub fn case<'a>(&'a self, cpu: &'a Cpu, work: Work) -> Result<Case<'a>> {
        match work {
            Work::GateUp(density) => self.gate_up(cpu, density),
            Work::Down(density) => self.down(cpu, density),
            Work::Ffn(density) => self.whole_ffn(cpu, density),
            Work::FfnGateFirst(density) => self.ffn_gate_first(cpu, density),
            Work::FfnBatch(density, tokens) => self.batched_ffn(cpu, density, tokens),
            Work::Gemv(rows) => self.gemv(cpu, rows),
            Work::Predictor(rank) => self.predictor(cpu, rank),
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
        let subject = Work::GateUp(density).subject(cpu, self.format)?;
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
        let subject = Work::Down(density).subject(cpu, self.format)?;
        Ok(Case::new(subject, move || Ok(cpu.down(&down, &h, sets.next_set(), &mut y)?)))
    }

    /// Gate, up and down at a density as one operator: what the parts compose to, measured as a whole.
    ///
    /// # Errors
    /// None in practice.
    pub fn whole_ffn<'a>(&'a self, cpu: &'a Cpu, density: f64) -> Result<Case<'a>> {
        self.ffn_over(cpu, self.ffn()?, density)
    }

    /// The same over the same bytes, as if each neuron's three rows lay in one piece.
    ///
    /// # Errors
    /// None in practice.
    pub fn bundled_ffn<'a>(&'a self, cpu: &'a Cpu, density: f64) -> Result<Case<'a>> {
        self.ffn_over(cpu, Matrix::bundle(self.format, NEURONS, HIDDEN, self.all_bytes()?)?, density)
    }

    fn ffn_over<'a>(&'a self, cpu: &'a Cpu, matrices: [Matrix<'a>; 3], density: f64) -> Result<Case<'a>> {
        let [gate, up, down] = matrices;
        let ffn = Ffn::new(gate, up, down, Activation::Relu, Gating::Together)?;
        let mut sets = Rotation::new(NEURONS, density, 6);
        let mut y = vec![0.0; HIDDEN];
        let subject = Work::Ffn(density).subject(cpu, self.format)?;
        Ok(Case::new(subject, move || Ok(cpu.ffn(&ffn, &self.x, sets.next_set(), &mut y).map(drop)?)))
    }

    /// The whole FFN over `batch` tokens with a hidden state and active neurons of their own each. Bytes are those of
    /// the rows that any token names, in the mean over turns.
    ///
    /// # Errors
    /// None in practice.
    pub fn batched_ffn<'a>(&'a self, cpu: &'a Cpu, density: f64, batch: usize) -> Result<Case<'a>> {
        let [gate, up, down] = self.ffn()?;
        let ffn = Ffn::new(gate, up, down, Activation::Relu, Gating::Together)?;
        // Shuffled apart, the tokens' sets are independent of each other.
        let mut tokens: Vec<(Vec<f32>, Rotation, Vec<f32>)> = (0..batch as u64)
            .map(|t| (Random::new(40 + t).vector(HIDDEN), Rotation::new(NEURONS, density, 60 + t), vec![0.0; HIDDEN]))
            .collect();
        let turns = NEURONS / tokens.first().map_or(NEURONS, |token| token.1.set_len());
        let mut named = 0;
        for _ in 0..turns {
            let mut rows: Vec<u32> = tokens.iter_mut().flat_map(|token| token.1.next_set().to_vec()).collect();
            rows.sort_unstable();
            rows.dedup();
            named += rows.len();
        }
        let share = named as f64 / (turns * NEURONS) as f64;
        let subject = Work::FfnBatch(density, batch).subject(cpu, self.format)?;
        let bytes = subject.operator.weight_bytes(subject.format, (NEURONS, HIDDEN), share, 0);
        Ok(Case::new(Subject { bytes, ..subject }, move || {
            let tokens = tokens.iter_mut().map(|(x, sets, y)| FfnToken { x, active: sets.next_set(), y });
            Ok(cpu.ffn_batch(&ffn, &mut tokens.collect::<Vec<_>>()).map(drop)?)
        }))
    }

    /// The whole FFN over every neuron, whose gate lets about that share of them through to up and down. What the case
    /// names as its density and bytes is what does come through.
    ///
    /// # Errors
    /// None in practice.
    pub fn ffn_gate_first<'a>(&'a self, cpu: &'a Cpu, density: f64) -> Result<Case<'a>> {
        let [gate, up, down] = self.ffn()?;
        let all: Vec<u32> = (0..NEURONS as u32).collect();
        let wanted = neurons_at(density);
        let mut gates = vec![0.0; NEURONS];
        let mut tokens = Vec::new();
        for token in 0..GATED_TOKENS {
            let x = Random::new(20 + token).vector(HIDDEN);
            cpu.gemv(&gate, &x, &all, &mut gates)?;
            let Gate { activation, threshold, kept } = Gate::keeping(wanted, &gates);
            tokens.push((Ffn::new(gate, up, down, activation, Gating::First { threshold })?, x, kept));
        }
        let kept = tokens.iter().map(|token| token.2).sum::<usize>() as f64 / tokens.len() as f64;
        let through = if kept == wanted as f64 { density } else { kept / NEURONS as f64 };
        let subject = Work::FfnGateFirst(through).subject(cpu, self.format)?;
        let mut y = vec![0.0; HIDDEN];
        let mut turn = 0;
        Ok(Case::new(subject, move || {
            turn = (turn + 1) % tokens.len();
            let (ffn, x, kept) = &tokens[turn];
            match cpu.ffn(ffn, x, &all, &mut y)? {
                through if through == *kept => Ok(()),
                through => Err(Failure::short(format!(
                    "{through} neurons came through a gate that lets {kept} through: results depend on how rows are shared"
                ))),
            }
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
        let subject = Subject { kernel, isa: peer.name().to_owned(), ..Work::Ffn(1.0).subject(cpu, self.format)? };
        let mut case = Case::new(subject, move || run(&self.x, &mut y));
        case.timed.brings_threads = peer.brings_threads();
        Ok(case)
    }

    /// A dense projection with `rows` outputs, as attention and the LM head have.
    ///
    /// # Errors
    /// None in practice.
    pub fn gemv<'a>(&'a self, cpu: &'a Cpu, rows: usize) -> Result<Case<'a>> {
        let all: Vec<u32> = (0..rows as u32).collect();
        let mut out = vec![0.0; rows];
        let mut turn = 0;
        let subject = Work::Gemv(rows).subject(cpu, self.format)?;
        let own = self.projections.iter().map(|own| own.view()).collect::<std::result::Result<Vec<_>, _>>()?;
        let own: Vec<Matrix<'_>> = own.into_iter().filter(|own| own.rows() == rows && own.cols() == HIDDEN).collect();
        Ok(Case::new(subject, move || {
            turn += 1;
            let matrix = if own.is_empty() { self.part(rows, HIDDEN, turn)? } else { own[turn % own.len()] };
            Ok(cpu.gemv(&matrix, &self.x, &all, &mut out)?)
        }))
    }

    /// A low-rank predictor; the rank is padded to whole blocks.
    ///
    /// # Errors
    /// None in practice.
    pub fn predictor<'a>(&'a self, cpu: &'a Cpu, rank: usize) -> Result<Case<'a>> {
        let subject = Work::Predictor(rank).subject(cpu, self.format)?;
        let rank = rank.next_multiple_of(self.format.block_len());
        let own = self.predictor.iter().map(|[fc1, fc2]| Ok([fc1.view()?, fc2.view()?])).collect::<Result<Vec<_>>>()?;
        let mut pairs: Vec<[Matrix<'_>; 2]> = own.into_iter().filter(|[fc1, _]| fc1.rows() == rank).collect();
        if pairs.is_empty() {
            // Even places for fc1 and odd ones for fc2 would overlap in part: both walk at their own pace instead.
            let walk = |turn| Ok([self.part(rank, HIDDEN, 7 * turn)?, self.part(NEURONS, rank, turn)?]);
            pairs = (0..8).map(walk).collect::<Result<_>>()?;
        }
        let predictors = pairs.into_iter().map(|[fc1, fc2]| LowRank::new(fc1, fc2));
        let mut predictors = predictors.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut scores = vec![0.0; NEURONS];
        let mut turn = 0;
        let subject = Subject { bytes: predictors[0].cost().bytes as u64, ..subject };
        Ok(Case::new(subject, move || {
            turn = (turn + 1) % predictors.len();
            Ok(predictors[turn].scores(cpu, &self.x, &mut scores)?)
        }))
    }
}

/// Attention over `positions` positions of one layer. Enough caches take turns that none is met again before `spread` bytes
/// of others were.
///
/// # Errors
/// The system refuses the memory.
pub fn attention(cpu: &Cpu, positions: usize, spread: usize) -> Result<Case<'_>> {
    let width = SHAPE.kv_width();
    let subject = Subject {
        operator: Operator::Attention,
        kernel: format!("attention/{}", cpu.isa()),
        isa: cpu.isa().to_string(),
        format: WeightFormat::F32,
        rows: positions,
        cols: width,
        density: 1.0,
        threads: cpu.threads(),
        bytes: Operator::Attention.weight_bytes(WeightFormat::F32, (positions, width), 1.0, 0),
        policy: None,
        rank: None,
        tokens: None,
    };
    let mut random = Random::new(positions as u64);
    let [key, value] = [0; 2].map(|_| random.vector(width));
    let cache = |_| {
        let mut cache = KvCache::new(SHAPE.kv_heads, SHAPE.head_dim, positions)?;
        (0..positions).try_for_each(|position| cache.store(position, &key, &value))?;
        Ok::<_, kernels_cpu::Error>(cache)
    };
    let turns = 1 + spread.div_ceil(subject.bytes as usize);
    let caches = cpu.install(|| (0..turns).map(cache).collect::<std::result::Result<Vec<_>, _>>())?;
    let queries = random.vector(SHAPE.query_width());
    let mut out = vec![0.0; queries.len()];
    let mut turn = 0;
    Ok(Case::new(subject, move || {
        turn = (turn + 1) % caches.len();
        Ok(cpu.attend(&caches[turn], positions, &queries, &mut out)?)
    }))
}

/// What a selection by a policy is called and reads: one f32 score for each neuron.
pub fn selection(isa: &str, spec: PolicySpec, neurons: usize) -> Subject {
    Subject {
        operator: Operator::Select,
        kernel: format!("select/{isa}/{spec}"),
        isa: isa.to_owned(),
        format: WeightFormat::F32,
        rows: neurons,
        cols: 1,
        density: 1.0,
        threads: 1,
        bytes: Operator::Select.weight_bytes(WeightFormat::F32, (neurons, 1), 1.0, 0),
        policy: Some(spec.to_string()),
        rank: None,
        tokens: None,
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
    let subject = selection(&Isa::from_env()?.to_string(), spec, neurons);
    let mut turn = 0;
    Ok(Case::new(subject, move || {
        turn = (turn + 1) % tokens.len();
        Ok(policy.step(0, &tokens[turn], &tokens[turn])?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_has_its_turn() {
        let subject = Work::Gemv(8).subject(&Cpu::with_threads(1).unwrap(), Format::F32).unwrap();
        let turns = std::sync::Mutex::new(Vec::new());
        let layer = |index| {
            let turns = &turns;
            Case::new(subject.clone(), move || {
                turns.lock().unwrap().push(index);
                Ok(())
            })
        };
        let mut case = Case::in_turn((0..3).map(layer).collect()).unwrap();
        (0..7).for_each(|_| (case.timed.run)().unwrap());
        drop(case);
        assert_eq!(turns.into_inner().unwrap(), [1, 2, 0, 1, 2, 0, 1]);
        assert!(Case::in_turn(Vec::new()).is_none());
    }

    #[test]
    fn a_gate_lets_as_many_through_as_are_wanted() {
        let gates = Random::new(1).vector(1000);
        for wanted in [1, 50, 400, 900, 1000] {
            let gate = Gate::keeping(wanted, &gates);
            let magnitudes = gates.iter().map(|&g| gate.activation.apply(g).abs());
            assert_eq!(magnitudes.filter(|&m| m > gate.threshold).count(), wanted);
            assert_eq!(gate.kept, wanted);
            assert_eq!(gate.activation == Activation::Relu, wanted <= 400);
        }
        assert_eq!(Gate::keeping(1000, &gates).threshold, 0.0);
        // Equals stand or fall together.
        assert_eq!(Gate::keeping(1, &[2.0, 2.0, 1.0]).kept, 0);
    }
}
