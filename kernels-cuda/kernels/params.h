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

/** Threads of the one block of `select_threshold` and `select_top_k` before Hopper. */
#define THRESHER_SELECT_THREADS 1024u
/** Blocks of their one cluster from Hopper on: as many as every such GPU can have in one. */
#define THRESHER_SELECT_CLUSTER_BLOCKS 8u
/** Threads of a block of the cluster. */
#define THRESHER_SELECT_CLUSTER_THREADS 512u
/** Dynamic shared memory of a block of the cluster. */
#define THRESHER_SELECT_CLUSTER_SHARED 40960u
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

/** Tokens of a batch at most: a bit of a byte each. */
#define THRESHER_MAX_BATCH 8u
/** Dynamic shared memory of a block of `down_batch`, in bytes. */
#define THRESHER_DOWN_BATCH_SHARED 82048u

/** `h[t][j] = W[active[j]] . x[t]` for `j < *active_count` and every token t of `members[j]`, 0 for the
 * others. */
typedef struct GemvBatchParams {
  /** W, rows of `row_bytes` bytes. */
  const uint8_t *weights;
  /** `cols` values a token, token after token. */
  const float *x;
  /** Row indices, strictly ascending: those that any token lists. */
  const uint32_t *active;
  /** How many of `active` count: read on the device, so a kernel may have written it. */
  const uint32_t *active_count;
  /** The tokens that list each of `active`, at least one: bit t for token t. */
  const uint8_t *members;
  /** One value per active row and token, those of a token `h_stride` from those of the one before. */
  float *h;
  /** Bytes from one row to the next. */
  uint64_t row_bytes;
  /** Values from one token of `h` to the next. */
  uint64_t h_stride;
  /** Length of a row in values. */
  uint32_t cols;
  /** At most `THRESHER_MAX_BATCH`. */
  uint32_t tokens;
} GemvBatchParams;

/** `h[t][j] = activation(gate[active[j]] . x[t]) * (up[active[j]] . x[t])` for `j < *active_count` and
 * every token t of `members[j]`, 0 for the others. */
typedef struct GateUpBatchParams {
  /** The gate matrix, rows of `row_bytes` bytes. */
  const uint8_t *gate;
  /** The up matrix, of the same shape and format. */
  const uint8_t *up;
  /** `cols` values a token, token after token. */
  const float *x;
  /** Row indices, strictly ascending: those that any token lists. */
  const uint32_t *active;
  /** How many of `active` count. */
  const uint32_t *active_count;
  /** The tokens that list each of `active`, at least one: bit t for token t. */
  const uint8_t *members;
  /** One value per active row and token, those of a token `h_stride` from those of the one before. */
  float *h;
  /** Bytes from one row to the next. */
  uint64_t row_bytes;
  /** Values from one token of `h` to the next. */
  uint64_t h_stride;
  /** Length of a row in values. */
  uint32_t cols;
  /** At most `THRESHER_MAX_BATCH`. */
  uint32_t tokens;
  /** `THRESHER_RELU`, `THRESHER_SILU` or `THRESHER_IDENTITY`. */
  uint32_t activation;
} GateUpBatchParams;

/** `y[t][c] += h[t][j] * W[active[j]][c]` summed over the `j < *active_count` with token t in
 * `members[j]`, for every token t. */
typedef struct DownBatchParams {
  /** W, neuron-major: one row of `row_bytes` bytes per neuron. */
  const uint8_t *weights;
  /** One value per active neuron and token, those of a token `h_stride` from those of the one before.
   * Values of neurons that the token does not list do not matter. */
  const float *h;
  /** Neuron indices, strictly ascending: those that any token lists. */
  const uint32_t *active;
  /** How many of `active` count. */
  const uint32_t *active_count;
  /** The tokens that list each of `active`: bit t for token t. */
  const uint8_t *members;
  /** `cols` values a token, token after token, added to. */
  float *y;
  /** Bytes from one row to the next. */
  uint64_t row_bytes;
  /** Values from one token of `h` to the next. */
  uint64_t h_stride;
  /** Length of a row, and of a token's `y`, in values. */
  uint32_t cols;
  /** At most `THRESHER_MAX_BATCH`. */
  uint32_t tokens;
} DownBatchParams;

/** `active` = the indices, ascending, that any token lists, and which tokens do. */
typedef struct UniteParams {
  /** Each token's indices, strictly ascending, below `neurons`. */
  const uint32_t *lists[THRESHER_MAX_BATCH];
  /** How many of them count. */
  const uint32_t *counts[THRESHER_MAX_BATCH];
  /** Room for `neurons` indices. */
  uint32_t *active;
  /** Where to put how many of `active` were written. */
  uint32_t *active_count;
  /** Room for `neurons` bytes: the tokens that list each of `active`, bit t for token t. */
  uint8_t *members;
  /** What the indices are below. */
  uint32_t neurons;
  /** How many of `lists`, at most `THRESHER_MAX_BATCH`. */
  uint32_t tokens;
} UniteParams;

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

/** Threads of one block of `read_all`. */
#define THRESHER_ROOF_THREADS 512u

/** Reads `quads` times 16 bytes. */
typedef struct ReadParams {
  /** Where they begin. */
  const uint8_t *from;
  /** How many. */
  uint64_t quads;
  /** Where the bits that any of them has go, if they are `never`. */
  uint32_t *kept;
  /** Bits that they do not have. */
  uint32_t never;
} ReadParams;

/** Threads of one block of `step`: consumers, a producer warp and a collector warp. */
#define THRESHER_STEP_THREADS 576u
/** Threads of a block of `step` that compute. */
#define THRESHER_STEP_CONSUMERS 512u
/** Neurons of an FFN that a block of `step` may own: it holds their values. */
#define THRESHER_STEP_NEURONS 1024u
/** Rows of a selecting projection that it may own: one for each thread that computes. */
#define THRESHER_STEP_SELECTED 512u
/** Blocks of `step` at most. */
#define THRESHER_STEP_BLOCKS 256u
/** Slots of a block's ring at most. */
#define THRESHER_STEP_SLOTS 32u
/** Shared memory of a block of `step` before its ring. */
#define THRESHER_STEP_SHARED 16384u
/** Columns that a row of the step kernel's matrices is padded to a multiple of. */
#define THRESHER_STEP_STRETCH 512u
/** Columns of a row at most, padding included. */
#define THRESHER_STEP_COLUMNS 8192u

/** `StepPhase::kind`: y[r] = activation(W[r] . x), every row. */
#define THRESHER_PROJECT 0u
/** `StepPhase::kind`: y = residual + sum over active j of h[j] * down[j], with
 * h[j] = activation(gate[j] . x) * (up[j] . x). */
#define THRESHER_FFN 1u
/** .. where the gate comes first: rows of up and down are read only where the activation is more than
 * `threshold` in magnitude. */
#define THRESHER_FFN_GATE_FIRST 2u

/** `StepPhase::rows_from`: every row. */
#define THRESHER_EVERY_ROW 0u
/** `StepPhase::rows_from`: those of `active`. */
#define THRESHER_LISTED 1u
/** `StepPhase::rows_from`: those that the phase before selected. */
#define THRESHER_SELECTED 2u

/** `activation`: v itself. */
#define THRESHER_IDENTITY 2u

/** `StepPhase::words_turn`: the turn of the words in the first launch. */
#define THRESHER_TURN 1u
/** .. and whether it changes from one launch to the next. */
#define THRESHER_ALTERNATES 2u

/** One phase of a step. */
typedef struct StepPhase {
  /** The matrix of a projection; gate, up and down (neuron-major) of an FFN. */
  const uint8_t *weights[3];
  /** `cols` values in order, there before the launch; or null. */
  const float *x;
  /** The same as words that come during the launch, in quads dealt to threads (mailbox.cuh). */
  const uint32_t *x_words;
  /** A projection's `rows` values, or an FFN's `cols`, in order; or null. */
  float *y;
  /** The same as words for a later phase; or null. */
  uint32_t *y_words;
  /** An FFN's `cols` values to add to, or null for zeros. May be `y`. */
  const float *residual;
  /** `THRESHER_LISTED`: row indices, strictly ascending, written before the launch. */
  const uint32_t *active;
  /** How many of `active` count. */
  const uint32_t *active_count;
  /** A projection that selects: rows whose value is at least this one. Null for none. An FFN whose gate
   * comes first: the largest magnitude of an activation that is dropped. */
  const float *threshold;
  /** An FFN: of how many neurons each block read down rows, gridDim counts. Null for nowhere. */
  uint32_t *computed;
  /** Rows of the matrix: neurons of an FFN. */
  uint32_t rows;
  /** Values of `x`. */
  uint32_t cols;
  /** Columns of a row with its padding. */
  uint32_t padded_cols;
  /** Bytes from one row to the next. */
  uint32_t row_bytes;
  /** Rows that consumers hold beside each other, 16 columns a thread. */
  uint32_t rows_beside;
  /** A projection: blocks own whole runs of so many rows. */
  uint32_t rows_a_run;
  /** `THRESHER_PROJECT`, `THRESHER_FFN` or `THRESHER_FFN_GATE_FIRST`. */
  uint32_t kind;
  /** `THRESHER_RELU`, `THRESHER_SILU` or `THRESHER_IDENTITY`. */
  uint32_t activation;
  /** `THRESHER_EVERY_ROW`, `THRESHER_LISTED` or `THRESHER_SELECTED`. */
  uint32_t rows_from;
  /** Turn of `x_words` and of `y_words`. */
  uint32_t words_turn;
  /** An FFN over selected rows: how many such FFNs come before it. */
  uint32_t selection;
  /** Turn of the partial sums. */
  uint32_t partial_turn;
  /** Threads that share one of `y_words`' readers' rows: values of y, padded, over 16. */
  uint32_t y_threads;
  /** The how manieth meeting of the grid comes before the phase, which reads what the phase before did
   * not write; 0 for none. */
  uint32_t meeting;
} StepPhase;

/** A step: phases one after another, over one resident grid. */
typedef struct StepParams {
  /** `phase_count` phases. */
  const StepPhase *phases;
  /** Sums of one block's neurons, as words: gridDim * 512 * 16. */
  uint32_t *partials;
  /** Packets of the rows that each block selected: gridDim * THRESHER_STEP_SELECTED. */
  uint64_t *selected;
  /** Packets of how many: gridDim. */
  uint64_t *selected_counts;
  /** Arrivals of blocks at barriers; exits; launches so far. Zeros at first. */
  uint32_t *counters;
  /** How many phases. */
  uint32_t phase_count;
  /** Bytes of a slot of the ring. */
  uint32_t slot_bytes;
  /** Slots of the ring. */
  uint32_t slots;
  /** Slots that a block has copies on their way to at a time, at most, where it works on their phase. */
  uint32_t slots_in_flight;
  /** .. and before. */
  uint32_t slots_in_flight_early;
} StepParams;

#endif
