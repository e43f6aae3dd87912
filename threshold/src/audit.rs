//! Looking at a few skipped rows, to learn what was missed.

use crate::Error;
use crate::policy::check_length;
use crate::prng::SplitMix64;

/// Output mass of one layer and token: what the active rows gave and what the skipped rows would have.
///
/// The mass of a neuron is the caller's to define, non-negative and the same for all rows; for a gated FFN,
/// |hᵢ| · ‖down rowᵢ‖₂ or |hᵢ| alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Audit {
    kept: f64,
    missed: f64,
}

impl Audit {
    /// From masses that are known, or estimated elsewhere.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless both are non-negative and their sum is finite.
    pub fn new(kept: f64, missed: f64) -> Result<Self, Error> {
        for (quantity, mass) in [("kept mass", kept), ("missed mass", missed)] {
            if mass.is_nan() || mass < 0.0 || !(kept + missed).is_finite() {
                return Err(Error::out_of_range(quantity, &mass, "non-negative and finite"));
            }
        }
        Ok(Self { kept, missed })
    }

    /// From the masses of rows that [`Auditor::pick`] chose among `skipped` rows.
    ///
    /// The missed mass is estimated as `sum(sampled) · skipped / sampled.len()`: every skipped row is
    /// sampled with the same probability m/skipped, whose inverse weighs it, so the estimate is unbiased
    /// (Horvitz and Thompson 1952). It is exact where every skipped row was sampled.
    ///
    /// # Errors
    /// [`Error::WrongLength`] where more rows were sampled than skipped, or none of some;
    /// [`Error::OutOfRange`] for a mass that is negative or not finite.
    pub fn from_sample(kept: f64, sampled: &[f32], skipped: usize) -> Result<Self, Error> {
        let nearest = sampled.len().clamp(skipped.min(1), skipped);
        check_length("sampled masses", sampled.len(), nearest)?;
        if let Some(mass) = sampled.iter().find(|mass| mass.is_nan() || **mass < 0.0) {
            return Err(Error::out_of_range("sampled mass", &mass, "non-negative and finite"));
        }
        let sum: f64 = sampled.iter().map(|&mass| f64::from(mass)).sum();
        let weight = skipped as f64 / sampled.len().max(1) as f64;
        Self::new(kept, sum * weight)
    }

    /// Mass of the rows that were computed.
    #[must_use]
    pub fn kept(&self) -> f64 {
        self.kept
    }

    /// Mass of the rows that were skipped, or its estimate.
    #[must_use]
    pub fn missed(&self) -> f64 {
        self.missed
    }

    /// Share of the layer's mass that was missed, in [0, 1]; `None` where there was no mass to miss.
    ///
    /// From a sample this is a ratio of an unbiased estimate x: concave in x, it is low on average, by about
    /// `kept · var(x) / (kept + x)³`, which falls as one over the number of rows sampled.
    #[must_use]
    pub fn miss(&self) -> Option<f64> {
        let mass = self.kept + self.missed;
        (mass > 0.0).then(|| self.missed / mass)
    }
}

/// Picks skipped rows to audit, uniformly and without replacement, from a seed.
///
/// A pick of m rows costs O(m log n) whatever the number of neurons n, and allocates nothing once `rows`
/// has capacity for m.
#[derive(Clone, Debug)]
pub struct Auditor {
    rng: SplitMix64,
    neurons: usize,
    rows: usize,
    /// One bit per rank among the skipped rows; all clear between picks.
    taken: Vec<u64>,
}

impl Auditor {
    /// An auditor of `rows` rows a pick, for layers of `neurons` neurons.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `rows` is 0 or more than `neurons`, or `neurons` does not fit `u32`.
    pub fn new(seed: u64, rows: usize, neurons: usize) -> Result<Self, Error> {
        if u32::try_from(neurons).is_err() {
            return Err(Error::out_of_range("neurons per layer", &neurons, "in 1 ..= 4294967295"));
        }
        if rows == 0 || rows > neurons {
            return Err(Error::out_of_range("rows per audit", &rows, "in 1 ..= neurons per layer"));
        }
        Ok(Self { rng: SplitMix64::new(seed), neurons, rows, taken: vec![0; neurons.div_ceil(64)] })
    }

    /// Replaces `rows` by up to the wanted number of rows that are not in `active`, strictly ascending;
    /// fewer only where fewer were skipped. `active` must be strictly ascending, as
    /// [`select`](crate::Policy::select) leaves it.
    ///
    /// # Errors
    /// [`Error::WrongLength`] where `active` holds more rows than there are; [`Error::OutOfRange`] where its
    /// last row is not one of them.
    pub fn pick(&mut self, active: &[u32], rows: &mut Vec<u32>) -> Result<(), Error> {
        rows.clear();
        if active.len() > self.neurons {
            check_length("active rows", active.len(), self.neurons)?;
        }
        if let Some(&last) = active.last()
            && last as usize >= self.neurons
        {
            return Err(Error::out_of_range("active row", &last, "below the neurons per layer"));
        }
        let skipped = self.neurons - active.len();
        self.draw_ranks(skipped, rows);
        rows.sort_unstable();
        for row in rows {
            *row = skipped_row(active, *row);
        }
        Ok(())
    }

    /// Floyd's sampling without replacement (Bentley and Floyd 1987, "A sample of brilliance"): one draw a
    /// row, whatever the population. The bit set stands in for the set that it asks for.
    fn draw_ranks(&mut self, population: usize, ranks: &mut Vec<u32>) {
        let wanted = self.rows.min(population);
        for last in population - wanted..population {
            let drawn = self.rng.below(last as u64 + 1) as usize;
            let rank = if self.is_taken(drawn) { last } else { drawn };
            self.taken[rank / 64] |= 1 << (rank % 64);
            ranks.push(rank as u32);
        }
        for &rank in ranks.iter() {
            self.taken[rank as usize / 64] = 0;
        }
    }

    fn is_taken(&self, rank: usize) -> bool {
        self.taken[rank / 64] >> (rank % 64) & 1 == 1
    }
}

/// The row with `rank` skipped rows before it. `active[j] - j` rows are skipped before `active[j]`.
fn skipped_row(active: &[u32], rank: u32) -> u32 {
    let (mut low, mut high) = (0, active.len());
    while low < high {
        let middle = low.midpoint(high);
        if active[middle].wrapping_sub(middle as u32) <= rank {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    rank + low as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complement(active: &[u32], neurons: usize) -> Vec<u32> {
        (0..neurons as u32).filter(|row| !active.contains(row)).collect()
    }

    proptest! {
        #[test]
        fn a_pick_is_ascending_distinct_and_skipped(
            mask in prop::collection::vec(any::<bool>(), 1..300),
            wanted in 1usize..300,
            seed: u64,
        ) {
            let active: Vec<u32> = (0..mask.len() as u32).filter(|&row| mask[row as usize]).collect();
            let wanted = wanted.min(mask.len());
            let mut auditor = Auditor::new(seed, wanted, mask.len())?;
            for _ in 0..3 {
                let mut rows = vec![u32::MAX; 5];
                auditor.pick(&active, &mut rows)?;
                prop_assert_eq!(rows.len(), wanted.min(mask.len() - active.len()));
                prop_assert!(rows.is_sorted_by(|a, b| a < b));
                prop_assert!(rows.iter().all(|&row| !mask[row as usize]));
            }
        }

        #[test]
        fn the_rank_of_a_skipped_row_finds_it(mask in prop::collection::vec(any::<bool>(), 1..300)) {
            let active: Vec<u32> = (0..mask.len() as u32).filter(|&row| mask[row as usize]).collect();
            for (rank, &row) in complement(&active, mask.len()).iter().enumerate() {
                prop_assert_eq!(skipped_row(&active, rank as u32), row);
            }
        }

        #[test]
        fn an_audit_of_all_rows_is_exact(masses in prop::collection::vec(0.0f32..1e6, 0..50), kept in 0.0f64..1e6) {
            let audit = Audit::from_sample(kept, &masses, masses.len())?;
            prop_assert_eq!(audit.missed(), masses.iter().map(|&m| f64::from(m)).sum::<f64>());
            let miss = audit.miss().unwrap_or(0.0);
            prop_assert!((0.0..=1.0).contains(&miss));
        }
    }

    /// Every pair of skipped rows equally often: uniform without replacement, not only row by row.
    #[test]
    fn every_pair_of_rows_is_equally_likely() {
        let (neurons, active, picks) = (9, [1, 4, 5], 150_000);
        let skipped = complement(&active, neurons);
        let mut auditor = Auditor::new(11, 2, neurons).unwrap();
        let mut count = vec![[0i64; 9]; 9];
        let mut rows = Vec::new();
        for _ in 0..picks {
            auditor.pick(&active, &mut rows).unwrap();
            count[rows[0] as usize][rows[1] as usize] += 1;
        }
        // 15 pairs: 10000 each, binomial standard deviation 97; 600 is 6 of them.
        for (i, &a) in skipped.iter().enumerate() {
            for &b in &skipped[i + 1..] {
                let seen = count[a as usize][b as usize];
                assert!((seen - 10_000).abs() < 600, "rows {a} and {b}: {seen}");
            }
        }
    }

    /// One row at a time among many: nothing of a pick is left over for the next.
    #[test]
    fn every_row_is_equally_likely() {
        let (neurons, picks) = (300, 300_000);
        let mut auditor = Auditor::new(13, 1, neurons).unwrap();
        let mut count = vec![0i64; neurons];
        let mut rows = Vec::new();
        for _ in 0..picks {
            auditor.pick(&[], &mut rows).unwrap();
            count[rows[0] as usize] += 1;
        }
        // 1000 each, binomial standard deviation 32; 200 is 6 of them.
        assert!(count.iter().all(|seen| (seen - 1000).abs() < 200), "{count:?}");
    }

    /// The mean of N estimates lies within 6 standard errors of the truth. A sample of m of s rows without
    /// replacement has variance s² (1 − m/s) S² / m, S² the variance among the rows (divisor s − 1).
    #[test]
    fn the_missed_mass_is_unbiased() {
        let (neurons, sampled, seeds) = (400usize, 16usize, 20_000u64);
        // Skewed: few rows hold most of the mass.
        let mass = |row: u32| (f64::from(row) / 40.0).exp() as f32;
        let active: Vec<u32> = (0..neurons as u32).filter(|row| row % 3 == 0).collect();
        let skipped = complement(&active, neurons);
        let (s, m) = (skipped.len() as f64, sampled as f64);
        let truth: f64 = skipped.iter().map(|&row| f64::from(mass(row))).sum();
        let spread = skipped.iter().map(|&row| (f64::from(mass(row)) - truth / s).powi(2)).sum::<f64>() / (s - 1.0);
        let standard_error = (s * s * (1.0 - m / s) * spread / m / seeds as f64).sqrt();

        let mut rows = Vec::new();
        let mut sum = 0.0;
        for seed in 0..seeds {
            let mut auditor = Auditor::new(seed, sampled, neurons).unwrap();
            auditor.pick(&active, &mut rows).unwrap();
            let masses: Vec<f32> = rows.iter().map(|&row| mass(row)).collect();
            sum += Audit::from_sample(0.0, &masses, skipped.len()).unwrap().missed();
        }
        let error = (sum / seeds as f64 - truth).abs();
        assert!(error < 6.0 * standard_error, "off by {error}, standard error {standard_error}");
        assert!(6.0 * standard_error < 0.05 * truth, "the test would pass a 5 % bias");
    }

    #[test]
    fn impossible_samples_are_refused() {
        assert!(matches!(Audit::from_sample(1.0, &[], 3), Err(Error::WrongLength { .. })));
        assert!(matches!(Audit::from_sample(1.0, &[1.0, 1.0], 1), Err(Error::WrongLength { .. })));
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            assert!(matches!(Audit::from_sample(1.0, &[bad], 3), Err(Error::OutOfRange { .. })));
        }
        for (kept, missed) in [(f64::NAN, 1.0), (1.0, -1.0), (f64::INFINITY, 0.0), (f64::MAX, f64::MAX)] {
            assert!(matches!(Audit::new(kept, missed), Err(Error::OutOfRange { .. })), "{kept} {missed}");
        }
        assert_eq!(Audit::from_sample(0.0, &[], 0).unwrap().miss(), None);
        assert_eq!(Audit::new(0.0, 0.0).unwrap().miss(), None);
    }

    #[test]
    fn an_auditor_checks_its_door() {
        assert!(Auditor::new(0, 0, 8).is_err());
        assert!(Auditor::new(0, 9, 8).is_err());
        let mut auditor = Auditor::new(0, 4, 8).unwrap();
        let mut rows = vec![7];
        assert!(matches!(auditor.pick(&[8], &mut rows), Err(Error::OutOfRange { .. })));
        assert!(matches!(auditor.pick(&[0; 9], &mut rows), Err(Error::WrongLength { .. })));
        assert!(rows.is_empty());
        auditor.pick(&[0, 1, 2, 3, 4, 5, 6, 7], &mut rows).unwrap();
        assert!(rows.is_empty());
    }
}
