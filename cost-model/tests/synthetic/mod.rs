//! A made-up machine of realistic size, whose times are affine in bytes, and made-up policies.

#![allow(dead_code, reason = "each test uses a part of it")]

use cost_model::estimate::Estimate;
use cost_model::evaluation::{
    EvaluatedModel, Evaluation, FamilyProblems, LayerEvaluation, PolicyEvaluation, SCHEMA as QUALITY_SCHEMA,
};
use cost_model::format::WeightFormat;
use cost_model::machine::{CUDA, Gpu, Machine};
use cost_model::operator::Operator;
use cost_model::origin::{Origin, Sourced};
use cost_model::record::{Bandwidth, Measurement, Provenance, Record};
use cost_model::report::PolicyOutcome;
use cost_model::sparsity::SparsityTable;

/// The law of the machine: `START_S + OVERHEAD x bytes / bandwidth`.
pub(crate) const START_S: f64 = 60e-6;
pub(crate) const OVERHEAD: f64 = 1.08;

pub(crate) const DENSITIES: [f64; 5] = [1.0, 0.5, 0.25, 0.1, 0.05];
const FFN: (usize, usize) = (28672, 8192);
const GEMV: [(usize, usize); 3] = [(8192, 8192), (1024, 8192), (32000, 8192)];
const RANKS: [usize; 3] = [512, 1024, 1920];
const SELECTS: [(&str, f64); 10] = [
    ("fixed:0.02", 9e-6),
    ("fixed:0.05", 8e-6),
    ("fixed:0.12", 7e-6),
    ("per-layer:density=0.50", 9e-6),
    ("per-layer:density=0.25", 8e-6),
    ("per-layer:density=0.10", 7e-6),
    ("top-k:density=0.50", 95e-6),
    ("top-k:density=0.25", 90e-6),
    ("top-k:density=0.10", 80e-6),
    ("dynamic:miss=0.05", 12e-6),
];

pub(crate) fn machine(cpu_model: &str, cores: usize, memory_bytes: u64) -> Machine {
    Machine {
        cpu_model: cpu_model.into(),
        cpu_vendor: "Synthetic".into(),
        logical_cores: cores,
        isa: vec!["scalar".into(), "avx2".into(), "avx512".into()],
        l2_bytes: 2 << 20,
        l3_bytes: 32 << 20,
        memory_bytes,
        os_kernel: "Linux 6.1".into(),
        huge_pages: "madvise".into(),
        gpu: None,
        fingerprint: String::new(),
    }
    .with_fingerprint()
}

pub(crate) fn provenance() -> Provenance {
    Provenance {
        thresher: "0.1.0".into(),
        commit: "0123abc".into(),
        dirty: false,
        date: "2026-01-01T00:00:00Z".parse().unwrap(),
        command: "thresher measure --quick --out record.json".into(),
    }
}

/// `median` within two per cent either way.
pub(crate) fn estimate(median: f64) -> Estimate {
    Estimate { median, low: median * 0.98, high: median * 1.02, confidence: 0.95, samples: 20 }
}

/// Every operator in f16 and q8_0, AVX2 (slower by a fifth) and AVX-512, at all of the threads.
pub(crate) fn record(machine: Machine, bytes_per_s: f64) -> Record {
    let threads = machine.logical_cores;
    let mut record = Record::new(machine, provenance());
    for (t, share) in [(1, 0.6), (threads, 1.0)] {
        record.bandwidth.push(Bandwidth { threads: t, bytes_per_s: estimate(bytes_per_s * share) });
    }
    for format in [WeightFormat::F16, WeightFormat::Q8_0] {
        for (isa, slower) in [("avx2", 1.2), ("avx512", 1.0)] {
            let bench = Bench { format, isa, threads, bytes_per_s: bytes_per_s / slower };
            record.measurements.extend(bench.measurements());
        }
    }
    for (policy, seconds) in SELECTS {
        record.measurements.push(selection("scalar", policy, seconds));
    }
    record.check("synthetic").unwrap();
    record
}

fn selection(isa: &str, policy: &str, seconds: f64) -> Measurement {
    Measurement {
        operator: Operator::Select,
        kernel: format!("select/{isa}/f32"),
        isa: isa.into(),
        format: WeightFormat::F32,
        rows: FFN.0,
        cols: 1,
        density: 1.0,
        threads: 1,
        bytes: 4 * FFN.0 as u64,
        seconds: estimate(seconds),
        ratio: None,
        policy: Some(policy.into()),
        rank: None,
        tokens: None,
    }
}

struct Bench {
    format: WeightFormat,
    isa: &'static str,
    threads: usize,
    bytes_per_s: f64,
}

impl Bench {
    fn measurements(&self) -> Vec<Measurement> {
        let mut all = Vec::new();
        for operator in [Operator::GateUp, Operator::Down, Operator::Ffn] {
            all.extend(DENSITIES.map(|density| self.measurement(operator, FFN, density, None)));
        }
        all.extend(GEMV.map(|shape| self.measurement(Operator::Gemv, shape, 1.0, None)));
        all.extend(RANKS.map(|rank| self.measurement(Operator::Predictor, FFN, 1.0, Some(rank))));
        all
    }

    fn measurement(&self, operator: Operator, shape: (usize, usize), density: f64, rank: Option<usize>) -> Measurement {
        let Self { format, isa, threads, bytes_per_s } = *self;
        let bytes = operator.weight_bytes(format, shape, density, rank.unwrap_or(0));
        let seconds = START_S + OVERHEAD * bytes as f64 / bytes_per_s;
        let paired = matches!(operator, Operator::GateUp | Operator::Down | Operator::Ffn);
        Measurement {
            operator,
            kernel: format!("{operator}/{isa}/{format}"),
            isa: isa.into(),
            format,
            rows: shape.0,
            cols: shape.1,
            density,
            threads,
            bytes,
            seconds: estimate(seconds),
            ratio: paired.then(|| estimate(seconds * bytes_per_s / bytes as f64)),
            policy: None,
            rank,
            tokens: None,
        }
    }
}

/// Two cores and 24 GB: does not hold the model.
pub(crate) fn small() -> Record {
    record(machine("Synthetic 2-core (nothing was measured)", 2, 24 << 30), 22e9)
}

/// 64 cores and 512 GiB: holds it.
pub(crate) fn large() -> Record {
    record(machine("Synthetic 64-core (nothing was measured)", 64, 512 << 30), 240e9)
}

/// A GPU of 141 GB, whose FFN is measured in one piece, and which selects by thresholds and the largest k.
pub(crate) fn gpu() -> Record {
    let gpu = Gpu {
        name: "NVIDIA H200".into(),
        compute_capability: "9.0".into(),
        memory_bytes: 141_000_000_000,
        l2_bytes: 60 << 20,
        multiprocessors: 132,
        driver: Some("CUDA 13.0".into()),
    };
    let host = Machine { gpu: Some(gpu), ..machine("Synthetic host (nothing was measured)", 16, 128 << 30) };
    let bytes_per_s = 4.4e12;
    let mut record = Record::new(host.as_gpu().unwrap(), provenance());
    record.bandwidth.push(Bandwidth { threads: 1, bytes_per_s: estimate(bytes_per_s) });
    record.copy_bandwidth = Some(estimate(0.95 * bytes_per_s));
    for format in [WeightFormat::F16, WeightFormat::Q8_0] {
        let bench = Bench { format, isa: CUDA, threads: 1, bytes_per_s };
        let whole = |m: &Measurement| !matches!(m.operator, Operator::GateUp | Operator::Down);
        record.measurements.extend(bench.measurements().into_iter().filter(whole));
    }
    for (policy, seconds) in [("fixed:0.05", 6e-6), ("top-k:density=0.10", 9e-6)] {
        record.measurements.push(selection(CUDA, policy, seconds));
    }
    record.check("synthetic").unwrap();
    record
}

/// The same, with predictors of these ranks and their FFNs measured as one step too.
pub(crate) fn gpu_with_steps(ranks: &[usize]) -> Record {
    let mut record = gpu();
    for format in [WeightFormat::F16, WeightFormat::Q8_0] {
        let bench = Bench { format, isa: CUDA, threads: 1, bytes_per_s: 4.4e12 };
        for &rank in ranks {
            let step = |density| bench.measurement(Operator::FfnPredicted, FFN, density, Some(rank));
            record.measurements.extend(DENSITIES.map(step));
        }
    }
    record.check("synthetic").unwrap();
    record
}

/// Twelve policies on Llama-2-70B's activations. What they miss is made up.
pub(crate) fn outcomes(model: &'static str) -> Vec<PolicyOutcome> {
    let table = SparsityTable::llama_2_70b().unwrap();
    let flat = |density: f64| Sourced::new(vec![density; 80], Origin::derived("the policy keeps every layer at it"));
    let mut all = Vec::new();
    for t in [0.02, 0.05, 0.12] {
        all.push((format!("fixed:{t}"), table.densities(t).unwrap(), 1.15));
    }
    for d in [0.5, 0.25, 0.1] {
        all.push((format!("per-layer:density={d:.2}"), flat(d), 1.2));
        all.push((format!("top-k:density={d:.2}"), flat(d), 1.0));
    }
    for (miss, t) in [(0.02, 0.012), (0.05, 0.022), (0.1, 0.038)] {
        let fixed = table.densities(t).unwrap();
        let smooth = fixed.value.iter().map(|d| 0.05 + 0.55 * d.sqrt()).collect();
        all.push((format!("dynamic:miss={miss:.2}"), Sourced::new(smooth, fixed.origin), 1.3));
    }
    let outcome = |(policy, densities, spread): (String, Sourced<Vec<f64>>, f64)| {
        let mean = densities.value.iter().sum::<f64>() / 80.0;
        let worse = if policy.starts_with("fixed") { 0.3 } else { 0.22 };
        PolicyOutcome {
            model,
            policy,
            density_p95: Some(f64::min(1.0, mean * spread)),
            missed_mass: Some(Sourced::new(worse * (1.0 - mean).powi(3), Origin::derived("a made-up law of density"))),
            densities,
            missed_mass_sd: Some(0.001),
            needs_predictor: true,
        }
    };
    all.into_iter().map(outcome).collect()
}

/// A made-up model under three policies on ten problems, the first six of a family that training saw.
pub(crate) fn evaluation() -> Evaluation {
    let policy = |policy: &str, density: f64, missed: f64, passes: &str| {
        let layer = LayerEvaluation { density, fired_density: density, missed_mass: Some(missed) };
        PolicyEvaluation {
            policy: policy.into(),
            tokens: 250,
            density,
            fired_density: density,
            missed_mass: Some(missed),
            layers: vec![layer; 2],
            passes: passes.into(),
        }
    };
    let family = |name: &str, seen, problems| FamilyProblems { name: name.into(), seen, problems };
    Evaluation {
        schema: QUALITY_SCHEMA.into(),
        machine: machine("Synthetic", 2, 24 << 30),
        provenance: provenance(),
        model: EvaluatedModel {
            name: "small".into(),
            description: String::new(),
            sha256: "ab".repeat(32),
            parameters: 5_300_000,
            layers: 2,
            hidden: 64,
            intermediate: 224,
        },
        benchmark: "made-up tasks".into(),
        calibration_tokens: 1000,
        families: vec![family("a", true, 6), family("b", false, 4)],
        policies: vec![
            policy("dense", 1.0, 0.0, "1111100100"),
            policy("top-k:density=0.10", 0.1, 0.125, "1110010000"),
            policy("dynamic:miss=0.30", 0.03, 0.3, "0000010000"),
        ],
    }
}
