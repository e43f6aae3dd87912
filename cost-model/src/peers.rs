//! Our sparse FFN against the dense FFNs of others, timed in the same rounds: from which density on sparse is worth
//! more than to just run dense.

use std::fmt;

use serde::Serialize;

use crate::affine::Affine;
use crate::estimate::Estimate;
use crate::format::WeightFormat;
use crate::number::fixed;
use crate::origin::Origin;
use crate::report::MeasuredMachine;

/// What our FFN is called where it stands beside others.
pub const OURS: &str = "thresher";

/// Everything timed on one machine, format by format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The machine, with its read bandwidth in the same rounds.
    pub measured: MeasuredMachine,
    /// Threads of everybody.
    pub threads: usize,
    /// What ran, ours first.
    pub contestants: Vec<Contestant>,
    /// One per format.
    pub contests: Vec<Contest>,
}

/// Somebody whose kernels were timed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contestant {
    /// The name in [`Timing::who`].
    pub name: String,
    /// Version and instruction sets, as it reports them.
    pub version: String,
}

/// One format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contest {
    /// Format of everybody's weights.
    pub format: WeightFormat,
    /// Our FFN, densest first.
    pub ours: Vec<Timing>,
    /// The dense FFNs of others, fastest first.
    pub peers: Vec<Timing>,
    /// Where ours begins to win against the fastest of them; `None` without peers or with a single density.
    pub crossover: Option<Crossover>,
}

/// One FFN, timed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Whose.
    pub who: String,
    /// Share of neurons computed.
    pub density: f64,
    /// Bytes of weights that one call reads.
    pub bytes: u64,
    /// Time of one call.
    pub seconds: Estimate,
    /// Time over that of reading as many bytes, both taken in the same round.
    pub ratio: Option<Estimate>,
    /// For ours: time of the fastest dense peer over this one, both taken in the same round.
    pub speedup: Option<Estimate>,
}

impl Timing {
    /// Bytes over time, in 1e9 bytes per second.
    pub fn gb_per_s(&self) -> f64 {
        self.bytes as f64 / self.seconds.median / 1e9
    }
}

/// The density at which our time is that of the fastest dense peer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "wins", content = "density")]
pub enum Crossover {
    /// Ours is no slower even at density 1.
    Always,
    /// Ours wins below this density.
    Below(f64),
    /// Ours would lose even at density 0.
    Never,
}

impl fmt::Display for Crossover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => write!(f, "wins at every density"),
            Self::Below(density) => write!(f, "wins below density {}", fixed(*density, 2)),
            Self::Never => write!(f, "wins at no density"),
        }
    }
}

impl Contest {
    /// Puts the timings of one format in order and finds the crossover.
    pub fn new(format: WeightFormat, mut ours: Vec<Timing>, mut peers: Vec<Timing>) -> Self {
        ours.sort_by(|a, b| b.density.total_cmp(&a.density));
        peers.sort_by(|a, b| a.seconds.median.total_cmp(&b.seconds.median));
        let mut own = Self { format, ours, peers, crossover: None };
        own.crossover = own.find_crossover();
        own
    }

    /// Our time over density.
    pub fn line(&self) -> Option<Affine> {
        Affine::fit(self.ours.iter().map(|t| (t.density, t.seconds.median)))
    }

    /// The time to beat.
    pub fn best_peer(&self) -> Option<&Timing> {
        self.peers.first()
    }

    fn find_crossover(&self) -> Option<Crossover> {
        let (best, line) = (self.best_peer()?.seconds.median, self.line()?);
        // At density 1 the measurement itself counts for more than the line.
        let dense = self.ours.iter().find(|t| t.density == 1.0).and_then(|t| t.speedup);
        let wins_dense = dense.map_or(line.at(1.0) <= best, |speedup| speedup.median >= 1.0);
        Some(match (best - line.start) / line.slope {
            _ if wins_dense => Crossover::Always,
            density if density > 0.0 => Crossover::Below(density.min(1.0)),
            _ => Crossover::Never,
        })
    }
}

impl Comparison {
    /// Where a time in it comes from.
    pub fn origin(&self, estimate: &Estimate) -> Origin {
        let (machine, provenance) = (&self.measured.machine, &self.measured.provenance);
        let dirty = if provenance.dirty { " with uncommitted changes" } else { "" };
        Origin::Measured {
            machine: machine.fingerprint.clone(),
            commit: format!("{}{dirty}", provenance.commit),
            date: provenance.date.to_string(),
            samples: estimate.samples,
        }
    }

    /// One flat row per timing, for tables and CSV.
    pub fn rows(&self) -> Vec<PeerRow> {
        let timings = self.contests.iter().flat_map(|c| c.ours.iter().chain(&c.peers).map(move |t| (c, t)));
        timings.map(|(contest, timing)| self.row(contest, timing)).collect()
    }

    fn row(&self, contest: &Contest, t: &Timing) -> PeerRow {
        let version = self.contestants.iter().find(|c| c.name == t.who).map(|c| c.version.clone());
        PeerRow {
            format: contest.format.to_string(),
            who: t.who.clone(),
            version: version.unwrap_or_default(),
            density: t.density,
            threads: self.threads,
            seconds: t.seconds.median,
            seconds_low: t.seconds.low,
            seconds_high: t.seconds.high,
            bytes: t.bytes,
            gb_per_s: t.gb_per_s(),
            ratio: t.ratio.map(|r| r.median),
            ratio_low: t.ratio.map(|r| r.low),
            ratio_high: t.ratio.map(|r| r.high),
            speedup: t.speedup.map(|s| s.median),
            speedup_low: t.speedup.map(|s| s.low),
            speedup_high: t.speedup.map(|s| s.high),
            crossover: contest.crossover.filter(|_| t.who == OURS).map(|c| c.to_string()),
            cpu: self.measured.machine.name().to_owned(),
            origin: self.origin(&t.seconds).to_string(),
        }
    }
}

/// One FFN as a flat row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerRow {
    /// Format of the weights.
    pub format: String,
    /// Whose FFN.
    pub who: String,
    /// Version and instruction sets, as it reports them.
    pub version: String,
    /// Share of neurons computed.
    pub density: f64,
    /// Threads.
    pub threads: usize,
    /// Median time of one call.
    pub seconds: f64,
    /// Lower end of its 95 % interval.
    pub seconds_low: f64,
    /// Upper end.
    pub seconds_high: f64,
    /// Bytes of weights that one call reads.
    pub bytes: u64,
    /// 1e9 bytes per second.
    pub gb_per_s: f64,
    /// Time over that of reading as many bytes.
    pub ratio: Option<f64>,
    /// Lower end.
    pub ratio_low: Option<f64>,
    /// Upper end.
    pub ratio_high: Option<f64>,
    /// For ours: time of the fastest dense peer of the format over this one.
    pub speedup: Option<f64>,
    /// Lower end.
    pub speedup_low: Option<f64>,
    /// Upper end.
    pub speedup_high: Option<f64>,
    /// For ours: where sparse begins to win.
    pub crossover: Option<String>,
    /// Processor.
    pub cpu: String,
    /// Where the times come from.
    pub origin: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timing(who: &str, density: f64, seconds: f64, best: Option<f64>) -> Timing {
        let exact = |v: f64| Estimate { median: v, low: v, high: v, confidence: 0.95, samples: 9 };
        let (seconds, speedup) = (exact(seconds), best.map(|b| exact(b / seconds)));
        Timing { who: who.into(), density, bytes: 1, seconds, ratio: None, speedup }
    }

    /// A contest in which ours takes `start + slope x density`.
    fn contest(start: f64, slope: f64, peers: &[f64]) -> Contest {
        let best = peers.iter().copied().reduce(f64::min);
        let ours = [0.1, 1.0, 0.05, 0.5].map(|d| timing(OURS, d, start + slope * d, best));
        let peers = peers.iter().map(|&p| timing("peer", 1.0, p, None));
        Contest::new(WeightFormat::F16, ours.into(), peers.collect())
    }

    proptest! {
        /// Affine times are found exactly, and at the crossover the two times are one.
        #[test]
        fn the_crossover_is_where_the_times_meet(start in 1e-4..1.0, slope in 1e-2..10.0, best in 1e-3..20.0) {
            let contest = contest(start, slope, &[best, 2.0 * best]);
            let line = contest.line().unwrap();
            prop_assert!((line.at(0.3) / (start + 0.3 * slope) - 1.0).abs() < 1e-6);
            match contest.crossover.unwrap() {
                Crossover::Always => prop_assert!(start + slope <= best * (1.0 + 1e-9)),
                Crossover::Below(d) => prop_assert!((start + d * slope - best).abs() < 1e-6 * (start + slope)),
                Crossover::Never => prop_assert!(start >= best * (1.0 - 1e-6)),
            }
        }
    }

    #[test]
    fn the_fastest_peer_is_the_one_to_beat() {
        let contest = contest(0.0, 2.0, &[4.0, 1.0]);
        assert_eq!(contest.best_peer().unwrap().seconds.median, 1.0);
        assert_eq!(contest.crossover.unwrap().to_string(), "wins below density 0.50");
        assert_eq!(contest.ours.iter().map(|t| t.density).collect::<Vec<_>>(), [1.0, 0.5, 0.1, 0.05]);
    }

    #[test]
    fn without_peers_or_with_one_density_nothing_is_said() {
        assert_eq!(contest(1.0, 1.0, &[]).crossover, None);
        let one = vec![timing(OURS, 0.5, 1.0, Some(2.0)); 2];
        assert_eq!(Contest::new(WeightFormat::F32, one, vec![timing("peer", 1.0, 2.0, None)]).crossover, None);
    }
}
