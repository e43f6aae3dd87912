//! Our FFN at every density against the dense one of cuBLAS, in the same rounds.

use cost_model::{
    machine::{CUDA, Machine},
    peers::{Comparison, Contest, Contestant, OURS, Timing},
    record::Provenance,
    report::MeasuredMachine,
};
use kernels_cpu::Format;
use kernels_cuda::Gpu;

use super::{
    cublas::Cublas,
    layers::{copies, phases},
    measure::{DENSITIES, Other, Roof, Timed, Weights, run_rounds},
};
use crate::{
    Failure, Result,
    measure::{list, progress_bar},
    timing,
    workload::record_format,
};

const CUBLAS: &str = "cublas";

/// Times FFNs in `formats`, `rounds` times. Without cuBLAS there are ours alone.
///
/// # Errors
/// Not enough device memory; a kernel, theirs or ours, computes something else than it was told.
pub fn compare(
    gpu: &Gpu,
    formats: &[Format],
    rounds: usize,
    machine: &Machine,
    provenance: Provenance,
) -> Result<Comparison> {
    let machine = machine.as_gpu().ok_or_else(|| Failure::short("this machine has no usable GPU"))?;
    let cublas = Cublas::open(gpu.device().ordinal)?;
    let mut roof = Roof::new(gpu)?;
    let mut contests = Vec::new();
    let progress = progress_bar((formats.len() * (rounds + 1)) as u64);
    for &format in formats {
        progress.set_message(format!("FFNs in {}", list(&[format])));
        contests.push(contest(gpu, cublas.as_ref(), format, rounds, &mut roof, || progress.inc(1))?);
    }
    progress.finish_and_clear();
    let (bandwidth, copy_bandwidth) = roof.bandwidth();
    let ours = Contestant { name: OURS.to_owned(), version: format!("{} ({CUDA})", provenance.thresher) };
    let theirs = cublas.as_ref().map(|cublas| {
        Ok::<_, Failure>(Contestant { name: CUBLAS.to_owned(), version: format!("{}, three GEMVs", cublas.version()?) })
    });
    Ok(Comparison {
        measured: MeasuredMachine { machine, provenance, bandwidth, copy_bandwidth, power: None },
        threads: 1,
        contestants: [Ok(ours)].into_iter().chain(theirs).collect::<Result<_>>()?,
        contests,
    })
}

fn contest(
    gpu: &Gpu,
    cublas: Option<&Cublas>,
    format: Format,
    rounds: usize,
    roof: &mut Roof<'_>,
    step: impl Fn(),
) -> Result<Contest> {
    let weights = Weights::upload(gpu, format)?;
    let subjects = DENSITIES.map(|density| weights.ffn_subject(density));
    let mut ours = Vec::new();
    for subject in &subjects {
        ours.push(Timed::new(weights.chain(gpu, subject)?, subject.bytes));
    }
    let (l2_bytes, dense_bytes) = (gpu.device().l2_bytes, weights.ffn_subject(1.0).bytes);
    let mut theirs = Vec::new();
    if let Some(cublas) = cublas.filter(|_| Cublas::FORMATS.contains(&format)) {
        let (copies, count) = (copies(l2_bytes, dense_bytes), phases(l2_bytes, dense_bytes));
        let dense = cublas.dense_ffns(weights.host(), copies, count)?;
        theirs.push(Other::new(dense_bytes, move || dense.seconds()));
    }
    run_rounds(gpu, rounds, &mut ours, &mut theirs, roof, step)?;
    let best = theirs.first();
    let timing = |who: &str, density, bytes, seconds: &[f64], ratios: &[f64], speedups: &[f64]| {
        Some(Timing {
            who: who.to_owned(),
            density,
            bytes,
            seconds: timing::median(seconds)?,
            ratio: timing::median(ratios),
            speedup: timing::median(speedups),
        })
    };
    let own = subjects.iter().zip(&ours).filter_map(|(subject, ours)| {
        let rounds = best.iter().flat_map(|best| best.seconds.iter().zip(&ours.seconds));
        let speedups: Vec<f64> = rounds.map(|(theirs, ours)| theirs / ours).collect();
        timing(OURS, subject.density, subject.bytes, &ours.seconds, &ours.ratios, &speedups)
    });
    let peers = theirs.iter().filter_map(|t| timing(CUBLAS, 1.0, t.bytes, &t.seconds, &t.ratios, &[]));
    Ok(Contest::new(record_format(format), own.collect(), peers.collect()))
}
