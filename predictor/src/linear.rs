//! The little linear algebra that the start of training takes: a Cholesky factor and its solves, orthonormal columns.

/// `L` of a symmetric positive definite matrix `A = L · Lᵀ` (Golub, Van Loan, Matrix Computations, section 4.2). In f64: hidden
/// states are far from white.
pub(crate) struct Cholesky {
    size: usize,
    /// Row after row, zero above the diagonal.
    lower: Vec<f64>,
}

impl Cholesky {
    /// The factor of `matrix` (size x size, row after row) with `ridge` times its mean diagonal added to the diagonal.
    pub(crate) fn of(matrix: &[f32], size: usize, ridge: f64) -> Self {
        let mut lower: Vec<f64> = matrix.iter().map(|&v| f64::from(v)).collect();
        let mean = (0..size).map(|i| lower[i * size + i]).sum::<f64>() / size.max(1) as f64;
        let added = (ridge * mean).max(f64::MIN_POSITIVE);
        for row in 0..size {
            let (above, own) = lower.split_at_mut(row * size);
            own[row] += added;
            for col in 0..row {
                let other = &above[col * size..][..=col];
                let dot: f64 = own[..col].iter().zip(other).map(|(a, b)| a * b).sum();
                own[col] = (own[col] - dot) / other[col];
            }
            let square: f64 = own[..row].iter().map(|v| v * v).sum();
            // Rounding alone can bring this under what was added.
            own[row] = (own[row] - square).max(added).sqrt();
            own[row + 1..size].fill(0.0);
        }
        Self { size, lower }
    }

    /// `b` (size x cols) becomes `L⁻¹ · b`.
    pub(crate) fn solve_lower(&self, b: &mut [f64], cols: usize) {
        for row in 0..self.size {
            let (above, own) = b.split_at_mut(row * cols);
            let own = &mut own[..cols];
            for (factor, other) in self.lower[row * self.size..][..row].iter().zip(above.chunks_exact(cols)) {
                own.iter_mut().zip(other).for_each(|(v, o)| *v -= factor * o);
            }
            let diagonal = self.lower[row * self.size + row];
            own.iter_mut().for_each(|v| *v /= diagonal);
        }
    }

    /// `b` (size x cols) becomes `L⁻ᵀ · b`.
    pub(crate) fn solve_upper(&self, b: &mut [f64], cols: usize) {
        for row in (0..self.size).rev() {
            let (above, own) = b.split_at_mut(row * cols);
            let own = &mut own[..cols];
            let diagonal = self.lower[row * self.size + row];
            own.iter_mut().for_each(|v| *v /= diagonal);
            for (factor, other) in self.lower[row * self.size..][..row].iter().zip(above.chunks_exact_mut(cols)) {
                other.iter_mut().zip(&*own).for_each(|(o, v)| *o -= factor * v);
            }
        }
    }
}

/// Makes the columns of `w` (rows x cols) orthonormal, first to last (modified Gram-Schmidt, twice: Golub, Van Loan, section
/// 5.2). A column that depends on those before becomes zero.
pub(crate) fn orthonormal(w: &mut [f64], cols: usize) {
    let rows = w.len() / cols.max(1);
    let mut columns = vec![0.0; w.len()];
    for (row, values) in w.chunks_exact(cols.max(1)).enumerate() {
        values.iter().enumerate().for_each(|(col, &v)| columns[col * rows + row] = v);
    }
    for col in 0..cols {
        let (done, own) = columns.split_at_mut(col * rows);
        let own = &mut own[..rows];
        let before = norm(own);
        for _ in 0..2 {
            for other in done.chunks_exact(rows) {
                let dot: f64 = own.iter().zip(other).map(|(a, b)| a * b).sum();
                own.iter_mut().zip(other).for_each(|(v, o)| *v -= dot * o);
            }
        }
        let after = norm(own);
        let scale = if after > 1e-10 * before { 1.0 / after } else { 0.0 };
        own.iter_mut().for_each(|v| *v *= scale);
    }
    for (row, values) in w.chunks_exact_mut(cols.max(1)).enumerate() {
        values.iter_mut().enumerate().for_each(|(col, v)| *v = columns[col * rows + row]);
    }
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use kernels_cpu::synthetic::Random;

    use super::*;

    #[test]
    fn a_factor_solves_its_matrix() {
        let mut random = Random::new(11);
        for size in [1, 2, 7, 33] {
            // G · Gᵀ is positive definite.
            let g = random.vector(size * size);
            let dot = |a: usize, b: usize| (0..size).map(|k| g[a * size + k] * g[b * size + k]).sum::<f32>();
            let matrix: Vec<f32> = (0..size * size).map(|i| dot(i / size, i % size)).collect();
            let factor = Cholesky::of(&matrix, size, 1e-3);
            let b: Vec<f64> = random.vector(3 * size).into_iter().map(f64::from).collect();
            let mut x = b.clone();
            factor.solve_lower(&mut x, 3);
            factor.solve_upper(&mut x, 3);
            let mean: f64 = (0..size).map(|i| f64::from(matrix[i * size + i])).sum::<f64>() / size as f64;
            for row in 0..size {
                for col in 0..3 {
                    let own = |k: usize| f64::from(matrix[row * size + k]) + if k == row { 1e-3 * mean } else { 0.0 };
                    let back: f64 = (0..size).map(|k| own(k) * x[k * 3 + col]).sum();
                    assert!((back - b[row * 3 + col]).abs() < 1e-6, "{size}: {back} is not {}", b[row * 3 + col]);
                }
            }
        }
    }

    #[test]
    fn columns_become_orthonormal_and_dependent_ones_zero() {
        let mut random = Random::new(12);
        let (rows, cols) = (9, 4);
        let mut w: Vec<f64> = random.vector(rows * cols).into_iter().map(f64::from).collect();
        w.chunks_exact_mut(cols).for_each(|row| row[2] = row[0] - 2.0 * row[1]);
        orthonormal(&mut w, cols);
        for a in 0..cols {
            for b in 0..cols {
                let dot: f64 = w.chunks_exact(cols).map(|row| row[a] * row[b]).sum();
                let wanted = if a == b && a != 2 { 1.0 } else { 0.0 };
                assert!((dot - wanted).abs() < 1e-9, "{a} {b}: {dot}");
            }
        }
    }
}
