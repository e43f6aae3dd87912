//! What one small call costs: an FFN of eight neurons, its threads awake or asleep.
//!
//! ```text
//!   awake    | read memory | FFN |                 in a session: every thread has just worked
//!   asleep   ......pause......   | wake, FFN |     by itself, after the threads have gone to sleep
//! ```

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use cost_model::{estimate::Estimate, format::WeightFormat};
use kernels_cpu::Cpu;
use serde::Serialize;

use crate::{
    Result,
    measure::Roof,
    timing,
    workload::{Case, Layer, Work},
};

/// Neurons of the call: a whole group of every kernel, and a share of the layer that no policy goes down to.
pub const NEURONS: usize = 8;
/// Rayon's threads go to sleep within tens of microseconds without work; a core then takes a while to doze off.
const PAUSE: Duration = Duration::from_millis(10);

/// Times of one FFN of [`NEURONS`] neurons, whose rows lie in memory and not in a cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Start {
    /// Format of the weights.
    pub format: WeightFormat,
    /// Instruction set.
    pub isa: String,
    /// Threads of the team.
    pub threads: usize,
    /// Bytes of weights that a call reads.
    pub bytes: u64,
    /// Seconds of a call within [`Cpu::install`], right after other work of all threads.
    pub awake: Estimate,
    /// Seconds of a call outside of it after a pause: to wake the threads is part of it.
    pub asleep: Estimate,
}

/// Times calls in each of the layers, `rounds` times.
///
/// # Errors
/// None in practice.
pub(crate) fn starts(rounds: usize, cpu: &Cpu, layers: &[Layer], roof: &mut Roof) -> Result<Vec<Start>> {
    let work = Work::Ffn(NEURONS as f64 / layers.first().map_or(NEURONS, Layer::neurons) as f64);
    let mut cases = layers.iter().map(|layer| layer.case(cpu, work)).collect::<Result<Vec<_>>>()?;
    let mut samples = vec![[Vec::new(), Vec::new()]; layers.len()];
    for round in 0..=rounds {
        for (case, [awake, asleep]) in cases.iter_mut().zip(&mut samples) {
            let run = &mut case.timed.run;
            let warm = cpu.install(|| {
                roof.bytes_per_s(cpu)?;
                seconds(run)
            })?;
            sleep(PAUSE);
            let cold = seconds(run)?;
            if round > 0 {
                awake.push(warm);
                asleep.push(cold);
            }
        }
    }
    let start = |(case, [awake, asleep]): (&Case<'_>, &[Vec<f64>; 2])| {
        let subject = &case.subject;
        let (awake, asleep) = timing::median(awake).zip(timing::median(asleep))?;
        let (isa, threads, bytes) = (subject.isa.clone(), subject.threads, subject.bytes);
        Some(Start { format: subject.format, isa, threads, bytes, awake, asleep })
    };
    Ok(cases.iter().zip(&samples).filter_map(start).collect())
}

fn seconds(run: &mut (impl FnMut() -> Result<()> + ?Sized)) -> Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}
