//! The operators for a few tokens at once, on device memory.

use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr};

use super::{ActiveSet, Gpu, Matrix, Vector, driver};
use crate::{
    Activation, Error, Format, Kernel, Operator,
    active::{Listed, check_active, check_listed},
    batch::{MAX_BATCH, Union, check_batch},
    launch::Grid,
    params::{DownBatchParams, GateUpBatchParams, GemvBatchParams, UniteParams},
    shape::check_length,
};

// SAFETY: as for the structs in gpu.rs.
unsafe impl DeviceRepr for GemvBatchParams {}
// SAFETY: as above.
unsafe impl DeviceRepr for GateUpBatchParams {}
// SAFETY: as above.
unsafe impl DeviceRepr for DownBatchParams {}
// SAFETY: as above.
unsafe impl DeviceRepr for UniteParams {}

/// The rows that any token of a batch lists, strictly ascending, in device memory, and for each a byte with a bit for
/// every token that lists it.
///
/// It is uploaded ([`Gpu::upload_union`]), or made on the GPU from the tokens' lists ([`Gpu::active_union`],
/// [`Gpu::unite_on_device`]). The length of one made there is known to the GPU alone; its `len` is the number of
/// neurons, as for [`ActiveSet`].
#[derive(Debug)]
pub struct ActiveUnion {
    tokens: usize,
    set: ActiveSet,
    /// At least one bit each.
    members: CudaSlice<u8>,
}

impl ActiveUnion {
    /// Tokens in the batch.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rows that any of them lists; of a union that the GPU makes, the most that there may be.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether `len` is 0.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

impl Gpu {
    /// Copies the union of some tokens' lists to the GPU.
    ///
    /// # Errors
    /// A list that is not strictly ascending; no list or more than [`MAX_BATCH`]; a refusal of the driver.
    pub fn upload_union(&self, lists: &[&[u32]]) -> Result<ActiveUnion, Error> {
        check_batch(lists.len())?;
        lists.iter().try_for_each(|list| check_active(list, usize::MAX))?;
        self.upload_merged(&Union::of(lists.iter().copied()), lists.len())
    }

    /// `union` is one of `tokens` lists.
    pub(crate) fn upload_merged(&self, union: &Union, tokens: usize) -> Result<ActiveUnion, Error> {
        self.load_batched()?;
        let set = self.upload_active(&union.indices)?;
        Ok(ActiveUnion { tokens, set, members: self.copy_in("uploading the members", &union.members)? })
    }

    /// Room for the union of the lists of `tokens` tokens, of rows below `neurons`; no row until
    /// [`Gpu::unite_on_device`].
    ///
    /// # Errors
    /// No token or more than [`MAX_BATCH`]; not enough device memory, or another refusal of the driver.
    pub fn active_union(&self, tokens: usize, neurons: usize) -> Result<ActiveUnion, Error> {
        check_batch(tokens)?;
        self.load_batched()?;
        let members = self.stream.alloc_zeros(neurons.max(1)).map_err(driver("allocating members"))?;
        Ok(ActiveUnion { tokens, set: self.active_set(neurons)?, members })
    }

    /// Copies a union back, after all work enqueued so far: the rows, and for each a byte with a bit for every token
    /// that lists it, the lowest for the first.
    ///
    /// # Errors
    /// A failure of that work or of the copy.
    pub fn download_union(&self, union: &ActiveUnion) -> Result<(Vec<u32>, Vec<u8>), Error> {
        let indices = self.download_active(&union.set)?;
        let mut members = vec![0; indices.len()];
        if !members.is_empty() {
            let listed = union.members.slice(..members.len());
            self.stream.memcpy_dtoh(&listed, &mut members).map_err(driver("downloading members"))?;
            self.synchronize()?;
        }
        Ok((indices, members))
    }

    /// Replaces `union` by the union of the lists of its tokens, one list each, in order.
    ///
    /// # Errors
    /// Another number of lists than `union` has tokens; a list that may name a row from `union.len()` on; a refusal of
    /// the driver.
    pub fn unite_on_device(&self, lists: &[&ActiveSet], union: &mut ActiveUnion) -> Result<(), Error> {
        self.require_own("union", &union.members)?;
        check_length("lists", lists.len(), union.tokens)?;
        for list in lists {
            self.require_own("lists", &list.indices)?;
            check_listed(list.len, list.listed, union.len())?;
        }
        {
            let mut guards = Vec::new();
            let mut params = UniteParams {
                lists: [std::ptr::null(); MAX_BATCH],
                counts: [std::ptr::null(); MAX_BATCH],
                active: std::ptr::null_mut(),
                active_count: std::ptr::null_mut(),
                members: std::ptr::null_mut(),
                // An `ActiveSet` has room for 2^32 indices at most only where it has 16 GiB of them.
                neurons: u32::try_from(union.len()).unwrap_or(u32::MAX),
                tokens: union.tokens as u32,
            };
            for (list, (to, count_to)) in lists.iter().zip(params.lists.iter_mut().zip(&mut params.counts)) {
                let (indices, indices_guard) = list.indices.device_ptr(&self.stream);
                let (count, count_guard) = list.count.device_ptr(&self.stream);
                (*to, *count_to) = (indices as *const u32, count as *const u32);
                guards.push((indices_guard, count_guard));
            }
            let (active, _active) = union.set.indices.device_ptr_mut(&self.stream);
            let (count, _count) = union.set.count.device_ptr_mut(&self.stream);
            let (members, _members) = union.members.device_ptr_mut(&self.stream);
            params.active = active as *mut u32;
            params.active_count = count as *mut u32;
            params.members = members as *mut u8;
            let kernel = Kernel::of(Operator::Unite, Format::F32);
            // SAFETY: the kernel takes these parameters; every address is an allocation of this context that the
            // guards above keep, as long as the checks above make it.
            unsafe { self.launch(kernel, Grid::one_block(), &params, "launching unite") }?;
        }
        union.set.listed = Listed::OnDevice;
        Ok(())
    }

    /// [`Gpu::gemv_on_device`] for the tokens of a batch: `out[t][j] = W[active[j]] . x[t]` where token t lists row
    /// `active[j]`, 0 where it does not.
    ///
    /// `x` has one element per column for each token, token after token; `out` one per row of the union:
    /// `active.tokens() * active.len()`. A row is read once, and each sum is the same, bit for bit, as by
    /// [`Gpu::gemv_on_device`].
    ///
    /// # Errors
    /// As there.
    pub fn gemv_batch_on_device(
        &self,
        w: &Matrix,
        x: &Vector,
        active: &ActiveUnion,
        out: &mut Vector,
    ) -> Result<(), Error> {
        if active.tokens == 1 {
            return self.gemv_on_device(w, x, &active.set, out);
        }
        self.require_own("w", &w.bytes)?;
        self.require_own_x_and_active(x, &active.set)?;
        self.require_own("out", &out.values)?;
        check_length("x", x.len, active.tokens * w.cols())?;
        check_length("out", out.len, active.tokens * active.len())?;
        check_listed(active.len(), active.set.listed, w.rows())?;

        let (weights, _weights) = w.bytes.device_ptr(&self.stream);
        let (x, _x) = x.values.device_ptr(&self.stream);
        let (indices, _indices) = active.set.indices.device_ptr(&self.stream);
        let (count, _count) = active.set.count.device_ptr(&self.stream);
        let (members, _members) = active.members.device_ptr(&self.stream);
        let (h, _h) = out.values.device_ptr_mut(&self.stream);
        let params = GemvBatchParams {
            weights: weights as *const u8,
            x: x as *const f32,
            active: indices as *const u32,
            active_count: count as *const u32,
            members: members as *const u8,
            h: h as *mut f32,
            row_bytes: w.row_bytes() as u64,
            h_stride: active.len() as u64,
            cols: w.shape.cols_u32(),
            tokens: active.tokens as u32,
        };
        let kernel = Kernel::of(Operator::GemvBatch, w.format());
        let grid = Grid::over_rows(active.len(), self.device.multiprocessors);
        // SAFETY: as in `unite_on_device`.
        unsafe { self.launch(kernel, grid, &params, "launching gemv_batch") }
    }

    /// [`Gpu::gate_up_on_device`] for the tokens of a batch:
    /// `h[t][j] = act(gate[active[j]] . x[t]) * (up[active[j]] . x[t])` where token t lists row `active[j]`, 0 where it
    /// does not.
    ///
    /// Shapes as for [`Gpu::gemv_batch_on_device`]. Rows are read once, and each value is the same, bit for bit, as by
    /// [`Gpu::gate_up_on_device`].
    ///
    /// # Errors
    /// As there.
    pub fn gate_up_batch_on_device(
        &self,
        gate: &Matrix,
        up: &Matrix,
        activation: Activation,
        x: &Vector,
        active: &ActiveUnion,
        h: &mut Vector,
    ) -> Result<(), Error> {
        if active.tokens == 1 {
            return self.gate_up_on_device(gate, up, activation, x, &active.set, h);
        }
        self.require_own("gate", &gate.bytes)?;
        self.require_own("up", &up.bytes)?;
        self.require_own_x_and_active(x, &active.set)?;
        self.require_own("h", &h.values)?;
        up.shape.require_like("up", &gate.shape)?;
        check_length("x", x.len, active.tokens * gate.cols())?;
        check_length("h", h.len, active.tokens * active.len())?;
        check_listed(active.len(), active.set.listed, gate.rows())?;

        let (gates, _gates) = gate.bytes.device_ptr(&self.stream);
        let (ups, _ups) = up.bytes.device_ptr(&self.stream);
        let (x, _x) = x.values.device_ptr(&self.stream);
        let (indices, _indices) = active.set.indices.device_ptr(&self.stream);
        let (count, _count) = active.set.count.device_ptr(&self.stream);
        let (members, _members) = active.members.device_ptr(&self.stream);
        let (h, _h) = h.values.device_ptr_mut(&self.stream);
        let params = GateUpBatchParams {
            gate: gates as *const u8,
            up: ups as *const u8,
            x: x as *const f32,
            active: indices as *const u32,
            active_count: count as *const u32,
            members: members as *const u8,
            h: h as *mut f32,
            row_bytes: gate.row_bytes() as u64,
            h_stride: active.len() as u64,
            cols: gate.shape.cols_u32(),
            tokens: active.tokens as u32,
            activation: activation.code(),
        };
        let kernel = Kernel::of(Operator::GateUpBatch, gate.format());
        let grid = Grid::over_rows(active.len(), self.device.multiprocessors);
        // SAFETY: as in `unite_on_device`.
        unsafe { self.launch(kernel, grid, &params, "launching gate_up_batch") }
    }

    /// [`Gpu::down_on_device`] for the tokens of a batch: `y[t][c] += sum of h[t][j] * W[active[j]][c]` over the rows
    /// `active[j]` that token t lists.
    ///
    /// `h` has one element per row of the union for each token, token after token, as
    /// [`Gpu::gate_up_batch_on_device`] leaves it; those of rows that the token does not list do not matter. `y` has one
    /// per column for each token. A row is read once, and each sum is the same, bit for bit, as by
    /// [`Gpu::down_on_device`] over the token's own list.
    ///
    /// # Errors
    /// As there.
    pub fn down_batch_on_device(
        &self,
        w: &Matrix,
        h: &Vector,
        active: &ActiveUnion,
        y: &mut Vector,
    ) -> Result<(), Error> {
        if active.tokens == 1 {
            return self.down_on_device(w, h, &active.set, y);
        }
        self.require_own("w", &w.bytes)?;
        self.require_own("h", &h.values)?;
        self.require_own("active", &active.set.indices)?;
        self.require_own("y", &y.values)?;
        check_length("h", h.len, active.tokens * active.len())?;
        check_length("y", y.len, active.tokens * w.cols())?;
        check_listed(active.len(), active.set.listed, w.rows())?;
        if y.is_empty() {
            return Ok(());
        }

        let (weights, _weights) = w.bytes.device_ptr(&self.stream);
        let (h, _h) = h.values.device_ptr(&self.stream);
        let (indices, _indices) = active.set.indices.device_ptr(&self.stream);
        let (count, _count) = active.set.count.device_ptr(&self.stream);
        let (members, _members) = active.members.device_ptr(&self.stream);
        let (y, _y) = y.values.device_ptr_mut(&self.stream);
        let params = DownBatchParams {
            weights: weights as *const u8,
            h: h as *const f32,
            active: indices as *const u32,
            active_count: count as *const u32,
            members: members as *const u8,
            y: y as *mut f32,
            row_bytes: w.row_bytes() as u64,
            h_stride: active.len() as u64,
            cols: w.shape.cols_u32(),
            tokens: active.tokens as u32,
        };
        let kernel = Kernel::of(Operator::DownBatch, w.format());
        let grid = Grid::over_columns_in_tiles(w.shape.cols_u32());
        // SAFETY: as in `unite_on_device`.
        unsafe { self.launch(kernel, grid, &params, "launching down_batch") }
    }
}
