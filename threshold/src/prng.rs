//! A small seeded generator, so that audits and streams repeat exactly on every platform.

/// `SplitMix64` (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 14):
/// one addition and one finaliser a draw.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64 {
    state: u64,
}

/// 2⁶⁴ divided by the golden ratio, rounded to odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The generator of one part (a layer, say) of what `seed` governs.
    pub(crate) fn part(seed: u64, part: u64) -> Self {
        // Finalised twice: streams whose states differ by a multiple of GAMMA would be one stream, shifted.
        Self::new(finalise(finalise(seed) ^ finalise(part.wrapping_add(GAMMA))))
    }

    #[inline]
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        finalise(self.state)
    }

    /// Uniform in [0, 1), in steps of 2⁻⁵³.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..bound`, without bias (Lemire 2019, "Fast random integer generation in an interval").
    /// `bound` 0 gives 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let (mut high, mut low) = widening_mul(self.next_u64(), bound);
        if low < bound {
            let biased = bound.wrapping_neg() % bound;
            while low < biased {
                (high, low) = widening_mul(self.next_u64(), bound);
            }
        }
        high
    }
}

#[inline]
fn finalise(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn widening_mul(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64, product as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs for seed 1234567, as published at Rosetta Code ("Pseudo-random numbers/Splitmix64").
    #[test]
    fn agrees_with_the_published_sequence() {
        let mut rng = SplitMix64::new(1_234_567);
        let drawn: [u64; 3] = std::array::from_fn(|_| rng.next_u64());
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_reaches_every_value_evenly() {
        let mut rng = SplitMix64::new(7);
        let mut seen = [0u32; 6];
        for _ in 0..60_000 {
            seen[rng.below(6) as usize] += 1;
        }
        // Binomial: standard deviation 91, so 600 is 6.5 of them.
        assert!(seen.iter().all(|&count| count.abs_diff(10_000) < 600), "{seen:?}");
    }
}
