//! In how many bits rows differ from an input.

/// `out[r]` = bits of row `r` that differ from `x`; each row is as long as `x`.
pub(crate) fn differing(rows: &[u64], x: &[u64], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(x.len()).zip(out) {
        *out = row.iter().zip(x).map(|(w, x)| (w ^ x).count_ones()).sum::<u32>() as f32;
    }
}
