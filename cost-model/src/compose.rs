//! One decoded token out of measured operators.
//!
//! Per layer: attention projections, predictor, selection, gate and up, down (or, where the gate
//! itself scores, all three at once); per token also the KV cache and the LM head. Each term is read
//! off the curve of its operator, at each layer's own density.
//!
//! Intervals: an operator's error is the same in every layer (its curve is either off or not), so
//! within an operator the ends add; different operators err independently, so across operators the
//! half-widths add in quadrature. Uncertainty of the densities is not in the interval.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::check::LARGEST;
use crate::curve::{Curve, CurveError, Reading};
use crate::estimate::Interval;
use crate::family::{Family, FamilyCurves};
use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::model::ModelShape;
use crate::operator::Operator;
use crate::origin::{Origin, Sourced};
use crate::record::{Measurement, Record};

/// The policy that computes everything: no predictor runs and nothing is selected.
pub const DENSE: &str = "dense";

const MS_PER_S: f64 = 1e3;
/// Group of what is taken to run at memory bandwidth.
const BANDWIDTH: &str = "bandwidth";
/// Where a policy's scores come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Scorer {
    /// They cost nothing: `dense` needs none, and an idealised policy is told them.
    Free,
    /// A low-rank predictor of that rank in every layer.
    LowRank(usize),
    /// The gate, computed whole: exact, and up and down alone are read by density.
    Gate,
}

impl Scorer {
    /// Rank of the predictor, where there is one.
    pub fn rank(self) -> Option<usize> {
        match self {
            Self::LowRank(rank) => Some(rank),
            Self::Free | Self::Gate => None,
        }
    }
}

/// What to decode, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Configuration {
    /// The model.
    pub model: ModelShape,
    /// Format of all its matrices.
    pub format: WeightFormat,
    /// Policy under its one spelling; opaque here but for [`DENSE`].
    pub policy: String,
    /// What scores the neurons.
    pub scorer: Scorer,
    /// Share of FFN neurons computed, layer by layer.
    pub densities: Sourced<Vec<f64>>,
    /// Tokens in the KV cache.
    pub context_tokens: usize,
    /// Format of cached keys and values.
    pub kv_format: WeightFormat,
    /// Threads.
    pub threads: usize,
    /// Instruction set.
    pub isa: String,
}

/// One summand of a token's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Term {
    /// What it is.
    pub name: &'static str,
    /// Milliseconds per token.
    pub ms: Interval,
    /// Bytes read per token.
    pub bytes: u64,
    /// Whether any part lies beyond what was measured.
    pub extrapolated: bool,
    /// Where the time comes from.
    pub origin: Origin,
    /// Terms of one group err together; the groups err independently.
    #[serde(skip)]
    group: &'static str,
}

/// A composed token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Composition {
    /// The summands.
    pub terms: Vec<Term>,
    /// Milliseconds per token.
    pub ms_per_token: Interval,
    /// Tokens per second.
    pub tok_s: Interval,
    /// Bytes read per token.
    pub bytes_per_token: u64,
    /// Bytes that must be resident.
    pub memory: Memory,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// Where the total comes from.
    pub origin: Origin,
}

impl Composition {
    /// Whether any term lies beyond what was measured.
    pub fn extrapolated(&self) -> bool {
        self.terms.iter().any(|t| t.extrapolated)
    }
}

/// Why nothing can be composed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// The record has no such measurement.
    #[error("no measurement of {wanted}; the record has {have}; measure it on that machine")]
    Unmeasured {
        /// Operator, instruction set, format and threads, or bandwidth, or policy.
        wanted: String,
        /// What there is instead.
        have: String,
    },
    /// One density per layer is needed.
    #[error("{given} densities for the {layers} layers of {model}; give one per layer")]
    Layers {
        /// How many were given.
        given: usize,
        /// How many are wanted.
        layers: usize,
        /// Model.
        model: &'static str,
    },
    /// A density outside 0 to 1.
    #[error("density {density} of layer {layer}; wanted 0 to 1")]
    Density {
        /// Layer, from 0.
        layer: usize,
        /// What was given.
        density: f64,
    },
    /// No machine holds that much.
    #[error("{what} {given}; wanted at most {LARGEST}")]
    TooLarge {
        /// Context or rank.
        what: &'static str,
        /// What was given.
        given: usize,
    },
    /// `dense` computes every row and needs no predictor.
    #[error("policy `dense` with {what}; drop it, or name another policy")]
    NotDense {
        /// What contradicts it.
        what: String,
    },
    /// The measurements make no curve.
    #[error("measurements of {of}: {source}")]
    Curve {
        /// Operator, instruction set, format and threads.
        of: String,
        /// Why.
        source: CurveError,
    },
}

/// Curves of one machine, built once and read for any number of configurations.
#[derive(Clone, Debug)]
pub struct Composer<'a> {
    record: &'a Record,
    families: BTreeMap<Family, FamilyCurves>,
}

impl<'a> Composer<'a> {
    /// Draws the curves of a checked record.
    ///
    /// # Errors
    /// [`ComposeError::Curve`]
    pub fn new(record: &'a Record) -> Result<Self, ComposeError> {
        let mut groups: BTreeMap<Family, Vec<&Measurement>> = BTreeMap::new();
        let curved = record.measurements.iter().filter(|m| m.operator != Operator::Select);
        for m in curved {
            let family = Family { operator: m.operator, isa: m.isa.clone(), format: m.format, threads: m.threads };
            groups.entry(family).or_default().push(m);
        }
        let mut families = BTreeMap::new();
        for (family, points) in groups {
            let curves =
                FamilyCurves::new(&points).map_err(|source| ComposeError::Curve { of: family.to_string(), source })?;
            families.insert(family, curves);
        }
        Ok(Self { record, families })
    }

    /// The record it composes from.
    pub fn record(&self) -> &'a Record {
        self.record
    }

    /// Every curve with its name, for leave-one-out errors and plots.
    ///
    /// Named `operator isa format t<threads> <rows>x<cols>` over density, and the same without the
    /// shape over weight bytes.
    pub fn curves(&self) -> impl Iterator<Item = (String, &Curve)> {
        self.families.iter().flat_map(|(family, curves)| {
            let shapes = curves.by_density.iter();
            let named = shapes.map(move |((r, c), curve)| (format!("{family} {r}x{c}"), curve));
            named.chain([(family.to_string(), &curves.by_bytes)])
        })
    }

    /// Composes one token of `configuration`.
    ///
    /// # Errors
    /// [`ComposeError`]: a needed operator is not in the record, or the configuration contradicts
    /// itself.
    pub fn compose(&self, configuration: &Configuration) -> Result<Composition, ComposeError> {
        let c = configuration;
        check(c)?;
        let mut terms = vec![self.attention(c)?, self.kv_cache(c)?];
        if let Scorer::LowRank(rank) = c.scorer {
            terms.push(self.predictor(c, rank)?);
        }
        if c.policy != DENSE {
            terms.push(self.selection(c)?);
        }
        if c.scorer == Scorer::Gate {
            terms.push(self.ffn(c, "FFN, gate first", Operator::FfnGateFirst)?);
        } else if self.measured_whole_alone(c) {
            terms.push(self.ffn(c, "FFN", Operator::Ffn)?);
        } else {
            terms.push(self.ffn(c, "FFN gate and up", Operator::GateUp)?);
            terms.push(self.ffn(c, "FFN down", Operator::Down)?);
        }
        terms.push(self.head(c)?);
        terms.push(uncounted(c));
        let ms_per_token = total(&terms);
        Ok(Composition {
            ms_per_token,
            tok_s: ms_per_token.divide(MS_PER_S),
            bytes_per_token: terms.iter().map(|t| t.bytes).sum(),
            memory: Memory::of(c),
            assumptions: assumptions(c, &terms),
            origin: Origin::derived(format!("sum of {} terms; densities {}", terms.len(), c.densities.origin)),
            terms,
        })
    }

    fn attention(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let curves = self.family(c, Operator::Gemv)?;
        let projections = c.model.attention();
        let readings = projections.map(|shape| gemv(curves, c, shape));
        Ok(self.term("attention projections", Operator::Gemv, curves, &readings, c.model.layers))
    }

    fn head(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let curves = self.family(c, Operator::Gemv)?;
        let readings = [gemv(curves, c, (c.model.vocab, c.model.hidden))];
        Ok(self.term("LM head", Operator::Gemv, curves, &readings, 1))
    }

    fn ffn(&self, c: &Configuration, name: &'static str, operator: Operator) -> Result<Term, ComposeError> {
        let curves = self.family(c, operator)?;
        let shape = (c.model.intermediate, c.model.hidden);
        let layer = |&density: &f64| {
            let bytes = operator.weight_bytes(c.format, shape, density, 0);
            (curves.at(shape, density, bytes), bytes)
        };
        let readings: Vec<_> = c.densities.value.iter().map(layer).collect();
        Ok(self.term(name, operator, curves, &readings, 1))
    }

    /// Whether the FFN was measured in one piece and its parts were not: a GPU runs it as one phase.
    fn measured_whole_alone(&self, c: &Configuration) -> bool {
        let has = |operator| self.family(c, operator).is_ok();
        has(Operator::Ffn) && !(has(Operator::GateUp) && has(Operator::Down))
    }

    fn predictor(&self, c: &Configuration, rank: usize) -> Result<Term, ComposeError> {
        let operator = Operator::Predictor;
        let curves = self.family(c, operator)?;
        let shape = (c.model.intermediate, c.model.hidden);
        let bytes = operator.weight_bytes(c.format, shape, 1.0, rank);
        let readings = [(curves.at(shape, 1.0, bytes), bytes)];
        Ok(self.term("predictor", operator, curves, &readings, c.model.layers))
    }

    /// A term read off curves, `times` per token.
    fn term(
        &self,
        name: &'static str,
        operator: Operator,
        curves: &FamilyCurves,
        readings: &[(Reading, u64)],
        times: usize,
    ) -> Term {
        let seconds = Interval::sum_correlated(readings.iter().map(|(r, _)| r.value));
        Term {
            name,
            ms: seconds.scale(MS_PER_S * times as f64),
            bytes: readings.iter().map(|(_, b)| b).sum::<u64>() * times as u64,
            extrapolated: readings.iter().any(|(r, _)| r.extrapolated),
            origin: self.derived(&format!("{operator} curve, {} points", curves.by_bytes.points())),
            group: operator.as_str(),
        }
    }

    /// Off the curve of attention where the record has one, whatever instruction set it ran: else at memory bandwidth.
    fn kv_cache(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let same = |family: &&Family| {
            (family.operator, family.format, family.threads) == (Operator::Attention, c.kv_format, c.threads)
        };
        let known: Vec<&Family> = self.families.keys().filter(same).collect();
        let Some(family) = known.iter().find(|family| family.isa == c.isa).or(known.last()) else {
            return self.kv_cache_at_bandwidth(c);
        };
        let bytes = kv_cache_bytes(c) / c.model.layers.max(1) as u64;
        let curves = &self.families[*family];
        let readings = [(curves.at((c.context_tokens, c.model.kv_width()), 1.0, bytes), bytes)];
        Ok(self.term("KV cache", Operator::Attention, curves, &readings, c.model.layers))
    }

    fn kv_cache_at_bandwidth(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let record = self.record;
        let own = record.machine.reads_own_memory(&c.isa);
        let bandwidth = record.bandwidth_at(c.threads).filter(|_| own).ok_or_else(|| ComposeError::Unmeasured {
            wanted: format!("read bandwidth for {} at {} threads", c.isa, c.threads),
            have: list(
                record.bandwidth.iter().map(|b| format!("{} at {} threads", record.machine.isa.join("/"), b.threads)),
            ),
        })?;
        let bytes = kv_cache_bytes(c);
        Ok(Term {
            name: "KV cache",
            ms: bandwidth.interval().divide(bytes as f64 * MS_PER_S),
            bytes,
            extrapolated: false,
            origin: self.derived("bytes over measured read bandwidth"),
            group: BANDWIDTH,
        })
    }

    /// The policy as measured with this instruction set, else with any, else the slowest of its kind.
    fn selection(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let scores = c.model.intermediate;
        let selects = || {
            let all = self.record.measurements.iter();
            all.filter(|m| m.operator == Operator::Select && m.rows == scores)
        };
        let policy = |m: &Measurement| m.policy.clone().unwrap_or_default();
        let kind = |policy: &str| policy.split(':').next().map(str::to_owned);
        let slowest = |a: &'a Measurement, b: &'a Measurement| {
            if b.seconds.median > a.seconds.median { b } else { a }
        };
        let same = || selects().filter(|m| policy(m) == c.policy);
        let exact = same().filter(|m| m.isa == c.isa).reduce(slowest).or(same().reduce(slowest));
        let akin = selects().filter(|m| kind(&policy(m)) == kind(&c.policy)).reduce(slowest);
        let found = exact.or(akin).ok_or_else(|| ComposeError::Unmeasured {
            wanted: format!("select {} over {scores} scores", c.policy),
            have: list(selects().map(policy)),
        })?;
        let measured = self.record.origin(found.seconds.samples);
        let layers = c.model.layers;
        let origin = match exact {
            Some(_) => format!("{layers} selections {measured}"),
            None => format!("{layers} selections by {}, {measured}", policy(found)),
        };
        Ok(Term {
            name: "selection",
            ms: found.seconds.interval().scale(MS_PER_S * layers as f64),
            bytes: found.weight_bytes() * layers as u64,
            extrapolated: exact.is_none(),
            origin: Origin::derived(origin),
            group: Operator::Select.as_str(),
        })
    }

    fn family(&self, c: &Configuration, op: Operator) -> Result<&FamilyCurves, ComposeError> {
        let family = Family { operator: op, isa: c.isa.clone(), format: c.format, threads: c.threads };
        self.families.get(&family).ok_or_else(|| ComposeError::Unmeasured {
            wanted: family.to_string(),
            have: list(self.families.keys().filter(|f| f.operator == op).map(Family::to_string)),
        })
    }

    fn derived(&self, what: &str) -> Origin {
        let provenance = &self.record.provenance;
        Origin::derived(format!(
            "{what}, measured on {}, commit {}, {}",
            self.record.machine.fingerprint, provenance.commit, provenance.date
        ))
    }
}

fn gemv(curves: &FamilyCurves, c: &Configuration, shape: (usize, usize)) -> (Reading, u64) {
    let bytes = c.format.bytes(shape.0, shape.1);
    (curves.at(shape, 1.0, bytes), bytes)
}

/// Bytes of keys and values of the whole context.
pub(crate) fn kv_cache_bytes(c: &Configuration) -> u64 {
    2 * c.kv_format.bytes(c.model.layers * c.context_tokens, c.model.kv_width())
}

/// Norm weights and one embedding row: read, but too small to time.
fn uncounted(c: &Configuration) -> Term {
    Term {
        name: "norms, RoPE, softmax, embedding row",
        ms: Interval::ZERO,
        bytes: c.model.parameters().norms * 4 + c.format.row_bytes(c.model.hidden),
        extrapolated: false,
        origin: Origin::assumed("a few megabytes per token: taken as no time"),
        group: "none",
    }
}

fn total(terms: &[Term]) -> Interval {
    let mut groups: BTreeMap<&str, Vec<Interval>> = BTreeMap::new();
    for term in terms {
        groups.entry(term.group).or_default().push(term.ms);
    }
    Interval::sum_independent(groups.into_values().map(Interval::sum_correlated))
}

fn assumptions(c: &Configuration, terms: &[Term]) -> Vec<String> {
    let mut all = vec![
        "operators follow each other without gaps: launch, barrier and cache effects between them \
         are not counted"
            .to_owned(),
        "norms, RoPE, softmax and sampling take no time".to_owned(),
    ];
    if terms.iter().any(|term| term.group == BANDWIDTH) {
        all.push(format!("attention over the cache runs at memory bandwidth, keys and values in {}", c.kv_format));
    }
    if c.policy != DENSE && c.scorer == Scorer::Free {
        all.push("scores come for free: no predictor is counted".to_owned());
    }
    if let Origin::Assumed { why } = &c.densities.origin {
        all.push(format!("densities: {why}"));
    }
    all
}

fn check(c: &Configuration) -> Result<(), ComposeError> {
    for (what, given) in [("context_tokens", c.context_tokens), ("predictor_rank", c.scorer.rank().unwrap_or(0))] {
        if given > LARGEST {
            return Err(ComposeError::TooLarge { what, given });
        }
    }
    let densities = &c.densities.value;
    if densities.len() != c.model.layers {
        return Err(ComposeError::Layers { given: densities.len(), layers: c.model.layers, model: c.model.name });
    }
    let outside = |d: &f64| !(0.0..=1.0).contains(d);
    if let Some(layer) = densities.iter().position(outside) {
        let density = densities[layer];
        return Err(ComposeError::Density { layer, density });
    }
    if c.policy == DENSE {
        let what = match (c.scorer, densities.iter().find(|d| **d != 1.0)) {
            (Scorer::LowRank(rank), _) => format!("a predictor of rank {rank}"),
            (Scorer::Gate, _) => "scores by the gate".to_owned(),
            (Scorer::Free, Some(density)) => format!("density {density}"),
            (Scorer::Free, None) => return Ok(()),
        };
        return Err(ComposeError::NotDense { what });
    }
    Ok(())
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
