//! The FFN over two layouts of the same bytes: three matrices, or one bundle of each neuron's gate, up and down.
//!
//! ```text
//!   matrices   |gate 0|gate 1|...|up 0|up 1|...|down 0|down 1|...
//!   bundle     |gate 0|up 0|down 0|gate 1|up 1|down 1|...
//! ```

use cost_model::{estimate::Estimate, format::WeightFormat};
use kernels_cpu::{Cpu, Format};
use serde::Serialize;

use crate::{
    Result,
    measure::{NO_REST, Roof, fitting_layer, progress_bar, run_rounds, timed_of},
    timing,
    workload::record_format,
};

/// One density in both layouts, timed in the same rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayoutRow {
    /// Instruction set.
    pub isa: String,
    /// Format of the weights.
    pub format: WeightFormat,
    /// Share of neurons computed.
    pub density: f64,
    /// Threads.
    pub threads: usize,
    /// Bytes of weights that one call reads.
    pub bytes: u64,
    /// Seconds over three matrices.
    pub matrices: Estimate,
    /// Its time over that of reading as many bytes.
    pub matrices_ratio: Estimate,
    /// Seconds over a bundle.
    pub bundle: Estimate,
    /// Its time over that of reading as many bytes.
    pub bundle_ratio: Estimate,
    /// Time over three matrices by time over a bundle, round by round; above 1 the bundle is faster.
    pub speedup: Estimate,
}

/// Times the FFN in both layouts, format by format.
///
/// # Errors
/// Not enough memory.
pub fn layouts(cpu: &Cpu, formats: &[Format], densities: &[f64], rounds: usize) -> Result<Vec<LayoutRow>> {
    let cpus = std::slice::from_ref(cpu);
    let mut roof = Roof::new(cpu)?;
    let mut bandwidth = vec![Vec::new()];
    let mut rows = Vec::new();
    let progress = progress_bar((formats.len() * rounds) as u64);
    for &format in formats {
        progress.set_message(format!("two layouts in {format}"));
        let layer = fitting_layer(cpu, format)?;
        let mut cases = Vec::new();
        for &density in densities {
            cases.push((0, layer.whole_ffn(cpu, density)?));
            cases.push((0, layer.bundled_ffn(cpu, density)?));
        }
        run_rounds(rounds, cpus, &mut timed_of(&mut cases), Some((&mut roof, &mut bandwidth)), NO_REST, &progress)?;
        rows.extend(densities.iter().zip(cases.chunks(2)).filter_map(|(&density, pair)| {
            let [(_, matrices), (_, bundle)] = pair else { return None };
            let (subject, matrices, bundle) = (&matrices.subject, &matrices.timed, &bundle.timed);
            let speedups: Vec<f64> = matrices.seconds.iter().zip(&bundle.seconds).map(|(m, b)| m / b).collect();
            Some(LayoutRow {
                isa: subject.isa.clone(),
                format: record_format(format),
                density,
                threads: cpu.threads(),
                bytes: subject.bytes,
                matrices: timing::median(&matrices.seconds)?,
                matrices_ratio: timing::median(&matrices.ratios())?,
                bundle: timing::median(&bundle.seconds)?,
                bundle_ratio: timing::median(&bundle.ratios())?,
                speedup: timing::median(&speedups)?,
            })
        }));
    }
    progress.finish_and_clear();
    Ok(rows)
}
