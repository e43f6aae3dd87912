//! The parameter structs as Rust lays them out against the C++ compiler that reads them: the drift
//! that a stale src/params.rs would bring, found without libclang.

use std::mem::{align_of, offset_of, size_of};

use crate::{emulated, params};
use params::{
    DownBatchParams, DownParams, GateUpBatchParams, GateUpParams, GemvBatchParams, GemvParams, SelectThresholdParams,
    SelectTopKParams, StepParams, StepPhase, UniteParams,
};

macro_rules! layout {
    ($params:ident: $($field:ident)*) => {
        vec![size_of::<$params>(), align_of::<$params>(), $(offset_of!($params, $field)),*]
    };
}

#[test]
fn structs_lie_as_the_kernels_read_them() {
    let gemv = layout!(GemvParams: weights x active active_count h row_bytes cols);
    let gate_up = layout!(GateUpParams: gate up x active active_count h row_bytes cols activation);
    let down = layout!(DownParams: weights h active active_count y row_bytes cols);
    let gemv_batch = layout!(GemvBatchParams: weights x active active_count members h row_bytes h_stride cols tokens);
    let gate_up_batch = layout!(GateUpBatchParams: gate up x active active_count members h row_bytes h_stride cols
        tokens activation);
    let down_batch = layout!(DownBatchParams: weights h active active_count members y row_bytes h_stride cols tokens);
    let unite = layout!(UniteParams: lists counts active active_count members neurons tokens);
    let select_threshold = layout!(SelectThresholdParams: scores threshold active active_count count);
    let select_top_k = layout!(SelectTopKParams: scores k active active_count count);
    let step_phase = layout!(StepPhase: weights x x_words y y_words residual active active_count threshold computed
        rows cols padded_cols row_bytes rows_beside rows_a_run kind activation rows_from words_turn selection partial_turn
        y_threads meeting);
    let step = layout!(StepParams: phases partials selected selected_counts counters phase_count slot_bytes slots
        slots_in_flight slots_in_flight_early);
    assert_eq!(gemv, emulated::layout("GemvParams"));
    assert_eq!(gate_up, emulated::layout("GateUpParams"));
    assert_eq!(down, emulated::layout("DownParams"));
    assert_eq!(gemv_batch, emulated::layout("GemvBatchParams"));
    assert_eq!(gate_up_batch, emulated::layout("GateUpBatchParams"));
    assert_eq!(down_batch, emulated::layout("DownBatchParams"));
    assert_eq!(unite, emulated::layout("UniteParams"));
    assert_eq!(select_threshold, emulated::layout("SelectThresholdParams"));
    assert_eq!(select_top_k, emulated::layout("SelectTopKParams"));
    assert_eq!(step_phase, emulated::layout("StepPhase"));
    assert_eq!(step, emulated::layout("StepParams"));
}

#[test]
fn constants_are_those_of_the_kernels() {
    macro_rules! same {
        ($($name:ident)*) => {
            $(assert_eq!(Some(i64::from(params::$name)), emulated::constant(stringify!($name)));)*
        };
    }
    same!(
        THRESHER_ROW_THREADS THRESHER_ROW_BLOCKS_PER_SM
        THRESHER_DOWN_THREADS THRESHER_DOWN_BLOCKS_PER_SM THRESHER_DOWN_COLUMNS
        THRESHER_MAX_BATCH THRESHER_DOWN_BATCH_SHARED
        THRESHER_SELECT_THREADS THRESHER_SELECT_MAX_SCORES
        THRESHER_SELECT_CLUSTER_BLOCKS THRESHER_SELECT_CLUSTER_THREADS THRESHER_SELECT_CLUSTER_SHARED
        THRESHER_RELU THRESHER_SILU THRESHER_IDENTITY
        THRESHER_STEP_THREADS THRESHER_STEP_CONSUMERS THRESHER_STEP_NEURONS THRESHER_STEP_SELECTED THRESHER_STEP_BLOCKS
        THRESHER_STEP_SLOTS THRESHER_STEP_SHARED THRESHER_STEP_STRETCH THRESHER_STEP_COLUMNS
        THRESHER_PROJECT THRESHER_FFN THRESHER_EVERY_ROW THRESHER_LISTED THRESHER_SELECTED
        THRESHER_TURN THRESHER_ALTERNATES
    );
}
