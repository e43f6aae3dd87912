//! A measurement record of a GPU: chains of every operator replayed in turn, round after round, beside the bandwidth of
//! its memory.
//!
//! The roof is what a kernel that does nothing else can read. A copy moves fewer bytes per second, read and written
//! together; it is what others call a GPU's bandwidth, so the record has it too.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use cost_model::{
    estimate::Estimate,
    format::WeightFormat,
    machine::{CUDA, Machine},
    operator::Operator,
    record::{Bandwidth, Measurement, Power, Provenance, Record},
};
use indicatif::ProgressBar;
use kernels_cpu::Format;
use kernels_cuda::{Gpu, Graph, MemoryRoof, PackedMatrix, StepBuilder};
use serde::Serialize;
use threshold::PolicySpec;

use super::{
    batches::batches,
    board::Board,
    chains::{self, Chain, Predictor},
    gpu_format,
    layers::{Ffn, Host, copies, phases, require_memory},
    stack::QKV_ROWS,
};
use crate::{
    Failure, Result,
    batches::BatchRow,
    measure::{BATCH_DENSITIES, RANKS, list, progress_bar},
    outcomes::Activations,
    power::{self, PowerError},
    timing,
    workload::{self, SHAPE, Subject, record_format},
};

/// Densities that a 70B FFN is measured at.
pub const DENSITIES: [f64; 7] = [1.0, 0.5, 0.25, 0.18, 0.1, 0.05, 0.02];
/// Densities of FFNs with a launch of their own.
const LAUNCHED_DENSITIES: [f64; 2] = [1.0, 0.1];
/// Rank of the predictors of layers that are held against their parts.
const LAYER_RANK: usize = RANKS[1];
/// Neurons of an FFN whose bytes count for nothing.
const FEW_NEURONS: usize = 8;
/// Times that an operator is run, unless somebody asks for more.
pub const ROUNDS: usize = 15;
/// Selections between two events.
const SELECTIONS: usize = 200;
/// Replays between two looks at the counter of energy: milliseconds, in which the host asks the GPU for nothing else.
const POWERED_REPLAYS: usize = 8;
/// Device memory that bandwidth is measured in: 4 GiB and a copy of them.
pub(crate) const BANDWIDTH_BYTES: u64 = 8 << 30;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Weight formats, one after the other.
    pub formats: Vec<Format>,
    /// Densities of the FFN.
    pub densities: Vec<f64>,
    /// Operators; those that the GPU has no kernel for are left out.
    pub operators: Vec<Operator>,
    /// Predictor ranks.
    pub ranks: Vec<usize>,
    /// Policies whose selection is timed, where the GPU selects as they do.
    pub policies: Vec<PolicySpec>,
    /// Times that each case is run.
    pub rounds: usize,
    /// Only cases whose id contains this.
    pub only: Option<String>,
    /// Whether to time FFNs with a launch of their own too.
    pub beside: bool,
    /// Whether to read the power of the board while the FFN of the first format runs.
    pub power: bool,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Everything that travels.
    pub record: Record,
    /// Predictor, selection and FFN in one.
    pub layers: Vec<LayerRow>,
    /// FFNs with a launch of their own.
    pub launches: Vec<LaunchRow>,
    /// What could not be measured here, and why.
    pub notes: Vec<String>,
}

/// A whole layer: predictor, selection, FFN.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRow {
    /// Format of all weights.
    pub format: WeightFormat,
    /// Rank of the predictor.
    pub rank: usize,
    /// Share of neurons that the threshold leaves.
    pub density: f64,
    /// Bytes of predictor and FFN.
    pub bytes: u64,
    /// Seconds of a layer in a chain of them.
    pub seconds: Estimate,
    /// Time over that of reading as many bytes, both taken in the same round.
    pub ratio: Estimate,
    /// Seconds of a predictor and of an FFN over a given list, each in a chain of its own.
    pub parts_seconds: Option<f64>,
}

/// An FFN in a chain of phases and with a launch of its own in a graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaunchRow {
    /// Format of the weights.
    pub format: WeightFormat,
    /// Share of neurons computed.
    pub density: f64,
    /// How many that are.
    pub neurons: usize,
    /// Bytes that it reads.
    pub bytes: u64,
    /// Seconds as one phase of many in a launch.
    pub chained: Estimate,
    /// Seconds as the only phase of a launch, one of many in a graph.
    pub launched: Estimate,
}

impl Plan {
    /// Every operator in every format.
    pub fn standard(rounds: usize) -> Self {
        Self {
            formats: Format::ALL.to_vec(),
            densities: DENSITIES.to_vec(),
            operators: Operator::ALL.to_vec(),
            ranks: RANKS.to_vec(),
            policies: Vec::new(),
            rounds,
            only: None,
            beside: true,
            power: true,
        }
    }

    fn wants(&self, subject: &Subject) -> bool {
        self.operators.contains(&subject.operator)
            && self.only.as_ref().is_none_or(|only| subject.id().contains(only.as_str()))
    }

    /// Subjects wanted in a format.
    pub(crate) fn subjects(&self, format: Format) -> Vec<Subject> {
        let (kv, query) = (SHAPE.kv_width(), SHAPE.query_width());
        let mut ranks: Vec<usize> = self.ranks.iter().map(|rank| rank.next_multiple_of(format.block_len())).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let neurons = SHAPE.intermediate;
        let by_density = |operator| {
            let densities = self.densities.iter().filter(move |&&density| operator == Operator::Ffn || density < 1.0);
            densities.map(move |&density| subject(operator, format, neurons, density, None))
        };
        let ffns = by_density(Operator::Ffn).chain(by_density(Operator::FfnGateFirst));
        let gemvs = [kv, query, QKV_ROWS, SHAPE.vocab].map(|rows| subject(Operator::Gemv, format, rows, 1.0, None));
        let predictors = ranks.iter().map(|&rank| subject(Operator::Predictor, format, neurons, 1.0, Some(rank)));
        let steps = ranks.iter().flat_map(|&rank| {
            let densities = self.densities.iter();
            densities.map(move |&density| subject(Operator::FfnPredicted, format, neurons, density, Some(rank)))
        });
        ffns.chain(steps).chain(predictors).chain(gemvs).filter(|s| self.wants(s)).collect()
    }
}

fn subject(operator: Operator, format: Format, rows: usize, density: f64, rank: Option<usize>) -> Subject {
    let weights = record_format(format);
    Subject {
        operator,
        kernel: format!("{operator}/{CUDA}/{format}"),
        isa: CUDA.to_owned(),
        format: weights,
        rows,
        cols: SHAPE.hidden,
        density,
        threads: 1,
        bytes: operator.weight_bytes(weights, (rows, SHAPE.hidden), density, rank.unwrap_or(0)),
        policy: None,
        rank,
        tokens: None,
    }
}

/// Something to replay, and the times it took.
pub(crate) struct Timed {
    chain: Chain,
    bytes: u64,
    /// Seconds of one of what the chain holds, round by round.
    pub(crate) seconds: Vec<f64>,
    /// The same over the seconds in which as many bytes are read in the same round.
    pub(super) ratios: Vec<f64>,
}

impl Timed {
    pub(crate) fn new(chain: Chain, bytes: u64) -> Self {
        Self { chain, bytes, seconds: Vec::new(), ratios: Vec::new() }
    }
}

/// What somebody else replays, timed in the same rounds.
pub(crate) struct Other<'a> {
    /// Bytes that it reads.
    pub(super) bytes: u64,
    run: Box<dyn FnMut() -> Result<f64> + 'a>,
    /// As of [`Timed`].
    pub(super) seconds: Vec<f64>,
    /// As of [`Timed`].
    pub(super) ratios: Vec<f64>,
}

impl<'a> Other<'a> {
    /// `run` gives the seconds that it took.
    pub(super) fn new(bytes: u64, run: impl FnMut() -> Result<f64> + 'a) -> Self {
        Self { bytes, run: Box::new(run), seconds: Vec::new(), ratios: Vec::new() }
    }
}

/// Bandwidth of device memory, round by round.
#[derive(Debug)]
pub(crate) struct Roof<'gpu> {
    memory: MemoryRoof<'gpu>,
    read: Vec<f64>,
    copy: Vec<f64>,
}

impl<'gpu> Roof<'gpu> {
    /// Takes its memory once: what is measured next would find its addresses forgotten after each giving back.
    pub(crate) fn new(gpu: &'gpu Gpu) -> Result<Self> {
        Ok(Self { memory: gpu.memory_roof()?, read: Vec::new(), copy: Vec::new() })
    }

    /// Reads and copies, and gives bytes read per second.
    pub(super) fn sample(&mut self, counts: bool) -> Result<f64> {
        let (read, copy) = (self.memory.read_bytes_per_s()?, self.memory.copy_bytes_per_s()?);
        if counts {
            self.read.push(read);
            self.copy.push(copy);
        }
        Ok(read)
    }

    /// What the record has of it.
    pub(crate) fn bandwidth(&self) -> (Vec<Bandwidth>, Option<Estimate>) {
        let read = timing::median(&self.read).map(|bytes_per_s| Bandwidth { threads: 1, bytes_per_s });
        (read.into_iter().collect(), timing::median(&self.copy))
    }
}

/// How fast the GPU reads and copies its memory, over `rounds` rounds, in bytes per second.
///
/// # Errors
/// Not enough device memory; a failure of the driver.
pub fn bandwidth(gpu: &Gpu, rounds: usize) -> Result<(Vec<Bandwidth>, Option<Estimate>)> {
    let mut roof = Roof::new(gpu)?;
    for round in 0..=rounds {
        roof.sample(round > 0)?;
    }
    Ok(roof.bandwidth())
}

/// Carries out a plan.
///
/// # Errors
/// Nothing matches the plan; not enough device memory; a kernel computes something else than it was told.
pub fn measure(plan: &Plan, gpu: &Gpu, machine: &Machine, provenance: Provenance) -> Result<Measured> {
    let machine = machine.as_gpu().ok_or_else(|| Failure::short("this machine has no usable GPU"))?;
    let record = Record::new(machine, provenance);
    let mut measured = Measured { record, layers: Vec::new(), launches: Vec::new(), notes: Vec::new() };
    let mut roof = Roof::new(gpu)?;
    let progress = progress_bar(((plan.formats.len() + 1) * (plan.rounds + 1)) as u64);
    for &format in &plan.formats {
        // Without f32, an older GPU still has all the others; asked for it alone, it says why not.
        if plan.formats.len() > 1 && !has(gpu, format) {
            continue;
        }
        if !plan.subjects(format).is_empty() {
            progress.set_message(format!("filling layers with weights: {}", list(&[format])));
            measure_format(plan, gpu, format, &mut roof, &mut measured, &progress)?;
        }
    }
    if plan.only.is_none() && plan.operators.contains(&Operator::FfnBatch) {
        let formats: Vec<Format> = plan.formats.iter().copied().filter(|&format| has(gpu, format)).collect();
        let rows = batches(gpu, &formats, &BATCH_DENSITIES, plan.rounds)?;
        measured.record.measurements.extend(rows.iter().filter_map(BatchRow::measurement));
    }
    if let Some(&format) = plan.formats.iter().find(|&&format| plan.power && has(gpu, format)) {
        progress.set_message("power");
        power::put(ffn_power(gpu, format), &mut measured.record, &mut measured.notes)?;
    }
    progress.set_message("selection");
    for (subject, seconds) in selections(plan, gpu)? {
        measured.record.measurements.extend(subject.measurement(&seconds, &[]));
    }
    progress.finish_and_clear();
    if measured.record.measurements.is_empty() {
        let only = plan.only.as_deref().unwrap_or_default();
        return Err(Failure::input(format!("nothing to measure matches `{only}`: try ffn, predictor, gemv or f16")));
    }
    (measured.record.bandwidth, measured.record.copy_bandwidth) = roof.bandwidth();
    Ok(measured)
}

/// Power of the board while FFNs run, dense and sparse in turn.
fn ffn_power(gpu: &Gpu, format: Format) -> std::result::Result<Power, PowerError> {
    let mut board = Board::open(gpu.device().ordinal)?;
    let weights = Weights::upload(gpu, format)?;
    let [dense, sparse] = power::DENSITIES.map(|density| weights.chain(gpu, &weights.ffn_subject(density)));
    let chains = [dense?, sparse?];
    let [dense, sparse] = chains.each_ref().map(|chain| gpu.capture(&chain.steps.iter().collect::<Vec<_>>()));
    let graphs = [dense.map_err(Failure::from)?, sparse.map_err(Failure::from)?];
    let mut works = graphs.each_ref().map(|graph| {
        move || {
            gpu.time(|| (0..POWERED_REPLAYS).try_for_each(|_| graph.replay()))?;
            Ok::<_, Failure>(())
        }
    });
    power::measure(&mut board, &mut power::clock(), &mut works)
}

/// Whether the GPU's steps read a format.
fn has(gpu: &Gpu, format: Format) -> bool {
    let refused = StepBuilder::new(gpu, gpu_format(format)).err();
    !matches!(refused, Some(kernels_cuda::Error::FormatNeedsHopper { .. }))
}

fn measure_format(
    plan: &Plan,
    gpu: &Gpu,
    format: Format,
    roof: &mut Roof<'_>,
    measured: &mut Measured,
    progress: &ProgressBar,
) -> Result<()> {
    let weights = Weights::upload(gpu, format)?;
    let (subjects, mut timed) = weights.operators(gpu, plan, || ())?;
    let beside = plan.beside && plan.only.is_none() && plan.operators.contains(&Operator::Ffn);
    let launched: Vec<Subject> = if beside { launched_subjects(format) } else { Vec::new() };
    for subject in &launched {
        for chain in weights.both_ways(gpu, subject)? {
            timed.push(Timed::new(chain, subject.bytes));
        }
    }
    progress.set_message(format!("{} chains in {format}", timed.len()));
    run_rounds(gpu, plan.rounds, &mut timed, &mut [], roof, || progress.inc(1))?;

    let (own, both) = timed.split_at(subjects.len());
    let own = measurements(&subjects, own);
    measured.layers.extend(layer_rows(&own));
    measured.record.measurements.extend(own);
    measured.launches.extend(launched.iter().zip(both.chunks(2)).filter_map(|(subject, both)| {
        Some(LaunchRow {
            format: subject.format,
            density: subject.density,
            neurons: (subject.density * subject.rows as f64).round() as usize,
            bytes: subject.bytes,
            chained: timing::median(&both.first()?.seconds)?,
            launched: timing::median(&both.last()?.seconds)?,
        })
    }));
    Ok(())
}

/// What the times of these subjects say.
pub(crate) fn measurements(subjects: &[Subject], timed: &[Timed]) -> Vec<Measurement> {
    let measured = |(subject, timed): (&Subject, &Timed)| subject.measurement(&timed.seconds, &timed.ratios);
    subjects.iter().zip(timed).filter_map(measured).collect()
}

/// Layers with a predictor of [`LAYER_RANK`], beside their parts.
fn layer_rows(all: &[Measurement]) -> Vec<LayerRow> {
    let of = |operator, density| {
        let same =
            |m: &&Measurement| (m.operator, m.density, m.rank.unwrap_or(LAYER_RANK)) == (operator, density, LAYER_RANK);
        Some(all.iter().find(same)?.seconds.median)
    };
    let layers = all.iter().filter(|m| m.operator == Operator::FfnPredicted && m.rank == Some(LAYER_RANK));
    let row = |layer: &Measurement| {
        Some(LayerRow {
            format: layer.format,
            rank: LAYER_RANK,
            density: layer.density,
            bytes: layer.bytes,
            seconds: layer.seconds,
            ratio: layer.ratio?,
            parts_seconds: of(Operator::Predictor, 1.0).zip(of(Operator::Ffn, layer.density)).map(|(p, f)| p + f),
        })
    };
    layers.filter_map(row).collect()
}

/// Replays each once a round, after a round that does not count.
pub(crate) fn run_rounds(
    gpu: &Gpu,
    rounds: usize,
    timed: &mut [Timed],
    others: &mut [Other<'_>],
    roof: &mut Roof<'_>,
    step: impl Fn(),
) -> Result<()> {
    let mut graphs: Vec<Graph<'_>> = Vec::new();
    for timed in &*timed {
        graphs.push(gpu.capture(&timed.chain.steps.iter().collect::<Vec<_>>())?);
    }
    let mut times = vec![(Vec::new(), Vec::new()); graphs.len()];
    for round in 0..=rounds {
        let counts = round > 0;
        let read = roof.sample(counts)?;
        for ((graph, timed), (seconds, ratios)) in graphs.iter().zip(timed.iter()).zip(&mut times) {
            // A token follows a token: the first replay finds what another chain left of caches and addresses.
            graph.replay()?;
            let one = gpu.time(|| graph.replay())? / timed.chain.count as f64;
            if counts {
                seconds.push(one);
                ratios.push(one * read / timed.bytes as f64);
            }
        }
        for other in &mut *others {
            (other.run)()?;
            let one = (other.run)()?;
            if counts {
                other.seconds.push(one);
                other.ratios.push(one * read / other.bytes as f64);
            }
        }
        step();
    }
    drop(graphs);
    for (timed, (seconds, ratios)) in timed.iter_mut().zip(times) {
        (timed.seconds, timed.ratios) = (seconds, ratios);
    }
    Ok(())
}

fn launched_subjects(format: Format) -> Vec<Subject> {
    let few = FEW_NEURONS as f64 / SHAPE.intermediate as f64;
    let densities = LAUNCHED_DENSITIES.into_iter().chain([few]);
    densities.map(|density| subject(Operator::Ffn, format, SHAPE.intermediate, density, None)).collect()
}

/// The weights of one format: layers on the device, and the host's to make more of.
pub(crate) struct Weights {
    format: Format,
    host: Host,
    l2_bytes: u64,
    ffns: Vec<Ffn>,
}

impl Weights {
    pub(super) fn upload(gpu: &Gpu, format: Format) -> Result<Self> {
        let l2_bytes = gpu.device().l2_bytes;
        let layer = record_format(format).bytes(3 * SHAPE.intermediate, SHAPE.hidden);
        let copies = copies(l2_bytes, layer);
        // Predictors and projections take less than as much again.
        require_memory(gpu, &format!("measuring {format}"), 2 * copies as u64 * layer + BANDWIDTH_BYTES)?;
        let host = Host::new(format)?;
        let ffns = host.upload_ffns(gpu, copies)?;
        Ok(Self { format, host, l2_bytes, ffns })
    }

    /// Those of FFNs that lie in device memory already.
    pub(crate) fn of(gpu: &Gpu, host: Host, ffns: Vec<Ffn>) -> Self {
        Self { format: host.format(), host, l2_bytes: gpu.device().l2_bytes, ffns }
    }

    /// FFNs that a chain walks through: what is read again must not lie in the cache any more.
    pub(crate) fn least_ffns(gpu: &Gpu, format: Format) -> usize {
        copies(gpu.device().l2_bytes, record_format(format).bytes(3 * SHAPE.intermediate, SHAPE.hidden))
    }

    /// Bytes of what the operators of a plan take beside FFNs: projections and predictors, as often as the cache asks for.
    pub(crate) fn beside_bytes(gpu: &Gpu, plan: &Plan, format: Format) -> u64 {
        let mut shapes = BTreeSet::new();
        for subject in plan.subjects(format) {
            match (subject.operator, subject.rank) {
                (Operator::Gemv, _) => shapes.extend([(subject.rows, subject.cols)]),
                (_, Some(rank)) => shapes.extend([(rank, subject.cols), (subject.rows, rank)]),
                _ => {}
            }
        }
        let taken = |(rows, cols)| {
            let bytes = record_format(format).bytes(rows, cols);
            copies(gpu.device().l2_bytes, bytes) as u64 * bytes
        };
        shapes.into_iter().map(taken).sum()
    }

    /// Chains of the operators of a plan, and what they turned out to be. `built` is called after each.
    ///
    /// # Errors
    /// Not enough device memory; a kernel computes something else than it was told.
    pub(crate) fn operators(&self, gpu: &Gpu, plan: &Plan, built: impl Fn()) -> Result<(Vec<Subject>, Vec<Timed>)> {
        let mut predictors = BTreeMap::new();
        let (mut subjects, mut timed) = (Vec::new(), Vec::new());
        for subject in plan.subjects(self.format) {
            let (chain, subject) = match (subject.operator, subject.rank) {
                (Operator::Predictor | Operator::FfnPredicted, Some(rank)) => {
                    if let Entry::Vacant(entry) = predictors.entry(rank) {
                        entry.insert(self.predictors(gpu, rank)?);
                    }
                    (self.predicting_chain(gpu, &subject, &predictors[&rank])?, subject)
                }
                _ => self.measured_chain(gpu, subject)?,
            };
            timed.push(Timed::new(chain, subject.bytes));
            subjects.push(subject);
            built();
        }
        Ok((subjects, timed))
    }

    /// Of predictors alone, or of the layers that they are in.
    fn predicting_chain(&self, gpu: &Gpu, subject: &Subject, predictors: &[Predictor]) -> Result<Chain> {
        let (format, count) = (gpu_format(self.format), self.count(subject));
        match subject.operator {
            Operator::Predictor => chains::predictors(gpu, format, predictors, count),
            _ => chains::whole_layers(gpu, format, &self.ffns, predictors, subject.density, count),
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    fn count(&self, subject: &Subject) -> usize {
        phases(self.l2_bytes, subject.bytes)
    }

    fn matrices(&self, gpu: &Gpu, shape: (usize, usize)) -> Result<Vec<Arc<PackedMatrix>>> {
        let bytes = record_format(self.format).bytes(shape.0, shape.1);
        self.host.upload(gpu, shape, 0, copies(self.l2_bytes, bytes))
    }

    /// Predictors at as many addresses as the cache asks for.
    fn predictors(&self, gpu: &Gpu, rank: usize) -> Result<Vec<Predictor>> {
        let fc1 = self.matrices(gpu, (rank, SHAPE.hidden))?;
        let fc2 = self.matrices(gpu, (SHAPE.intermediate, rank))?;
        let longer = fc1.len().max(fc2.len());
        let pairs = fc1.iter().cycle().zip(fc2.iter().cycle()).take(longer);
        Ok(pairs.map(|(fc1, fc2)| Predictor { fc1: fc1.clone(), fc2: fc2.clone() }).collect())
    }

    /// The chain of a subject, and the subject that it turned out to be.
    fn measured_chain(&self, gpu: &Gpu, subject: Subject) -> Result<(Chain, Subject)> {
        if subject.operator != Operator::FfnGateFirst {
            return Ok((self.chain(gpu, &subject)?, subject));
        }
        let (format, count) = (gpu_format(self.format), self.count(&subject));
        let (chain, through) = chains::gate_first_ffns(gpu, format, &self.ffns, subject.density, count)?;
        Ok((chain, self::subject(subject.operator, self.format, subject.rows, through, None)))
    }

    /// The chain of an FFN over listed rows or of projections.
    pub(super) fn chain(&self, gpu: &Gpu, subject: &Subject) -> Result<Chain> {
        let (format, count) = (gpu_format(self.format), self.count(subject));
        match subject.operator {
            Operator::Ffn => chains::ffns(gpu, format, &self.ffns, subject.density, count),
            _ => {
                let matrices = self.matrices(gpu, (subject.rows, subject.cols))?;
                chains::projections(gpu, format, subject.rows, &matrices, count)
            }
        }
    }

    /// The FFN at a density.
    pub(super) fn ffn_subject(&self, density: f64) -> Subject {
        subject(Operator::Ffn, self.format, SHAPE.intermediate, density, None)
    }

    /// In one launch and in many.
    fn both_ways(&self, gpu: &Gpu, subject: &Subject) -> Result<[Chain; 2]> {
        let format = gpu_format(self.format);
        // Launches are many where bytes are few, and a graph of a thousand of them shows nothing more.
        let count = phases(self.l2_bytes, subject.bytes).min(64);
        let chained = chains::ffns(gpu, format, &self.ffns, subject.density, count)?;
        Ok([chained, chains::launched_ffns(gpu, format, &self.ffns, subject.density, count)?])
    }
}

/// How the GPU selects what a policy selects: `None` where it cannot, or not without the host.
fn kernel_of(spec: PolicySpec) -> Option<Selection> {
    match spec {
        PolicySpec::Fixed(_) | PolicySpec::PerLayer(..) => Some(Selection::Threshold),
        PolicySpec::TopK(density) => Some(Selection::TopK(density.get())),
        _ => None,
    }
}

/// A selection kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Selection {
    Threshold,
    TopK(f64),
}

/// Scores that a threshold leaves: what is selected hardly changes how long it takes.
const SELECTED: f64 = 0.1;

/// Selection kernels, one after the other in a stream.
fn selections(plan: &Plan, gpu: &Gpu) -> Result<Vec<(Subject, Vec<f64>)>> {
    let neurons = SHAPE.intermediate;
    let wanted = |&spec: &PolicySpec| {
        let selection = kernel_of(spec)?;
        let subject = workload::selection(CUDA, spec, neurons);
        plan.wants(&subject).then_some((subject, selection))
    };
    let wanted: Vec<_> = plan.policies.iter().filter_map(wanted).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut scores = vec![0.0; neurons];
    Activations::of(SHAPE.name)?.stream(1)?.next_token(0, &mut scores)?;
    let mut sorted = scores.clone();
    sorted.sort_by(f32::total_cmp);
    let threshold = timing::nearest_rank(&sorted, 1.0 - SELECTED).unwrap_or(0.0);
    let scores = gpu.upload_vector(&scores)?;
    let threshold = gpu.upload_vector(&[threshold])?;
    let mut active = gpu.active_set(neurons)?;
    let mut all = Vec::new();
    for (subject, selection) in wanted {
        let mut seconds = Vec::new();
        let k = match selection {
            Selection::Threshold => 0.0,
            Selection::TopK(density) => (density * neurons as f64).round(),
        };
        let k = gpu.upload_count(k as u32)?;
        for round in 0..=plan.rounds {
            let all = gpu.time(|| {
                (0..SELECTIONS).try_for_each(|_| match selection {
                    Selection::Threshold => gpu.select_threshold_on_device(&scores, &threshold, &mut active),
                    Selection::TopK(_) => gpu.select_top_k_on_device(&scores, &k, &mut active),
                })
            })?;
            if round > 0 {
                seconds.push(all / SELECTIONS as f64);
            }
        }
        all.push((subject, seconds));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_those_of_a_processor_under_another_instruction_set() {
        let plan = Plan::standard(ROUNDS);
        let subjects = plan.subjects(Format::Q8_0);
        assert_eq!(subjects.len(), (2 + RANKS.len()) * DENSITIES.len() - 1 + RANKS.len() + 4);
        let ids: Vec<String> = subjects.iter().map(Subject::id).collect();
        assert_eq!(ids[4], "ffn/cuda/q8_0 28672x8192 density 0.1 t1");
        assert!(ids.contains(&"predictor/cuda/q8_0 28672x8192 rank 1920 t1".to_owned()), "{ids:?}");
        assert!(ids.contains(&"ffn_predicted/cuda/q8_0 28672x8192 density 0.1 rank 1024 t1".to_owned()), "{ids:?}");
        assert!(ids.contains(&"gemv/cuda/q8_0 10240x8192 density 1 t1".to_owned()), "{ids:?}");
        assert!(ids.contains(&"gemv/cuda/q8_0 1024x8192 density 1 t1".to_owned()), "{ids:?}");
        for s in &subjects {
            let bytes = s.operator.weight_bytes(s.format, (s.rows, s.cols), s.density, s.rank.unwrap_or(0));
            assert_eq!(s.bytes, bytes);
        }
    }

    #[test]
    fn only_what_matches_is_measured() {
        let only = |pattern: &str| Plan { only: Some(pattern.to_owned()), ..Plan::standard(ROUNDS) };
        let operators = |pattern: &str| -> Vec<Operator> {
            only(pattern).subjects(Format::F16).iter().map(|s| s.operator).collect()
        };
        let step = Operator::FfnPredicted;
        assert_eq!(operators("density 0.1 "), [Operator::Ffn, Operator::FfnGateFirst, step, step, step]);
        assert_eq!(operators("density 0.1 rank 512 "), [step]);
        assert_eq!(operators("8192 rank 512 "), [Operator::Predictor]);
        assert!(only("gate_up").subjects(Format::F16).is_empty());
    }

    /// A layer stands beside its own parts: of its rank and density, as far as they were measured.
    #[test]
    fn layers_stand_beside_their_parts() {
        let neurons = SHAPE.intermediate;
        let measured = |operator, density, rank, us: f64| {
            let subject = subject(operator, Format::Q8_0, neurons, density, rank);
            subject.measurement(&[us * 1e-6; 6], &[1.2; 6]).unwrap()
        };
        let all = [
            measured(Operator::Ffn, 1.0, None, 175.0),
            measured(Operator::Ffn, 0.1, None, 20.0),
            measured(Operator::FfnGateFirst, 0.1, None, 75.0),
            measured(Operator::FfnPredicted, 0.1, Some(512), 33.0),
            measured(Operator::FfnPredicted, 0.1, Some(LAYER_RANK), 38.0),
            measured(Operator::FfnPredicted, 0.05, Some(LAYER_RANK), 30.0),
            measured(Operator::Predictor, 1.0, Some(512), 7.0),
            measured(Operator::Predictor, 1.0, Some(LAYER_RANK), 11.0),
        ];
        let rows = layer_rows(&all);
        assert_eq!(rows.iter().map(|row| (row.rank, row.density)).collect::<Vec<_>>(), [(1024, 0.1), (1024, 0.05)]);
        assert!((rows[0].seconds.median - 38e-6).abs() < 1e-12 && rows[0].bytes == all[1].bytes + all[7].bytes);
        assert!(rows[0].parts_seconds.is_some_and(|parts| (parts - 31e-6).abs() < 1e-12));
        assert_eq!(rows[1].parts_seconds, None);
    }

    #[test]
    fn policies_that_need_the_host_are_not_timed() {
        let selection = |policy: &str| kernel_of(policy.parse().unwrap());
        assert_eq!(selection("fixed:0.05"), Some(Selection::Threshold));
        assert_eq!(selection("per-layer:density=0.10"), Some(Selection::Threshold));
        assert_eq!(selection("top-k:density=0.25"), Some(Selection::TopK(0.25)));
        for policy in ["dense", "budget:density=0.10", "dynamic:miss=0.05", "top-p:mass=0.95"] {
            assert_eq!(selection(policy), None);
        }
    }
}
