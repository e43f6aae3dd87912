//! Training: what it reaches on layers whose truth is known, that a seed repeats it, and what it refuses.

#![allow(clippy::unwrap_used)]

use std::{ops::ControlFlow, thread};

use kernels_cpu::{Cpu, Format, Isa, synthetic::Random};
use predictor::{Cut, Error, FfnBytes, Quality, Samples, Training, fit, scores, train};
use proptest::prelude::*;

const HIDDEN: usize = 64;
const NEURONS: usize = 96;

/// A ReLU layer of which a tenth to a quarter fires: gates of low rank plus a little noise, inputs of a few strong
/// directions around a mean, as residuals are.
struct Layer {
    x: Vec<f32>,
    mass: Vec<f32>,
}

impl Layer {
    fn draw(seed: u64, tokens: usize, rank: usize) -> Self {
        // The layer is of the seed 1; only the tokens are of `seed`.
        let mut fixed = Random::new(1);
        let (left, right) = (fixed.vector(NEURONS * rank), fixed.vector(rank * HIDDEN));
        let (mean, sizes) = (fixed.vector(HIDDEN), fixed.vector(HIDDEN));
        let up = fixed.vector(NEURONS * HIDDEN);
        let mut random = Random::new(seed);
        let (mut x, mut mass) = (Vec::new(), Vec::new());
        for _ in 0..tokens {
            let token: Vec<f32> =
                mean.iter().zip(&sizes).map(|(m, s)| 0.5 * m + (2.0 * s).exp() * random.signed()).collect();
            let inner: Vec<f32> = right.chunks(HIDDEN).map(|row| dot(row, &token)).collect();
            for (left, up) in left.chunks(rank).zip(up.chunks(HIDDEN)) {
                let gate = dot(left, &inner) - 6.0;
                mass.push(gate.max(0.0) * dot(up, &token).abs());
            }
            x.extend(token);
        }
        Self { x, mass }
    }

    fn samples(&self) -> Samples<'_> {
        Samples::new(HIDDEN, NEURONS, &self.x, &self.mass).unwrap()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn go_on(_: predictor::Epoch) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// On tokens that neither trained it nor chose its epoch, a predictor finds what was asked for while it computes little
/// more than what fires, and misses less mass than neurons.
#[test]
fn a_layer_of_low_rank_is_learned() {
    let layers = [(2, 6000), (3, 1000), (4, 1000)].map(|(seed, tokens)| Layer::draw(seed, tokens, 6));
    let [training, validation, test] = layers.each_ref().map(Layer::samples);
    let natural = Quality::at(test.masses(), f32::MIN_POSITIVE, test.masses()).unwrap().natural_density();
    assert!(natural > 0.05 && natural < 0.5, "{natural}");
    let settings = Training::default();
    let trained = train(Isa::from_env().unwrap(), &training, &validation, &settings, go_on).unwrap();
    let cpu = Cpu::with(Isa::from_env().unwrap(), 1).unwrap();
    for (format, slack) in [(Format::F32, 1.35), (Format::F16, 1.35), (Format::Q8_0, 1.35), (Format::Q4_0, 2.5)] {
        let encoded = trained.encoded(format).unwrap();
        let on = |samples: &Samples<'_>| scores(&cpu, &encoded, samples).unwrap();
        let cut = Cut::at_recall(&on(&validation), validation.masses(), settings.recall).unwrap();
        let quality = Cut::at(&on(&test), test.masses(), cut.score).unwrap().quality;
        println!("{format}: natural {natural:.3}, {quality:?}");
        assert!((quality.recall() - settings.recall).abs() < 0.02, "{format}: recall {}", quality.recall());
        assert!(quality.density() < slack * natural, "{format}: {} where {natural} fires", quality.density());
        assert!(quality.missed_mass() < 0.5 * (1.0 - quality.recall()), "{format}: {}", quality.missed_mass());
        // A cut of zero is nearly that cut: λ was moved there, for weights that are not rounded as coarsely as q4_0.
        let zero = Cut::at(&on(&test), test.masses(), 0.0).unwrap().quality;
        let near = (zero.recall() - settings.recall).abs() < 0.04;
        assert!(near || format == Format::Q4_0, "{format}: {} at 0", zero.recall());
    }
}

#[test]
fn a_seed_gives_the_same_weights_beside_any_number_of_threads() {
    let (training, validation) = (Layer::draw(5, 300, 4), Layer::draw(6, 100, 4));
    let one = |seed| {
        let settings = Training { epochs: 2, seed, ..Training::default() };
        train(Isa::from_env().unwrap(), &training.samples(), &validation.samples(), &settings, go_on).unwrap()
    };
    let alone = one(1);
    thread::scope(|scope| {
        let beside: Vec<_> = (0..3).map(|_| scope.spawn(|| one(1))).collect();
        beside.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), alone));
    });
    assert_ne!(one(2), alone);
}

/// Among ranks the one of the least bytes wins, and breaking off keeps the best so far.
#[test]
fn the_rank_of_the_least_bytes_is_taken() {
    let (training, validation) = (Layer::draw(7, 1500, 6), Layer::draw(8, 400, 6));
    let samples = [&training.samples(), &validation.samples()];
    let cpu = Cpu::with(Isa::from_env().unwrap(), 1).unwrap();
    let ffn = FfnBytes { gate: 2 * NEURONS * HIDDEN, up_down: 4 * NEURONS * HIDDEN };
    let settings = Training { epochs: 3, ..Training::default() };
    let fitted = fit(&cpu, samples, &settings, None, Format::Q8_0, ffn, go_on).unwrap();
    let least = fitted.tried.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(fitted.encoded.predictor().unwrap().rank(), least.0);
    assert_eq!(ffn.a_token(fitted.encoded.bytes(), &fitted.cut.quality), least.1);
    assert!(fitted.tried.len() > 1 && !fitted.stopped, "{:?}", fitted.tried);
    assert!(fitted.cut.quality.recall() >= settings.recall);

    let mut epochs = 0;
    let stopped = fit(&cpu, samples, &settings, None, Format::Q8_0, ffn, |_| {
        epochs += 1;
        if epochs == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = stopped.unwrap();
    assert!(stopped.stopped && stopped.tried.len() == 1 && epochs == 2);
}

proptest! {
    /// The cut at a recall reaches it, and one neuron fewer would not.
    #[test]
    fn a_cut_is_the_highest_that_reaches_the_recall(
        pairs in prop::collection::vec((-5.0..5.0_f32, prop_oneof![Just(0.0), 0.1..3.0_f32]), 1..80),
        recall in 0.01..=1.0_f64,
    ) {
        let (scores, mass): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let cut = Cut::at_recall(&scores, &mass, recall).unwrap();
        if mass.iter().all(|&m| m == 0.0) {
            prop_assert_eq!(cut.quality.density(), 0.0);
        } else {
            prop_assert!(cut.quality.recall() >= recall);
            let higher = Quality::at(&scores, cut.score.next_up(), &mass).unwrap();
            prop_assert!(higher.recall() < recall);
        }
        // The same by lists of neurons.
        let list = |keep: &dyn Fn(usize) -> bool| (0..mass.len()).filter(|&i| keep(i)).map(|i| i as u32).collect::<Vec<_>>();
        let lists = Quality::of(&list(&|i| scores[i] >= cut.score), &list(&|i| mass[i] > 0.0), &mass).unwrap();
        prop_assert_eq!((lists.recall(), lists.precision(), lists.density()),
            (cut.quality.recall(), cut.quality.precision(), cut.quality.density()));
        prop_assert!((lists.missed_mass() - cut.quality.missed_mass()).abs() < 1e-9);
    }
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let message = |result: Result<Samples<'_>, Error>| result.unwrap_err().to_string();
    assert!(message(Samples::new(2, 3, &[0.0; 5], &[0.0; 6])).contains("5 hidden values in rows of 2"));
    assert!(message(Samples::new(2, 3, &[], &[])).contains("one at least"));
    assert!(message(Samples::new(0, 3, &[], &[])).contains("one at least"));
    assert!(message(Samples::new(2, 1, &[0.0, f32::NAN], &[0.0])).contains("hidden value 1 is NaN"));
    assert!(message(Samples::new(2, 1, &[0.0; 2], &[-1.0])).contains("mass[0] = -1"));

    let layer = Layer::draw(9, 20, 2);
    let good = layer.samples();
    let silent = Samples::new(HIDDEN, NEURONS, &layer.x, &[0.0; 20 * NEURONS]).unwrap();
    let narrow = Samples::new(HIDDEN / 2, NEURONS, &layer.x[..20 * HIDDEN / 2], &layer.mass).unwrap();
    let attempt = |training, settings| train(Isa::Scalar, training, &good, &settings, go_on).unwrap_err().to_string();
    let one = || Training { epochs: 1, ..Training::default() };
    assert!(attempt(&silent, one()).contains("no neuron fires"));
    assert!(attempt(&narrow, one()).contains("64 x 96 wide where 32 x 96"));
    assert!(attempt(&good, Training { rank: 0, ..one() }).contains("rank is 0"));
    assert!(attempt(&good, Training { recall: 1.5, ..one() }).contains("recall is 1.5"));
    assert!(attempt(&good, Training { rate: f32::NAN, ..one() }).contains("rate is NaN"));
    assert_eq!(Cut::at_recall(&[f32::NAN], &[0.0], 0.5).unwrap_err(), Error::Score { index: 0 });
    assert_eq!(Cut::at_recall(&[1.0], &[0.0; 2], 0.5).unwrap_err(), Error::Scores { given: 1, wanted: 2 });
}
