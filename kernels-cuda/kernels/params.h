/* What the host and the kernels agree on: one struct per operator, passed by value at launch, and
 * the launch geometry. Plain C, so that Rust reads the same text through bindgen (src/params.rs). */
#ifndef THRESHER_PARAMS_H
#define THRESHER_PARAMS_H

#include <stdint.h>

/** Threads of one block of `gemv` and `gate_up`; one warp of 32 computes one output. */
#define THRESHER_ROW_THREADS 128u
/** Blocks of `gemv` and `gate_up` that fit a multiprocessor at once: 512 threads of at most 128
 * registers, most of which hold loads in flight. */
#define THRESHER_ROW_BLOCKS_PER_SM 4u
/** Threads of one block of `down`. */
#define THRESHER_DOWN_THREADS 512u
/** Blocks of `down` that fit a multiprocessor at once. */
#define THRESHER_DOWN_BLOCKS_PER_SM 1u
/** Columns of the output that one block of `down` owns. */
#define THRESHER_DOWN_COLUMNS 64u

/** Threads of the one block of `select_threshold` and `select_top_k`. */
#define THRESHER_SELECT_THREADS 1024u
/** Scores that one selection takes at most. */
#define THRESHER_SELECT_MAX_SCORES 1048576u

/** `GateUpParams::activation`: max(v, 0). */
#define THRESHER_RELU 0u
/** `GateUpParams::activation`: v / (1 + exp(-v)). */
#define THRESHER_SILU 1u

/** `h[j] = W[active[j]] . x` for `j < *active_count`. */
typedef struct GemvParams {
  /** W, rows of `row_bytes` bytes. */
  const uint8_t *weights;
  /** `cols` values. */
  const float *x;
  /** Row indices, strictly ascending. */
  const uint32_t *active;
  /** How many of `active` count: read on the device, so a kernel may have written it. */
  const uint32_t *active_count;
  /** Compact output, one value per active row. */
  float *h;
  /** Bytes from one row to the next. */
  uint64_t row_bytes;
  /** Length of a row in values. */
  uint32_t cols;
} GemvParams;

/** `h[j] = activation(gate[active[j]] . x) * (up[active[j]] . x)` for `j < *active_count`. */
typedef struct GateUpParams {
  /** The gate matrix, rows of `row_bytes` bytes. */
  const uint8_t *gate;
  /** The up matrix, of the same shape and format. */
  const uint8_t *up;
  /** `cols` values. */
  const float *x;
  /** Row indices, strictly ascending. */
  const uint32_t *active;
  /** How many of `active` count. */
  const uint32_t *active_count;
  /** Compact output, one value per active row. */
  float *h;
  /** Bytes from one row to the next. */
  uint64_t row_bytes;
  /** Length of a row in values. */
  uint32_t cols;
  /** `THRESHER_RELU` or `THRESHER_SILU`. */
  uint32_t activation;
} GateUpParams;

/** `y[c] += h[j] * W[active[j]][c]` summed over `j < *active_count`. */
typedef struct DownParams {
  /** W, neuron-major: one row of `row_bytes` bytes per neuron. */
  const uint8_t *weights;
  /** One value per active neuron. */
  const float *h;
  /** Neuron indices, strictly ascending. */
  const uint32_t *active;
  /** How many of `active` count. */
  const uint32_t *active_count;
  /** `cols` values, added to. */
  float *y;
  /** Bytes from one row to the next. */
  uint64_t row_bytes;
  /** Length of a row, and of `y`, in values. */
  uint32_t cols;
} DownParams;

/** `active` = the indices i, ascending, with `scores[i] >= *threshold`. */
typedef struct SelectThresholdParams {
  /** `count` values. */
  const float *scores;
  /** One value, read on the device. */
  const float *threshold;
  /** Room for `count` indices. */
  uint32_t *active;
  /** Where to put how many of `active` were written. */
  uint32_t *active_count;
  /** Number of scores. */
  uint32_t count;
} SelectThresholdParams;

/** `active` = the indices, ascending, of the `min(*k, count)` largest scores. */
typedef struct SelectTopKParams {
  /** `count` values. */
  const float *scores;
  /** One value, read on the device. */
  const uint32_t *k;
  /** Room for `count` indices. */
  uint32_t *active;
  /** Where to put how many of `active` were written. */
  uint32_t *active_count;
  /** Number of scores. */
  uint32_t count;
} SelectTopKParams;

#endif
