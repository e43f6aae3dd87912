//! The summands of a token's time, each read off the curve of its operator.

use super::{
    ComposeError, Composer, Configuration, DENSE, MS_PER_S, Scorer, Term, TermGroup, TermKind, kv_cache_bytes, list,
    policy_kind,
};
use crate::curve::Reading;
use crate::estimate::Interval;
use crate::family::{Family, FamilyCurves};
use crate::machine::CUDA;
use crate::operator::Operator;
use crate::origin::Origin;
use crate::placement::Rows;
use crate::record::Measurement;
use crate::sharing::{Call, Sharing};
use crate::skew::Unions;

/// A value off a curve, for one of the calls of a batch.
struct Read {
    seconds: Interval,
    bytes: u64,
    extrapolated: bool,
}

/// What rows on one side of a divided FFN take.
pub(crate) struct OnASide {
    pub(crate) seconds: f64,
    /// How many are read, each as often as it is.
    pub(crate) rows_read: f64,
}

/// How the tokens of a batch are dealt to calls.
pub(super) struct Dealt<'a> {
    sharing: &'a Sharing,
    calls: usize,
    tokens: usize,
}

impl Dealt<'_> {
    /// Share of rows that any token of a call names, where each names `density` of them.
    fn union(&self, unions: &Unions, c: &Configuration, density: f64) -> f64 {
        // Densities were checked at the door.
        unions.of(&c.skew, density, u32::try_from(self.tokens).unwrap_or(u32::MAX)).unwrap_or(density)
    }

    /// One call that reads what `reading` is of, rows being named `multiplicity` times.
    fn read(&self, curves: &FamilyCurves, shape: (usize, usize), density: f64, bytes: u64, multiplicity: f64) -> Read {
        let alone = curves.at(shape, density, bytes);
        if self.tokens == 1 {
            return Read { seconds: alone.value, bytes, extrapolated: alone.extrapolated };
        }
        let Call { time, reads, extrapolated } = self.sharing.call(multiplicity);
        let seconds = Interval {
            median: alone.value.median * time.median,
            low: alone.value.low * time.low,
            high: alone.value.high * time.high,
        };
        let bytes = (bytes as f64 * reads).round() as u64;
        Read { seconds, bytes, extrapolated: alone.extrapolated || extrapolated }
    }
}

impl Composer<'_> {
    /// Query, key and value as one matrix where the record has a projection of as many rows, as whoever decodes with one has:
    /// else each on its own.
    pub(super) fn attention(&self, c: &Configuration, dealt: &Dealt<'_>) -> Result<Term, ComposeError> {
        let [query, key, value, output] = c.model.attention();
        let one = (query.0 + key.0 + value.0, c.model.hidden);
        let in_one = self.family(c, Operator::Gemv)?.by_density.contains_key(&one);
        let apart = [query, key, value, output];
        let shapes: &[(usize, usize)] = if in_one { &[one, output] } else { &apart };
        self.projections(c, dealt, TermKind::AttentionProjections, shapes, c.model.layers)
    }

    pub(super) fn head(&self, c: &Configuration, dealt: &Dealt<'_>) -> Result<Term, ComposeError> {
        self.projections(c, dealt, TermKind::LmHead, &[(c.model.vocab, c.model.hidden)], 1)
    }

    fn projections(
        &self,
        c: &Configuration,
        dealt: &Dealt<'_>,
        kind: TermKind,
        shapes: &[(usize, usize)],
        layers: usize,
    ) -> Result<Term, ComposeError> {
        let curves = self.family(c, Operator::Gemv)?;
        let read = |&(rows, cols): &(usize, usize)| {
            dealt.read(curves, (rows, cols), 1.0, c.format.bytes(rows, cols), dealt.tokens as f64)
        };
        let reads: Vec<Read> = shapes.iter().map(read).collect();
        Ok(self.term(kind, Operator::Gemv, curves, &reads, layers * dealt.calls))
    }

    pub(super) fn ffn(
        &self,
        c: &Configuration,
        dealt: &Dealt<'_>,
        kind: TermKind,
        operator: Operator,
    ) -> Result<Term, ComposeError> {
        let curves = self.family(c, operator)?;
        let shape = (c.model.intermediate, c.model.hidden);
        let bytes = |density| operator.weight_bytes(c.format, shape, density, 0);
        let layer = |&density: &f64| {
            let union = dealt.union(&self.unions, c, density);
            // Of gate first the gate is named by every token.
            let multiplicity = dealt.tokens as f64 * bytes(density) as f64 / bytes(union).max(1) as f64;
            dealt.read(curves, shape, union, bytes(union), multiplicity)
        };
        let reads: Vec<Read> = c.densities.value.iter().map(layer).collect();
        Ok(self.term(kind, operator, curves, &reads, dealt.calls))
    }

    /// Predictor, selection and FFN as one step, where they were measured so: one token's, since no batch runs so, under a
    /// policy whose threshold the step compares with.
    pub(super) fn predicted(&self, c: &Configuration) -> Option<Term> {
        let operator = Operator::FfnPredicted;
        let rank = c.scorer.rank()?;
        let step = c.batch == 1 && cuts_at_threshold(&c.policy);
        let curves = self.families.get(&Family { rank: Some(rank), ..family_of(c, operator) }).filter(|_| step)?;
        let shape = (c.model.intermediate, c.model.hidden);
        let layer = |&density: &f64| {
            let bytes = operator.weight_bytes(c.format, shape, density, rank);
            let Reading { value, extrapolated } = curves.at(shape, density, bytes);
            Read { seconds: value, bytes, extrapolated }
        };
        let reads: Vec<Read> = c.densities.value.iter().map(layer).collect();
        Some(self.term(TermKind::FfnPredicted, operator, curves, &reads, 1))
    }

    /// One layer's FFN by the rows that are computed, which are named: no gate first. None for a batch that falls into
    /// several calls of several tokens each.
    pub(crate) fn ffn_on_a_side(&self, c: &Configuration) -> Result<Option<impl Fn(Rows) -> OnASide>, ComposeError> {
        let parts: &[Operator] =
            if self.measured_whole_alone(c) { &[Operator::Ffn] } else { &[Operator::GateUp, Operator::Down] };
        let curves = parts.iter().map(|&operator| Ok((operator, self.family(c, operator)?)));
        let curves = curves.collect::<Result<Vec<_>, ComposeError>>()?;
        let dealt = if c.policy == DENSE { self.dealt_dense(c) } else { self.dealt(c) };
        if dealt.calls > 1 && dealt.tokens > 1 {
            return Ok(None);
        }
        let (shape, format, rows) = ((c.model.intermediate, c.model.hidden), c.format, c.model.intermediate as f64);
        let alone = move |active: f64| {
            let density = (active / rows).min(1.0);
            let of = |(operator, curves): &(Operator, &FamilyCurves)| {
                curves.at(shape, density, operator.weight_bytes(format, shape, density, 0)).value.median
            };
            curves.iter().map(of).sum::<f64>()
        };
        Ok(Some(move |Rows { active, named }| {
            if dealt.tokens == 1 {
                let calls = dealt.calls as f64;
                return OnASide { seconds: calls * alone(named / calls), rows_read: named };
            }
            // Rounding may leave no rows that are named now and then.
            let multiplicity = if active > 0.0 { (named / active).max(1.0) } else { 1.0 };
            let call = dealt.sharing.call(multiplicity);
            OnASide { seconds: alone(active) * call.time.median, rows_read: active * call.reads }
        }))
    }

    /// Whether the FFN was measured in one piece and its parts were not: a GPU runs it as one phase.
    pub(super) fn measured_whole_alone(&self, c: &Configuration) -> bool {
        let has = |operator| self.family(c, operator).is_ok();
        has(Operator::Ffn) && !(has(Operator::GateUp) && has(Operator::Down))
    }

    pub(super) fn predictor(&self, c: &Configuration, dealt: &Dealt<'_>, rank: usize) -> Result<Term, ComposeError> {
        let operator = Operator::Predictor;
        let curves = self.family(c, operator)?;
        let shape = (c.model.intermediate, c.model.hidden);
        let bytes = operator.weight_bytes(c.format, shape, 1.0, rank);
        let reads = [dealt.read(curves, shape, 1.0, bytes, dealt.tokens as f64)];
        Ok(self.term(TermKind::Predictor, operator, curves, &reads, c.model.layers * dealt.calls))
    }

    /// A term of reads, each `times` a step.
    fn term(&self, kind: TermKind, operator: Operator, curves: &FamilyCurves, reads: &[Read], times: usize) -> Term {
        let seconds = Interval::sum_correlated(reads.iter().map(|r| r.seconds));
        Term {
            kind,
            ms: seconds.scale(MS_PER_S * times as f64),
            bytes: reads.iter().map(|r| r.bytes).sum::<u64>() * times as u64,
            extrapolated: reads.iter().any(|r| r.extrapolated),
            origin: self.derived(&format!("{operator} curve, {} points", curves.by_bytes.points())),
            group: TermGroup::Of(operator),
        }
    }

    /// Off the curve of attention where the record has one, whatever instruction set it ran: else at memory bandwidth.
    /// Every token of a batch has a cache of its own.
    pub(crate) fn kv_cache(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let same = |family: &&Family| {
            (family.operator, family.format, family.threads) == (Operator::Attention, c.kv_format, c.threads)
        };
        let known: Vec<&Family> = self.families.keys().filter(same).collect();
        let Some(family) = known.iter().find(|family| family.isa == c.isa).or(known.last()) else {
            return self.kv_cache_at_bandwidth(c);
        };
        let bytes = kv_cache_bytes(c) / c.model.layers.max(1) as u64;
        let curves = &self.families[*family];
        let alone = curves.at((c.context_tokens, c.model.kv_width()), 1.0, bytes);
        let reads = [Read { seconds: alone.value, bytes, extrapolated: alone.extrapolated }];
        Ok(self.term(TermKind::KvCache, Operator::Attention, curves, &reads, c.model.layers * c.batch))
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
        let bytes = kv_cache_bytes(c) * c.batch as u64;
        Ok(Term {
            kind: TermKind::KvCache,
            ms: bandwidth.interval().divide(bytes as f64 * MS_PER_S),
            bytes,
            extrapolated: false,
            origin: self.derived("bytes over measured read bandwidth"),
            group: TermGroup::Bandwidth,
        })
    }

    /// The policy as measured with this instruction set, else with any, else the slowest of its kind, else, for one that
    /// cuts at thresholds, the slowest that does.
    pub(super) fn selection(&self, c: &Configuration) -> Result<Term, ComposeError> {
        let scores = c.model.intermediate;
        let selects = || {
            let all = self.record.measurements.iter();
            all.filter(|m| m.operator == Operator::Select && m.rows == scores)
        };
        let policy = |m: &Measurement| m.policy.clone().unwrap_or_default();
        fn slowest<'m>(a: &'m Measurement, b: &'m Measurement) -> &'m Measurement {
            if b.seconds.median > a.seconds.median { b } else { a }
        }
        let same = || selects().filter(|m| policy(m) == c.policy);
        let exact = same().filter(|m| m.isa == c.isa).reduce(slowest).or(same().reduce(slowest));
        let akin = selects().filter(|m| policy_kind(&policy(m)) == policy_kind(&c.policy)).reduce(slowest);
        let cuts = || selects().filter(|m| cuts_at_threshold(&policy(m))).reduce(slowest);
        let found = exact.or(akin).or_else(|| cuts_at_threshold(&c.policy).then(cuts).flatten());
        let found = found.ok_or_else(|| ComposeError::Unmeasured {
            wanted: format!("select {} over {scores} scores", c.policy),
            have: list(selects().map(policy)),
        })?;
        let measured = self.record.origin(found.seconds.samples);
        let times = c.model.layers * c.batch;
        let origin = match exact {
            Some(_) => format!("{times} selections {measured}"),
            None if akin.is_some() => format!("{times} selections by {}, {measured}", policy(found)),
            None => format!(
                "{times} selections by {}, {measured}; what moves its thresholds from token to token is not counted",
                policy(found)
            ),
        };
        Ok(Term {
            kind: TermKind::Selection,
            ms: found.seconds.interval().scale(MS_PER_S * times as f64),
            bytes: found.weight_bytes() * times as u64,
            extrapolated: exact.is_none(),
            origin: Origin::derived(origin),
            group: TermGroup::Of(Operator::Select),
        })
    }

    pub(super) fn family(&self, c: &Configuration, op: Operator) -> Result<&FamilyCurves, ComposeError> {
        let family = family_of(c, op);
        self.families.get(&family).ok_or_else(|| ComposeError::Unmeasured {
            wanted: family.to_string(),
            have: list(self.families.keys().filter(|f| f.operator == op).map(Family::to_string)),
        })
    }

    /// How a batch of the configuration is computed.
    pub(super) fn dealt(&self, c: &Configuration) -> Dealt<'_> {
        const NONE: &Sharing = &Sharing::Alone;
        let sharing = self.sharing.get(&family_of(c, Operator::FfnBatch)).unwrap_or(NONE);
        let (calls, tokens) = sharing.calls(c.batch);
        Dealt { sharing, calls, tokens }
    }

    /// How its dense products are computed, projections, predictors and dense FFNs: on a GPU by a library, whose tensor cores
    /// take many tokens in the time that reading takes.
    pub(super) fn dealt_dense(&self, c: &Configuration) -> Dealt<'_> {
        const LIBRARY: &Sharing = &Sharing::Reads;
        if c.isa == CUDA { Dealt { sharing: LIBRARY, calls: 1, tokens: c.batch } } else { self.dealt(c) }
    }

    /// What is taken for granted of a batch.
    pub(super) fn assumptions_of_a_batch(&self, c: &Configuration) -> impl Iterator<Item = &'static str> {
        let dense = (c.isa == CUDA).then_some(
            "dense products of a batch take no longer than reading their weights once, as libraries come close to on tensor \
             cores: none was measured here",
        );
        let sharing = self.dealt(c).sharing;
        // Measured sparse rows leave nothing to take for granted, unless dense products are computed as they are.
        let rows_are_measured = c.policy == DENSE || matches!(sharing, Sharing::Measured { .. });
        let of_rows = sharing.assumption().filter(|_| dense.is_none() || !rows_are_measured);
        [dense, of_rows].into_iter().flatten()
    }

    fn derived(&self, what: &str) -> Origin {
        let provenance = &self.record.provenance;
        Origin::derived(format!(
            "{what}, measured on {}, commit {}, {}",
            self.record.machine.fingerprint, provenance.commit, provenance.date
        ))
    }
}

/// The family that a configuration reads of an operator without ranks.
fn family_of(c: &Configuration, operator: Operator) -> Family {
    Family { operator, isa: c.isa.clone(), format: c.format, threads: c.threads, rank: None }
}

/// Policies that hold a threshold a layer, which one kernel compares with, whatever moves the threshold between tokens.
fn cuts_at_threshold(policy: &str) -> bool {
    ["fixed", "per-layer", "dynamic", "budget"].contains(&policy_kind(policy))
}

/// Whether the FFN holds its own gates against the policy's threshold, as a GPU's kernel for it does: nothing else is launched.
pub(super) fn gate_cuts(c: &Configuration) -> bool {
    c.isa == CUDA && c.scorer == Scorer::Gate && cuts_at_threshold(&c.policy)
}

/// Of a configuration without a scorer of its own.
pub(super) fn scores_are_free(c: &Configuration) -> bool {
    c.policy != DENSE && c.scorer == Scorer::Free
}
