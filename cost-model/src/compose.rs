//! One decoded token out of measured operators, or one of every user of a batch.
//!
//! Per layer: attention projections, predictor, selection, gate and up, down (or, where the gate
//! itself scores, all three at once); per token also the KV cache and the LM head. Each term is read
//! off the curve of its operator, at each layer's own density. What was measured in one piece as it is
//! decoded is one term: predictor, selection and FFN of a step, and query, key and value of one matrix.
//!
//! Intervals: an operator's error is the same in every layer (its curve is either off or not), so
//! within an operator the ends add; different operators err independently, so across operators the
//! half-widths add in quadrature. Uncertainty of the densities is not in the interval.

mod term;
mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;

use crate::check::LARGEST;
use crate::curve::{Curve, CurveError};
use crate::estimate::Interval;
use crate::family::{Family, FamilyCurves};
use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::model::ModelShape;
use crate::operator::Operator;
use crate::origin::{Origin, Sourced};
use crate::record::{Measurement, Record};
use crate::sharing::Sharing;
use crate::skew::{Skew, Unions};

pub(crate) use term::TermGroup;
pub use term::{Term, TermKind};
use terms::Dealt;
pub(crate) use terms::OnASide;

/// The policy that computes everything: no predictor runs and nothing is selected.
pub const DENSE: &str = "dense";

/// The kind of a policy: its spelling up to the colon.
pub fn policy_kind(policy: &str) -> &str {
    policy.split(':').next().unwrap_or(policy)
}

const MS_PER_S: f64 = 1e3;

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
#[derive(Clone, Debug, PartialEq)]
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
    /// Tokens in the KV cache of each user.
    pub context_tokens: usize,
    /// Users whose next tokens are decoded together; 1 for the one user of a machine.
    pub batch: usize,
    /// How unevenly neurons fire: how many of its rows a batch shares.
    pub skew: Skew,
    /// Format of cached keys and values.
    pub kv_format: WeightFormat,
    /// Threads.
    pub threads: usize,
    /// Instruction set.
    pub isa: String,
}

/// A composed token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Composition {
    /// The summands.
    pub terms: Vec<Term>,
    /// Milliseconds between two tokens of a user: those of a step.
    pub ms_per_token: Interval,
    /// Tokens per second of all users together.
    pub tok_s: Interval,
    /// Bytes read per step: for one token of every user.
    pub bytes_per_step: u64,
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
    /// A batch of nobody.
    #[error("a batch of 0 tokens; wanted at least 1")]
    NoTokens,
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
    sharing: BTreeMap<Family, Sharing>,
    unions: Arc<Unions>,
}

impl<'a> Composer<'a> {
    /// Draws the curves of a checked record.
    ///
    /// # Errors
    /// [`ComposeError::Curve`]
    pub fn new(record: &'a Record) -> Result<Self, ComposeError> {
        let mut groups: BTreeMap<Family, Vec<&Measurement>> = BTreeMap::new();
        let curved =
            record.measurements.iter().filter(|m| !matches!(m.operator, Operator::Select | Operator::FfnBatch));
        for m in curved {
            groups.entry(Family::of(m)).or_default().push(m);
        }
        let mut families = BTreeMap::new();
        for (family, points) in groups {
            let curves =
                FamilyCurves::new(&points).map_err(|source| ComposeError::Curve { of: family.to_string(), source })?;
            families.insert(family, curves);
        }
        let batched = |family: &Family| Family { operator: Operator::FfnBatch, rank: None, ..family.clone() };
        let batched: BTreeSet<Family> = families.keys().map(batched).collect();
        let sharing = batched.into_iter().map(|of| Ok((of.clone(), Sharing::of(record, &of, &families)?)));
        Ok(Self { record, sharing: sharing.collect::<Result<_, ComposeError>>()?, families, unions: Arc::default() })
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
        let terms = self.terms(c)?;
        let ms_per_token = total(&terms);
        let mut assumptions = assumptions(c, &terms);
        if c.batch > 1 {
            assumptions.extend(self.assumptions_of_a_batch(c).map(str::to_owned));
            assumptions.push(format!("tokens of a batch name rows independently, hot ones all: {}", c.skew.origin()));
        }
        Ok(Composition {
            ms_per_token,
            tok_s: ms_per_token.divide(MS_PER_S * c.batch as f64),
            bytes_per_step: terms.iter().map(|t| t.bytes).sum(),
            memory: Memory::of(c),
            assumptions,
            origin: Origin::derived(format!("sum of {} terms; densities {}", terms.len(), c.densities.origin)),
            terms,
        })
    }

    /// The summands of a step.
    ///
    /// # Errors
    /// As of [`compose`](Self::compose).
    pub(crate) fn terms(&self, c: &Configuration) -> Result<Vec<Term>, ComposeError> {
        check(c)?;
        self.terms_with(c, self.predicted(c))
    }

    /// The same with the predictor, the selection and the FFN each on its own, however they were measured: for an FFN that
    /// is divided.
    ///
    /// # Errors
    /// As of [`compose`](Self::compose).
    pub(crate) fn terms_apart(&self, c: &Configuration) -> Result<Vec<Term>, ComposeError> {
        check(c)?;
        self.terms_with(c, None)
    }

    fn terms_with(&self, c: &Configuration, predicted: Option<Term>) -> Result<Vec<Term>, ComposeError> {
        let dense = self.dealt_dense(c);
        let mut terms = vec![self.attention(c, &dense)?, self.kv_cache(c)?];
        match predicted {
            Some(term) => terms.push(term),
            None => terms.extend(self.scored_ffn(c, &dense)?),
        }
        terms.push(self.head(c, &dense)?);
        terms.push(uncounted(c));
        Ok(terms)
    }

    /// What scores, what selects, and the FFN.
    fn scored_ffn(&self, c: &Configuration, dense: &Dealt<'_>) -> Result<Vec<Term>, ComposeError> {
        let mut terms = Vec::new();
        if let Scorer::LowRank(rank) = c.scorer {
            terms.push(self.predictor(c, dense, rank)?);
        }
        let sparse = self.dealt(c);
        let dealt = if c.policy == DENSE { dense } else { &sparse };
        if c.policy != DENSE && !terms::gate_cuts(c) {
            terms.push(self.selection(c)?);
        }
        if c.scorer == Scorer::Gate {
            terms.push(self.ffn(c, dealt, TermKind::FfnGateFirst, Operator::FfnGateFirst)?);
        } else if self.measured_whole_alone(c) {
            terms.push(self.ffn(c, dealt, TermKind::Ffn, Operator::Ffn)?);
        } else {
            terms.push(self.ffn(c, dealt, TermKind::FfnGateUp, Operator::GateUp)?);
            terms.push(self.ffn(c, dealt, TermKind::FfnDown, Operator::Down)?);
        }
        Ok(terms)
    }
}

/// Bytes of keys and values of one user's whole context.
pub(crate) fn kv_cache_bytes(c: &Configuration) -> u64 {
    2 * c.kv_format.bytes(c.model.layers * c.context_tokens, c.model.kv_width())
}

/// Norm weights and one embedding row: read, but too small to time.
fn uncounted(c: &Configuration) -> Term {
    Term {
        kind: TermKind::Small,
        ms: Interval::ZERO,
        bytes: c.model.parameters().norms * 4 + c.format.row_bytes(c.model.hidden),
        extrapolated: false,
        origin: Origin::assumed("a few megabytes per token: taken as no time"),
        group: TermGroup::Untimed,
    }
}

pub(crate) fn total(terms: &[Term]) -> Interval {
    // By name: in another order of adding up, last digits would be others.
    let mut groups: BTreeMap<&str, Vec<Interval>> = BTreeMap::new();
    for term in terms {
        groups.entry(term.group.as_str()).or_default().push(term.ms);
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
    if terms.iter().any(|term| term.group == TermGroup::Bandwidth) {
        all.push(format!("attention over the cache runs at memory bandwidth, keys and values in {}", c.kv_format));
    }
    if terms::scores_are_free(c) {
        all.push("scores come for free: no predictor is counted".to_owned());
    }
    let follows = !["fixed", "per-layer"].contains(&policy_kind(&c.policy));
    if follows && terms.iter().any(|term| term.kind == TermKind::FfnPredicted) {
        all.push("what moves thresholds from token to token takes no time".to_owned());
    }
    if let Origin::Assumed { why } = &c.densities.origin {
        all.push(format!("densities: {why}"));
    }
    all
}

fn check(c: &Configuration) -> Result<(), ComposeError> {
    let rank = c.scorer.rank().unwrap_or(0);
    for (what, given) in [("context_tokens", c.context_tokens), ("predictor_rank", rank), ("batch", c.batch)] {
        if given > LARGEST {
            return Err(ComposeError::TooLarge { what, given });
        }
    }
    if c.batch == 0 {
        return Err(ComposeError::NoTokens);
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
