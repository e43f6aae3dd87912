//! A trained predictor in the format of a file.

use kernels_cpu::{Format, Matrix};

use crate::{Error, LowRank, Trained};

/// `fc1` and `fc2` as bytes, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    format: Format,
    hidden: usize,
    rank: usize,
    neurons: usize,
    /// rank x hidden.
    pub fc1: Vec<u8>,
    /// neurons x rank.
    pub fc2: Vec<u8>,
}

impl Trained {
    /// Both matrices in `format`, rounded to nearest.
    ///
    /// # Errors
    /// A hidden size or a rank that is not whole blocks.
    pub fn encoded(&self, format: Format) -> Result<Encoded, Error> {
        let Self { hidden, rank, neurons, .. } = *self;
        let mut bytes = [Vec::new(), Vec::new()];
        for (bytes, (values, cols)) in bytes.iter_mut().zip([(&self.fc1, hidden), (&self.fc2, rank)]) {
            values.chunks_exact(cols).try_for_each(|row| format.encode(row, bytes))?;
        }
        let [fc1, fc2] = bytes;
        Ok(Encoded { format, hidden, rank, neurons, fc1, fc2 })
    }
}

impl Encoded {
    /// Both matrices.
    ///
    /// # Errors
    /// None in practice: the shapes were checked when they were encoded.
    pub fn matrices(&self) -> Result<[Matrix<'_>; 2], Error> {
        let fc1 = Matrix::new(self.format, self.rank, self.hidden, &self.fc1)?;
        Ok([fc1, Matrix::new(self.format, self.neurons, self.rank, &self.fc2)?])
    }

    /// The predictor, ready to run.
    ///
    /// # Errors
    /// None in practice, as above.
    pub fn predictor(&self) -> Result<LowRank<'_>, Error> {
        let [fc1, fc2] = self.matrices()?;
        LowRank::new(fc1, fc2)
    }

    /// Bytes of weights, all of them read once a token.
    pub fn bytes(&self) -> usize {
        self.fc1.len() + self.fc2.len()
    }
}
