//! The steps of attention, as plainly as they can be said.

use crate::attention::{BLOCK, Kernel};

pub(crate) static KERNEL: Kernel = Kernel { scores, softmax, mix };

fn scores(keys: &[u8], head_size: usize, queries: &[f32], scores: &mut [f32]) {
    let keys = keys.as_chunks().0;
    let positions = keys.len() / head_size;
    for (query, scores) in queries.chunks_exact(head_size).zip(scores.chunks_exact_mut(positions)) {
        for (position, score) in scores.iter_mut().enumerate() {
            let (block, lane) = (position / BLOCK, position % BLOCK);
            let key = keys[block * BLOCK * head_size..].iter().skip(lane).step_by(BLOCK);
            *score = query.iter().zip(key).fold(0.0, |sum, (q, &k)| q.mul_add(f32::from_le_bytes(k), sum));
        }
    }
}

fn softmax(scores: &mut [f32]) -> (f32, f32) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let from = if max == f32::NEG_INFINITY { 0.0 } else { max };
    let mut sum = 0.0;
    for score in scores {
        *score = (*score - from).exp();
        sum += *score;
    }
    (max, sum)
}

fn mix(values: &[u8], row: usize, weights: &[f32], stride: usize, sums: &mut [f32]) {
    let values = values.as_chunks().0;
    for (weights, sums) in weights.chunks_exact(stride).zip(sums.chunks_exact_mut(row)) {
        for (weight, values) in weights.iter().zip(values.chunks_exact(row)) {
            sums.iter_mut().zip(values).for_each(|(sum, &v)| *sum = weight.mul_add(f32::from_le_bytes(v), *sum));
        }
    }
}
