//! What is compared: policies, their knobs, and the statistics they start from.

use threshold::dynamic::Level;
use threshold::{
    Allocation, Calibration, CalibrationBuilder, Density, Error, Fraction, Inputs, Isa, Knobs, Mass, Miss, Policy,
    PolicySpec, QuantileTable, ScoreStream, Shape, Threshold,
};

/// Intermediate size of Llama-2-70B.
pub(crate) const NEURONS: usize = 28672;

/// Tokens of the comparison: 8 prompts.
pub(crate) const TOKENS: usize = 256;

/// Tokens of the calibration text: 8 other prompts, half as long.
const CALIBRATION_TOKENS: usize = TOKENS / 2;

pub(crate) struct Setup {
    pub(crate) table: QuantileTable,
    pub(crate) calibration: Calibration,
}

impl Setup {
    pub(crate) fn new(predictor_noise: f64, predictor_spread: f64) -> Result<Self, Error> {
        let table = llama_2_70b()?;
        let calibration = calibrate(&table, Knobs { predictor_noise, predictor_spread, ..Knobs::default() })?;
        Ok(Self { table, calibration })
    }

    pub(crate) fn build(&self, spec: &PolicySpec, shape: Shape, isa: Option<Isa>) -> Result<Box<dyn Policy>, Error> {
        spec.build(shape, &Inputs { calibration: Some(&self.calibration), isa, ..Inputs::default() })
    }
}

/// |h2| of Llama-2-70B, 80 layers.
fn llama_2_70b() -> Result<QuantileTable, Error> {
    let text = include_str!("../../data/llama-2-70b-h2-quantiles.csv");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let header = lines.next().unwrap_or_default();
    let levels: Vec<f64> = header.split(',').filter_map(|name| name.strip_prefix('q')?.parse().ok()).collect();
    let values: Vec<f32> = lines.flat_map(|line| line.split(',').skip(1)).filter_map(|v| v.parse().ok()).collect();
    QuantileTable::new(&levels, &values)
}

/// Statistics of prompts that the comparison does not contain.
fn calibrate(table: &QuantileTable, knobs: Knobs) -> Result<Calibration, Error> {
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

/// A kind of policy and the knob that sets its density.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    spec: fn(f64) -> Result<PolicySpec, Error>,
    /// Knob near a density of 0.10.
    pub(crate) start: f64,
    /// +1 where more of the knob computes more, −1 where less, 0 where the knob is the density itself.
    pub(crate) sense: f64,
}

impl Family {
    pub(crate) fn at(&self, knob: f64) -> PolicySpec {
        (self.spec)(knob).expect("a knob in range")
    }
}

/// The knob of a share in (0, 1), free of ends: its log-odds.
pub(crate) fn odds(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

fn share(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

pub(crate) fn families() -> Vec<Family> {
    type Spec = fn(f64) -> Result<PolicySpec, Error>;
    let family = |spec: Spec, start: f64, sense: f64| Family { spec, start, sense };
    vec![
        family(|_| Ok(PolicySpec::Dense), 0.0, 0.0),
        family(|ln| Ok(PolicySpec::Fixed(Some(Threshold::new(ln.exp() as f32)?))), -2.2, -1.0),
        family(|d| Ok(PolicySpec::PerLayer(Density::new(share(d))?, Allocation::Even)), odds(0.1), 1.0),
        family(|d| Ok(PolicySpec::PerLayer(Density::new(share(d))?, Allocation::Greedy)), odds(0.1), 1.0),
        family(|_| Ok(PolicySpec::TopK(Density::new(0.10)?)), 0.0, 0.0),
        family(|d| Ok(PolicySpec::StatisticalTopK(Density::new(share(d))?)), odds(0.15), 1.0),
        family(|m| Ok(PolicySpec::TopP(Mass::new(share(m))?)), odds(0.5), 1.0),
        family(|f| Ok(PolicySpec::Relative(Fraction::new(share(f))?)), odds(0.1), -1.0),
        family(|_| Ok(PolicySpec::Budget(Density::new(0.10)?)), 0.0, 0.0),
        family(|m| Ok(PolicySpec::Dynamic(Miss::new(share(m))?, Level::Rank)), odds(0.5), -1.0),
        family(|m| Ok(PolicySpec::Dynamic(Miss::new(share(m))?, Level::Mass)), odds(0.5), -1.0),
        family(|m| Ok(PolicySpec::Oracle(Miss::new(share(m))?)), odds(0.5), -1.0),
    ]
}

/// Those of this processor, or the one that `THRESHER_ISA` forces.
pub(crate) fn isas() -> Vec<Isa> {
    let forced = std::env::var("THRESHER_ISA").is_ok_and(|name| !name.is_empty());
    let wanted = |isa: &Isa| isa.is_available() && (!forced || Isa::from_env() == Ok(*isa));
    Isa::ALL.into_iter().filter(wanted).collect()
}
