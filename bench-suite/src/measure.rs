//! A measurement record of this machine: every case in turn, round after round, beside the machine's read bandwidth.

use std::{
    hint::black_box,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use cost_model::{
    machine::Machine,
    operator::Operator,
    record::{Bandwidth, Power, Provenance, Record},
};
use indicatif::{ProgressBar, ProgressStyle};
use kernels_cpu::{Cpu, Format, Isa, synthetic::OwnedMatrix};
use threshold::PolicySpec;

use crate::{
    Failure, Result,
    machine::{available_memory_bytes, last_cache_bytes},
    outcomes::Activations,
    power::{
        self, PowerError,
        powercap::{self, Packages},
    },
    start::{Start, starts},
    timing,
    workload::{Case, Layer, SHAPE, Subject, Timed, Work, attention, select},
};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Weight formats, one after the other.
    pub formats: Vec<Format>,
    /// Instruction sets; with none, each format runs as is fastest here.
    pub isas: Vec<Isa>,
    /// Thread counts.
    pub threads: Vec<usize>,
    /// Densities of the FFN operators.
    pub densities: Vec<f64>,
    /// Operators.
    pub operators: Vec<Operator>,
    /// Tokens of the batches that the FFN is measured with, each at [`BATCH_DENSITIES`].
    pub batches: Vec<usize>,
    /// Predictor ranks.
    pub ranks: Vec<usize>,
    /// Policies whose selection is timed.
    pub policies: Vec<PolicySpec>,
    /// Times that each case is run.
    pub rounds: usize,
    /// Only cases whose id contains this.
    pub only: Option<String>,
    /// Whether to time small calls too, on the most threads.
    pub starts: bool,
    /// Whether to read the power of the processors while the FFN of the first format runs, on the most threads.
    pub power: bool,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Everything that travels.
    pub record: Record,
    /// Small calls, where the plan asks for them.
    pub starts: Vec<Start>,
    /// What could not be measured here, and why.
    pub notes: Vec<String>,
}

/// Densities that a 70B FFN is measured at.
pub const DENSITIES: [f64; 5] = [1.0, 0.5, 0.25, 0.1, 0.05];
/// Densities of each token of a batch: where all share every row, and where few share any.
pub const BATCH_DENSITIES: [f64; 2] = [1.0, 0.1];
/// A batch of eight takes eight times as long as anything else: it runs in so many of the rounds.
const BATCH_ROUNDS: usize = 7;
/// Tokens in the KV cache.
pub const CONTEXTS: [usize; 3] = [128, 1024, 8192];
/// Ranks of the field's predictors: Deja Vu's 1000 to a power of two and half of it, PowerInfer's mean for 70B.
pub const RANKS: [usize; 3] = [512, 1024, 1919];
const BYTES_PER_GB: f64 = 1e9;
pub(crate) const NO_REST: Duration = Duration::ZERO;

impl Plan {
    /// Every operator in the formats that 70B models are decoded in, as is fastest here, all cores.
    pub fn standard(machine: &Machine, rounds: usize) -> Self {
        Self {
            formats: vec![Format::F16, Format::Q8_0],
            isas: Vec::new(),
            threads: vec![machine.logical_cores],
            densities: DENSITIES.to_vec(),
            operators: Operator::ALL.to_vec(),
            batches: vec![8],
            ranks: RANKS.to_vec(),
            policies: Vec::new(),
            rounds,
            only: None,
            starts: false,
            power: true,
        }
    }

    fn wants(&self, subject: &Subject) -> bool {
        self.operators.contains(&subject.operator)
            && self.only.as_ref().is_none_or(|only| subject.id().contains(only.as_str()))
    }

    /// What is wanted of a layer in that format: nothing of a kernel that `cpu` borrows from another of these
    /// instruction sets.
    fn work(&self, cpu: &Cpu, format: Format) -> Result<Vec<Work>> {
        let isa = cpu.kernel(format).isa();
        if isa != cpu.isa() && self.isas.contains(&isa) {
            return Ok(Vec::new());
        }
        let by_density = [Work::GateUp, Work::Down, Work::Ffn, Work::FfnGateFirst];
        let mut all: Vec<Work> =
            self.densities.iter().flat_map(|&density| by_density.map(|operator| operator(density))).collect();
        let batches = |density| self.batches.iter().map(move |&tokens| Work::FfnBatch(density, tokens));
        all.extend(BATCH_DENSITIES.into_iter().flat_map(batches));
        let (kv_rows, query_rows) = (SHAPE.kv_heads * SHAPE.head_dim, SHAPE.heads * SHAPE.head_dim);
        all.extend([kv_rows, query_rows, SHAPE.vocab].map(Work::Gemv));
        let mut ranks: Vec<usize> = self.ranks.iter().map(|rank| rank.next_multiple_of(format.block_len())).collect();
        ranks.sort_unstable();
        ranks.dedup();
        all.extend(ranks.into_iter().map(Work::Predictor));
        let mut wanted = Vec::new();
        for work in all {
            if self.wants(&work.subject(cpu, format)?) {
                wanted.push(work);
            }
        }
        Ok(wanted)
    }

    /// Formats of which anything is wanted: no layer is filled for nothing.
    fn wanted_formats(&self, cpus: &[Cpu]) -> Result<Vec<Format>> {
        let mut wanted = Vec::new();
        for &format in &self.formats {
            for cpu in cpus {
                if !wanted.contains(&format) && !self.work(cpu, format)?.is_empty() {
                    wanted.push(format);
                }
            }
        }
        Ok(wanted)
    }

    /// Every instruction set on each of `threads`.
    pub(crate) fn cpus(&self, threads: &[usize]) -> Result<Vec<Cpu>> {
        if self.isas.is_empty() {
            return threads.iter().map(|&threads| Ok(Cpu::with_threads(threads)?)).collect();
        }
        let pairs = self.isas.iter().flat_map(|&isa| threads.iter().map(move |&threads| (isa, threads)));
        pairs.map(|(isa, threads)| Ok(Cpu::with(isa, threads)?)).collect()
    }
}

/// Carries out a plan.
///
/// Formats are measured in the same rounds where memory holds a layer of each: on a machine that drifts, formats
/// measured one after the other would be measured on different machines.
///
/// # Errors
/// Nothing matches the plan; not enough memory; a kernel refuses what it is given.
pub fn measure(plan: &Plan, machine: Machine, provenance: Provenance) -> Result<Measured> {
    let cpus = plan.cpus(&plan.threads)?;
    let mut record = Record::new(machine, provenance);
    let (mut small, mut notes) = (Vec::new(), Vec::new());
    let most = plan.threads.iter().copied().max().unwrap_or(1);
    let mut roof = Roof::new(widest(&cpus)?)?;
    let mut huge_pages = Vec::new();
    let mut bandwidth = vec![Vec::new(); cpus.len()];
    let formats = plan.wanted_formats(&cpus)?;
    let together = formats_that_fit_together(&formats)?;
    let progress = progress_bar(((together.len() + 2) * plan.rounds) as u64);
    for (turn, formats) in together.into_iter().enumerate() {
        progress.set_message(format!("filling layers with weights: {}", list(formats)));
        let layers = formats.iter().map(|&format| fitting_layer(widest(&cpus)?, format));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        huge_pages.extend(
            layers.iter().filter_map(|layer| Some((Layer::bytes(layer.format()).ok()?, layer.huge_page_share()?))),
        );
        let mut cases = layer_cases(plan, &cpus, &layers)?;
        progress.set_message(format!("{} operators in {}", cases.len(), list(formats)));
        run_rounds(
            plan.rounds,
            &cpus,
            &mut timed_of(&mut cases),
            Some((&mut roof, &mut bandwidth)),
            NO_REST,
            &progress,
        )?;
        record.measurements.extend(cases.iter().flat_map(|(_, case)| case.measurement()));
        if let Some(layer) = layers.first().filter(|_| plan.power && turn == 0) {
            progress.set_message("power");
            power::put(ffn_power(widest(&cpus)?, layer), &mut record, &mut notes)?;
        }
        for cpu in cpus.iter().filter(|cpu| plan.starts && cpu.threads() == most) {
            progress.set_message("small calls");
            small.extend(starts(plan.rounds, cpu, &layers, &mut roof)?);
        }
    }
    progress.set_message("attention");
    let mut attention = attention_cases(plan, &cpus)?;
    run_rounds(
        plan.rounds,
        &cpus,
        &mut timed_of(&mut attention),
        Some((&mut roof, &mut bandwidth)),
        NO_REST,
        &progress,
    )?;
    record.measurements.extend(attention.iter().filter_map(|(_, case)| case.measurement()));
    progress.set_message("selection");
    let mut selections = selection_cases(plan)?;
    run_rounds(plan.rounds, &cpus, &mut timed_of(&mut selections), None, NO_REST, &progress)?;
    record.measurements.extend(selections.iter().flat_map(|(_, case)| case.measurement()));
    progress.finish_and_clear();
    if record.measurements.is_empty() {
        let only = plan.only.as_deref().unwrap_or_default();
        return Err(Failure::input(format!("nothing to measure matches `{only}`: try gate_up, down, f16 or t1")));
    }
    record.bandwidth = best_per_thread_count(&cpus, &bandwidth);
    let bytes: usize = huge_pages.iter().map(|layer| layer.0).sum();
    if bytes > 0 {
        let huge: f64 = huge_pages.iter().map(|&(bytes, share)| bytes as f64 * share).sum();
        record.huge_page_share = Some(huge / bytes as f64);
    }
    Ok(Measured { record, starts: small, notes })
}

/// Power of the processors while the FFN of a layer runs, dense and sparse in turn.
fn ffn_power(cpu: &Cpu, layer: &Layer) -> std::result::Result<Power, PowerError> {
    let mut packages = Packages::open(Path::new(powercap::FOLDER))?;
    let [dense, sparse] = power::DENSITIES.map(|density| layer.whole_ffn(cpu, density));
    let works = [dense?, sparse?].map(|case| case.timed.run);
    let mut works = works.map(|mut run| move || cpu.install(&mut run));
    power::measure(&mut packages, &mut power::clock(), &mut works)
}

/// All formats at once where memory allows, else one after the other.
pub(crate) fn formats_that_fit_together(formats: &[Format]) -> Result<Vec<&[Format]>> {
    let wanted = formats.iter().map(|&format| Layer::bytes(format)).sum::<Result<usize>>()?;
    let fits = wanted as u64 <= available_memory_bytes();
    Ok(if fits && !formats.is_empty() { vec![formats] } else { formats.chunks(1).collect() })
}

pub(crate) fn list(formats: &[Format]) -> String {
    formats.iter().map(Format::to_string).collect::<Vec<_>>().join(", ")
}

/// The pool of most threads: the one that fills memory.
pub(crate) fn widest(cpus: &[Cpu]) -> Result<&Cpu> {
    cpus.iter().max_by_key(|cpu| cpu.threads()).ok_or_else(|| Failure::input("no threads to measure with"))
}

/// How fast each pool of threads reads memory, over `rounds` rounds, and which share of that memory lay on huge pages.
///
/// # Errors
/// Not enough memory.
pub fn bandwidth(cpus: &[Cpu], rounds: usize) -> Result<(Vec<Bandwidth>, Option<f64>)> {
    let mut roof = Roof::new(widest(cpus)?)?;
    let mut samples = vec![Vec::new(); cpus.len()];
    let progress = progress_bar(rounds as u64);
    progress.set_message("read bandwidth");
    for _ in 0..rounds {
        for (cpu, samples) in cpus.iter().zip(&mut samples) {
            samples.push(cpu.install(|| roof.bytes_per_s(cpu))?);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok((best_per_thread_count(cpus, &samples), roof.memory.huge_page_share()))
}

pub(crate) fn fitting_layer(cpu: &Cpu, format: Format) -> Result<Layer> {
    let (wanted, free) = (Layer::bytes(format)?, available_memory_bytes());
    // 0 means that the system does not say.
    if free > 0 && wanted as u64 > free {
        return Err(Failure::input(format!(
            "a {format} layer takes {:.1} GB and {:.1} GB of memory is free: close something, or measure other formats",
            wanted as f64 / BYTES_PER_GB,
            free as f64 / BYTES_PER_GB
        )));
    }
    Layer::new(cpu, format)
}

/// A case and which of the pools it runs on.
pub(crate) type Placed<'a> = (usize, Case<'a>);

/// What the cases have to time, each with its pool.
pub(crate) fn timed_of<'c, 'a>(cases: &'c mut [Placed<'a>]) -> Vec<(usize, &'c mut Timed<'a>)> {
    cases.iter_mut().map(|(pool, case)| (*pool, &mut case.timed)).collect()
}

pub(crate) fn layer_cases<'a>(plan: &Plan, cpus: &'a [Cpu], layers: &'a [Layer]) -> Result<Vec<Placed<'a>>> {
    let mut cases = Vec::new();
    for (layer, (pool, cpu)) in layers.iter().flat_map(|layer| cpus.iter().enumerate().map(move |cpu| (layer, cpu))) {
        for work in plan.work(cpu, layer.format())? {
            let mut case = layer.case(cpu, work)?;
            if case.subject.tokens.is_some() {
                case.timed.every = (plan.rounds / BATCH_ROUNDS).max(1);
            }
            cases.push((pool, case));
        }
    }
    Ok(cases)
}

pub(crate) fn attention_cases<'a>(plan: &Plan, cpus: &'a [Cpu]) -> Result<Vec<Placed<'a>>> {
    let mut cases = Vec::new();
    if !plan.operators.contains(&Operator::Attention) {
        return Ok(cases);
    }
    for (pool, cpu) in cpus.iter().enumerate() {
        for positions in CONTEXTS {
            let case = attention(cpu, positions, 2 * last_cache_bytes() as usize)?;
            if plan.wants(&case.subject) {
                cases.push((pool, case));
            }
        }
    }
    Ok(cases)
}

pub(crate) fn selection_cases<'a>(plan: &Plan) -> Result<Vec<Placed<'a>>> {
    let mut cases = Vec::new();
    if plan.policies.is_empty() || !plan.operators.contains(&Operator::Select) {
        return Ok(cases);
    }
    let activations = Activations::of(SHAPE.name)?;
    for &spec in &plan.policies {
        // Nothing is selected where everything runs.
        if spec == PolicySpec::Dense {
            continue;
        }
        let case = select(spec, activations.policy(spec)?, &mut activations.stream(1)?)?;
        if plan.wants(&case.subject) {
            cases.push((0, case));
        }
    }
    Ok(cases)
}

/// Runs each once a round, after one round that does not count, each after a `rest`. With a roof, its pool
/// reads memory just before and just after it, and the ratio is taken against the mean of the two: shared
/// machines change speed within tens of milliseconds.
pub(crate) fn run_rounds(
    rounds: usize,
    cpus: &[Cpu],
    timed: &mut [(usize, &mut Timed<'_>)],
    mut roof: Option<(&mut Roof, &mut Vec<Vec<f64>>)>,
    rest: Duration,
    progress: &ProgressBar,
) -> Result<()> {
    for round in 0..=rounds {
        let counts = round > 0;
        for (pool, timed) in timed.iter_mut().filter(|(_, timed)| round % timed.every == 0) {
            let cpu = &cpus[*pool];
            let run = &mut timed.run;
            sleep(rest);
            let mut read = || roof.as_mut().map(|(roof, _)| roof.bytes_per_s(cpu)).transpose();
            let (seconds, result, bytes_per_s) = if timed.brings_threads {
                let before = cpu.install(&mut read)?;
                let (seconds, result) = time(run);
                sleep(rest);
                (seconds, result, before.zip(cpu.install(read)?))
            } else {
                cpu.install(|| {
                    let before = read()?;
                    let (seconds, result) = time(run);
                    Ok::<_, Failure>((seconds, result, before.zip(read()?)))
                })?
            };
            result?;
            if counts {
                timed.seconds.push(seconds);
                if let (Some((before, after)), Some((_, bandwidth))) = (bytes_per_s, &mut roof) {
                    timed.bytes_per_s.push([before, after]);
                    bandwidth[*pool].extend([before, after]);
                }
            }
        }
        if counts {
            progress.inc(1);
        }
    }
    Ok(())
}

/// Memory of its own that is read to see how fast memory is just then: what the caches keep of it is no weight.
///
/// A window at a time, and none again before caches have forgotten it: each window is twice the last-level cache, so the
/// reads around a case also leave nothing of its weights to the next one.
pub(crate) struct Roof {
    memory: OwnedMatrix,
    window_bytes: usize,
    turn: usize,
}

impl Roof {
    /// Milliseconds of reading, and more than what starting the threads could blur: reading four times as much at once
    /// is 1 % faster (two cores of an EPYC with Zen 4).
    const LEAST_WINDOW_BYTES: usize = 64 << 20;
    const LEAST_BYTES: usize = 512 << 20;

    /// Memory filled by the threads of `cpu`.
    pub(crate) fn new(cpu: &Cpu) -> Result<Self> {
        let row_bytes = Format::F32.row_bytes(SHAPE.hidden)?;
        let window = Self::LEAST_WINDOW_BYTES.max(2 * last_cache_bytes() as usize).next_multiple_of(row_bytes);
        let windows = Self::LEAST_BYTES.div_ceil(window).max(2);
        let rows = windows * window / row_bytes;
        let memory = cpu.install(|| OwnedMatrix::random(Format::F32, rows, SHAPE.hidden, 7))?;
        Ok(Self { memory, window_bytes: window, turn: 0 })
    }

    pub(crate) fn bytes_per_s(&mut self, cpu: &Cpu) -> Result<f64> {
        let (seconds, bytes) = time(|| self.read(cpu));
        Ok(bytes? as f64 / seconds)
    }

    /// Reads the next window; how many bytes that were.
    pub(crate) fn read(&mut self, cpu: &Cpu) -> Result<usize> {
        let all = self.memory.view()?.bytes();
        self.turn = (self.turn + 1) % (all.len() / self.window_bytes);
        let window = &all[self.turn * self.window_bytes..][..self.window_bytes];
        black_box(cpu.read_all(window));
        Ok(window.len())
    }
}

fn time<R>(f: impl FnOnce() -> R) -> (f64, R) {
    let start = Instant::now();
    let result = f();
    (start.elapsed().as_secs_f64(), result)
}

/// The bandwidth of each thread count; of two instruction sets the faster, being the better roof.
pub(crate) fn best_per_thread_count(cpus: &[Cpu], samples: &[Vec<f64>]) -> Vec<Bandwidth> {
    let mut best: Vec<Bandwidth> = Vec::new();
    for (cpu, samples) in cpus.iter().zip(samples) {
        let Some(bytes_per_s) = timing::median(samples) else { continue };
        let threads = cpu.threads();
        match best.iter_mut().find(|b| b.threads == threads) {
            Some(known) if known.bytes_per_s.median >= bytes_per_s.median => {}
            Some(known) => known.bytes_per_s = bytes_per_s,
            None => best.push(Bandwidth { threads, bytes_per_s }),
        }
    }
    best
}

/// A bar on standard error; silent where that is not a terminal.
pub fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template("{bar:32.cyan/dim} {percent:>3} %  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar
}
