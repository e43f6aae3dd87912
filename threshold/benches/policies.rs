//! Every policy at the width of Llama-2-70B's FFN: time of one selection, then what it selects on a drifting
//! stream.
//!
//! `cargo bench -p threshold` runs both.

#![allow(clippy::expect_used, reason = "a bench that cannot run should stop")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use threshold::{
    Allocation, Audit, Auditor, Calibration, CalibrationBuilder, Density, Error, Feedback, Inputs, Isa, Knobs, Policy,
    PolicySpec, QuantileTable, ScoreStream, Shape, Threshold,
};

/// Intermediate size of Llama-2-70B.
const NEURONS: usize = 28672;

/// Skipped rows audited per layer and token: 0.2 % of them all.
const AUDITED: usize = 64;

/// Tokens of the comparison: 8 prompts.
const TOKENS: usize = 256;

/// Tokens of the calibration text: 8 other prompts, half as long.
const CALIBRATION_TOKENS: usize = TOKENS / 2;

fn main() {
    let setup = Setup::new().expect("the tables and specs of this file are sound");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    selections(&mut criterion, &setup);
    criterion.final_summary();

    let arguments: Vec<String> = std::env::args().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // Without `--bench` cargo runs this as a test.
    if given("--bench") && !["--test", "--list", "--profile-time"].into_iter().any(given) {
        comparison(&setup).expect("the stream makes scores that every policy takes");
    }
}

struct Setup {
    table: QuantileTable,
    calibration: Calibration,
    specs: Vec<PolicySpec>,
}

impl Setup {
    fn new() -> Result<Self, Error> {
        let table = llama_2_70b()?;
        let calibration = calibrate(&table)?;
        let specs = specs(&table, &calibration)?;
        Ok(Self { table, calibration, specs })
    }

    fn build(&self, spec: &PolicySpec, shape: Shape, isa: Option<Isa>) -> Result<Box<dyn Policy>, Error> {
        spec.build(shape, &Inputs { calibration: Some(&self.calibration), isa, ..Inputs::default() })
    }
}

/// |h2| of Llama-2-70B, 80 layers.
fn llama_2_70b() -> Result<QuantileTable, Error> {
    let text = include_str!("../data/llama-2-70b-h2-quantiles.csv");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let header = lines.next().unwrap_or_default();
    let levels: Vec<f64> = header.split(',').filter_map(|name| name.strip_prefix('q')?.parse().ok()).collect();
    let values: Vec<f32> = lines.flat_map(|line| line.split(',').skip(1)).filter_map(|v| v.parse().ok()).collect();
    QuantileTable::new(&levels, &values)
}

/// Statistics of prompts that the comparison does not contain.
fn calibrate(table: &QuantileTable) -> Result<Calibration, Error> {
    let knobs = Knobs::default();
    let other = Knobs { seed: 1000, prompt_tokens: knobs.prompt_tokens / 2, ..knobs };
    let mut stream = ScoreStream::new(table, NEURONS, other)?;
    let mut builder = CalibrationBuilder::new(stream.shape());
    let (mut masses, mut scores) = (vec![0.0; NEURONS], vec![0.0; NEURONS]);
    for layer in 0..table.layers() {
        for _ in 0..CALIBRATION_TOKENS {
            stream.next_token(layer, &mut masses)?;
            stream.predict(layer, &masses, &mut scores)?;
            builder.add(layer, &scores, &masses)?;
        }
    }
    Ok(builder.finish())
}

/// Every policy, set for a density of 0.10 on the calibration text where it can be; `dynamic` twice: at a miss
/// that a user would ask for, and at the miss that `per-layer` has there.
fn specs(table: &QuantileTable, calibration: &Calibration) -> Result<Vec<PolicySpec>, Error> {
    let density = Density::new(0.10)?;
    let global = calibration.global_threshold(density)?;
    let mut miss = 0.0;
    for layer in 0..table.layers() {
        let threshold = calibration.threshold(layer, density)?;
        miss += calibration.miss(layer, threshold)?.unwrap_or(0.0) / table.layers() as f64;
    }
    Ok(vec![
        PolicySpec::Dense,
        PolicySpec::Fixed(Some(Threshold::new(global)?)),
        PolicySpec::PerLayer(density, Allocation::Even),
        PolicySpec::TopK(density),
        "dynamic:miss=0.02".parse()?,
        format!("dynamic:miss={miss:.2}").parse()?,
    ])
}

/// Those of this processor, or the one that `THRESHER_ISA` forces.
fn isas() -> Vec<Isa> {
    let forced = std::env::var("THRESHER_ISA").is_ok_and(|name| !name.is_empty());
    let wanted = |isa: &Isa| isa.is_available() && (!forced || Isa::from_env() == Ok(*isa));
    Isa::ALL.into_iter().filter(wanted).collect()
}

fn selections(criterion: &mut Criterion, setup: &Setup) {
    // Several tokens in turn: a branch predictor can learn one token's scores by heart.
    let (tokens, layer) = (8, 40);
    let mut stream = ScoreStream::new(&setup.table, NEURONS, Knobs::stationary(1)).expect("knobs in range");
    let mut scores = vec![vec![0.0; NEURONS]; tokens];
    for scores in &mut scores {
        stream.next_token(layer, scores).expect("a layer of the table");
    }
    let mut active = Vec::with_capacity(NEURONS);

    let mut group = criterion.benchmark_group("select");
    group.throughput(Throughput::Elements(NEURONS as u64));
    for (isa, spec) in isas().into_iter().flat_map(|isa| setup.specs.iter().map(move |spec| (isa, spec))) {
        let mut policy = setup.build(spec, stream.shape(), Some(isa)).expect("calibrated for this shape");
        let mut token = scores.iter().cycle();
        group.bench_function(BenchmarkId::new(isa.to_string(), spec), |bencher| {
            bencher.iter(|| {
                let scores = token.next().expect("a cycle has no end");
                policy.select(layer, black_box(scores), &mut active).expect("finite scores");
                black_box(active.len())
            });
        });
    }
    group.finish();
}

/// What one policy did on the stream.
struct Run {
    spec: PolicySpec,
    policy: Box<dyn Policy>,
    /// Audited rows count as computed.
    density: Vec<f64>,
    miss: Vec<f64>,
    layer_miss: Vec<f64>,
}

fn comparison(setup: &Setup) -> Result<(), Error> {
    let mut stream = ScoreStream::new(&setup.table, NEURONS, Knobs::default())?;
    let shape = stream.shape();
    let layers = shape.layers();
    let mut runs = Vec::new();
    for spec in &setup.specs {
        runs.push(Run {
            spec: *spec,
            policy: setup.build(spec, shape, None)?,
            density: vec![0.0; TOKENS],
            miss: vec![0.0; TOKENS],
            layer_miss: vec![0.0; layers],
        });
    }
    let mut auditor = Auditor::new(7, AUDITED, NEURONS)?;
    let (mut masses, mut scores) = (vec![0.0; NEURONS], vec![0.0; NEURONS]);
    let mut scratch = Scratch::default();
    for token in 0..TOKENS {
        for layer in 0..layers {
            stream.next_token(layer, &mut masses)?;
            stream.predict(layer, &masses, &mut scores)?;
            let total = masses.iter().map(|&mass| f64::from(mass)).sum();
            for run in &mut runs {
                let (computed, miss) =
                    scratch.step(run.policy.as_mut(), layer, &scores, &masses, total, &mut auditor)?;
                run.density[token] += computed as f64 / (NEURONS * layers) as f64;
                run.miss[token] += miss / layers as f64;
                run.layer_miss[layer] += miss / TOKENS as f64;
            }
        }
    }
    print_table(&mut runs, layers);
    Ok(())
}

#[derive(Default)]
struct Scratch {
    active: Vec<u32>,
    audited: Vec<u32>,
    sampled: Vec<f32>,
}

impl Scratch {
    /// One layer of one token: select, look at the masses, feed back. Returns the rows computed, audits
    /// included, and the true miss.
    fn step(
        &mut self,
        policy: &mut dyn Policy,
        layer: usize,
        scores: &[f32],
        masses: &[f32],
        total: f64,
        auditor: &mut Auditor,
    ) -> Result<(usize, f64), Error> {
        policy.select(layer, scores, &mut self.active)?;
        let kept: f64 = self.active.iter().map(|&row| f64::from(masses[row as usize])).sum();
        self.audited.clear();
        let mut audit = None;
        if policy.needs_audit() {
            auditor.pick(&self.active, &mut self.audited)?;
            self.sampled.clear();
            self.sampled.extend(self.audited.iter().map(|&row| masses[row as usize]));
            audit = Some(Audit::from_sample(kept, &self.sampled, masses.len() - self.active.len())?);
        }
        let computed = self.active.len();
        policy.observe(layer, &Feedback { computed, useful: None, audit })?;
        Ok((computed + self.audited.len(), (1.0 - kept / total).max(0.0)))
    }
}

fn print_table(runs: &mut [Run], layers: usize) {
    let knobs = Knobs::default();
    println!(
        "\nSynthetic stream: {layers} layers x {NEURONS} neurons x {TOKENS} tokens, magnitudes of Llama-2-70B's h2"
    );
    println!(
        "(TEAL's histograms, published), a perfect predictor; drift assumed: log-scale sd {} per prompt, all layers,",
        knobs.prompt_jump
    );
    println!(
        "{} walk per layer and prompt, {} per token; log-shape sd {}; a prompt is {} tokens.",
        knobs.prompt_walk, knobs.token_scale, knobs.prompt_shape, knobs.prompt_tokens
    );
    println!("Density counts the {AUDITED} rows that an audit computes per layer. p99 is over tokens.\n");
    println!(
        "{:<24} {:>9} {:>9} {:>10} {:>12} {:>10}",
        "policy", "density", "p95/mean", "mean miss", "worst layer", "p99 token"
    );
    for run in runs {
        let density = mean(&run.density);
        let jitter = percentile(&mut run.density, 0.95) / density;
        let miss = mean(&run.miss);
        let worst = run.layer_miss.iter().copied().fold(0.0, f64::max);
        let late = percentile(&mut run.miss, 0.99);
        println!("{:<24} {density:>9.4} {jitter:>9.3} {miss:>10.4} {worst:>12.4} {late:>10.4}", run.spec.to_string());
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Nearest rank; sorts `values`.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(share * values.len() as f64).ceil() as usize - 1]
}
