//! The curves of one operator as one machine ran it.

use std::collections::BTreeMap;
use std::fmt;

use crate::curve::{Curve, CurveError, Reading};
use crate::estimate::Estimate;
use crate::format::WeightFormat;
use crate::operator::Operator;
use crate::record::Measurement;

/// What the points of one curve have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Family {
    pub(crate) operator: Operator,
    pub(crate) isa: String,
    pub(crate) format: WeightFormat,
    pub(crate) threads: usize,
    /// Of a predictor with its FFN, whose points have a density beside it. A predictor's own ranks are points of one curve.
    pub(crate) rank: Option<usize>,
}

impl Family {
    /// That of a measurement.
    pub(crate) fn of(m: &Measurement) -> Self {
        let rank = m.rank.filter(|_| m.operator == Operator::FfnPredicted);
        Self { operator: m.operator, isa: m.isa.clone(), format: m.format, threads: m.threads, rank }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, isa, format, threads, rank } = self;
        write!(f, "{operator} {isa} {format} t{threads}")?;
        rank.map_or(Ok(()), |rank| write!(f, " rank {rank}"))
    }
}

/// Curves of a family.
#[derive(Clone, Debug)]
pub(crate) struct FamilyCurves {
    /// Time over density, for each measured shape (rows, columns).
    pub(crate) by_density: BTreeMap<(usize, usize), Curve>,
    /// Time over weight bytes, all shapes together.
    pub(crate) by_bytes: Curve,
}

impl FamilyCurves {
    pub(crate) fn new(points: &[&Measurement]) -> Result<Self, CurveError> {
        let mut shapes: BTreeMap<(usize, usize), Vec<(f64, Estimate)>> = BTreeMap::new();
        let mut pooled: BTreeMap<u64, Estimate> = BTreeMap::new();
        for m in points {
            let shape = shapes.entry((m.rows, m.cols)).or_default();
            shape.push((m.density, m.seconds));
            let same = pooled.entry(m.weight_bytes()).or_insert(m.seconds);
            *same = envelope(same, &m.seconds);
        }
        // Ranks of one predictor shape share their density; only bytes tell them apart.
        if points.iter().all(|m| m.operator == Operator::Predictor) {
            shapes.clear();
        }
        let pooled: Vec<_> = pooled.into_iter().map(|(b, y)| (b as f64, y)).collect();
        Ok(Self {
            by_density: shapes
                .into_iter()
                .map(|(shape, points)| Ok((shape, Curve::new(&points)?)))
                .collect::<Result<_, CurveError>>()?,
            by_bytes: Curve::new(&pooled)?,
        })
    }

    /// The measured shape itself where there is one, else other shapes of as many bytes.
    pub(crate) fn at(&self, shape: (usize, usize), density: f64, bytes: u64) -> Reading {
        let pooled = self.by_bytes.at(bytes as f64);
        match self.by_density.get(&shape) {
            None => pooled,
            Some(curve) => {
                let own = curve.at(density);
                let lonely = curve.points() == 1 && own.extrapolated;
                if lonely { pooled } else { own }
            }
        }
    }
}

/// Two shapes of equal bytes: the middle of the medians, and an interval that holds both.
fn envelope(a: &Estimate, b: &Estimate) -> Estimate {
    Estimate {
        median: 0.5 * (a.median + b.median),
        low: a.low.min(b.low),
        high: a.high.max(b.high),
        confidence: a.confidence.min(b.confidence),
        samples: a.samples.min(b.samples),
    }
}
