//! A few tokens at once, each over active rows of its own: the operators on host slices, and the union that stands for
//! their lists.
//!
//! ```text
//!   token 0   active   3  17  42         out of gemv:  a0  a1  a2
//!   token 1   active   8  17                           b0  b1
//!
//!   union     indices  3   8  17  42     on the GPU:   a0   0  a1  a2    token after token
//!             members  01 10  11  01                    0  b0  b1   0
//! ```

use crate::{
    Activation, Error, Gpu, Matrix,
    active::check_active,
    gpu::{ActiveUnion, Vector},
    params::THRESHER_MAX_BATCH,
    shape::check_length,
};

/// The most tokens in a batch.
pub const MAX_BATCH: usize = THRESHER_MAX_BATCH as usize;

/// What one token brings to [`Gpu::gemv_batch`] or [`Gpu::gate_up_batch`] and takes from it.
#[derive(Debug)]
pub struct RowsToken<'a> {
    /// Hidden state, one element per column.
    pub x: &'a [f32],
    /// Active rows, strictly ascending.
    pub active: &'a [u32],
    /// The output, one element per active row; overwritten.
    pub out: &'a mut [f32],
}

/// What one token brings to [`Gpu::down_batch`] and takes from it.
#[derive(Debug)]
pub struct DownToken<'a> {
    /// One element per active neuron.
    pub h: &'a [f32],
    /// Active neurons, strictly ascending.
    pub active: &'a [u32],
    /// One element per column; added to.
    pub y: &'a mut [f32],
}

/// What one token brings to an FFN and takes from it.
#[derive(Debug)]
pub struct FfnToken<'a> {
    /// Hidden state, one element per column.
    pub x: &'a [f32],
    /// Active neurons, strictly ascending.
    pub active: &'a [u32],
    /// The output, one element per column; overwritten.
    pub y: &'a mut [f32],
}

pub(crate) fn check_batch(given: usize) -> Result<(), Error> {
    if (1..=MAX_BATCH).contains(&given) {
        return Ok(());
    }
    Err(Error::Batch { given, most: MAX_BATCH })
}

/// As for one token, token by token.
pub(crate) fn check_rows_tokens(tokens: &[RowsToken<'_>], (rows, cols): (usize, usize)) -> Result<(), Error> {
    check_batch(tokens.len())?;
    tokens.iter().try_for_each(|token| {
        check_length("x", token.x.len(), cols)?;
        check_length("out", token.out.len(), token.active.len())?;
        check_active(token.active, rows)
    })
}

/// As for one token, token by token.
pub(crate) fn check_down_tokens(tokens: &[DownToken<'_>], (rows, cols): (usize, usize)) -> Result<(), Error> {
    check_batch(tokens.len())?;
    tokens.iter().try_for_each(|token| {
        check_length("h", token.h.len(), token.active.len())?;
        check_length("y", token.y.len(), cols)?;
        check_active(token.active, rows)
    })
}

/// The rows that any of some tokens lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Union {
    /// Strictly ascending.
    pub(crate) indices: Vec<u32>,
    /// Of each the tokens that list it: bit t for token t.
    pub(crate) members: Vec<u8>,
}

impl Union {
    /// Of ascending lists, [`MAX_BATCH`] at most.
    pub(crate) fn of<'a>(lists: impl Iterator<Item = &'a [u32]>) -> Self {
        let mut listed: Vec<(u32, u8)> =
            lists.enumerate().flat_map(|(token, list)| list.iter().map(move |&row| (row, 1 << token))).collect();
        listed.sort_unstable();
        let mut union = Self { indices: Vec::new(), members: Vec::new() };
        for (row, token) in listed {
            match union.members.last_mut().filter(|_| union.indices.last() == Some(&row)) {
                Some(members) => *members |= token,
                None => {
                    union.indices.push(row);
                    union.members.push(token);
                }
            }
        }
        union
    }

    fn positions(&self, token: usize) -> impl Iterator<Item = usize> {
        self.members.iter().enumerate().filter(move |(_, members)| *members >> token & 1 == 1).map(|(at, _)| at)
    }

    /// Values of each token's own rows to where the union has those rows, token after token.
    pub(crate) fn spread<'a>(&self, tokens: impl ExactSizeIterator<Item = &'a [f32]>) -> Vec<f32> {
        let len = self.indices.len();
        // A kernel that used what a token does not list would show.
        let mut all = vec![f32::NAN; tokens.len() * len];
        for (token, own) in tokens.enumerate() {
            for (at, &value) in self.positions(token).zip(own) {
                all[token * len + at] = value;
            }
        }
        all
    }

    /// The way back.
    pub(crate) fn gather<'a>(&self, all: &[f32], tokens: impl Iterator<Item = &'a mut [f32]>) {
        let len = self.indices.len();
        for (token, own) in tokens.enumerate() {
            for (at, value) in self.positions(token).zip(own) {
                *value = all[token * len + at];
            }
        }
    }
}

impl Gpu {
    /// [`Gpu::gemv`] for up to [`MAX_BATCH`] tokens, each over its own active rows; a row that several list is read
    /// once. Each token's result is the same, bit for bit, as by [`Gpu::gemv`].
    ///
    /// # Errors
    /// As there; no token or more than [`MAX_BATCH`]. Outputs are untouched on error.
    pub fn gemv_batch(&self, w: &Matrix, tokens: &mut [RowsToken<'_>]) -> Result<(), Error> {
        check_rows_tokens(tokens, (w.rows(), w.cols()))?;
        self.rows_batch(tokens, |x, active, out| self.gemv_batch_on_device(w, x, active, out))
    }

    /// [`Gpu::gate_up`] for up to [`MAX_BATCH`] tokens, each over its own active rows; rows that several list are read
    /// once. Each token's result is the same, bit for bit, as by [`Gpu::gate_up`].
    ///
    /// # Errors
    /// As for [`Gpu::gemv_batch`]; matrices that differ in shape or format.
    pub fn gate_up_batch(
        &self,
        gate: &Matrix,
        up: &Matrix,
        activation: Activation,
        tokens: &mut [RowsToken<'_>],
    ) -> Result<(), Error> {
        check_rows_tokens(tokens, (gate.rows(), gate.cols()))?;
        self.rows_batch(tokens, |x, active, h| self.gate_up_batch_on_device(gate, up, activation, x, active, h))
    }

    /// [`Gpu::down`] for up to [`MAX_BATCH`] tokens, each over its own active neurons; a row that several list is read
    /// once. Each token's result is the same, bit for bit, as by [`Gpu::down`].
    ///
    /// # Errors
    /// As for [`Gpu::gemv_batch`].
    pub fn down_batch(&self, w: &Matrix, tokens: &mut [DownToken<'_>]) -> Result<(), Error> {
        check_down_tokens(tokens, (w.rows(), w.cols()))?;
        let union = Union::of(tokens.iter().map(|token| token.active));
        let active = self.upload_merged(&union, tokens.len())?;
        let h = self.upload_vector(&union.spread(tokens.iter().map(|token| token.h)))?;
        let mut y = self.upload_vector(&tokens.iter().flat_map(|token| &*token.y).copied().collect::<Vec<_>>())?;
        self.down_batch_on_device(w, &h, &active, &mut y)?;
        self.download_each(&y, tokens.iter_mut().map(|token| &mut *token.y))
    }

    /// Up to [`MAX_BATCH`] tokens through an FFN, each over its own active neurons:
    /// `y = down(act(gate . x) * up . x)`. Rows that several name are read once, and each token's result is the same,
    /// bit for bit, as alone. Returns how many neurons' down rows were used, summed over tokens.
    ///
    /// # Errors
    /// As for [`Gpu::gate_up_batch`]; `down` of another shape than `gate`, while its format may be another.
    pub fn ffn_batch(
        &self,
        [gate, up, down]: [&Matrix; 3],
        activation: Activation,
        tokens: &mut [FfnToken<'_>],
    ) -> Result<usize, Error> {
        check_batch(tokens.len())?;
        for token in &*tokens {
            check_length("x", token.x.len(), gate.cols())?;
            check_length("y", token.y.len(), gate.cols())?;
            check_active(token.active, gate.rows())?;
        }
        down.require_shape_of(gate)?;
        let lists: Vec<&[u32]> = tokens.iter().map(|token| token.active).collect();
        let active = self.upload_union(&lists)?;
        let x = self.upload_vector(&tokens.iter().flat_map(|token| token.x).copied().collect::<Vec<_>>())?;
        let mut h = self.zeros(tokens.len() * active.len())?;
        let mut y = self.zeros(x.len())?;
        self.gate_up_batch_on_device(gate, up, activation, &x, &active, &mut h)?;
        self.down_batch_on_device(down, &h, &active, &mut y)?;
        self.download_each(&y, tokens.iter_mut().map(|token| &mut *token.y))?;
        Ok(lists.iter().map(|list| list.len()).sum())
    }

    fn rows_batch(
        &self,
        tokens: &mut [RowsToken<'_>],
        run: impl FnOnce(&Vector, &ActiveUnion, &mut Vector) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let union = Union::of(tokens.iter().map(|token| token.active));
        let active = self.upload_merged(&union, tokens.len())?;
        let x = self.upload_vector(&tokens.iter().flat_map(|token| token.x).copied().collect::<Vec<_>>())?;
        let mut out = self.zeros(tokens.len() * active.len())?;
        run(&x, &active, &mut out)?;
        let mut all = vec![0.0; out.len()];
        self.download(&out, &mut all)?;
        union.gather(&all, tokens.iter_mut().map(|token| &mut *token.out));
        Ok(())
    }

    /// A vector of equal parts, one for each of `outputs`.
    fn download_each<'a>(&self, from: &Vector, outputs: impl Iterator<Item = &'a mut [f32]>) -> Result<(), Error> {
        let mut all = vec![0.0; from.len()];
        self.download(from, &mut all)?;
        let mut rest = &all[..];
        for output in outputs {
            let own;
            (own, rest) = rest.split_at(output.len());
            output.copy_from_slice(own);
        }
        Ok(())
    }
}
