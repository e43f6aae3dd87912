// Selection: which neurons are active, from their scores, as an ascending list with its length.
//
// One block of 32 warps does it all, so that no count travels between blocks. It takes tiles of
// 32768 scores; each warp owns 1024 neighbours of a tile, each lane four of each slot:
//
//                ├────────── 1024 scores of warp 0 ───────────┼─ warp 1 ─┼ .. ┼─ warp 31 ─┤
//                │ slot 0 │ slot 1 │ slot 2 │  ..    │ slot 7 │
//                └───┬────┘
//   one request  │lane 0: 4│lane 1: 4│ .. │lane 31: 4│     512 bytes; all eight in flight at once
//
// The tests of a lane's 32 scores become 32 bits, bit 4 * slot + j for its score j of that slot. The
// place of a chosen score in the list is the sum of
//   - the chosen in earlier tiles and warps: one barrier, one warp scan of 32 totals
//   - in earlier slots of the warp, and in lower lanes of the slot: one warp scan, of eight bytes,
//     one for each slot (32 lanes of 4 fit a byte)
//   - in the lane's own lower bits
// Each warp puts its chosen in order in shared memory, four slots at a time, and copies them out, so
// that neighbours in the list are written together.
//
//                               instructions of a warp for each tile, besides addresses
//   loads                       8 of 16 bytes a lane
//   tests                       32 comparisons, 32 to gather the bits
//   scans                       7 to count bits; 12 shuffles and 10 additions in the warp, 7 and 5
//                               over warps, one barrier
//   list                        32 predicated shared stores, chosen / 32 + 2 global stores at most
//   top-k before that           2 or 3 times: 32 tests, up to 32 shared atomics, 13 shuffles, 3 barriers
//
// Reading 28672 scores from L2 at 64 bytes a clock (assumed) takes one multiprocessor 1792 clocks,
// 1 us at 1.8 GHz (derived).
//
// What a score is: zeros of either sign are equal. A NaN reaches no threshold, and nothing reaches a
// NaN threshold; for top-k NaNs are equal and below all else. The lists depend on the scores alone:
// integer sums are the same in any order.
#include "device.cuh"

constexpr uint32_t SELECT_WARPS = THRESHER_SELECT_THREADS / WARP;
constexpr uint32_t SLOTS = 8;
constexpr uint32_t LANE_SCORES = 4;  // neighbours that a lane takes of each slot
constexpr uint32_t SLOT_SCORES = WARP * LANE_SCORES;
constexpr uint32_t WARP_SCORES = SLOTS * SLOT_SCORES;
constexpr uint32_t TILE_SCORES = SELECT_WARPS * WARP_SCORES;
constexpr uint32_t OWN_SCORES = SLOTS * LANE_SCORES;
static_assert(OWN_SCORES == 32, "a bit for each score of a lane");
static_assert(SELECT_WARPS == WARP, "a lane for each warp's total");

struct Scratch {
  // Totals of the warps, in turns, so that one sum can start while another is still being read.
  uint32_t totals[2][SELECT_WARPS];
  // Indices within the warp's scores, of half its slots.
  uint16_t chosen[SELECT_WARPS][WARP_SCORES / 2];
};

// The first of the thread's scores of a tile; score j of a slot is SLOT_SCORES * slot + j further.
__device__ __forceinline__ uint32_t first_of_thread(uint32_t tile) {
  return tile + threadIdx.x / WARP * WARP_SCORES + threadIdx.x % WARP * LANE_SCORES;
}

// Whether scores may be loaded in fours: an aligned list of whole fours.
__device__ __forceinline__ bool wide_scores(const float* scores, uint32_t count) {
  return aligned_to_16(reinterpret_cast<uintptr_t>(scores)) && count % LANE_SCORES == 0;
}

// The thread's scores of a tile, NaN for those past the end.
__device__ __forceinline__ void load_scores(const float* scores, uint32_t count, uint32_t tile,
                                            float (&own)[OWN_SCORES]) {
  const uint32_t first = first_of_thread(tile);
  const uint32_t present = first < count ? count - first : 0;
  scores += first;
#pragma unroll
  for (uint32_t i = 0; i < OWN_SCORES; ++i) own[i] = __uint_as_float(0x7fffffffu);
  if (wide_scores(scores, count)) {
#pragma unroll
    for (uint32_t slot = 0; slot < SLOTS; ++slot) {
      if (slot * SLOT_SCORES < present) {
        const float4 four = __ldg(reinterpret_cast<const float4*>(scores + slot * SLOT_SCORES));
        own[slot * LANE_SCORES] = four.x;
        own[slot * LANE_SCORES + 1] = four.y;
        own[slot * LANE_SCORES + 2] = four.z;
        own[slot * LANE_SCORES + 3] = four.w;
      }
    }
  } else {
#pragma unroll
    for (uint32_t i = 0; i < OWN_SCORES; ++i) {
      const uint32_t offset = i / LANE_SCORES * SLOT_SCORES + i % LANE_SCORES;
      if (offset < present) own[i] = __ldg(scores + offset);
    }
  }
}

// The sum over this lane and those below it.
__device__ __forceinline__ uint32_t sum_to_lane(uint32_t value) {
#pragma unroll
  for (uint32_t offset = 1; offset < WARP; offset *= 2) {
    const uint32_t below = __shfl_up_sync(ALL_LANES, value, offset);
    if (threadIdx.x % WARP >= offset) value += below;
  }
  return value;
}

struct BlockSum {
  uint32_t before;  // over the warps before this one
  uint32_t all;
};

// Adds up a total of each warp. `turn` must alternate from call to call: the totals of one call may
// be read until the barrier of the next.
__device__ __forceinline__ BlockSum sum_over_warps(uint32_t warp_total, uint32_t& turn,
                                                   Scratch& scratch) {
  uint32_t* const totals = scratch.totals[turn];
  turn ^= 1;
  if (threadIdx.x % WARP == 0) totals[threadIdx.x / WARP] = warp_total;
  __syncthreads();
  const uint32_t total = totals[threadIdx.x % WARP];
  const uint32_t sum = sum_to_lane(total);
  return {__shfl_sync(ALL_LANES, sum - total, threadIdx.x / WARP),
          __shfl_sync(ALL_LANES, sum, WARP - 1)};
}

// Where the set bits of a warp's lanes stand in order of index, counted from the warp's first.
struct Places {
  uint32_t of_slot[SLOTS];  // the lane's first bit of each slot
  uint32_t first_half;      // bits in the slots of the first half
  uint32_t all;
};

__device__ __forceinline__ Places places(uint32_t bits) {
  uint32_t counts = bits - (bits >> 1 & 0x55555555u);
  counts = (counts & 0x33333333u) + (counts >> 2 & 0x33333333u);
  // A byte for each slot: of the even slots, of the odd ones.
  const uint32_t own[2] = {counts & 0x0f0f0f0fu, counts >> 4 & 0x0f0f0f0fu};
  uint32_t below[2];
  uint32_t total[2];
#pragma unroll
  for (uint32_t odd = 0; odd < 2; ++odd) {
    const uint32_t sum = sum_to_lane(own[odd]);
    below[odd] = sum - own[odd];
    total[odd] = __shfl_sync(ALL_LANES, sum, WARP - 1);
  }
  Places places;
  uint32_t next = 0;
#pragma unroll
  for (uint32_t slot = 0; slot < SLOTS; ++slot) {
    if (slot == SLOTS / 2) places.first_half = next;
    const uint32_t shift = slot / 2 * 8;
    places.of_slot[slot] = next + (below[slot % 2] >> shift & 0xffu);
    next += total[slot % 2] >> shift & 0xffu;
  }
  places.all = next;
  return places;
}

// Writes the indices of the set bits to list[listed ..]; how many are listed then. Every thread of
// the block must call this.
__device__ __forceinline__ uint32_t append(uint32_t bits, uint32_t tile, uint32_t listed,
                                           uint32_t* list, uint32_t& turn, Scratch& scratch) {
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t warp = threadIdx.x / WARP;
  const Places place = places(bits);
  const BlockSum sum = sum_over_warps(place.all, turn, scratch);
  uint16_t* const chosen = scratch.chosen[warp];
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t start = half == 0 ? 0 : place.first_half;
    const uint32_t end = half == 0 ? place.first_half : place.all;
#pragma unroll
    for (uint32_t i = 0; i < SLOTS / 2; ++i) {
      const uint32_t slot = half * (SLOTS / 2) + i;
      uint32_t at = place.of_slot[slot] - start;
#pragma unroll
      for (uint32_t j = 0; j < LANE_SCORES; ++j) {
        if (bits >> (slot * LANE_SCORES + j) & 1) {
          chosen[at] = static_cast<uint16_t>(slot * SLOT_SCORES + lane * LANE_SCORES + j);
          ++at;
        }
      }
    }
    __syncwarp();
    uint32_t* const out = list + listed + sum.before + start;
#pragma unroll 1
    for (uint32_t i = lane; i < end - start; i += WARP) {
      __stcg(out + i, tile + warp * WARP_SCORES + chosen[i]);
    }
    __syncwarp();
  }
  return listed + sum.all;
}

extern "C" __global__ void __launch_bounds__(THRESHER_SELECT_THREADS)
    select_threshold_f32(const __grid_constant__ SelectThresholdParams p) {
  __shared__ Scratch scratch;
  const float threshold = __ldg(p.threshold);
  uint32_t listed = 0;
  uint32_t turn = 0;
  for (uint32_t tile = 0; tile < p.count; tile += TILE_SCORES) {
    float own[OWN_SCORES];
    load_scores(p.scores, p.count, tile, own);
    uint32_t bits = 0;
#pragma unroll
    for (uint32_t i = 0; i < OWN_SCORES; ++i) bits |= static_cast<uint32_t>(own[i] >= threshold) << i;
    listed = append(bits, tile, listed, p.active, turn, scratch);
  }
  if (threadIdx.x == 0) __stcg(p.active_count, listed);
}

// Top-k is a radix selection from the highest digit down: count the digits of the scores that agree
// with the cut so far, from the top to the bin in which the k-th largest lies. Of scores that are
// spread out, 22 bits leave the k-th alone in its bin, and the last digit is not looked at.
//
//   key    │ 11 bits │ 11 bits │ 10 bits │      unsigned keys in the order of their scores
//   shift   21        10        0               the last digit takes one bit of the second again
constexpr uint32_t DIGIT_BITS = 11;
constexpr uint32_t BINS = 1u << DIGIT_BITS;
constexpr uint32_t FIRST_SHIFT = 32 - DIGIT_BITS;
static_assert(BINS == 2 * THRESHER_SELECT_THREADS, "two bins for each thread");
constexpr uint32_t NAN_KEY = 0;  // below that of -infinity

struct TopKScratch {
  Scratch scratch;
  uint32_t bins[BINS];
  // What the one thread that has the bin tells the others.
  uint32_t digit, above, within;
};

__device__ __forceinline__ uint32_t key_of(float score) {
  if (score != score) return NAN_KEY;
  const uint32_t bits = __float_as_uint(score + 0.f);  // -0 + 0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ void load_keys(const SelectTopKParams& p, uint32_t tile,
                                          uint32_t (&keys)[OWN_SCORES]) {
  float own[OWN_SCORES];
  load_scores(p.scores, p.count, tile, own);
#pragma unroll
  for (uint32_t i = 0; i < OWN_SCORES; ++i) keys[i] = key_of(own[i]);
}

// The cut as far as it is known: its bits in `known`, and how many of the keys that agree with it
// are wanted, out of how many.
struct Cut {
  uint32_t key;
  uint32_t known;
  uint32_t wanted;
  uint32_t within;
};

// Counts the digits at `shift` of the keys that agree with the cut; of all keys while none of it is
// known.
template <bool ALL>
__device__ __forceinline__ void count_digits(const uint32_t (&keys)[OWN_SCORES], const Cut& cut,
                                             uint32_t shift, uint32_t (&bins)[BINS]) {
#pragma unroll
  for (uint32_t i = 0; i < OWN_SCORES; ++i) {
    if (ALL || ((keys[i] ^ cut.key) & cut.known) == 0) {
      atomicAdd(&bins[keys[i] >> shift & (BINS - 1)], 1u);
    }
  }
}

// Finds the digit at `shift` of the cut from the counts in the bins, and clears them.
__device__ __forceinline__ void narrow(Cut& cut, uint32_t shift, uint32_t& turn, TopKScratch& s) {
  const uint32_t high = BINS - 1 - 2 * threadIdx.x;
  const uint32_t upper = s.bins[high];
  const uint32_t lower = s.bins[high - 1];
  s.bins[high] = 0;
  s.bins[high - 1] = 0;
  const uint32_t sum = sum_to_lane(upper + lower);
  const uint32_t warp_total = __shfl_sync(ALL_LANES, sum, WARP - 1);
  const uint32_t above =
      sum_over_warps(warp_total, turn, s.scratch).before + sum - upper - lower;
  if (above < cut.wanted && cut.wanted <= above + upper + lower) {
    const bool in_upper = cut.wanted <= above + upper;
    s.digit = in_upper ? high : high - 1;
    s.above = in_upper ? above : above + upper;
    s.within = in_upper ? upper : lower;
  }
  __syncthreads();
  cut.key |= s.digit << shift;
  cut.known = ~0u << shift;
  cut.wanted -= s.above;
  cut.within = s.within;
}

// The set bits that are among the first `wanted` of the block. Every thread must call this.
__device__ __forceinline__ uint32_t first_of(uint32_t bits, uint32_t wanted, uint32_t& seen,
                                             uint32_t& turn, Scratch& scratch) {
  const Places place = places(bits);
  const BlockSum sum = sum_over_warps(place.all, turn, scratch);
  uint32_t kept = 0;
#pragma unroll
  for (uint32_t slot = 0; slot < SLOTS; ++slot) {
    uint32_t rank = seen + sum.before + place.of_slot[slot];
#pragma unroll
    for (uint32_t j = 0; j < LANE_SCORES; ++j) {
      const uint32_t bit = bits & 1u << (slot * LANE_SCORES + j);
      if (rank < wanted) kept |= bit;
      rank += bit != 0;
    }
  }
  seen += sum.all;
  return kept;
}

// Scores past the end are NaNs to load_scores, counted or not. They are below all scores but NaNs,
// which they follow: as k is at most `count`, none is among the first ties.
extern "C" __global__ void __launch_bounds__(THRESHER_SELECT_THREADS)
    select_top_k_f32(const __grid_constant__ SelectTopKParams p) {
  __shared__ TopKScratch s;
  const uint32_t k = min(__ldg(p.k), p.count);
  if (k == 0) {
    if (threadIdx.x == 0) __stcg(p.active_count, 0u);
    return;
  }
  s.bins[threadIdx.x] = 0;
  s.bins[threadIdx.x + THRESHER_SELECT_THREADS] = 0;
  __syncthreads();

  // Keys of one tile stay in registers from pass to pass; more are read again.
  const bool one_tile = p.count <= TILE_SCORES;
  uint32_t keys[OWN_SCORES];
  if (one_tile) load_keys(p, 0, keys);

  uint32_t turn = 0;
  Cut cut = {0, 0, k, p.count};
#pragma unroll 1
  for (uint32_t shift = FIRST_SHIFT;; shift = shift > DIGIT_BITS ? shift - DIGIT_BITS : 0) {
#pragma unroll 1
    for (uint32_t tile = 0; tile < p.count; tile += TILE_SCORES) {
      if (!one_tile) load_keys(p, tile, keys);
      if (first_of_thread(tile) >= p.count) break;
      if (shift == FIRST_SHIFT) {
        count_digits<true>(keys, cut, FIRST_SHIFT, s.bins);
      } else {
        count_digits<false>(keys, cut, shift, s.bins);
      }
    }
    __syncthreads();
    narrow(cut, shift, turn, s);
    // All that agree so far are wanted: the lowest key that agrees cuts as the exact one would.
    if (shift == 0 || cut.wanted == cut.within) break;
  }

  uint32_t listed = 0;
  uint32_t ties_seen = 0;
  uint32_t tile = 0;
  if (!one_tile) load_keys(p, tile, keys);
  while (true) {
    uint32_t above = 0;
    uint32_t ties = 0;
#pragma unroll
    for (uint32_t i = 0; i < OWN_SCORES; ++i) {
      above |= static_cast<uint32_t>(keys[i] > cut.key) << i;
      ties |= static_cast<uint32_t>(keys[i] == cut.key) << i;
    }
    if (cut.within > cut.wanted || cut.key == NAN_KEY) {
      ties = first_of(ties, cut.wanted, ties_seen, turn, s.scratch);
    }
    listed = append(above | ties, tile, listed, p.active, turn, s.scratch);
    tile += TILE_SCORES;
    if (tile >= p.count) break;
    load_keys(p, tile, keys);
  }
  if (threadIdx.x == 0) __stcg(p.active_count, listed);
}
