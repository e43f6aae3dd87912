//! Our FFN at every density against the dense FFNs of others, all in the same rounds.

use std::time::Duration;

use cost_model::{
    machine::Machine,
    peers::{Comparison, Contest, Contestant, OURS, Timing},
    record::Provenance,
    report::MeasuredMachine,
};
use kernels_cpu::{Cpu, Format};

use crate::{
    Result,
    measure::{
        DENSITIES, Roof, best_per_thread_count, fitting_layer, formats_that_fit_together, list, progress_bar,
        run_rounds, timed_of,
    },
    peers::{self, Peer},
    timing,
    workload::{Case, record_format},
};

/// OpenBLAS's threads poll for 2^26 ticks after their work is done, which is 26 ms at 2.6 GHz.
const REST: Duration = Duration::from_millis(35);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Weight formats.
    pub formats: Vec<Format>,
    /// Threads of ours and of every peer.
    pub threads: usize,
    /// Times that each case is run.
    pub rounds: usize,
}

/// Carries out a plan. A peer that does not agree with our kernels is not timed but refused.
///
/// # Errors
/// Not enough memory; a peer that is held back by how it was built, or that computes something else.
pub fn compare(plan: &Plan, peers: &[Box<dyn Peer>], machine: Machine, provenance: Provenance) -> Result<Comparison> {
    let cpus = [Cpu::with_threads(plan.threads)?];
    let [cpu] = &cpus;
    for peer in peers {
        peer.at_its_best()?;
        for &format in plan.formats.iter().filter(|f| peer.formats().contains(f)) {
            peers::check(peer.as_ref(), format, cpu)?;
        }
    }
    let mut roof = Roof::new(cpu)?;
    let mut bandwidth = vec![Vec::new()];
    let mut contests = Vec::new();
    let together = formats_that_fit_together(&plan.formats)?;
    let progress = progress_bar((together.len() * plan.rounds) as u64);
    for formats in together {
        progress.set_message(format!("filling layers with weights: {}", list(formats)));
        let layers = formats.iter().map(|&format| fitting_layer(cpu, format)).collect::<Result<Vec<_>>>()?;
        let mut cases = Vec::new();
        for (layer, &format) in layers.iter().zip(formats) {
            let ours = DENSITIES.map(|density| layer.whole_ffn(cpu, density));
            let theirs =
                peers.iter().filter(|p| p.formats().contains(&format)).map(|p| layer.peer_ffn(cpu, p.as_ref()));
            cases.extend(ours.into_iter().chain(theirs).map(|case| Ok((0, case?))).collect::<Result<Vec<_>>>()?);
        }
        progress.set_message(format!("{} FFNs in {}", cases.len(), list(formats)));
        run_rounds(plan.rounds, &cpus, &mut timed_of(&mut cases), Some((&mut roof, &mut bandwidth)), REST, &progress)?;
        let cases: Vec<Case<'_>> = cases.into_iter().map(|(_, case)| case).collect();
        contests.extend(formats.iter().map(|&format| contest(format, cpu, &cases)));
    }
    progress.finish_and_clear();
    let ours = Contestant { name: OURS.to_owned(), version: format!("{} ({})", provenance.thresher, cpu.isa()) };
    let theirs = peers.iter().map(|p| Contestant { name: p.name().to_owned(), version: p.version() });
    Ok(Comparison {
        contestants: [ours].into_iter().chain(theirs).collect(),
        measured: MeasuredMachine {
            machine,
            provenance,
            bandwidth: best_per_thread_count(&cpus, &bandwidth),
            copy_bandwidth: None,
            power: None,
        },
        threads: cpu.threads(),
        contests,
    })
}

/// The cases of one format, once there are times.
fn contest(format: Format, cpu: &Cpu, cases: &[Case<'_>]) -> Contest {
    let own_isa = cpu.kernel(format).isa().to_string();
    let format = record_format(format);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        cases.iter().filter(|c| c.subject.format == format).partition(|c| c.subject.isa == own_isa);
    let median = |case: &&Case<'_>| timing::median(&case.timed.seconds).map_or(f64::INFINITY, |e| e.median);
    let best = theirs.iter().copied().min_by(|a, b| median(a).total_cmp(&median(b)));
    let timing = |who: &str, case: &Case<'_>, speedups: &[f64]| {
        Some(Timing {
            who: who.to_owned(),
            density: case.subject.density,
            bytes: case.subject.bytes,
            seconds: timing::median(&case.timed.seconds)?,
            ratio: timing::median(&case.timed.ratios()),
            speedup: timing::median(speedups),
        })
    };
    let ours = ours.iter().filter_map(|case| {
        let rounds = best.iter().flat_map(|best| best.timed.seconds.iter().zip(&case.timed.seconds));
        timing(OURS, case, &rounds.map(|(theirs, ours)| theirs / ours).collect::<Vec<_>>())
    });
    let theirs = theirs.iter().filter_map(|case| timing(&case.subject.isa, case, &[]));
    Contest::new(format, ours.collect(), theirs.collect())
}
