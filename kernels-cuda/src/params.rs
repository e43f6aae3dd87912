//! kernels/params.h in Rust, made by bindgen. After a change of the header:
//! `THRESHER_BLESS=1 cargo test -p kernels-cuda --features regenerate-bindings`.

pub const THRESHER_ROW_THREADS: u32 = 128;
pub const THRESHER_ROW_BLOCKS_PER_SM: u32 = 4;
pub const THRESHER_DOWN_THREADS: u32 = 512;
pub const THRESHER_DOWN_BLOCKS_PER_SM: u32 = 1;
pub const THRESHER_DOWN_COLUMNS: u32 = 64;
pub const THRESHER_SELECT_THREADS: u32 = 1024;
pub const THRESHER_SELECT_MAX_SCORES: u32 = 1048576;
pub const THRESHER_RELU: u32 = 0;
pub const THRESHER_SILU: u32 = 1;
#[doc = " `h[j] = W[active[j]] . x` for `j < *active_count`."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GemvParams {
    #[doc = " W, rows of `row_bytes` bytes."]
    pub weights: *const u8,
    #[doc = " `cols` values."]
    pub x: *const f32,
    #[doc = " Row indices, strictly ascending."]
    pub active: *const u32,
    #[doc = " How many of `active` count: read on the device, so a kernel may have written it."]
    pub active_count: *const u32,
    #[doc = " Compact output, one value per active row."]
    pub h: *mut f32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u64,
    #[doc = " Length of a row in values."]
    pub cols: u32,
}
#[doc = " `h[j] = activation(gate[active[j]] . x) * (up[active[j]] . x)` for `j < *active_count`."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GateUpParams {
    #[doc = " The gate matrix, rows of `row_bytes` bytes."]
    pub gate: *const u8,
    #[doc = " The up matrix, of the same shape and format."]
    pub up: *const u8,
    #[doc = " `cols` values."]
    pub x: *const f32,
    #[doc = " Row indices, strictly ascending."]
    pub active: *const u32,
    #[doc = " How many of `active` count."]
    pub active_count: *const u32,
    #[doc = " Compact output, one value per active row."]
    pub h: *mut f32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u64,
    #[doc = " Length of a row in values."]
    pub cols: u32,
    #[doc = " `THRESHER_RELU` or `THRESHER_SILU`."]
    pub activation: u32,
}
#[doc = " `y[c] += h[j] * W[active[j]][c]` summed over `j < *active_count`."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct DownParams {
    #[doc = " W, neuron-major: one row of `row_bytes` bytes per neuron."]
    pub weights: *const u8,
    #[doc = " One value per active neuron."]
    pub h: *const f32,
    #[doc = " Neuron indices, strictly ascending."]
    pub active: *const u32,
    #[doc = " How many of `active` count."]
    pub active_count: *const u32,
    #[doc = " `cols` values, added to."]
    pub y: *mut f32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u64,
    #[doc = " Length of a row, and of `y`, in values."]
    pub cols: u32,
}
#[doc = " `active` = the indices i, ascending, with `scores[i] >= *threshold`."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct SelectThresholdParams {
    #[doc = " `count` values."]
    pub scores: *const f32,
    #[doc = " One value, read on the device."]
    pub threshold: *const f32,
    #[doc = " Room for `count` indices."]
    pub active: *mut u32,
    #[doc = " Where to put how many of `active` were written."]
    pub active_count: *mut u32,
    #[doc = " Number of scores."]
    pub count: u32,
}
#[doc = " `active` = the indices, ascending, of the `min(*k, count)` largest scores."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct SelectTopKParams {
    #[doc = " `count` values."]
    pub scores: *const f32,
    #[doc = " One value, read on the device."]
    pub k: *const u32,
    #[doc = " Room for `count` indices."]
    pub active: *mut u32,
    #[doc = " Where to put how many of `active` were written."]
    pub active_count: *mut u32,
    #[doc = " Number of scores."]
    pub count: u32,
}
