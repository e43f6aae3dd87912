//! `c += a · b`, the plainest way.

/// Shapes as for [`multiply`](crate::multiply::multiply).
pub(crate) fn multiply(a: &[f32], inner: usize, b: &[f32], c: &mut [f32], cols: usize) {
    for (a, c) in a.chunks_exact(inner).zip(c.chunks_exact_mut(cols)) {
        for (&a, b) in a.iter().zip(b.chunks_exact(cols)) {
            c.iter_mut().zip(b).for_each(|(c, &b)| *c += a * b);
        }
    }
}
