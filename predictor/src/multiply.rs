//! `c += a · b` in f32 for training, on the caller's thread: sums run in the same order whoever else is at work.

use kernels_cpu::Isa;

use crate::scalar;
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

/// Adds `a` (rows x `inner`) times `b` (`inner` x `cols`) to `c` (rows x `cols`), all of them row after row.
///
/// An element is at most `gamma(inner + 1) * (|c| + sum |a||b|)` away from the exact one (Higham, Accuracy and Stability
/// of Numerical Algorithms, lemma 3.1).
///
/// # Panics
/// Slices of other lengths, or an `isa` that this processor lacks: callers within this crate make neither.
pub(crate) fn multiply(isa: Isa, a: &[f32], inner: usize, b: &[f32], c: &mut [f32], cols: usize) {
    if inner == 0 || cols == 0 {
        return;
    }
    let rows = a.len() / inner;
    assert!(a.len() == rows * inner && b.len() == inner * cols && c.len() == rows * cols && isa.is_available());
    match isa {
        // SAFETY: the instruction set and the lengths were checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni => unsafe { avx512::multiply::multiply(a, inner, b, c, cols) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::multiply::multiply(a, inner, b, c, cols) },
        _ => scalar::multiply::multiply(a, inner, b, c, cols),
    }
}

/// `from` (rows x `cols`) with its rows as columns.
pub(crate) fn transpose(from: &[f32], cols: usize, to: &mut [f32]) {
    let rows = from.len() / cols.max(1);
    for (row, values) in from.chunks_exact(cols.max(1)).enumerate() {
        values.iter().enumerate().for_each(|(col, &value)| to[col * rows + row] = value);
    }
}

#[cfg(test)]
mod tests {
    use kernels_cpu::synthetic::Random;

    use super::*;

    fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Every instruction set against f64 at odd sizes, tails included.
    #[test]
    fn products_agree_with_f64() {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..60 {
            let [rows, inner, cols] = std::array::from_fn(|_| 1 + random.below(70));
            let (a, b) = (random.vector(rows * inner), random.vector(inner * cols));
            let start = random.vector(rows * cols);
            for isa in available() {
                let mut c = start.clone();
                multiply(isa, &a, inner, &b, &mut c, cols);
                for (index, &got) in c.iter().enumerate() {
                    let (row, col) = (index / cols, index % cols);
                    let terms = (0..inner).map(|k| f64::from(a[row * inner + k]) * f64::from(b[k * cols + col]));
                    let (mut sum, mut size) = (f64::from(start[index]), f64::from(start[index]).abs());
                    terms.for_each(|term| (sum, size) = (sum + term, size + term.abs()));
                    let bound = (inner + 2) as f64 / f64::from(1 << 24) * size;
                    assert!(
                        (f64::from(got) - sum).abs() <= bound,
                        "{isa} {rows}x{inner}x{cols} at {index}: {got} {sum}"
                    );
                }
            }
        }
    }

    #[test]
    fn rows_turn_into_columns() {
        let mut turned = [0.0; 6];
        transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut turned);
        assert_eq!(turned, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
