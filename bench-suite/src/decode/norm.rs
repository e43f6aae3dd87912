//! RMSNorm (Zhang and Sennrich 2019).

/// Sums that run side by side.
const LANES: usize = 8;

/// `out = x / sqrt(mean(x²) + epsilon) · weights`.
pub(crate) fn rms_norm(x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32]) {
    let mut sums = [0.0_f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
    let mean = sums.iter().sum::<f64>() / x.len().max(1) as f64;
    let scale = (1.0 / (mean + f64::from(epsilon)).sqrt()) as f32;
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weights) {
        *out = x * scale * weight;
    }
}
