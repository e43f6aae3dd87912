// The kernels, compiled for the host from the sources that nvcc compiles, by name.
#include "../down.cu"
#include "../down_batch.cu"
#include "../gate_up.cu"
#include "../gate_up_batch.cu"
#include "../gemv.cu"
#include "../gemv_batch.cu"
#include "../select.cu"
#include "../step.cu"
#include "../unite.cu"
#include "faulty.h"
#include "launch.h"

#include <cstddef>
#include <cstring>

namespace emulation {
namespace {

#define KERNEL(name, Params) \
  { #name, [](const void* params) { name(*static_cast<const Params*>(params)); } }

constexpr Kernel KERNELS[] = {
    KERNEL(gemv_f32, GemvParams),       KERNEL(gemv_f16, GemvParams),
    KERNEL(gemv_q8_0, GemvParams),      KERNEL(gate_up_f32, GateUpParams),
    KERNEL(gate_up_f16, GateUpParams),  KERNEL(gate_up_q8_0, GateUpParams),
    KERNEL(down_f32, DownParams),       KERNEL(down_f16, DownParams),
    KERNEL(down_q8_0, DownParams),      KERNEL(faulty_bounds, GemvParams),
    KERNEL(faulty_store, GemvParams),   KERNEL(faulty_barrier, GemvParams),
    KERNEL(faulty_shared, GemvParams),  KERNEL(faulty_order, GemvParams),
    KERNEL(faulty_shuffle, GemvParams), KERNEL(faulty_alignment, GemvParams),
    KERNEL(gemv_bf16, GemvParams),      KERNEL(gemv_q4_0, GemvParams),
    KERNEL(gate_up_bf16, GateUpParams), KERNEL(gate_up_q4_0, GateUpParams),
    KERNEL(down_bf16, DownParams),      KERNEL(down_q4_0, DownParams),
    KERNEL(select_threshold_f32, SelectThresholdParams),
    KERNEL(select_top_k_f32, SelectTopKParams),
    // As Hopper and newer have them, under the same names.
    {"select_threshold_f32 of a cluster",
     [](const void* p) { select_cluster::threshold(*static_cast<const SelectThresholdParams*>(p)); }},
    {"select_top_k_f32 of a cluster",
     [](const void* p) { select_cluster::top_k(*static_cast<const SelectTopKParams*>(p)); }},
    KERNEL(unite_u32, UniteParams),
    KERNEL(gemv_batch_f32, GemvBatchParams),
    KERNEL(gemv_batch_f16, GemvBatchParams),
    KERNEL(gemv_batch_bf16, GemvBatchParams),
    KERNEL(gemv_batch_q8_0, GemvBatchParams),
    KERNEL(gemv_batch_q4_0, GemvBatchParams),
    KERNEL(gate_up_batch_f32, GateUpBatchParams),
    KERNEL(gate_up_batch_f16, GateUpBatchParams),
    KERNEL(gate_up_batch_bf16, GateUpBatchParams),
    KERNEL(gate_up_batch_q8_0, GateUpBatchParams),
    KERNEL(gate_up_batch_q4_0, GateUpBatchParams),
    KERNEL(down_batch_f32, DownBatchParams),
    KERNEL(down_batch_f16, DownBatchParams),
    KERNEL(down_batch_bf16, DownBatchParams),
    KERNEL(down_batch_q8_0, DownBatchParams),
    KERNEL(down_batch_q4_0, DownBatchParams),
    KERNEL(step_f32, StepParams),       KERNEL(step_f16, StepParams),
    KERNEL(step_bf16, StepParams),      KERNEL(step_q8_0, StepParams),
    KERNEL(step_q4_0, StepParams),
    KERNEL(faulty_cache, GemvParams),   KERNEL(faulty_own_array, GemvParams),
    KERNEL(faulty_shared_array, GemvParams),
    KERNEL(faulty_dynamic_shared, GemvParams),
    KERNEL(faulty_shift, GemvParams),

    KERNEL(ring_sum, RingParams),
    KERNEL(faulty_copy_past_buffer, RingParams),
    KERNEL(faulty_copy_misaligned, RingParams),
    KERNEL(faulty_copy_outside_shared, RingParams),
    KERNEL(faulty_copy_left_behind, RingParams),
    KERNEL(faulty_copy_of_written, RingParams),
    KERNEL(faulty_no_wait, RingParams),
    KERNEL(faulty_no_empty_wait, RingParams),
    KERNEL(faulty_no_arrival, RingParams),
    KERNEL(faulty_no_init, RingParams),
    KERNEL(faulty_too_few_warps, RingParams),
    KERNEL(faulty_missing_block, RingParams),
    KERNEL(faulty_no_grid_barrier, RingParams),
    KERNEL(faulty_no_block_barrier, RingParams),
    KERNEL(faulty_bad_reset, RingParams),
    KERNEL(faulty_shared_overrun, RingParams),

    KERNEL(cluster_sum, GemvParams),
    KERNEL(faulty_no_cluster_barrier, GemvParams),
    KERNEL(faulty_no_expect, GemvParams),
    KERNEL(faulty_no_receive, GemvParams),
    KERNEL(faulty_no_meeting, GemvParams),
    KERNEL(faulty_early_return, GemvParams),
    KERNEL(faulty_outside_cluster, GemvParams),
    KERNEL(faulty_outside_shared, GemvParams),
};

}  // namespace

const Kernel* find_kernel(const char* name) {
  for (const Kernel& kernel : KERNELS) {
    if (std::strcmp(kernel.name, name) == 0) return &kernel;
  }
  return nullptr;
}

}  // namespace emulation

#define LAYOUT(Params, ...)                                      \
  if (std::strcmp(name, #Params) == 0) {                         \
    const size_t all[] = {sizeof(Params), alignof(Params), __VA_ARGS__}; \
    const size_t count = sizeof(all) / sizeof(all[0]);           \
    if (count > capacity) return 0;                              \
    std::memcpy(values, all, sizeof(all));                       \
    return count;                                                \
  }

extern "C" size_t thresher_layout(const char* name, size_t* values, size_t capacity) {
  LAYOUT(GemvParams, offsetof(GemvParams, weights), offsetof(GemvParams, x),
         offsetof(GemvParams, active), offsetof(GemvParams, active_count), offsetof(GemvParams, h),
         offsetof(GemvParams, row_bytes), offsetof(GemvParams, cols))
  LAYOUT(GateUpParams, offsetof(GateUpParams, gate), offsetof(GateUpParams, up),
         offsetof(GateUpParams, x), offsetof(GateUpParams, active),
         offsetof(GateUpParams, active_count), offsetof(GateUpParams, h),
         offsetof(GateUpParams, row_bytes), offsetof(GateUpParams, cols),
         offsetof(GateUpParams, activation))
  LAYOUT(DownParams, offsetof(DownParams, weights), offsetof(DownParams, h),
         offsetof(DownParams, active), offsetof(DownParams, active_count), offsetof(DownParams, y),
         offsetof(DownParams, row_bytes), offsetof(DownParams, cols))
  LAYOUT(GemvBatchParams, offsetof(GemvBatchParams, weights), offsetof(GemvBatchParams, x),
         offsetof(GemvBatchParams, active), offsetof(GemvBatchParams, active_count),
         offsetof(GemvBatchParams, members), offsetof(GemvBatchParams, h),
         offsetof(GemvBatchParams, row_bytes), offsetof(GemvBatchParams, h_stride),
         offsetof(GemvBatchParams, cols), offsetof(GemvBatchParams, tokens))
  LAYOUT(GateUpBatchParams, offsetof(GateUpBatchParams, gate), offsetof(GateUpBatchParams, up),
         offsetof(GateUpBatchParams, x), offsetof(GateUpBatchParams, active),
         offsetof(GateUpBatchParams, active_count), offsetof(GateUpBatchParams, members),
         offsetof(GateUpBatchParams, h), offsetof(GateUpBatchParams, row_bytes),
         offsetof(GateUpBatchParams, h_stride), offsetof(GateUpBatchParams, cols),
         offsetof(GateUpBatchParams, tokens), offsetof(GateUpBatchParams, activation))
  LAYOUT(DownBatchParams, offsetof(DownBatchParams, weights), offsetof(DownBatchParams, h),
         offsetof(DownBatchParams, active), offsetof(DownBatchParams, active_count),
         offsetof(DownBatchParams, members), offsetof(DownBatchParams, y),
         offsetof(DownBatchParams, row_bytes), offsetof(DownBatchParams, h_stride),
         offsetof(DownBatchParams, cols), offsetof(DownBatchParams, tokens))
  LAYOUT(UniteParams, offsetof(UniteParams, lists), offsetof(UniteParams, counts),
         offsetof(UniteParams, active), offsetof(UniteParams, active_count),
         offsetof(UniteParams, members), offsetof(UniteParams, neurons),
         offsetof(UniteParams, tokens))
  LAYOUT(SelectThresholdParams, offsetof(SelectThresholdParams, scores),
         offsetof(SelectThresholdParams, threshold), offsetof(SelectThresholdParams, active),
         offsetof(SelectThresholdParams, active_count), offsetof(SelectThresholdParams, count))
  LAYOUT(SelectTopKParams, offsetof(SelectTopKParams, scores), offsetof(SelectTopKParams, k),
         offsetof(SelectTopKParams, active), offsetof(SelectTopKParams, active_count),
         offsetof(SelectTopKParams, count))
  LAYOUT(StepPhase, offsetof(StepPhase, weights), offsetof(StepPhase, x),
         offsetof(StepPhase, x_words), offsetof(StepPhase, y), offsetof(StepPhase, y_words),
         offsetof(StepPhase, residual), offsetof(StepPhase, active),
         offsetof(StepPhase, active_count), offsetof(StepPhase, threshold),
         offsetof(StepPhase, computed), offsetof(StepPhase, rows), offsetof(StepPhase, cols),
         offsetof(StepPhase, padded_cols), offsetof(StepPhase, row_bytes),
         offsetof(StepPhase, rows_beside), offsetof(StepPhase, rows_a_run), offsetof(StepPhase, kind),
         offsetof(StepPhase, activation), offsetof(StepPhase, rows_from),
         offsetof(StepPhase, words_turn), offsetof(StepPhase, selection),
         offsetof(StepPhase, partial_turn), offsetof(StepPhase, y_threads),
         offsetof(StepPhase, meeting))
  LAYOUT(StepParams, offsetof(StepParams, phases), offsetof(StepParams, partials),
         offsetof(StepParams, selected), offsetof(StepParams, selected_counts),
         offsetof(StepParams, counters), offsetof(StepParams, phase_count),
         offsetof(StepParams, slot_bytes), offsetof(StepParams, slots),
         offsetof(StepParams, slots_in_flight), offsetof(StepParams, slots_in_flight_early))
  return 0;
}

#define CONSTANT(constant) \
  if (std::strcmp(name, #constant) == 0) return constant;

extern "C" int64_t thresher_constant(const char* name) {
  CONSTANT(THRESHER_ROW_THREADS)
  CONSTANT(THRESHER_ROW_BLOCKS_PER_SM)
  CONSTANT(THRESHER_DOWN_THREADS)
  CONSTANT(THRESHER_DOWN_BLOCKS_PER_SM)
  CONSTANT(THRESHER_DOWN_COLUMNS)
  CONSTANT(THRESHER_MAX_BATCH)
  CONSTANT(THRESHER_DOWN_BATCH_SHARED)
  CONSTANT(THRESHER_SELECT_THREADS)
  CONSTANT(THRESHER_SELECT_CLUSTER_BLOCKS)
  CONSTANT(THRESHER_SELECT_CLUSTER_THREADS)
  CONSTANT(THRESHER_SELECT_CLUSTER_SHARED)
  CONSTANT(THRESHER_SELECT_MAX_SCORES)
  CONSTANT(THRESHER_RELU)
  CONSTANT(THRESHER_SILU)
  CONSTANT(THRESHER_STEP_THREADS)
  CONSTANT(THRESHER_STEP_CONSUMERS)
  CONSTANT(THRESHER_STEP_NEURONS)
  CONSTANT(THRESHER_STEP_SELECTED)
  CONSTANT(THRESHER_STEP_BLOCKS)
  CONSTANT(THRESHER_STEP_SLOTS)
  CONSTANT(THRESHER_STEP_SHARED)
  CONSTANT(THRESHER_STEP_STRETCH)
  CONSTANT(THRESHER_STEP_COLUMNS)
  CONSTANT(THRESHER_PROJECT)
  CONSTANT(THRESHER_FFN)
  CONSTANT(THRESHER_EVERY_ROW)
  CONSTANT(THRESHER_LISTED)
  CONSTANT(THRESHER_SELECTED)
  CONSTANT(THRESHER_IDENTITY)
  CONSTANT(THRESHER_TURN)
  CONSTANT(THRESHER_ALTERNATES)
  return -1;
}
