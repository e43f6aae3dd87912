//! Attention over a KV cache in every instruction set of this processor: against f64, on any number of threads, with NaN
//! where it should be and nowhere else.

#![allow(clippy::unwrap_used)]

mod support;

use kernels_cpu::{Error, Isa, KvCache, synthetic::Random};
use proptest::prelude::*;
use support::{
    bits,
    kernels::{cpu, runnable_kernels},
    oracle::{U, gamma},
    some,
};

/// A cache with everything that was stored in it.
#[derive(Debug)]
struct Case {
    heads: usize,
    group: usize,
    size: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    queries: Vec<f32>,
}

fn isas() -> Vec<Isa> {
    let mut isas: Vec<Isa> = runnable_kernels().iter().map(|tested| tested.isa).collect();
    isas.dedup();
    isas
}

impl Case {
    /// Scores of size `sharpness`, so that softmax is flat or has a peak.
    fn new(seed: u64, [heads, group, size, len]: [usize; 4], sharpness: f32) -> Self {
        let mut random = Random::new(seed);
        let mut rows = |width: usize| (0..len).map(|_| random.vector(width)).collect();
        let (keys, values) = (rows(heads * size), rows(heads * size));
        let queries = random.vector(heads * group * size).into_iter().map(|q| sharpness * q).collect();
        Self { heads, group, size, keys, values, queries }
    }

    fn cache(&self, capacity: usize) -> KvCache {
        let mut cache = KvCache::new(self.heads, self.size, capacity).unwrap();
        for (position, (key, value)) in self.keys.iter().zip(&self.values).enumerate() {
            cache.store(position, key, value).unwrap();
        }
        cache
    }

    fn attend(&self, isa: Isa, threads: usize, cache: &KvCache) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.queries.len()];
        cpu(isa, threads).attend(cache, self.keys.len(), &self.queries, &mut out).unwrap();
        out
    }

    /// Each element of the output, and how far from it a kernel may be.
    fn wanted(&self) -> Vec<(f64, f64)> {
        let head_of = |query: usize| query / self.group * self.size;
        let part = |row: &[f32], query: usize| row[head_of(query)..][..self.size].to_vec();
        let wanted = |query: usize| {
            let q = &self.queries[query * self.size..][..self.size];
            let scale = 1.0 / (self.size as f64).sqrt();
            let products = |key: &Vec<f32>| -> Vec<f64> {
                part(key, query).iter().zip(q).map(|(&k, &q)| scale * f64::from(k) * f64::from(q)).collect()
            };
            let scores: Vec<f64> = self.keys.iter().map(|key| products(key).iter().sum()).collect();
            let magnitude = |key| products(key).iter().map(|p| p.abs()).sum();
            let off = gamma(self.size + 4) * self.keys.iter().map(magnitude).fold(0.0, f64::max);
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let min = scores.iter().copied().fold(f64::INFINITY, f64::min);
            let r = 2.0 * ((2.0 * off + U * (max - min)).exp_m1() + 2f64.powi(-21) + gamma(self.keys.len() + 8));
            let total: f64 = scores.iter().map(|score| (score - max).exp()).sum();
            let rows: Vec<Vec<f32>> = self.values.iter().map(|value| part(value, query)).collect();
            (0..self.size)
                .map(|element| {
                    let (mut sum, mut of_magnitudes, mut largest) = (0.0, 0.0, 0.0_f64);
                    for (score, value) in scores.iter().zip(&rows) {
                        let (weight, value) = ((score - max).exp() / total, f64::from(value[element]));
                        sum += weight * value;
                        of_magnitudes += weight * value.abs();
                        largest = largest.max(value.abs());
                    }
                    (sum, r * (1.0 + r) * of_magnitudes + self.keys.len() as f64 * 2f64.powi(-125) * largest)
                })
                .collect::<Vec<_>>()
        };
        (0..self.heads * self.group).flat_map(wanted).collect()
    }
}

fn cases() -> impl Strategy<Value = (Case, usize)> {
    let sizes = prop_oneof![
        20 => (1..4_usize, 1..11_usize, 1..40_usize, 1..70_usize),
        2 => (1..3_usize, 1..10_usize, 1..140_usize, 400..1200_usize),
    ];
    let sharpness = prop_oneof![Just(0.0_f32), Just(1.0), Just(30.0), Just(3000.0)];
    (any::<u64>(), sizes, sharpness, 0..40_usize).prop_map(|(seed, (heads, group, size, len), sharpness, spare)| {
        (Case::new(seed, [heads, group, size, len], sharpness), len + spare)
    })
}

proptest! {
    #![proptest_config(some(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn attention_agrees_with_the_oracle((case, capacity) in cases()) {
        let cache = case.cache(capacity);
        let wanted = case.wanted();
        for isa in isas() {
            let out = case.attend(isa, 1, &cache);
            for (i, (&(value, error), got)) in wanted.iter().zip(out).enumerate() {
                prop_assert!((f64::from(got) - value).abs() <= error, "{isa} element {i}: {got}, wanted {value} +- {error}");
            }
        }
    }

    #[test]
    fn threads_and_room_change_no_bit((case, capacity) in cases()) {
        for isa in isas() {
            let alone = bits(&case.attend(isa, 1, &case.cache(capacity)));
            for threads in [1, 2, 3] {
                prop_assert_eq!(&alone, &bits(&case.attend(isa, threads, &case.cache(capacity + 100))));
            }
        }
    }

    /// What is stored beyond the positions that are asked for is never met, in the same block of keys either.
    #[test]
    fn later_positions_do_not_matter((case, capacity) in cases(), poison in prop_oneof![Just(f32::NAN), Just(f32::INFINITY)]) {
        let mut cache = case.cache(capacity + 3);
        let wanted: Vec<Vec<u32>> = isas().iter().map(|&isa| bits(&case.attend(isa, 1, &cache))).collect();
        let row = vec![poison; case.heads * case.size];
        (case.keys.len()..capacity + 3).for_each(|position| cache.store(position, &row, &row).unwrap());
        for (isa, wanted) in isas().into_iter().zip(wanted) {
            prop_assert_eq!(wanted, bits(&case.attend(isa, 2, &cache)));
        }
    }

    /// A broken key breaks every element of its head's queries, a broken value one element of each, and nothing else.
    #[test]
    fn nan_reaches_what_depends_on_it((case, _) in cases(), at in any::<prop::sample::Index>()) {
        let (position, head) = (at.index(case.keys.len()), at.index(case.heads));
        let element = head * case.size + at.index(case.size);
        for breaks_key in [true, false] {
            let mut broken = Case { keys: case.keys.clone(), values: case.values.clone(), queries: case.queries.clone(), ..case };
            let row = if breaks_key { &mut broken.keys[position] } else { &mut broken.values[position] };
            row[element] = f32::NAN;
            let cache = broken.cache(case.keys.len());
            for isa in isas() {
                for (i, got) in broken.attend(isa, 1, &cache).into_iter().enumerate() {
                    let (its_head, its_element) = (i / (case.group * case.size), i % case.size);
                    let meets = its_head == head && (breaks_key || its_element == element % case.size);
                    prop_assert_eq!(got.is_nan(), meets, "{} element {}: {}", isa, i, got);
                }
            }
        }
    }
}

/// `exp(score - max)` at every distance from the maximum: two positions, one of which is the maximum.
#[test]
fn weights_are_right_at_every_distance() {
    for isa in isas() {
        for step in (0..2000).step_by(if cfg!(miri) { 200 } else { 1 }) {
            let distance = step as f32 * 0.05;
            let mut cache = KvCache::new(1, 1, 2).unwrap();
            cache.store(0, &[0.0], &[0.0]).unwrap();
            cache.store(1, &[-distance], &[1.0]).unwrap();
            let mut out = [f32::NAN];
            cpu(isa, 1).attend(&cache, 2, &[1.0], &mut out).unwrap();
            let weight = f64::from(-distance).exp();
            let wanted = weight / (1.0 + weight);
            let error = (f64::from(out[0]) - wanted).abs();
            assert!(error <= 2f64.powi(-21) * wanted + 2f64.powi(-125), "{isa} {distance}: {} {wanted}", out[0]);
        }
    }
}

/// Minus infinity is a position that does not count; where none counts there is no answer.
#[test]
fn minus_infinity_counts_for_nothing() {
    for isa in isas() {
        for len in if cfg!(miri) { [3, 20, 40] } else { [3, 600, 1100] } {
            let mut cache = KvCache::new(1, 1, len).unwrap();
            let counts = len / 2;
            for position in 0..len {
                let key = if position == counts { 1.0 } else { f32::NEG_INFINITY };
                cache.store(position, &[key], &[position as f32]).unwrap();
            }
            let mut out = [0.0];
            cpu(isa, 2).attend(&cache, len, &[1.0], &mut out).unwrap();
            assert_eq!(out, [counts as f32], "{isa}");
            cache.store(counts, &[f32::NEG_INFINITY], &[1.0]).unwrap();
            cpu(isa, 2).attend(&cache, len, &[1.0], &mut out).unwrap();
            assert!(out[0].is_nan(), "{isa}: {}", out[0]);
        }
    }
}

#[test]
fn refusals() {
    let cpu = cpu(Isa::Scalar, 1);
    let mut cache = KvCache::new(2, 4, 8).unwrap();
    let row = [1.0; 8];
    assert_eq!(cache.store(8, &row, &row), Err(Error::Position { given: 8, capacity: 8 }));
    assert!(matches!(cache.store(0, &row[1..], &row), Err(Error::Length { operand: "key", given: 7, wanted: 8 })));
    assert!(matches!(cache.store(0, &row, &row[1..]), Err(Error::Length { operand: "value", .. })));
    cache.store(0, &row, &row).unwrap();
    let mut out = [f32::NAN; 16];
    assert_eq!(cpu.attend(&cache, 9, &[0.0; 16], &mut out), Err(Error::Position { given: 9, capacity: 8 }));
    let error = cpu.attend(&cache, 1, &[0.0; 15], &mut out).unwrap_err();
    assert!(matches!(error, Error::Length { operand: "queries", given: 15, wanted: 8 }), "{error}");
    assert!(matches!(cpu.attend(&cache, 1, &[0.0; 16], &mut out[1..]), Err(Error::Length { operand: "out", .. })));
    cpu.attend(&cache, 0, &[0.0; 16], &mut out).unwrap();
    assert_eq!(out, [0.0; 16]);
    for [heads, size, capacity] in [[usize::MAX, 4, 8], [1, usize::MAX, 8], [1, 4, usize::MAX]] {
        assert!(matches!(KvCache::new(heads, size, capacity), Err(Error::TooLarge { .. })));
    }
    let mut empty = KvCache::new(2, 0, 3).unwrap();
    empty.store(0, &[], &[]).unwrap();
    cpu.attend(&empty, 1, &[], &mut []).unwrap();
}
