//! What is compared on: streams, and the statistics that policies start from.

use threshold::comparison::Synthetic;
use threshold::{Calibration, Error, Inputs, Isa, Knobs, Policy, PolicySpec, QuantileTable, Shape};

/// Intermediate size of Llama-2-70B.
pub(crate) const NEURONS: usize = 28672;

/// Prompts of the comparison, and as many others, half as long, of the calibration.
pub(crate) const PROMPTS: usize = 8;

pub(crate) struct Setup {
    pub(crate) table: QuantileTable,
    pub(crate) source: Synthetic,
    pub(crate) calibration: Calibration,
}

impl Setup {
    pub(crate) fn new(predictor_noise: f64, predictor_spread: f64) -> Result<Self, Error> {
        let table = llama_2_70b()?;
        let knobs = Knobs { predictor_noise, predictor_spread, ..Knobs::default() };
        let source = Synthetic::new(table.clone(), NEURONS, knobs, PROMPTS)?;
        let calibration = source.calibration()?;
        Ok(Self { table, source, calibration })
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

/// Those of this processor, or the one that `THRESHER_ISA` forces.
pub(crate) fn isas() -> Vec<Isa> {
    let forced = std::env::var("THRESHER_ISA").is_ok_and(|name| !name.is_empty());
    let wanted = |isa: &Isa| isa.is_available() && (!forced || Isa::from_env() == Ok(*isa));
    Isa::ALL.into_iter().filter(wanted).collect()
}
