//! Placement: exact, and what it says of PowerInfer's machines.

#![allow(clippy::unwrap_used, reason = "a test")]

use cost_model::format::WeightFormat;
use cost_model::model::ModelShape;
use cost_model::origin::Origin;
use cost_model::placement::{
    Decoder, Dense, Device, Layer, LayerPlacement, Link, Machine, Neurons, Placement, PlacementError, Problem, Side,
};
use cost_model::skew::{Firing, STATEMENTS, Skew};
use proptest::prelude::*;

/// Sums of the same times in another order.
const ROUNDING: f64 = 1e-12;

fn firing(exponent: f64, density: f64) -> Firing {
    Skew::new(exponent, Origin::assumed("a test")).unwrap().at(density).unwrap()
}

/// A time over active rows that is neither straight nor monotone.
#[derive(Clone, Copy, Debug)]
struct Wavy {
    start: f64,
    slope: f64,
    bump: f64,
}

impl Wavy {
    fn seconds(self, rows: f64) -> f64 {
        self.start + self.slope * rows + self.bump * (1.0 + (0.7 * rows).sin())
    }
}

fn wavy(slope: f64) -> impl Strategy<Value = Wavy> {
    (0.0..3.0_f64, 0.2..1.0_f64, 0.0..1.0_f64).prop_map(move |(start, s, bump)| Wavy { start, slope: slope * s, bump })
}

fn dense() -> impl Strategy<Value = Dense> {
    (0..30_u64, 0.0..3.0_f64, 0.0..20.0_f64).prop_map(|(bytes, gpu_s, cpu_s)| Dense { bytes, gpu_s, cpu_s })
}

/// Up to four blocks of up to three neurons; sizes and speeds differ from layer to layer.
fn layer() -> impl Strategy<Value = Layer> {
    let neurons = (1..=12_usize, 1..7_u64, 3..=5_usize);
    let shape = (dense(), neurons, 0.0..2.0_f64, 0.05..=1.0_f64, 1..4_u32);
    (shape, wavy(0.3), wavy(3.0)).prop_map(
        |((attention, (count, bytes, per_block), exponent, density, tokens), g, c)| {
            let neurons = Neurons { count, bytes, per_block };
            let fires = firing(exponent, density);
            Layer::new(attention, neurons, &fires, tokens, |rows| g.seconds(rows.active), |rows| c.seconds(rows.active))
                .unwrap()
        },
    )
}

fn problem() -> impl Strategy<Value = Problem> {
    let link = (0.0..2.0_f64, 0.0..2.0_f64).prop_map(|(hop_s, sync_s)| Link { hop_s, sync_s });
    let parts = (prop::collection::vec(layer(), 1..4), dense(), link, 0.0..1.1_f64);
    parts.prop_map(|(layers, head, link, share)| {
        let problem = Problem::new(layers, head, link, 0).unwrap();
        let room = share * problem.bytes() as f64;
        problem.with_memory(room as u64)
    })
}

/// Every placement there is: time of the best that fits, counted one by one.
fn brute_force(problem: &Problem, memory: u64) -> f64 {
    let layers = problem.layers();
    let ways: Vec<usize> = layers.iter().map(|layer| 2 * (layer.blocks() + 1)).collect();
    let side = |n: usize| if n.is_multiple_of(2) { Side::Gpu } else { Side::Cpu };
    let mut best = f64::INFINITY;
    for mut n in 0..2 * ways.iter().product::<usize>() {
        let head = side(n);
        n /= 2;
        let layers = ways.iter().map(|ways| {
            let own = n % ways;
            n /= ways;
            LayerPlacement { attention: side(own), gpu_blocks: own / 2 }
        });
        let placement = Placement { layers: layers.collect(), head };
        let time = problem.time(&placement).unwrap();
        if time.gpu_bytes <= memory {
            best = best.min(time.total_s());
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However crooked the times are, no placement that fits is faster.
    #[test]
    fn the_solution_is_that_of_brute_force(problem in problem()) {
        let solution = problem.solve();
        let best = &solution.best;
        let wanted = brute_force(&problem, problem.memory());
        prop_assert!(best.time.gpu_bytes <= problem.memory());
        prop_assert!((best.time.total_s() - wanted).abs() <= ROUNDING * wanted, "{} {wanted}", best.time.total_s());
        prop_assert_eq!(problem.time(&best.placement).unwrap(), best.time);
        for other in [&solution.by_layers, &solution.by_frequency] {
            prop_assert!(other.time.gpu_bytes <= problem.memory());
            prop_assert!(best.time.total_s() <= other.time.total_s() * (1.0 + ROUNDING));
        }
        prop_assert!(solution.gain_over_layers() > 1.0 - 1e-9 && solution.gain_over_frequency() > 1.0 - 1e-9);
    }

    /// Thirty layers of sizes of their own: never worse than the others, never worse with more memory, the same bits twice.
    #[test]
    fn more_memory_never_costs_time(layers in prop::collection::vec(layer(), 30), shares in prop::collection::vec(0.0..1.0_f64, 4)) {
        let link = Link { hop_s: 0.3, sync_s: 0.2 };
        let problem = Problem::new(layers, Dense { bytes: 20, gpu_s: 0.5, cpu_s: 8.0 }, link, 0).unwrap();
        let mut shares = shares;
        shares.sort_by(f64::total_cmp);
        let mut before = f64::INFINITY;
        for share in shares {
            let problem = problem.with_memory((share * problem.bytes() as f64) as u64);
            let solution = problem.solve();
            prop_assert_eq!(&solution, &problem.solve());
            let time = solution.best.time.total_s();
            prop_assert!(time <= before * (1.0 + ROUNDING));
            for other in [&solution.by_layers, &solution.by_frequency] {
                prop_assert!(time <= other.time.total_s() * (1.0 + ROUNDING));
            }
            before = time;
        }
    }
}

/// What PowerInfer's authors ran their 70B on (arXiv 2312.12456, section 8.1).
struct Pc {
    name: &'static str,
    gpu_bytes_per_s: f64,
    cpu_bytes_per_s: f64,
    /// Over PCIe, one way.
    link_bytes_per_s: f64,
    /// Left of 24 and 11 GB beside buffers and the desktop: assumed.
    gpu_bytes: f64,
    /// Tokens per second at 128 and more tokens of output (Figure 13; which bar is which model's is inferred).
    powerinfer: f64,
    llama_cpp: f64,
}

const PCS: [Pc; 2] = [
    Pc {
        name: "PC-High",
        gpu_bytes_per_s: 1008e9,
        cpu_bytes_per_s: 67.2e9,
        link_bytes_per_s: 32e9,
        gpu_bytes: 22e9,
        powerinfer: 10.0,
        llama_cpp: 3.2,
    },
    Pc {
        name: "PC-Low",
        gpu_bytes_per_s: 616e9,
        cpu_bytes_per_s: 38.4e9,
        link_bytes_per_s: 16e9,
        gpu_bytes: 9.5e9,
        powerinfer: 4.2,
        llama_cpp: 1.1,
    },
];

/// 5.66e9 parameters, 8.08 % of the model's (Table 6).
const PREDICTORS: u64 = 5_660_000_000;

impl Pc {
    /// The machine with that share of its bandwidths. Latency of a hop and of synchronisation: assumed.
    fn machine(&self, efficiency: f64) -> Machine {
        let device = |bytes_per_s: f64| Device { bytes_per_s: efficiency * bytes_per_s, start_s: 10e-6 };
        Machine {
            gpu: device(self.gpu_bytes_per_s),
            cpu: device(self.cpu_bytes_per_s),
            link: Link::over(8192, 10e-6, self.link_bytes_per_s, 10e-6).unwrap(),
            gpu_bytes: self.gpu_bytes as u64,
        }
    }

    /// ReGLU-70B at the published density, 128 tokens of context.
    fn sparse(&self, efficiency: f64, per_block: usize) -> Problem {
        let decoder = decoder(PREDICTORS);
        let firing = Skew::published(&STATEMENTS[1]).unwrap().at(0.18).unwrap();
        decoder.problem(&vec![firing; decoder.layers], 1, &self.machine(efficiency), per_block).unwrap()
    }

    /// The same model computed whole, without predictors, as llama.cpp does.
    fn dense(&self, efficiency: f64) -> Problem {
        let decoder = decoder(0);
        let firing = firing(1.0, 1.0);
        decoder.problem(&vec![firing; decoder.layers], 1, &self.machine(efficiency), 256).unwrap()
    }
}

fn decoder(predictor_parameters: u64) -> Decoder {
    let model = ModelShape::named("relu-llama-70b").unwrap();
    Decoder::of(&model, WeightFormat::Q4_0, predictor_parameters, 128, WeightFormat::F16)
}

/// The efficiency at which so many tokens per second come out.
fn efficiency(wanted: f64, tok_s: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.1, 2.0);
    for _ in 0..12 {
        let middle = f64::sqrt(low * high);
        if tok_s(middle) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn tok_s(problem: &Problem, placement: &Placement) -> f64 {
    1.0 / problem.time(placement).unwrap().total_s()
}

/// Bandwidths alone are a bound: dense decoding comes close to it, PowerInfer reaches a third and three quarters of it.
/// Run with `--nocapture` for the figures in the documentation of `cost_model::placement`.
#[test]
fn powerinfers_machines() {
    for pc in &PCS {
        let problem = pc.sparse(1.0, 256);
        let solution = problem.solve();
        let (best, rule, layers) = (&solution.best, &solution.by_frequency, &solution.by_layers);
        for (name, placed) in [("best", best), ("by frequency", rule), ("by layers, sparse", layers)] {
            let t = placed.time;
            let on_gpu = placed.placement.layers.iter().map(|l| l.gpu_blocks).sum::<usize>();
            println!(
                "{} {name}: {:.1} tok/s; GPU {:.1} ms, CPU {:.1} ms, transfer {:.1} ms, {:.1} ms overlapped; \
                 {:.2} GB, {on_gpu} blocks, {} layers' attention",
                pc.name,
                1.0 / t.total_s(),
                t.gpu_s * 1e3,
                t.cpu_s * 1e3,
                t.transfer_s * 1e3,
                t.overlapped_s * 1e3,
                t.gpu_bytes as f64 * 1e-9,
                placed.placement.layers.iter().filter(|l| l.attention == Side::Gpu).count(),
            );
        }
        let sparse = |e| pc.sparse(e, 1024);
        let best_e = efficiency(pc.powerinfer, |e| tok_s(&sparse(e), &sparse(e).best()));
        let rule_e = efficiency(pc.powerinfer, |e| tok_s(&sparse(e), &sparse(e).by_frequency()));
        let dense = |e| tok_s(&pc.dense(e), &pc.dense(e).by_layers());
        let dense_e = efficiency(pc.llama_cpp, dense);
        println!(
            "{}: PowerInfer {} published, efficiency {best_e:.2}, by its rule {rule_e:.2}; llama.cpp {} published, {:.2} \
             bound, efficiency {dense_e:.2}; gains {:.2} over layers, {:.3} over the rule",
            pc.name,
            pc.powerinfer,
            pc.llama_cpp,
            dense(1.0),
            solution.gain_over_layers(),
            solution.gain_over_frequency(),
        );
        assert!((0.25..0.85).contains(&best_e) && rule_e >= best_e * 0.999, "{best_e} {rule_e}");
        assert!((0.75..1.05).contains(&dense_e), "{dense_e}");
    }
}

/// From nothing to everything on the GPU, the real model.
#[test]
fn memory_takes_the_model_from_cpu_to_gpu() {
    let problem = PCS[0].sparse(1.0, 1024);
    let blocks = 28;
    let none = problem.with_memory(0).solve().best;
    assert!(none.placement.layers.iter().all(|l| (l.attention, l.gpu_blocks) == (Side::Cpu, 0)));
    assert_eq!((none.placement.head, none.time.gpu_bytes, none.time.gpu_s), (Side::Cpu, 0, 0.0));
    let all = problem.with_memory(problem.bytes()).solve().best;
    assert!(all.placement.layers.iter().all(|l| (l.attention, l.gpu_blocks) == (Side::Gpu, blocks)));
    assert_eq!((all.placement.head, all.time.gpu_bytes, all.time.cpu_s), (Side::Gpu, problem.bytes(), 0.0));
    // The embedding row alone crosses.
    assert!(all.time.transfer_s < 20e-6 && none.time.transfer_s == 0.0);
    let mut before = f64::INFINITY;
    for step in 0..=40 {
        let problem = problem.with_memory(problem.bytes() / 40 * step);
        let time = problem.solve().best.time.total_s();
        assert!(time <= before * (1.0 + ROUNDING), "{step}");
        before = time;
    }
    assert!(all.time.total_s() <= before * (1.0 + ROUNDING));
}

/// A finer block only adds choices.
#[test]
fn finer_blocks_are_never_worse() {
    let times = [2048, 1024, 512].map(|per_block| PCS[1].sparse(0.5, per_block).solve().best.time.total_s());
    assert!(times[1] <= times[0] * (1.0 + ROUNDING) && times[2] <= times[1] * (1.0 + ROUNDING), "{times:?}");
    assert!(times[0] / times[2] < 1.02, "{times:?}");
}

#[test]
fn refusals_say_why() {
    let neurons = Neurons { count: 8, bytes: 3, per_block: 2 };
    let fires = firing(1.0, 0.2);
    let layer = |neurons, seconds: f64| Layer::new(Dense::NONE, neurons, &fires, 1, |_| seconds, |_| 1.0);
    for bad in [Neurons { count: 0, ..neurons }, Neurons { per_block: 0, ..neurons }] {
        assert!(matches!(layer(bad, 1.0), Err(PlacementError::NotPositive { .. })));
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let error = layer(neurons, bad).unwrap_err().to_string();
        assert!(error.contains("on the GPU, 1 blocks"), "{error}");
    }
    assert_eq!(layer(Neurons { bytes: u64::MAX, ..neurons }, 1.0), Err(PlacementError::TooLarge));
    let link = Link { hop_s: 0.0, sync_s: 0.0 };
    assert_eq!(Problem::new(Vec::new(), Dense::NONE, link, 1), Err(PlacementError::NoLayers));
    let half = layer(Neurons { bytes: u64::MAX / 16, ..neurons }, 1.0).unwrap();
    assert_eq!(Problem::new(vec![half; 3], Dense::NONE, link, 1), Err(PlacementError::TooLarge));
    let one = Problem::new(vec![layer(neurons, 1.0).unwrap()], Dense::NONE, link, u64::MAX).unwrap();
    let foreign = |gpu_blocks, layers| Placement {
        layers: vec![LayerPlacement { attention: Side::Cpu, gpu_blocks }; layers],
        head: Side::Cpu,
    };
    for (blocks, layers) in [(5, 1), (1, 2), (1, 0)] {
        assert!(matches!(one.time(&foreign(blocks, layers)), Err(PlacementError::Foreign { .. })));
    }
    let machine = PCS[0].machine(1.0);
    let decoder = decoder(0);
    let few = decoder.problem(&[fires; 3], 1, &machine, 256);
    assert_eq!(few, Err(PlacementError::Firings { given: 3, layers: 80 }));
    let still = Machine { cpu: Device { bytes_per_s: 0.0, start_s: 0.0 }, ..machine };
    assert!(matches!(decoder.problem(&[fires; 80], 1, &still, 256), Err(PlacementError::NotPositive { .. })));
    assert!(Link::over(8192, 0.0, f64::NAN, 0.0).is_err());
}
