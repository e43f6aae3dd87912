//! The operators for a few tokens at once.

use super::{Emulator, Failure, Memory};
use crate::{
    Activation, DownToken, Format, Kernel, MAX_BATCH, Operator, RowsToken,
    active::check_active,
    batch::{Union, check_batch, check_down_tokens, check_rows_tokens},
    launch::Grid,
    params::{DownBatchParams, GateUpBatchParams, GemvBatchParams, UniteParams},
    shape::Shape,
};

/// Where a union lies.
struct Placed {
    active: *const u32,
    active_count: *const u32,
    members: *const u8,
}

impl Memory {
    fn union(&mut self, union: &Union) -> Placed {
        let (active, active_count) = self.active(&union.indices);
        let members = self.place(&union.members, 0, false).cast_const();
        Placed { active, active_count, members }
    }

    /// The x of each token, token after token.
    fn x_of_all(&mut self, emulator: &Emulator, tokens: &[RowsToken<'_>]) -> *const f32 {
        self.floats(emulator, &tokens.iter().flat_map(|token| token.x).copied().collect::<Vec<_>>())
    }
}

impl Emulator {
    /// [`crate::Gpu::gemv_batch`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn gemv_batch(
        &self,
        (format, rows, cols): (Format, usize, usize),
        w: &[u8],
        tokens: &mut [RowsToken<'_>],
    ) -> Result<(), Failure> {
        let shape = Shape::of_bytes(format, rows, cols, w.len())?;
        check_rows_tokens(tokens, (rows, cols))?;

        let mut memory = Memory::default();
        let union = Union::of(tokens.iter().map(|token| token.active));
        let placed = memory.union(&union);
        let weights = memory.weights(self, format, w);
        let x = memory.x_of_all(self, tokens);
        let mut out = vec![f32::NAN; tokens.len() * union.indices.len()];
        let params = GemvBatchParams {
            weights,
            x,
            active: placed.active,
            active_count: placed.active_count,
            members: placed.members,
            h: memory.output(self, &out),
            row_bytes: shape.row_bytes as u64,
            h_stride: union.indices.len() as u64,
            cols: shape.cols_u32(),
            tokens: tokens.len() as u32,
        };
        let kernel = Kernel::of(Operator::GemvBatch, format).entry();
        let grid = Grid::over_rows(union.indices.len(), self.multiprocessors);
        self.launch(&kernel, grid, &params, &memory)?;
        memory.read_back(&mut out);
        collect(&union, &out, tokens)
    }

    /// [`crate::Gpu::gate_up_batch`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn gate_up_batch(
        &self,
        (format, rows, cols): (Format, usize, usize),
        gate: &[u8],
        up: &[u8],
        activation: Activation,
        tokens: &mut [RowsToken<'_>],
    ) -> Result<(), Failure> {
        let shape = Shape::of_bytes(format, rows, cols, gate.len())?;
        Shape::of_bytes(format, rows, cols, up.len())?.require_like("up", &shape)?;
        check_rows_tokens(tokens, (rows, cols))?;

        let mut memory = Memory::default();
        let union = Union::of(tokens.iter().map(|token| token.active));
        let placed = memory.union(&union);
        let gate = memory.weights(self, format, gate);
        let up = memory.weights(self, format, up);
        let x = memory.x_of_all(self, tokens);
        let mut h = vec![f32::NAN; tokens.len() * union.indices.len()];
        let params = GateUpBatchParams {
            gate,
            up,
            x,
            active: placed.active,
            active_count: placed.active_count,
            members: placed.members,
            h: memory.output(self, &h),
            row_bytes: shape.row_bytes as u64,
            h_stride: union.indices.len() as u64,
            cols: shape.cols_u32(),
            tokens: tokens.len() as u32,
            activation: activation.code(),
        };
        let kernel = Kernel::of(Operator::GateUpBatch, format).entry();
        let grid = Grid::over_rows(union.indices.len(), self.multiprocessors);
        self.launch(&kernel, grid, &params, &memory)?;
        memory.read_back(&mut h);
        collect(&union, &h, tokens)
    }

    /// [`crate::Gpu::down_batch`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn down_batch(
        &self,
        (format, rows, cols): (Format, usize, usize),
        w: &[u8],
        tokens: &mut [DownToken<'_>],
    ) -> Result<(), Failure> {
        let shape = Shape::of_bytes(format, rows, cols, w.len())?;
        check_down_tokens(tokens, (rows, cols))?;

        let mut memory = Memory::default();
        let union = Union::of(tokens.iter().map(|token| token.active));
        let placed = memory.union(&union);
        let weights = memory.weights(self, format, w);
        let h = memory.floats(self, &union.spread(tokens.iter().map(|token| token.h)));
        let mut y: Vec<f32> = tokens.iter().flat_map(|token| &*token.y).copied().collect();
        let params = DownBatchParams {
            weights,
            h,
            active: placed.active,
            active_count: placed.active_count,
            members: placed.members,
            y: memory.output(self, &y),
            row_bytes: shape.row_bytes as u64,
            h_stride: union.indices.len() as u64,
            cols: shape.cols_u32(),
            tokens: tokens.len() as u32,
        };
        let kernel = Kernel::of(Operator::DownBatch, format).entry();
        self.launch(&kernel, Grid::over_columns_in_tiles(shape.cols_u32()), &params, &memory)?;
        memory.read_back(&mut y);
        for (token, own) in tokens.iter_mut().zip(y.chunks_exact(cols.max(1))) {
            token.y.copy_from_slice(own);
        }
        Ok(())
    }

    /// [`crate::Gpu::unite_on_device`], of lists of rows below `neurons`, and [`crate::Gpu::download_union`].
    ///
    /// # Errors
    /// As there, or a fault of the kernel.
    pub fn unite(&self, neurons: usize, lists: &[&[u32]]) -> Result<(Vec<u32>, Vec<u8>), Failure> {
        check_batch(lists.len())?;
        lists.iter().try_for_each(|list| check_active(list, neurons))?;

        let mut memory = Memory::default();
        let mut at = [std::ptr::null(); MAX_BATCH];
        let mut counts = [std::ptr::null(); MAX_BATCH];
        for (list, (at, count)) in lists.iter().zip(at.iter_mut().zip(&mut counts)) {
            (*at, *count) = memory.active(list);
        }
        let list = memory.list(neurons);
        let members = memory.place(&vec![0; neurons], 0, true);
        let params = UniteParams {
            lists: at,
            counts,
            active: list.active,
            active_count: list.active_count,
            members,
            neurons: neurons as u32,
            tokens: lists.len() as u32,
        };
        let kernel = Kernel::of(Operator::Unite, Format::F32).entry();
        self.launch(&kernel, Grid::one_block(), &params, &memory)?;
        let indices = memory.read_list(&list)?;
        // SAFETY: `members` is where `memory` placed and still holds as many bytes.
        let members = unsafe { std::slice::from_raw_parts(members, neurons) };
        let (members, rest) = members.split_at(indices.len());
        if rest.iter().any(|&byte| byte != 0) {
            return Err(Failure::Fault("members past the end of the union".into()));
        }
        Ok((indices, members.to_vec()))
    }
}

/// Each token its values of `all`, and zeros where it has none.
fn collect(union: &Union, all: &[f32], tokens: &mut [RowsToken<'_>]) -> Result<(), Failure> {
    let len = union.indices.len();
    for (at, value) in all.iter().enumerate() {
        if union.members[at % len] >> (at / len) & 1 == 0 && value.to_bits() != 0 {
            let (row, token) = (union.indices[at % len], at / len);
            return Err(Failure::Fault(format!("{value} for row {row}, which token {token} does not list")));
        }
    }
    union.gather(all, tokens.iter_mut().map(|token| &mut *token.out));
    Ok(())
}
