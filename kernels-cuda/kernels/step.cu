// A whole step in one launch: phases over one resident grid, from hidden state to output.
//
//   projection   y[r] = act(W[r] . x)           attention's matrices, a predictor's two; may select
//   FFN          y = residual + sum of h[j] * down[j] over the active j,
//                h[j] = act(gate[j] . x) * (up[j] . x)
//   FFN, gate first   the same without the neurons whose activation is about zero: of the others alone
//                are rows of up and down read
//
// Every block owns a share of a phase's rows, in list order. One warp of it, the producer, asks for the
// rows of the share, and of the next phases' shares, long before anyone wants them; they land in a ring of
// slots in shared memory. The other 16 warps, the consumers, all work on the same slot:
//
//   global memory           shared memory                       registers
//   gate[j0] ────────┐      ring of slots
//   up[j0]   ──────┐ └───▶ │ gate[j0] │ up[j0]   │ ─▶ thread t:  x[16 columns] . both   ─▶ h[0]
//   gate[j1] ..    └─────▶ │ gate[j1] │ up[j1]   │                                      ─▶ h[1]
//     ..                   │   ..     │   ..     │                                         ..
//   down[j0], down[j1] ──▶ │ down[j0] │ down[j1] │ ─▶ thread t:  y[16 columns] += h[0], h[1]
//                          └ a slot: two rows of up to 8192 columns, four of q8_0, eight of q4_0
//
// Rows of at most 4096 columns lie two or more beside each other: as many as 512 threads hold, 16 columns
// each.
//
// With the gate first, slots hold gate rows alone; then the block closes its list up over the neurons that
// count and asks for their up rows, and for their down rows. That each block waits for its own gates once
// is the price: nothing of the layer can be on its way meanwhile.
//
// A block finishes the neurons that it begins, so h stays in its shared memory, and the only thing that
// the grid exchanges in an FFN is one partial y a block. Each block then adds up the partials of its own
// columns and sends the sums to all. There is no barrier in either exchange: the words say themselves
// when they have come (mailbox.cuh). While blocks wait for each other, the copies into their rings of 200 KB
// go on, a slot at a time: words would queue behind more. Only rows that the step itself selects cannot be
// asked for ahead.
//
// The order of every sum follows from the shapes, the list and the number of blocks: equal inputs on the
// same GPU give equal bits. No value is added by an atomic.
#include "mailbox.cuh"
#include "planes.cuh"

namespace step_kernel {

constexpr uint32_t CONSUMERS = THRESHER_STEP_CONSUMERS;
constexpr uint32_t CONSUMER_WARPS = CONSUMERS / WARP;
constexpr uint32_t NEURONS = THRESHER_STEP_NEURONS;
constexpr uint32_t SELECTED = THRESHER_STEP_SELECTED;
static_assert(SELECTED <= CONSUMERS && SELECTED <= NEURONS, "a thread each");
// Values that a consumer sums at a time: of so many rows at its place.
constexpr uint32_t SUMS = 8;
// Partial sums: quads that a block adds up at a time, the threads that share one, and the partials that
// a thread asks for at once.
constexpr uint32_t REDUCED_QUADS = 16;
constexpr uint32_t REDUCERS = CONSUMERS / REDUCED_QUADS;
constexpr uint32_t PARTIALS_AT_ONCE = 5;
// Quads of an x that a block reads once for all its warps, a thread each.
constexpr uint32_t MAIL_QUADS = CONSUMERS;

// A block's shared memory, before the ring.
struct Shared {
  // Of slots: filled by the producer, read by every consumer warp.
  uint64_t full[THRESHER_STEP_SLOTS];
  uint64_t empty[THRESHER_STEP_SLOTS];
  // Of the sides of `sums`: written by every consumer warp; made values of by the collector.
  uint64_t given[2];
  uint64_t taken[2];
  // How many neurons of a gate-first FFN count: known.
  uint64_t kept_known;
  // Which rows were selected: read by the producer, and their number by the collector.
  uint64_t selection_read;
  uint32_t kept;
  // Phases whose x the consumers have.
  volatile uint32_t begun;
  // Phases as consumers see them, this one and the next, and as the producer does, who is ahead.
  StepPhase phases[3];
  StepPhase ahead[3];
  // Rows of the FFN that the producer asks for, and the values of those that consumers work on.
  uint32_t indices[NEURONS];
  union {
    // x as it came by mail, before there are values.
    float4 mail[MAIL_QUADS];
    struct {
      float values[NEURONS];
      float4 reduced[CONSUMER_WARPS][REDUCED_QUADS];
    };
  };
  // A row of sums is one longer than it needs, for the sake of the banks.
  float sums[2][SUMS][CONSUMER_WARPS + 1];
  uint32_t counts[CONSUMER_WARPS];
  uint32_t prefix[THRESHER_STEP_BLOCKS + WARP];
};

constexpr uint32_t RING_OFFSET = THRESHER_STEP_SHARED;
static_assert(sizeof(Shared) <= RING_OFFSET && RING_OFFSET % 128 == 0, "the ring begins after it");

__device__ __forceinline__ Shared& shared() { return *reinterpret_cast<Shared*>(dynamic_shared()); }

__device__ __forceinline__ uint8_t* slot_at(const StepParams& p, uint32_t slot) {
  return dynamic_shared() + RING_OFFSET + slot * p.slot_bytes;
}

// Where a producer or a consumer stands in the ring.
struct Ring {
  uint32_t slot;
  uint32_t parity;

  __device__ __forceinline__ void advance(const StepParams& p) {
    if (++slot == p.slots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// What this block owns of `total`: from first up to last.
struct Share {
  uint32_t first;
  uint32_t last;
};

// The first blocks own one more where the blocks do not divide the total.
__device__ __forceinline__ Share share_of(uint32_t total) {
  const uint32_t each = total / gridDim.x;
  const uint32_t rest = total - each * gridDim.x;
  const uint32_t first = blockIdx.x * each + min(blockIdx.x, rest);
  return {first, first + each + (blockIdx.x < rest ? 1 : 0)};
}

// A block's rows of a projection: whole runs, which begin at lines of 128 bytes, as the copy engine likes.
__device__ __forceinline__ Share share_of_projection(const StepPhase& phase) {
  const uint32_t run = phase.rows_a_run;
  const Share runs = share_of((phase.rows + run - 1) / run);
  return {min(runs.first * run, phase.rows), min(runs.last * run, phase.rows)};
}

__device__ __forceinline__ bool is_ffn(const StepPhase& phase) { return phase.kind != THRESHER_PROJECT; }
__device__ __forceinline__ bool is_gate_first(const StepPhase& phase) {
  return phase.kind == THRESHER_FFN_GATE_FIRST;
}

// What a launch knows beside its parameters.
struct Launch {
  const StepParams& params;
  uint32_t number;

  __device__ __forceinline__ uint32_t turn(uint32_t described) const {
    return (described ^ ((described & THRESHER_ALTERNATES) != 0 ? number : 0)) & THRESHER_TURN;
  }
  // No phase of any launch shares its epoch with a recent one; never 0.
  __device__ __forceinline__ uint32_t epoch(uint32_t phase) const {
    return number * params.phase_count + phase + 1;
  }
};

// ---- Producer ------------------------------------------------------------------------------------

// The producer's place in the ring, and how many phases it has begun.
struct Producer {
  Ring next;
  Ring landing;
  uint32_t on_their_way;
  uint32_t begun;
};

// How many slots may have copies on their way at a time: as many as keep memory busy where consumers wait
// for these rows, and fewer where they are of a later phase, since what blocks tell each other meanwhile
// queues behind copies.
__device__ __forceinline__ uint32_t most_on_their_way(const StepParams& p, const Producer& ring) {
  return shared().begun == ring.begun ? p.slots_in_flight : p.slots_in_flight_early;
}

// Takes the next slot and announces `bytes` for it.
__device__ __forceinline__ uint8_t* take_slot(const StepParams& p, Producer& ring, uint32_t bytes) {
  const uint32_t most = most_on_their_way(p, ring);
  while (ring.on_their_way >= most) {
    barrier_wait(&shared().full[ring.landing.slot], ring.landing.parity);
    ring.landing.advance(p);
    ring.on_their_way -= 1;
  }
  barrier_wait(&shared().empty[ring.next.slot], ring.next.parity ^ 1);
  fill_begin(&shared().full[ring.next.slot], bytes);
  __syncwarp();
  return slot_at(p, ring.next.slot);
}

__device__ __forceinline__ void give_slot(const StepParams& p, Producer& ring) {
  fill_end(&shared().full[ring.next.slot]);
  ring.next.advance(p);
  ring.on_their_way += 1;
}

template <uint32_t PAIRS>
__device__ __forceinline__ void produce_projection(const StepParams& p, const StepPhase& phase,
                                                   Producer& ring) {
  const uint32_t rows_a_slot = 2 * PAIRS * phase.rows_beside;
  const uint32_t row_bytes = phase.row_bytes;
  const Share share = share_of_projection(phase);
  for (uint32_t row = share.first; row < share.last; row += rows_a_slot) {
    const uint32_t bytes = min(rows_a_slot, share.last - row) * row_bytes;
    uint8_t* to = take_slot(p, ring, bytes);
    const uint8_t* from = phase.weights[0] + static_cast<uint64_t>(row) * row_bytes;
    warp_copy(to, from, bytes, &shared().full[ring.next.slot]);
    give_slot(p, ring);
  }
}

// Exclusive prefix of the blocks' counts, and their sum.
__device__ __forceinline__ uint32_t prefix_counts(const StepParams& p, uint32_t epoch) {
  uint32_t* prefix = shared().prefix;
  const uint32_t lane = threadIdx.x % WARP;
  uint32_t before = 0;
  for (uint32_t base = 0; base < gridDim.x; base += WARP) {
    const uint32_t block = base + lane;
    const uint32_t count = block < gridDim.x ? await_packet(p.selected_counts + block, epoch) : 0;
    __syncwarp();
    uint32_t sum = count;
#pragma unroll
    for (uint32_t offset = 1; offset < WARP; offset *= 2) {
      const uint32_t other = __shfl_up_sync(ALL_LANES, sum, offset);
      if (lane >= offset) sum += other;
    }
    prefix[block] = before + sum - count;
    before += __shfl_sync(ALL_LANES, sum, WARP - 1);
  }
  __syncwarp();
  return before;
}

// The row that a block selected as one of the list that all blocks' rows make.
__device__ __forceinline__ uint32_t selected_row(const StepParams& p, uint32_t position, uint32_t epoch) {
  // The last block whose rows begin at or before the position.
  const uint32_t* prefix = shared().prefix;
  uint32_t low = 0;
  uint32_t high = gridDim.x;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    if (prefix[middle] <= position) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return await_packet(p.selected + low * SELECTED + (position - prefix[low]), epoch);
}

// What the producer knows of a phase to come. Loads are on their way until their first use.
constexpr uint32_t PHASE_WORDS = sizeof(StepPhase) / sizeof(uint32_t);
constexpr uint32_t EARLY = 2;
struct Ahead {
  // The phase after the next, a word a lane.
  uint32_t words[(PHASE_WORDS + WARP - 1) / WARP];
  // Of the next: how many rows, and this block's first 64 of them, if they are listed.
  uint32_t total;
  uint32_t indices[EARLY];
};

__device__ __forceinline__ void load_phase(const StepParams& p, uint32_t number, Ahead& ahead) {
  if (number >= p.phase_count) return;
  const uint32_t* from = reinterpret_cast<const uint32_t*>(p.phases + number);
#pragma unroll
  for (uint32_t i = 0; i < (PHASE_WORDS + WARP - 1) / WARP; ++i) {
    const uint32_t word = i * WARP + threadIdx.x % WARP;
    if (word < PHASE_WORDS) ahead.words[i] = __ldg(from + word);
  }
}

__device__ __forceinline__ void keep_phase(const StepParams& p, uint32_t number, const Ahead& ahead) {
  if (number < p.phase_count) {
    uint32_t* to = reinterpret_cast<uint32_t*>(&shared().ahead[number % 3]);
#pragma unroll
    for (uint32_t i = 0; i < (PHASE_WORDS + WARP - 1) / WARP; ++i) {
      const uint32_t word = i * WARP + threadIdx.x % WARP;
      if (word < PHASE_WORDS) to[word] = ahead.words[i];
    }
  }
  __syncwarp();
}

__device__ __forceinline__ void load_total(const StepParams& p, uint32_t number, Ahead& ahead) {
  if (number >= p.phase_count) return;
  const StepPhase& phase = shared().ahead[number % 3];
  const bool listed = phase.rows_from == THRESHER_LISTED;
  ahead.total = listed ? __ldg(phase.active_count) : phase.rows;
}

__device__ __forceinline__ void load_indices(const StepParams& p, uint32_t number, Ahead& ahead) {
  if (number >= p.phase_count) return;
  const StepPhase& phase = shared().ahead[number % 3];
  if (phase.rows_from != THRESHER_LISTED) return;
  const Share share = share_of(ahead.total);
#pragma unroll
  for (uint32_t i = 0; i < EARLY; ++i) {
    const uint32_t position = share.first + i * WARP + threadIdx.x % WARP;
    if (position < share.last) ahead.indices[i] = __ldg(phase.active + position);
  }
}

// Puts the rows of this block's share of the list into shared().indices.
__device__ __forceinline__ void list_rows(const StepParams& p, const StepPhase& phase, uint32_t epoch,
                                          const Share& share, const Ahead& ahead) {
  uint32_t* indices = shared().indices;
  uint32_t position = share.first + threadIdx.x % WARP;
  if (phase.rows_from == THRESHER_LISTED) {
#pragma unroll
    for (uint32_t i = 0; i < EARLY; ++i) {
      if (position < share.last) indices[position - share.first] = ahead.indices[i];
      position += WARP;
    }
  }
#pragma unroll 4
  for (; position < share.last; position += WARP) {
    uint32_t row = position;
    if (phase.rows_from == THRESHER_LISTED) row = __ldg(phase.active + position);
    if (phase.rows_from == THRESHER_SELECTED) row = selected_row(p, position, epoch);
    indices[position - share.first] = row;
  }
  __syncwarp();
}

// Asks for `count` rows of one matrix: those that shared().indices names.
template <uint32_t PAIRS>
__device__ __forceinline__ void produce_rows(const StepParams& p, const StepPhase& phase,
                                             const uint8_t* weights, uint32_t count, Producer& ring) {
  const uint32_t* indices = shared().indices;
  const uint32_t rows_a_slot = 2 * PAIRS * phase.rows_beside;
  const uint32_t row_bytes = phase.row_bytes;
  for (uint32_t i = 0; i < count; i += rows_a_slot) {
    const uint32_t rows = min(rows_a_slot, count - i);
    uint8_t* to = take_slot(p, ring, rows * row_bytes);
    copy_rows(
        rows, row_bytes, &shared().full[ring.next.slot], [&](uint32_t k) { return to + k * row_bytes; },
        [&](uint32_t k) { return weights + static_cast<uint64_t>(indices[i + k]) * row_bytes; });
    give_slot(p, ring);
  }
}

// .. of gate and up, side by side in each slot.
template <uint32_t PAIRS>
__device__ __forceinline__ void produce_gate_and_up(const StepParams& p, const StepPhase& phase,
                                                    uint32_t count, Producer& ring) {
  const uint32_t* indices = shared().indices;
  const uint32_t side = PAIRS * phase.rows_beside;
  const uint32_t row_bytes = phase.row_bytes;
  for (uint32_t i = 0; i < count; i += side) {
    const uint32_t rows = min(side, count - i);
    uint8_t* to = take_slot(p, ring, 2 * rows * row_bytes);
    // Gate rows, then up rows.
    const uint8_t* const gate = phase.weights[0];
    const uint8_t* const up = phase.weights[1];
    copy_rows(
        2 * rows, row_bytes, &shared().full[ring.next.slot],
        [&](uint32_t k) { return to + (k < rows ? k : k - rows + side) * row_bytes; },
        [&](uint32_t k) {
          const uint64_t offset = static_cast<uint64_t>(indices[i + (k < rows ? k : k - rows)]) * row_bytes;
          return (k < rows ? gate : up) + offset;
        });
    give_slot(p, ring);
  }
}

// How many of a block's neurons count, once its consumers have seen their gates. `times`: how often the
// block has asked since the launch.
__device__ __forceinline__ uint32_t await_kept(uint32_t& times) {
  barrier_wait(&shared().kept_known, times % 2);
  times += 1;
  return shared().kept;
}

// One warp calls this when it has all that it needs of what other blocks selected.
__device__ __forceinline__ void tell_selection_read() {
  __syncwarp();
  if (threadIdx.x % WARP == 0) barrier_arrive(&shared().selection_read);
}

template <uint32_t PAIRS>
__device__ __forceinline__ void produce_ffn(const Launch& launch, const StepPhase& phase, uint32_t number,
                                            Producer& ring, Ahead& ahead, uint32_t& times_kept) {
  const StepParams& p = launch.params;
  // Rows were selected by the phase before.
  const uint32_t epoch = launch.epoch(number - 1);
  const uint32_t total = phase.rows_from == THRESHER_SELECTED ? prefix_counts(p, epoch) : ahead.total;
  const Share share = share_of(total);
  uint32_t count = share.last - share.first;
  list_rows(p, phase, epoch, share, ahead);
  if (phase.rows_from == THRESHER_SELECTED) tell_selection_read();
  load_phase(p, number + 2, ahead);
  load_total(p, number + 1, ahead);
  if (is_gate_first(phase) && count > 0) {
    produce_rows<PAIRS>(p, phase, phase.weights[0], count, ring);
    count = await_kept(times_kept);
    produce_rows<PAIRS>(p, phase, phase.weights[1], count, ring);
  } else {
    produce_gate_and_up<PAIRS>(p, phase, count, ring);
  }
  load_indices(p, number + 1, ahead);
  produce_rows<PAIRS>(p, phase, phase.weights[2], count, ring);
  keep_phase(p, number + 2, ahead);
}

template <uint32_t PAIRS>
__device__ __forceinline__ void produce(const Launch& launch) {
  const StepParams& p = launch.params;
  Producer ring = {{0, 0}, {0, 0}, 0, 0};
  uint32_t times_kept = 0;
  Ahead ahead = {};
  for (uint32_t i = 0; i < 2; ++i) {
    load_phase(p, i, ahead);
    keep_phase(p, i, ahead);
  }
  load_total(p, 0, ahead);
  load_indices(p, 0, ahead);
  for (uint32_t i = 0; i < p.phase_count; ++i) {
    const StepPhase& phase = shared().ahead[i % 3];
    ring.begun = i + 1;
    if (!is_ffn(phase)) {
      load_phase(p, i + 2, ahead);
      load_total(p, i + 1, ahead);
      produce_projection<PAIRS>(p, phase, ring);
      load_indices(p, i + 1, ahead);
      keep_phase(p, i + 2, ahead);
    } else {
      produce_ffn<PAIRS>(launch, phase, i, ring, ahead, times_kept);
    }
  }
}

// ---- Consumers -----------------------------------------------------------------------------------

__device__ __forceinline__ void meet_consumers() { named_barrier(1, CONSUMERS); }

// The producer may fetch the rest of the phase as fast as it can.
__device__ __forceinline__ void tell_begun(uint32_t phase) {
  if (threadIdx.x == 0) shared().begun = phase + 1;
}

// A consumer's place: thread `t` of those that share row `place` of the rows beside each other.
struct Place {
  uint32_t t;
  uint32_t place;
  // False for threads past the last whole row: they do as those of row 0 do, and give nothing.
  bool works;
  // Threads that share a row, a whole number of warps; and the rows beside each other.
  uint32_t threads;
  uint32_t beside;
  // Bytes from the start of a slot to this thread's first row, and from each to the next.
  uint32_t offset;
  uint32_t stride;
  uint32_t padded_cols;
};

__device__ __forceinline__ Place place_of(const StepPhase& phase) {
  const uint32_t threads = phase.padded_cols / THREAD_COLUMNS;
  const uint32_t beside = phase.rows_beside;
  const uint32_t place = threadIdx.x / threads;
  const bool works = place < beside;
  return {threadIdx.x % threads,
          works ? place : 0,
          works,
          threads,
          beside,
          works ? place * phase.row_bytes : 0,
          beside * phase.row_bytes,
          phase.padded_cols};
}

// The next slot, until `release_slot`.
__device__ __forceinline__ const uint8_t* await_slot(const StepParams& p, const Ring& ring) {
  barrier_wait(&shared().full[ring.slot], ring.parity);
  return slot_at(p, ring.slot);
}

__device__ __forceinline__ void release_slot(const StepParams& p, Ring& ring) {
  __syncwarp();
  if (threadIdx.x % WARP == 0) barrier_arrive(&shared().empty[ring.slot]);
  ring.advance(p);
}

// Calls `use` with each of this thread's rows of the next slot. Where several fit registers, they are
// taken there first, and the slot goes back before they are used.
template <class F, class Use>
__device__ __forceinline__ void use_slot(const StepParams& p, const Place& at, Ring& ring, Use use) {
  const uint8_t* row = await_slot(p, ring) + at.offset;
  if (F::PAIRS > 1) {
    typename F::Raw raw[2 * F::PAIRS];
#pragma unroll
    for (uint32_t i = 0; i < 2 * F::PAIRS; ++i) raw[i] = F::fetch(row + i * at.stride, at.t, at.padded_cols);
    release_slot(p, ring);
#pragma unroll
    for (uint32_t i = 0; i < 2 * F::PAIRS; ++i) use(i, raw[i]);
  } else {
    use(0, F::fetch(row, at.t, at.padded_cols));
    use(1, F::fetch(row + at.stride, at.t, at.padded_cols));
    release_slot(p, ring);
  }
}

// The 16 values of x that this thread multiplies; columns that do not exist count as zero.
template <class F>
__device__ __forceinline__ typename F::Input load_x(const Launch& launch, const StepPhase& phase,
                                                    const Place& at) {
  float4 quads[QUADS] = {};
  if (phase.x_words != nullptr && at.beside > 1 && QUADS * at.threads <= MAIL_QUADS) {
    // Short and wanted by all warps of all blocks, which would stand in each other's way at its few lines.
    const uint4* const from[1] = {reinterpret_cast<const uint4*>(phase.x_words) + threadIdx.x};
    float4 quad[1];
    if (threadIdx.x < QUADS * at.threads) {
      await_quads(from, launch.turn(phase.words_turn), quad);
      shared().mail[threadIdx.x] = quad[0];
    }
    meet_consumers();
#pragma unroll
    for (uint32_t k = 0; k < QUADS; ++k) {
      const uint32_t mine = F::column(k, at.t) % THREAD_COLUMNS / 4;
      quads[k] = shared().mail[mine * at.threads + at.t];
    }
  } else if (phase.x_words != nullptr) {
    const uint4* from[QUADS];
#pragma unroll
    for (uint32_t k = 0; k < QUADS; ++k) {
      const uint32_t quad = F::column(k, at.t) % THREAD_COLUMNS / 4;
      from[k] = reinterpret_cast<const uint4*>(phase.x_words) + quad * at.threads + at.t;
    }
    await_quads(from, launch.turn(phase.words_turn), quads);
  } else {
#pragma unroll
    for (uint32_t k = 0; k < QUADS; ++k) {
      const uint32_t column = F::column(k, at.t);
      if (column < phase.cols) quads[k] = __ldg(reinterpret_cast<const float4*>(phase.x + column));
    }
  }
  float x[THREAD_COLUMNS];
#pragma unroll
  for (uint32_t k = 0; k < QUADS; ++k) {
    const uint32_t column = F::column(k, at.t);
    x[4 * k] = column < phase.cols ? quads[k].x : 0.f;
    x[4 * k + 1] = column + 1 < phase.cols ? quads[k].y : 0.f;
    x[4 * k + 2] = column + 2 < phase.cols ? quads[k].z : 0.f;
    x[4 * k + 3] = column + 3 < phase.cols ? quads[k].w : 0.f;
  }
  return F::prepare(x);
}

// Sums each of 8 values over the lanes of the warp; each exchange halves the values that a lane still
// carries. Every lane gets one of the sums: see `sum_of_lane`.
__device__ __forceinline__ float sum_of_eight(float (&v)[SUMS]) {
  const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
  for (uint32_t half = SUMS / 2; half > 0; half /= 2) {
    const uint32_t offset = half * 4;
    const bool upper = (lane & offset) != 0;
#pragma unroll
    for (uint32_t i = 0; i < half; ++i) {
      const float sent = upper ? v[i] : v[i + half];
      const float kept = upper ? v[i + half] : v[i];
      v[i] = kept + __shfl_xor_sync(ALL_LANES, sent, offset);
    }
  }
  v[0] += __shfl_xor_sync(ALL_LANES, v[0], 2);
  v[0] += __shfl_xor_sync(ALL_LANES, v[0], 1);
  return v[0];
}

// Which sum `sum_of_eight` gives this lane: bits 4, 3 and 2 of the lane chose the upper half.
__device__ __forceinline__ uint32_t sum_of_lane() { return threadIdx.x % WARP / 4; }

// Dot products of `rows` rows with x, from as many slots as they take: each warp's sums go to the
// collector, which makes shared().values of them.
template <class F, bool GATED>
__device__ __forceinline__ void dot_rows(const StepParams& p, const Place& at, uint32_t rows,
                                         const typename F::Input& x, Ring& ring,
                                         uint32_t& batches) {
  const uint32_t rows_a_slot = (GATED ? F::PAIRS : 2 * F::PAIRS) * at.beside;
  for (uint32_t base = 0; base < rows; base += SUMS / (2 * F::PAIRS) * rows_a_slot) {
    float v[SUMS];
#pragma unroll
    for (uint32_t first = 0; first < SUMS; first += 2 * F::PAIRS) {
#pragma unroll
      for (uint32_t i = 0; i < 2 * F::PAIRS; ++i) v[first + i] = 0.f;
      if (base + first / (2 * F::PAIRS) * rows_a_slot >= rows) continue;
      use_slot<F>(p, at, ring, [&](uint32_t i, const typename F::Raw& raw) {
        // A slot holds gate rows and then up rows; their sums go in turn.
        const uint32_t which = GATED ? i % F::PAIRS * 2 + i / F::PAIRS : i;
        v[first + which] = F::dot(raw, x);
      });
    }
    const float sum = sum_of_eight(v);
    Shared& s = shared();
    const uint32_t side = batches % 2;
    const uint32_t parity = batches / 2 % 2;
    barrier_wait(&s.taken[side], parity ^ 1);
    if (threadIdx.x % 4 == 0) s.sums[side][sum_of_lane()][threadIdx.x / WARP] = sum;
    __syncwarp();
    if (threadIdx.x % WARP == 0) barrier_arrive(&s.given[side]);
    batches += 1;
  }
  // Values are there when the last sums have been taken.
  const uint32_t last = batches - 1;
  barrier_wait(&shared().taken[last % 2], last / 2 % 2);
}

// A thread's columns of a sum of rows, and how much of it is bias.
struct Sums {
  float columns[THREAD_COLUMNS];
  float factors;
};

// Adds h times a row, if there is such a row, to this thread's columns.
template <class F>
__device__ __forceinline__ void add_row(const typename F::Raw& raw, const Place& at, uint32_t row,
                                        uint32_t rows, Sums& sums) {
  const bool exists = at.works && row < rows;
  if (!F::FINITE && !exists) return;
  float w[THREAD_COLUMNS];
  const float factor = F::weights(raw, w);
  const float h = exists ? shared().values[row] * factor : 0.f;
  if (F::BIAS != 0.f) sums.factors += h;
#pragma unroll
  for (uint32_t c = 0; c < THREAD_COLUMNS; ++c) sums.columns[c] = fmaf(h, w[c], sums.columns[c]);
}

// Adds h[j] times row j for `rows` rows, h from shared().values.
template <class F>
__device__ __forceinline__ void add_rows(const StepParams& p, const Place& at, uint32_t rows, Sums& sums,
                                         Ring& ring) {
  for (uint32_t base = 0; base < rows; base += 2 * F::PAIRS * at.beside) {
    use_slot<F>(p, at, ring, [&](uint32_t i, const typename F::Raw& raw) {
      add_row<F>(raw, at, base + i * at.beside + at.place, rows, sums);
    });
  }
}

// Of the block's consumers, how many before this thread say yes, and how many in all.
struct Yes {
  uint32_t before;
  uint32_t total;
};

__device__ __forceinline__ Yes count_yes(bool yes) {
  Shared& s = shared();
  const uint32_t thread = thread_now();
  const uint32_t ballot = __ballot_sync(ALL_LANES, yes);
  if (thread % WARP == 0) s.counts[thread / WARP] = __popc(ballot);
  meet_consumers();
  Yes count = {static_cast<uint32_t>(__popc(ballot & ((1u << thread % WARP) - 1))), 0};
#pragma unroll
  for (uint32_t w = 0; w < CONSUMER_WARPS; ++w) {
    if (w < thread / WARP) count.before += s.counts[w];
    count.total += s.counts[w];
  }
  return count;
}

// Rows whose value is at least the threshold, ascending, for every block to know.
__device__ __forceinline__ void select_rows(const StepParams& p, const StepPhase& phase,
                                            const Share& share, uint32_t epoch) {
  const uint32_t rows = share.last - share.first;
  const float threshold = __ldg(phase.threshold);
  const bool active = threadIdx.x < rows && shared().values[threadIdx.x] >= threshold;
  const Yes count = count_yes(active);
  if (threadIdx.x == 0) send_packet(p.selected_counts + blockIdx.x, count.total, epoch);
  if (active) {
    send_packet(p.selected + blockIdx.x * SELECTED + count.before, share.first + threadIdx.x, epoch);
  }
}

// Closes values and indices up over the rows whose value counts: more than the threshold in magnitude, or
// no number. Tells the producer and the collector how many there are.
__device__ __forceinline__ uint32_t keep_rows(const StepPhase& phase, uint32_t rows) {
  Shared& s = shared();
  const float threshold = __ldg(phase.threshold);
  uint32_t kept = 0;
#pragma unroll 1
  for (uint32_t base = 0; base < rows; base += CONSUMERS) {
    const uint32_t row = base + thread_now();
    const float value = row < rows ? s.values[row] : 0.f;
    const uint32_t index = row < rows ? s.indices[row] : 0;
    const bool counts = row < rows && !(fabsf(value) <= threshold);
    // Once counted, all have read what lies here: no row moves up past those that are still to be read.
    const Yes count = count_yes(counts);
    if (counts) {
      s.values[kept + count.before] = value;
      s.indices[kept + count.before] = index;
    }
    kept += count.total;
    meet_consumers();
  }
  if (threadIdx.x == 0) {
    s.kept = kept;
    barrier_arrive(&s.kept_known);
  }
  return kept;
}

// Where column `c` lies among the words of a vector that `threads` threads read.
__device__ __forceinline__ uint32_t word_of(uint32_t c, uint32_t threads) {
  return 4 * (c / 4 % QUADS * threads + c / THREAD_COLUMNS) + c % 4;
}

template <class F>
__device__ __forceinline__ void consume_projection(const Launch& launch, const StepPhase& phase,
                                                   uint32_t number, Ring& ring, uint32_t& batches) {
  Shared& s = shared();
  const Share share = share_of_projection(phase);
  const Place at = place_of(phase);
  const typename F::Input x = load_x<F>(launch, phase, at);
  tell_begun(number);
  const uint32_t turn = launch.turn(phase.words_turn);
  for (uint32_t begin = share.first; begin < share.last; begin += NEURONS) {
    const uint32_t rows = min(NEURONS, share.last - begin);
    dot_rows<F, false>(launch.params, at, rows, x, ring, batches);
    for (uint32_t i = threadIdx.x; i < rows; i += CONSUMERS) {
      const uint32_t row = begin + i;
      const float value = s.values[i];
      if (phase.y_words != nullptr) {
        mail_write(phase.y_words + word_of(row, phase.y_threads), stamped(value, turn));
      }
      if (phase.y != nullptr) __stcg(phase.y + row, value);
    }
  }
  if (phase.y_words != nullptr && blockIdx.x == gridDim.x - 1) {
    // Readers wait for whole rows of their own.
    const uint32_t row = phase.rows + threadIdx.x;
    if (row < phase.y_threads * THREAD_COLUMNS) {
      mail_write(phase.y_words + word_of(row, phase.y_threads), stamped(0.f, turn));
    }
  }
  if (phase.threshold != nullptr) {
    select_rows(launch.params, phase, share, launch.epoch(number));
  }
}

// How many rows the blocks selected between them.
__device__ __forceinline__ uint32_t count_selected(const StepParams& p, uint32_t epoch) {
  Shared& s = shared();
  uint32_t sum =
      threadIdx.x < gridDim.x ? await_packet(p.selected_counts + threadIdx.x, epoch) : 0;
  __syncwarp();
#pragma unroll
  for (uint32_t o = WARP / 2; o > 0; o /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, o);
  if (threadIdx.x % WARP == 0) s.counts[threadIdx.x / WARP] = sum;
  meet_consumers();
  uint32_t total = 0;
#pragma unroll
  for (uint32_t w = 0; w < CONSUMER_WARPS; ++w) total += s.counts[w];
  return total;
}

// This block's sums, for those who own the columns.
template <class F>
__device__ __forceinline__ void send_partials(const StepParams& p, const Place& at, uint32_t turn,
                                              const Sums& sums) {
  if (!at.works) return;
  const uint32_t partial = blockIdx.x * at.beside + at.place;
  uint4* to = reinterpret_cast<uint4*>(p.partials) + static_cast<uint64_t>(partial) * QUADS * at.threads;
#pragma unroll
  for (uint32_t k = 0; k < QUADS; ++k) {
    const uint32_t quad = F::column(k, at.t) % THREAD_COLUMNS / 4;
    const float bias = F::BIAS * sums.factors;
    const float* columns = sums.columns + 4 * k;
    const float4 four = {columns[0] - bias, columns[1] - bias, columns[2] - bias, columns[3] - bias};
    mail_write(to + quad * at.threads + at.t, stamped(four, turn));
  }
}

__device__ __forceinline__ void add_quad(float4& sum, const float4& other) {
  sum.x += other.x;
  sum.y += other.y;
  sum.z += other.z;
  sum.w += other.w;
}

// The sums that a thread ends up with: the quad that it adds up with 31 others, and the word, if any,
// of which it knows the whole.
struct Owned {
  uint32_t last;
  uint32_t quad;
  uint32_t word;
  uint32_t column;
  bool gives;
};

// .. in a block's share of quads, from `done` quads on.
__device__ __forceinline__ Owned owned_of(const Place& at, const Share& share,
                                          uint32_t done) {
  const uint32_t first = share.first + done;
  const uint32_t word = 4 * first + threadIdx.x;
  const uint32_t part = word / 4 / at.threads;
  const uint32_t column = THREAD_COLUMNS * (word / 4 - part * at.threads) + 4 * part + word % 4;
  return {share.last, first + threadIdx.x % REDUCED_QUADS, word, column,
          threadIdx.x < 4 * REDUCED_QUADS && word < 4 * share.last};
}

// Adds up what all blocks have for the owned columns and sends the sums to all.
__device__ __forceinline__ void reduce_owned(const Launch& launch, const StepPhase& phase,
                                             const Place& at, const Owned& owned) {
  Shared& s = shared();
  const uint32_t partials = gridDim.x * at.beside;
  const uint32_t turn = launch.turn(phase.partial_turn);
  const bool exists = owned.gives && owned.column < phase.cols;
  const float before =
      exists && phase.residual != nullptr ? __ldcg(phase.residual + owned.column) : 0.f;

  float4 sum = {0.f, 0.f, 0.f, 0.f};
  if (owned.quad < owned.last) {
    const uint4* words = reinterpret_cast<const uint4*>(launch.params.partials) + owned.quad;
    const uint64_t stride = QUADS * at.threads;
    for (uint32_t i = threadIdx.x / REDUCED_QUADS; i < partials; i += PARTIALS_AT_ONCE * REDUCERS) {
      const uint4* from[PARTIALS_AT_ONCE];
      float4 quads[PARTIALS_AT_ONCE];
#pragma unroll
      for (uint32_t k = 0; k < PARTIALS_AT_ONCE; ++k) {
        const uint32_t partial = i + k * REDUCERS;
        from[k] = words + (partial < partials ? partial : i) * stride;
      }
      await_quads(from, turn, quads);
#pragma unroll
      for (uint32_t k = 0; k < PARTIALS_AT_ONCE; ++k) {
        if (i + k * REDUCERS < partials) add_quad(sum, quads[k]);
      }
    }
  }
  __syncwarp();
  add_quad(sum, {__shfl_xor_sync(ALL_LANES, sum.x, REDUCED_QUADS),
                 __shfl_xor_sync(ALL_LANES, sum.y, REDUCED_QUADS),
                 __shfl_xor_sync(ALL_LANES, sum.z, REDUCED_QUADS),
                 __shfl_xor_sync(ALL_LANES, sum.w, REDUCED_QUADS)});
  if (threadIdx.x % WARP < REDUCED_QUADS) {
    s.reduced[threadIdx.x / WARP][threadIdx.x % REDUCED_QUADS] = sum;
  }
  meet_consumers();
  if (owned.gives) {
    float total = 0.f;
#pragma unroll
    for (uint32_t i = 0; i < CONSUMER_WARPS; ++i) {
      total += reinterpret_cast<const float*>(s.reduced[i])[threadIdx.x];
    }
    const float y = exists ? before + total : 0.f;
    if (phase.y_words != nullptr) {
      mail_write(phase.y_words + owned.word, stamped(y, launch.turn(phase.words_turn)));
    }
    if (exists && phase.y != nullptr) __stcg(phase.y + owned.column, y);
  }
}

template <class F>
__device__ __forceinline__ void consume_ffn(const Launch& launch, const StepPhase& phase,
                                            uint32_t number, uint32_t total, Ring& ring,
                                            uint32_t& batches) {
  const StepParams& p = launch.params;
  const Place at = place_of(phase);
  // Everything that can be known is, before the wait for x.
  Share share = share_of(total);
  const Owned owned = owned_of(at, share_of(QUADS * at.threads), 0);
  const typename F::Input x = load_x<F>(launch, phase, at);
  if (phase.rows_from == THRESHER_SELECTED) {
    total = count_selected(p, launch.epoch(number - 1));
    share = share_of(total);
  }
  tell_begun(number);
  uint32_t rows = share.last - share.first;
  if (!is_gate_first(phase)) {
    if (rows > 0) dot_rows<F, true>(p, at, rows, x, ring, batches);
  } else {
#pragma unroll 1
    for (uint32_t pass = 0; pass < 2 && rows > 0; ++pass) {
      dot_rows<F, false>(p, at, rows, x, ring, batches);
      if (pass == 0) rows = keep_rows(phase, rows);
    }
  }
  if (phase.computed != nullptr && threadIdx.x == 0) __stcg(phase.computed + blockIdx.x, rows);
  Sums sums = {};
  add_rows<F>(p, at, rows, sums, ring);
  if (phase.rows_from == THRESHER_SELECTED) {
    // Whoever has the sums of all blocks may select again. Without rows nothing else has waited for it.
    barrier_wait(&shared().selection_read, phase.selection % 2);
  }
  send_partials<F>(p, at, launch.turn(phase.partial_turn), sums);
  reduce_owned(launch, phase, at, owned);
  const Share quads = share_of(QUADS * at.threads);
  for (uint32_t done = REDUCED_QUADS; quads.first + done < quads.last; done += REDUCED_QUADS) {
    meet_consumers();
    reduce_owned(launch, phase, at, owned_of(at, quads, done));
  }
}

template <class F>
__device__ __forceinline__ void consume_phase(const Launch& launch, const StepPhase& phase,
                                              uint32_t number, uint32_t total, Ring& ring,
                                              uint32_t& batches) {
  if (!is_ffn(phase)) {
    consume_projection<F>(launch, phase, number, ring, batches);
  } else {
    consume_ffn<F>(launch, phase, number, total, ring, batches);
  }
}

// The consumers of the whole grid meet for the `times`th time: what was written before is seen after.
__device__ __forceinline__ void meet_grid(const StepParams& p, uint32_t times) {
  meet_consumers();
  if (threadIdx.x == 0) {
    grid_add(p.counters, 1);
    while (grid_read(p.counters) < times * gridDim.x) spin();
  }
  meet_consumers();
}

// A word of a phase for each of the first threads, to be kept once nobody reads what was there before.
__device__ __forceinline__ uint32_t load_phase_word(const StepParams& p, uint32_t number) {
  if (number >= p.phase_count || threadIdx.x >= PHASE_WORDS) return 0;
  return __ldg(reinterpret_cast<const uint32_t*>(p.phases + number) + threadIdx.x);
}

__device__ __forceinline__ void keep_phase_word(uint32_t number, uint32_t word) {
  if (threadIdx.x >= PHASE_WORDS) return;
  reinterpret_cast<uint32_t*>(&shared().phases[number % 3])[threadIdx.x] = word;
}

// Rows of a phase's matrix, or of its list; on their way until their first use.
__device__ __forceinline__ uint32_t load_rows(const StepPhase& phase) {
  if (phase.rows_from == THRESHER_LISTED) return load_now(phase.active_count);
  return phase.rows;
}

template <class F>
__device__ __forceinline__ void consume(const Launch& launch) {
  const StepParams& p = launch.params;
  Shared& s = shared();
  Ring ring = {0, 0};
  uint32_t batches = 0;
  keep_phase_word(0, load_phase_word(p, 0));
  uint32_t word = load_phase_word(p, 1);
  meet_consumers();
  uint32_t rows = load_rows(s.phases[0]);
  for (uint32_t i = 0; i < p.phase_count; ++i) {
    keep_phase_word(i + 1, word);
    meet_consumers();
    word = load_phase_word(p, i + 2);
    const StepPhase& phase = s.phases[i % 3];
    const uint32_t total = rows;
    rows = load_rows(s.phases[(i + 1) % 3]);
    if (phase.meeting != 0) meet_grid(p, phase.meeting);
    consume_phase<F>(launch, phase, i, total, ring, batches);
  }
}

// ---- Collector -----------------------------------------------------------------------------------

// What sums are of, and the values that they make.
enum class Sum {
  // A row: act(row . x).
  ROW,
  // A gate row and an up row in turn: act(gate . x) * (up . x).
  GATE_AND_UP,
  // The up row of a neuron whose value is act(gate . x) so far.
  UP,
};

// Takes the sums of every warp as they come and makes values of them.
template <Sum SUM>
__device__ __forceinline__ void collect(const StepPhase& phase, uint32_t rows, uint32_t& batches) {
  constexpr bool GATED = SUM == Sum::GATE_AND_UP;
  Shared& s = shared();
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t beside = phase.rows_beside;
  const uint32_t row_warps = phase.padded_cols / (THREAD_COLUMNS * WARP);
  const uint32_t activation = phase.activation;
  const uint32_t rows_a_batch = (GATED ? SUMS / 2 : SUMS) * beside;
  for (uint32_t base = 0; base < rows; base += rows_a_batch) {
    const uint32_t side = batches % 2;
    barrier_wait(&s.given[side], batches / 2 % 2);
    for (uint32_t first = 0; first < SUMS * beside; first += WARP) {
      const uint32_t which = (first + lane) % SUMS;
      const uint32_t place = (first + lane) / SUMS;
      float total = 0.f;
#pragma unroll
      for (uint32_t i = 0; i < CONSUMER_WARPS; ++i) {
        if (place < beside && i < row_warps) total += s.sums[side][which][place * row_warps + i];
      }
      const uint32_t row = base + (GATED ? which / 2 : which) * beside + place;
      const bool owns = place < beside && row < rows && (!GATED || which % 2 == 0);
      const float partner = __shfl_xor_sync(ALL_LANES, total, 1);
      if (SUM == Sum::UP) {
        if (owns) s.values[row] *= total;
      } else if (owns) {
        const float value = activate(activation, total);
        s.values[row] = GATED ? value * partner : value;
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(&s.taken[side]);
    batches += 1;
  }
}

// How many rows the blocks selected between them, for one warp.
__device__ __forceinline__ uint32_t warp_count_selected(const StepParams& p, uint32_t epoch) {
  uint32_t sum = 0;
  for (uint32_t block = threadIdx.x % WARP; block < gridDim.x; block += WARP) {
    sum += await_packet(p.selected_counts + block, epoch);
  }
  __syncwarp();
#pragma unroll
  for (uint32_t o = WARP / 2; o > 0; o /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, o);
  return sum;
}

__device__ __forceinline__ void collect_all(const Launch& launch) {
  const StepParams& p = launch.params;
  uint32_t batches = 0;
  uint32_t times_kept = 0;
  for (uint32_t i = 0; i < p.phase_count; ++i) {
    const StepPhase& phase = p.phases[i];
    if (!is_ffn(phase)) {
      const Share share = share_of_projection(phase);
      for (uint32_t begin = share.first; begin < share.last; begin += NEURONS) {
        collect<Sum::ROW>(phase, min(NEURONS, share.last - begin), batches);
      }
      continue;
    }
    uint32_t total = phase.rows;
    if (phase.rows_from == THRESHER_LISTED) total = __ldg(phase.active_count);
    if (phase.rows_from == THRESHER_SELECTED) {
      total = warp_count_selected(p, launch.epoch(i - 1));
      tell_selection_read();
    }
    const Share share = share_of(total);
    const uint32_t rows = share.last - share.first;
    if (rows == 0) continue;
    if (!is_gate_first(phase)) {
      collect<Sum::GATE_AND_UP>(phase, rows, batches);
      continue;
    }
    collect<Sum::ROW>(phase, rows, batches);
    const uint32_t kept = await_kept(times_kept);
    if (kept > 0) collect<Sum::UP>(phase, kept, batches);
  }
}

template <class F>
__device__ __forceinline__ void step(const StepParams& p) {
  Shared& s = shared();
  if (threadIdx.x == 0) {
    for (uint32_t i = 0; i < p.slots; ++i) {
      barrier_init(&s.full[i], fill_arrivals());
      barrier_init(&s.empty[i], CONSUMER_WARPS);
    }
    for (uint32_t side = 0; side < 2; ++side) {
      barrier_init(&s.given[side], CONSUMER_WARPS);
      barrier_init(&s.taken[side], 1);
    }
    barrier_init(&s.kept_known, 1);
    barrier_init(&s.selection_read, 2);
    s.begun = 0;
    barrier_init_fence();
  }
  const Launch launch = {p, __ldcg(p.counters + 2)};
  __syncthreads();
  if (threadIdx.x < CONSUMERS) {
    consume<F>(launch);
  } else if (threadIdx.x < CONSUMERS + WARP) {
    produce<F::PAIRS>(launch);
  } else {
    collect_all(launch);
  }
  // The last block out leaves the counters ready for the next launch: every other has passed its last
  // meeting and read the number of the launch before it counted its exit.
  __syncthreads();
  if (threadIdx.x == 0 && grid_add(p.counters + 1, 1) == gridDim.x - 1) {
    grid_store(p.counters, 0);
    grid_store(p.counters + 1, 0);
    grid_store(p.counters + 2, launch.number + 1);
  }
}

}  // namespace step_kernel

// Older GPUs would keep some of it outside of the 96 registers that 18 warps leave each thread.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
extern "C" __global__ void __launch_bounds__(THRESHER_STEP_THREADS, 1)
    step_f32(const __grid_constant__ StepParams p) {
  step_kernel::step<PlanesF32>(p);
}
#endif

extern "C" __global__ void __launch_bounds__(THRESHER_STEP_THREADS, 1)
    step_f16(const __grid_constant__ StepParams p) {
  step_kernel::step<PlanesF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_STEP_THREADS, 1)
    step_bf16(const __grid_constant__ StepParams p) {
  step_kernel::step<PlanesBF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_STEP_THREADS, 1)
    step_q8_0(const __grid_constant__ StepParams p) {
  step_kernel::step<PlanesQ8_0>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_STEP_THREADS, 1)
    step_q4_0(const __grid_constant__ StepParams p) {
  step_kernel::step<PlanesQ4_0>(p);
}
