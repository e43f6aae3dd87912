//! kernels/params.h in Rust, made by bindgen. After a change of the header:
//! `THRESHER_BLESS=1 cargo test -p kernels-cuda --features regenerate-bindings`.

pub const THRESHER_ROW_THREADS: u32 = 128;
pub const THRESHER_ROW_BLOCKS_PER_SM: u32 = 4;
pub const THRESHER_DOWN_THREADS: u32 = 512;
pub const THRESHER_DOWN_BLOCKS_PER_SM: u32 = 1;
pub const THRESHER_DOWN_COLUMNS: u32 = 64;
pub const THRESHER_SELECT_THREADS: u32 = 1024;
pub const THRESHER_SELECT_CLUSTER_BLOCKS: u32 = 8;
pub const THRESHER_SELECT_CLUSTER_THREADS: u32 = 512;
pub const THRESHER_SELECT_CLUSTER_SHARED: u32 = 40960;
pub const THRESHER_SELECT_MAX_SCORES: u32 = 1048576;
pub const THRESHER_RELU: u32 = 0;
pub const THRESHER_SILU: u32 = 1;
pub const THRESHER_MAX_BATCH: u32 = 8;
pub const THRESHER_DOWN_BATCH_SHARED: u32 = 82048;
pub const THRESHER_ROOF_THREADS: u32 = 512;
pub const THRESHER_STEP_THREADS: u32 = 576;
pub const THRESHER_STEP_CONSUMERS: u32 = 512;
pub const THRESHER_STEP_NEURONS: u32 = 1024;
pub const THRESHER_STEP_SELECTED: u32 = 512;
pub const THRESHER_STEP_BLOCKS: u32 = 256;
pub const THRESHER_STEP_SLOTS: u32 = 32;
pub const THRESHER_STEP_SHARED: u32 = 16384;
pub const THRESHER_STEP_STRETCH: u32 = 512;
pub const THRESHER_STEP_COLUMNS: u32 = 8192;
pub const THRESHER_PROJECT: u32 = 0;
pub const THRESHER_FFN: u32 = 1;
pub const THRESHER_FFN_GATE_FIRST: u32 = 2;
pub const THRESHER_EVERY_ROW: u32 = 0;
pub const THRESHER_LISTED: u32 = 1;
pub const THRESHER_SELECTED: u32 = 2;
pub const THRESHER_IDENTITY: u32 = 2;
pub const THRESHER_TURN: u32 = 1;
pub const THRESHER_ALTERNATES: u32 = 2;
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
#[doc = " `h[t][j] = W[active[j]] . x[t]` for `j < *active_count` and every token t of `members[j]`, 0 for the\n others."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GemvBatchParams {
    #[doc = " W, rows of `row_bytes` bytes."]
    pub weights: *const u8,
    #[doc = " `cols` values a token, token after token."]
    pub x: *const f32,
    #[doc = " Row indices, strictly ascending: those that any token lists."]
    pub active: *const u32,
    #[doc = " How many of `active` count: read on the device, so a kernel may have written it."]
    pub active_count: *const u32,
    #[doc = " The tokens that list each of `active`, at least one: bit t for token t."]
    pub members: *const u8,
    #[doc = " One value per active row and token, those of a token `h_stride` from those of the one before."]
    pub h: *mut f32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u64,
    #[doc = " Values from one token of `h` to the next."]
    pub h_stride: u64,
    #[doc = " Length of a row in values."]
    pub cols: u32,
    #[doc = " At most `THRESHER_MAX_BATCH`."]
    pub tokens: u32,
}
#[doc = " `h[t][j] = activation(gate[active[j]] . x[t]) * (up[active[j]] . x[t])` for `j < *active_count` and\n every token t of `members[j]`, 0 for the others."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GateUpBatchParams {
    #[doc = " The gate matrix, rows of `row_bytes` bytes."]
    pub gate: *const u8,
    #[doc = " The up matrix, of the same shape and format."]
    pub up: *const u8,
    #[doc = " `cols` values a token, token after token."]
    pub x: *const f32,
    #[doc = " Row indices, strictly ascending: those that any token lists."]
    pub active: *const u32,
    #[doc = " How many of `active` count."]
    pub active_count: *const u32,
    #[doc = " The tokens that list each of `active`, at least one: bit t for token t."]
    pub members: *const u8,
    #[doc = " One value per active row and token, those of a token `h_stride` from those of the one before."]
    pub h: *mut f32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u64,
    #[doc = " Values from one token of `h` to the next."]
    pub h_stride: u64,
    #[doc = " Length of a row in values."]
    pub cols: u32,
    #[doc = " At most `THRESHER_MAX_BATCH`."]
    pub tokens: u32,
    #[doc = " `THRESHER_RELU`, `THRESHER_SILU` or `THRESHER_IDENTITY`."]
    pub activation: u32,
}
#[doc = " `y[t][c] += h[t][j] * W[active[j]][c]` summed over the `j < *active_count` with token t in\n `members[j]`, for every token t."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct DownBatchParams {
    #[doc = " W, neuron-major: one row of `row_bytes` bytes per neuron."]
    pub weights: *const u8,
    #[doc = " One value per active neuron and token, those of a token `h_stride` from those of the one before.\n Values of neurons that the token does not list do not matter."]
    pub h: *const f32,
    #[doc = " Neuron indices, strictly ascending: those that any token lists."]
    pub active: *const u32,
    #[doc = " How many of `active` count."]
    pub active_count: *const u32,
    #[doc = " The tokens that list each of `active`: bit t for token t."]
    pub members: *const u8,
    #[doc = " `cols` values a token, token after token, added to."]
    pub y: *mut f32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u64,
    #[doc = " Values from one token of `h` to the next."]
    pub h_stride: u64,
    #[doc = " Length of a row, and of a token's `y`, in values."]
    pub cols: u32,
    #[doc = " At most `THRESHER_MAX_BATCH`."]
    pub tokens: u32,
}
#[doc = " `active` = the indices, ascending, that any token lists, and which tokens do."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct UniteParams {
    #[doc = " Each token's indices, strictly ascending, below `neurons`."]
    pub lists: [*const u32; 8usize],
    #[doc = " How many of them count."]
    pub counts: [*const u32; 8usize],
    #[doc = " Room for `neurons` indices."]
    pub active: *mut u32,
    #[doc = " Where to put how many of `active` were written."]
    pub active_count: *mut u32,
    #[doc = " Room for `neurons` bytes: the tokens that list each of `active`, bit t for token t."]
    pub members: *mut u8,
    #[doc = " What the indices are below."]
    pub neurons: u32,
    #[doc = " How many of `lists`, at most `THRESHER_MAX_BATCH`."]
    pub tokens: u32,
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
#[doc = " Reads `quads` times 16 bytes."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ReadParams {
    #[doc = " Where they begin."]
    pub from: *const u8,
    #[doc = " How many."]
    pub quads: u64,
    #[doc = " Where the bits that any of them has go, if they are `never`."]
    pub kept: *mut u32,
    #[doc = " Bits that they do not have."]
    pub never: u32,
}
#[doc = " One phase of a step."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct StepPhase {
    #[doc = " The matrix of a projection; gate, up and down (neuron-major) of an FFN."]
    pub weights: [*const u8; 3usize],
    #[doc = " `cols` values in order, there before the launch; or null."]
    pub x: *const f32,
    #[doc = " The same as words that come during the launch, in quads dealt to threads (mailbox.cuh)."]
    pub x_words: *const u32,
    #[doc = " A projection's `rows` values, or an FFN's `cols`, in order; or null."]
    pub y: *mut f32,
    #[doc = " The same as words for a later phase; or null."]
    pub y_words: *mut u32,
    #[doc = " An FFN's `cols` values to add to, or null for zeros. May be `y`."]
    pub residual: *const f32,
    #[doc = " `THRESHER_LISTED`: row indices, strictly ascending, written before the launch."]
    pub active: *const u32,
    #[doc = " How many of `active` count."]
    pub active_count: *const u32,
    #[doc = " A projection that selects: rows whose value is at least this one. Null for none. An FFN whose gate\n comes first: the largest magnitude of an activation that is dropped."]
    pub threshold: *const f32,
    #[doc = " An FFN: of how many neurons each block read down rows, gridDim counts. Null for nowhere."]
    pub computed: *mut u32,
    #[doc = " Rows of the matrix: neurons of an FFN."]
    pub rows: u32,
    #[doc = " Values of `x`."]
    pub cols: u32,
    #[doc = " Columns of a row with its padding."]
    pub padded_cols: u32,
    #[doc = " Bytes from one row to the next."]
    pub row_bytes: u32,
    #[doc = " Rows that consumers hold beside each other, 16 columns a thread."]
    pub rows_beside: u32,
    #[doc = " A projection: blocks own whole runs of so many rows."]
    pub rows_a_run: u32,
    #[doc = " `THRESHER_PROJECT`, `THRESHER_FFN` or `THRESHER_FFN_GATE_FIRST`."]
    pub kind: u32,
    #[doc = " `THRESHER_RELU`, `THRESHER_SILU` or `THRESHER_IDENTITY`."]
    pub activation: u32,
    #[doc = " `THRESHER_EVERY_ROW`, `THRESHER_LISTED` or `THRESHER_SELECTED`."]
    pub rows_from: u32,
    #[doc = " Turn of `x_words` and of `y_words`."]
    pub words_turn: u32,
    #[doc = " An FFN over selected rows: how many such FFNs come before it."]
    pub selection: u32,
    #[doc = " Turn of the partial sums."]
    pub partial_turn: u32,
    #[doc = " Threads that share one of `y_words`' readers' rows: values of y, padded, over 16."]
    pub y_threads: u32,
    #[doc = " The how manieth meeting of the grid comes before the phase, which reads what the phase before did\n not write; 0 for none."]
    pub meeting: u32,
}
#[doc = " A step: phases one after another, over one resident grid."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct StepParams {
    #[doc = " `phase_count` phases."]
    pub phases: *const StepPhase,
    #[doc = " Sums of one block's neurons, as words: gridDim * 512 * 16."]
    pub partials: *mut u32,
    #[doc = " Packets of the rows that each block selected: gridDim * THRESHER_STEP_SELECTED."]
    pub selected: *mut u64,
    #[doc = " Packets of how many: gridDim."]
    pub selected_counts: *mut u64,
    #[doc = " Arrivals of blocks at barriers; exits; launches so far. Zeros at first."]
    pub counters: *mut u32,
    #[doc = " How many phases."]
    pub phase_count: u32,
    #[doc = " Bytes of a slot of the ring."]
    pub slot_bytes: u32,
    #[doc = " Slots of the ring."]
    pub slots: u32,
    #[doc = " Slots that a block has copies on their way to at a time, at most, where it works on their phase."]
    pub slots_in_flight: u32,
    #[doc = " .. and before."]
    pub slots_in_flight_early: u32,
}
