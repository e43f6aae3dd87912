//! With which threads and instruction set a record's configurations are composed.

use crate::compose::{ComposeError, Composer, Configuration, DENSE, Scorer};
use crate::format::WeightFormat;
use crate::model::ModelShape;
use crate::operator::Operator;
use crate::origin::{Origin, Sourced};
use crate::record::Measurement;
use crate::skew::Skew;

/// Operators of which one set must be complete for so much as dense to be composed.
const DENSE_OPERATORS: [&[Operator]; 2] =
    [&[Operator::Gemv, Operator::GateUp, Operator::Down], &[Operator::Gemv, Operator::Ffn]];

/// Threads and instruction set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) threads: usize,
    pub(crate) isa: String,
}

impl Setting {
    /// The largest thread count at which everything was measured in that format, and there the instruction set in which
    /// dense is fastest. None where not even dense can be composed.
    pub(crate) fn fastest(
        composer: &Composer<'_>,
        model: &ModelShape,
        format: WeightFormat,
        context_tokens: usize,
        skew: &Skew,
    ) -> Result<Option<Self>, ComposeError> {
        let record = composer.record();
        let mut threads: Vec<usize> = record.bandwidth.iter().map(|b| b.threads).collect();
        threads.sort_unstable_by(|a, b| b.cmp(a));
        let measured = |operator: Operator, threads: usize, isa: &str| {
            let same =
                |m: &Measurement| (m.operator, m.format, m.threads) == (operator, format, threads) && m.isa == isa;
            record.measurements.iter().any(same)
        };
        for threads in threads {
            let complete =
                |isa: &&String| DENSE_OPERATORS.iter().any(|set| set.iter().all(|op| measured(*op, threads, isa)));
            let mut best: Option<(f64, Self)> = None;
            for isa in record.machine.isa.iter().filter(complete) {
                let setting = Self { threads, isa: isa.clone() };
                let dense = setting.dense(model, format, context_tokens, skew);
                let ms = composer.compose(&dense)?.ms_per_token.median;
                if best.as_ref().is_none_or(|(least, _)| ms < *least) {
                    best = Some((ms, setting));
                }
            }
            if let Some((_, setting)) = best {
                return Ok(Some(setting));
            }
        }
        Ok(None)
    }

    /// Dense, for one user.
    pub(crate) fn dense(
        &self,
        model: &ModelShape,
        format: WeightFormat,
        context_tokens: usize,
        skew: &Skew,
    ) -> Configuration {
        Configuration {
            model: *model,
            format,
            policy: DENSE.to_owned(),
            scorer: Scorer::Free,
            densities: Sourced::new(vec![1.0; model.layers], Origin::derived("dense: every neuron is computed")),
            context_tokens,
            batch: 1,
            skew: skew.clone(),
            kv_format: WeightFormat::F32,
            threads: self.threads,
            isa: self.isa.clone(),
        }
    }
}
