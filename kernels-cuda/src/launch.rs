//! How many blocks of how many threads.

use crate::params::{
    THRESHER_DOWN_BATCH_SHARED, THRESHER_DOWN_COLUMNS, THRESHER_DOWN_THREADS, THRESHER_ROW_BLOCKS_PER_SM,
    THRESHER_ROW_THREADS, THRESHER_SELECT_CLUSTER_BLOCKS, THRESHER_SELECT_CLUSTER_SHARED,
    THRESHER_SELECT_CLUSTER_THREADS, THRESHER_SELECT_THREADS,
};

/// A one-dimensional launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub(crate) shared_bytes: u32,
}

impl Grid {
    /// `gemv` and `gate_up`, of one token or more: a warp for each of `active` rows, up to as many blocks as the GPU holds
    /// at once; the kernels stride over the rest. `active` may be an upper bound of a count that
    /// only the device knows.
    pub(crate) fn over_rows(active: usize, multiprocessors: u32) -> Self {
        let rows_per_block = (THRESHER_ROW_THREADS / 32) as usize;
        let resident = multiprocessors.saturating_mul(THRESHER_ROW_BLOCKS_PER_SM);
        let wanted = u32::try_from(active.div_ceil(rows_per_block)).unwrap_or(u32::MAX);
        Self { blocks: wanted.min(resident).max(1), threads: THRESHER_ROW_THREADS, shared_bytes: 0 }
    }

    /// `down`: a block for each range of columns.
    pub(crate) fn over_columns(cols: u32) -> Self {
        Self { blocks: cols.div_ceil(THRESHER_DOWN_COLUMNS), threads: THRESHER_DOWN_THREADS, shared_bytes: 0 }
    }

    /// `down_batch`: the same, and room for a tile of rows.
    pub(crate) fn over_columns_in_tiles(cols: u32) -> Self {
        Self { shared_bytes: THRESHER_DOWN_BATCH_SHARED, ..Self::over_columns(cols) }
    }

    /// `unite`, whatever the number of rows.
    pub(crate) fn one_block() -> Self {
        Self { blocks: 1, threads: THRESHER_SELECT_THREADS, shared_bytes: 0 }
    }

    /// `select_threshold` and `select_top_k`, whatever the number of scores: one cluster on Hopper and
    /// newer, one block before.
    pub(crate) fn of_selection(hopper: bool) -> Self {
        if hopper {
            Self {
                blocks: THRESHER_SELECT_CLUSTER_BLOCKS,
                threads: THRESHER_SELECT_CLUSTER_THREADS,
                shared_bytes: THRESHER_SELECT_CLUSTER_SHARED,
            }
        } else {
            Self::one_block()
        }
    }
}
