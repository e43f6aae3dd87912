//! How many scores fall into each bucket.

use super::any_nan;
use crate::select::{BUCKETS, bucket};

pub(in crate::select) fn histogram(scores: &[f32], counts: &mut [u32; BUCKETS]) -> bool {
    for &score in scores {
        counts[bucket(score) % BUCKETS] += 1;
    }
    any_nan(scores)
}
