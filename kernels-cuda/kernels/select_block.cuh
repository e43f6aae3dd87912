// Selection by one block of 32 warps, so that no count travels between blocks: for GPUs before Hopper.
//
// The block takes tiles of up to 32768 scores. Each warp owns neighbours of a tile, eight slots of 128
// or, where all scores are one tile, as many as give every warp its share; each lane four of each slot:
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
//   top-k before that           32 shared atomics; then once or twice 32 tests and up to 32 shared
//                               atomics; each time 13 shuffles, 3 barriers
#pragma once

#include "device.cuh"

namespace select_block {

constexpr uint32_t THREADS = THRESHER_SELECT_THREADS;
constexpr uint32_t WARPS = THREADS / WARP;
constexpr uint32_t SLOTS = 8;
constexpr uint32_t LANE_SCORES = 4;  // neighbours that a lane takes of each slot
constexpr uint32_t SLOT_SCORES = WARP * LANE_SCORES;
constexpr uint32_t TILE_SCORES = WARPS * SLOTS * SLOT_SCORES;
constexpr uint32_t OWN_SCORES = SLOTS * LANE_SCORES;
static_assert(OWN_SCORES == 32, "a bit for each score of a lane");
static_assert(WARPS == WARP, "a lane for each warp's total");

// Totals of the warps, in turns, so that one sum can start while another is still being read.
using Totals = uint32_t[2][WARPS];

struct Scratch {
  Totals totals;
  // Indices within the warp's scores, of half its slots.
  uint16_t chosen[WARPS][SLOTS / 2 * SLOT_SCORES];
};

// A lane's scores of a tile: score j of a slot is index first + SLOT_SCORES * slot + j.
struct Part {
  uint32_t slots, first;
};

__device__ __forceinline__ Part part_of(uint32_t count, uint32_t tile) {
  constexpr uint32_t WARPS_SLOT = WARPS * SLOT_SCORES;
  const uint32_t slots = count >= TILE_SCORES ? SLOTS : (count + WARPS_SLOT - 1) / WARPS_SLOT;
  return {slots, tile + threadIdx.x / WARP * slots * SLOT_SCORES + threadIdx.x % WARP * LANE_SCORES};
}

// The lane's scores, NaN for those past the end and in slots that it has not.
__device__ __forceinline__ void load_scores(const float* scores, uint32_t count, const Part& part,
                                            float (&own)[OWN_SCORES]) {
  const uint32_t present = part.first < count ? count - part.first : 0;
  scores += part.first;
#pragma unroll
  for (uint32_t i = 0; i < OWN_SCORES; ++i) own[i] = __uint_as_float(0x7fffffffu);
  if (aligned_to_16(reinterpret_cast<uintptr_t>(scores)) && count % LANE_SCORES == 0) {
#pragma unroll
    for (uint32_t slot = 0; slot < SLOTS; ++slot) {
      if (slot < part.slots && slot * SLOT_SCORES < present) {
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
      if (i / LANE_SCORES < part.slots && offset < present) own[i] = __ldg(scores + offset);
    }
  }
}

struct BlockSum {
  uint32_t before;  // over the warps before this one
  uint32_t all;
};

// Adds up a total of each warp. `turn` must alternate from call to call: the totals of one call may
// be read until the barrier of the next.
__device__ __forceinline__ BlockSum sum_over_warps(uint32_t warp_total, uint32_t& turn,
                                                   Totals& both) {
  uint32_t* const totals = both[turn];
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
__device__ __forceinline__ uint32_t append(uint32_t bits, const Part& part, uint32_t listed,
                                           uint32_t* list, uint32_t& turn, Scratch& scratch) {
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t warp_first = part.first - lane * LANE_SCORES;
  const Places place = places(bits);
  const BlockSum sum = sum_over_warps(place.all, turn, scratch.totals);
  uint16_t* const chosen = scratch.chosen[threadIdx.x / WARP];
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t start = half == 0 ? 0 : place.first_half;
    const uint32_t end = half == 0 ? place.first_half : place.all;
#pragma unroll
    for (uint32_t i = 0; i < SLOTS / 2; ++i) {
      const uint32_t slot = half * (SLOTS / 2) + i;
      uint16_t* at = chosen + (place.of_slot[slot] - start);
#pragma unroll
      for (uint32_t j = 0; j < LANE_SCORES; ++j) {
        if (bits >> (slot * LANE_SCORES + j) & 1) {
          *at = static_cast<uint16_t>(slot * SLOT_SCORES + lane * LANE_SCORES + j);
          ++at;
        }
      }
    }
    __syncwarp();
    uint32_t* const out = list + listed + sum.before + start;
#pragma unroll 1
    for (uint32_t i = lane; i < end - start; i += WARP) __stcg(out + i, warp_first + chosen[i]);
    __syncwarp();
  }
  return listed + sum.all;
}

// Bit i: whether own[i] >= least. Sums of powers of two below 2^16 are exact in f32, and do not wait
// for the units that compare.
__device__ __forceinline__ uint32_t reaching(const float (&own)[OWN_SCORES], float least) {
  float half[2] = {0.f, 0.f};
#pragma unroll
  for (uint32_t i = 0; i < OWN_SCORES; ++i) {
    const float power = static_cast<float>(1u << i % 16);
    half[i / 16] = fmaf(own[i] >= least ? 1.f : 0.f, power, half[i / 16]);
  }
  return static_cast<uint32_t>(half[0]) | static_cast<uint32_t>(half[1]) << 16;
}

__device__ __forceinline__ void threshold(const SelectThresholdParams& p, Scratch& scratch) {
  const float threshold = __ldg(p.threshold);
  uint32_t listed = 0;
  uint32_t turn = 0;
  for (uint32_t tile = 0; tile < p.count; tile += TILE_SCORES) {
    const Part part = part_of(p.count, tile);
    float own[OWN_SCORES];
    load_scores(p.scores, p.count, part, own);
    listed = append(reaching(own, threshold), part, listed, p.active, turn, scratch);
  }
  if (threadIdx.x == 0) __stcg(p.active_count, listed);
}

// Top-k is a radix selection from the highest digit down: count the digits of the scores that agree
// with the cut so far, from the top to the bin in which the k-th largest lies. Of scores that are
// spread out, 22 bits leave the k-th alone in its bin, and the last digit is not looked at.
//
//   bits of a score  │ 11 bits │ 11 bits │ 10 bits │
//   shift              21        10        0
//
// The bits of a float are counted as they are; their order is known to whoever looks for the bin:
//
//   first digit, from above   0x3fc (+inf) .. 0x000 │ 0x400 .. 0x7fc (-inf) │ NaNs: 0x7fe 0x7ff 0x3ff 0x3fe
//   later ones                a positive cut: from the highest bin down; a negative one: from the lowest up
constexpr uint32_t DIGIT_BITS = 11;
constexpr uint32_t BINS = 1u << DIGIT_BITS;
constexpr uint32_t FIRST_SHIFT = 32 - DIGIT_BITS;
constexpr uint32_t SECOND_SHIFT = FIRST_SHIFT - DIGIT_BITS;
static_assert(BINS == 2 * THREADS, "two bins for each thread");
// The first digit of a cut among NaNs, and the place, counted from above, where bins of NaNs begin. An
// addition has made every NaN quiet: the others' bins, 0x3fd and 0x7fd, are empty.
constexpr uint32_t NAN_DIGIT = 0x3ff;
constexpr uint32_t FIRST_NAN = BINS - 4;
constexpr uint32_t MINUS_INFINITY = 0xff800000u;

struct TopKShared {
  Scratch scratch;
  uint32_t bins[BINS];
  // What the one thread that has the bin tells the others.
  uint32_t digit, above, within;
};

// The cut as far as it is known: its bits, those of `unknown` zero; and how many of the scores that
// agree with it are wanted, out of how many.
struct Cut {
  uint32_t bits, unknown;
  uint32_t wanted, within;
};

// The bin that stands at a place counted from above.
template <bool FIRST>
__device__ __forceinline__ uint32_t bin_at(uint32_t place, bool negative) {
  if (!FIRST) return negative ? place : BINS - 1 - place;
  const uint32_t turned = (place + 2) % BINS;
  return turned < BINS / 2 ? BINS / 2 - 1 - turned : turned;
}

// Finds the digit at `shift` of the cut from the counts in the bins, and clears them.
template <bool FIRST>
__device__ __forceinline__ void narrow(Cut& cut, uint32_t shift, uint32_t& turn, TopKShared& s) {
  const bool negative = cut.bits >> 31;
  const uint32_t place = 2 * threadIdx.x;
  const uint32_t high = bin_at<FIRST>(place, negative);
  const uint32_t low = bin_at<FIRST>(place + 1, negative);
  const uint32_t upper = s.bins[high];
  const uint32_t lower = s.bins[low];
  s.bins[high] = 0;
  s.bins[low] = 0;
  const uint32_t sum = sum_to_lane(upper + lower);
  const uint32_t warp_total = __shfl_sync(ALL_LANES, sum, WARP - 1);
  const uint32_t above = sum_over_warps(warp_total, turn, s.scratch.totals).before + sum - upper - lower;
  if (FIRST && place >= FIRST_NAN) {
    // NaNs are all equal, whatever their bins.
    if (place == FIRST_NAN && above < cut.wanted) {
      s.digit = NAN_DIGIT;
      s.above = above;
      s.within = 0;
    }
  } else if (above < cut.wanted && cut.wanted <= above + upper + lower) {
    const bool in_upper = cut.wanted <= above + upper;
    s.digit = in_upper ? high : low;
    s.above = in_upper ? above : above + upper;
    s.within = in_upper ? upper : lower;
  }
  __syncthreads();
  cut.bits |= s.digit << shift;
  cut.unknown = (1u << shift) - 1;
  cut.wanted -= s.above;
  cut.within = s.within;
}

// The set bits that are among the first `wanted` of the block. Every thread must call this.
__device__ __forceinline__ uint32_t first_of(uint32_t bits, uint32_t wanted, uint32_t& seen,
                                             uint32_t& turn, Scratch& scratch) {
  const Places place = places(bits);
  const BlockSum sum = sum_over_warps(place.all, turn, scratch.totals);
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

// Scores of a tile with zeros of one sign and quiet NaNs.
__device__ __forceinline__ void load_for_bits(const SelectTopKParams& p, const Part& part,
                                              float (&own)[OWN_SCORES]) {
  load_scores(p.scores, p.count, part, own);
#pragma unroll
  for (uint32_t i = 0; i < OWN_SCORES; ++i) own[i] += 0.f;
}

// Scores past the end are NaNs to load_scores, counted or not. They are below all scores but NaNs,
// which they follow: as k is at most `count`, none is among the first ties.
__device__ __forceinline__ void top_k(const SelectTopKParams& p, TopKShared& s) {
  const uint32_t k = min(__ldg(p.k), p.count);
  // Scores of one tile stay in registers from pass to pass; more are read again.
  const bool one_tile = p.count <= TILE_SCORES;
  float own[OWN_SCORES];
  Part part = part_of(p.count, 0);
  load_for_bits(p, part, own);
  s.bins[threadIdx.x] = 0;
  s.bins[threadIdx.x + THREADS] = 0;
  __syncthreads();
  if (k == 0) {
    if (threadIdx.x == 0) __stcg(p.active_count, 0u);
    return;
  }

#pragma unroll 1
  for (uint32_t tile = 0;;) {
#pragma unroll
    for (uint32_t i = 0; i < OWN_SCORES; ++i) {
      if (i / LANE_SCORES < part.slots) {
        atomicAdd(&s.bins[__float_as_uint(own[i]) >> FIRST_SHIFT], 1u);
      }
    }
    tile += TILE_SCORES;
    if (tile >= p.count) break;
    part = part_of(p.count, tile);
    load_for_bits(p, part, own);
  }
  __syncthreads();
  uint32_t turn = 0;
  Cut cut = {0, 0, k, p.count};
  narrow<true>(cut, FIRST_SHIFT, turn, s);
  const bool is_nan = cut.bits == NAN_DIGIT << FIRST_SHIFT;

  // Until all that agree so far are wanted: they are as good as ties with the exact cut.
  uint32_t shift = FIRST_SHIFT;
#pragma unroll 1
  while (!is_nan && shift != 0 && cut.wanted != cut.within) {
    shift = shift == FIRST_SHIFT ? SECOND_SHIFT : 0;
#pragma unroll 1
    for (uint32_t tile = 0; tile < p.count; tile += TILE_SCORES) {
      if (!one_tile) {
        part = part_of(p.count, tile);
        load_for_bits(p, part, own);
      }
#pragma unroll
      for (uint32_t i = 0; i < OWN_SCORES; ++i) {
        const uint32_t differs = __float_as_uint(own[i]) ^ cut.bits;
        if (differs <= cut.unknown) atomicAdd(&s.bins[differs >> shift], 1u);
      }
    }
    __syncthreads();
    narrow<false>(cut, shift, turn, s);
  }

  // The lowest score that agrees with the cut as far as it is known.
  const uint32_t lowest_bits =
      is_nan ? MINUS_INFINITY : cut.bits >> 31 ? min(cut.bits | cut.unknown, MINUS_INFINITY) : cut.bits;
  const float lowest = __uint_as_float(lowest_bits);
  uint32_t listed = 0;
  uint32_t ties_seen = 0;
  uint32_t tile = 0;
  if (!one_tile) {
    part = part_of(p.count, 0);
    load_scores(p.scores, p.count, part, own);
  }
  while (true) {
    uint32_t bits = reaching(own, lowest);
    if (cut.wanted != cut.within) {
      uint32_t ties = 0;
#pragma unroll
      for (uint32_t i = 0; i < OWN_SCORES; ++i) {
        ties |= static_cast<uint32_t>(is_nan ? own[i] != own[i] : own[i] == lowest) << i;
      }
      // Slots that the lane has not are NaNs out of order.
      if (part.slots < SLOTS) ties &= (1u << part.slots * LANE_SCORES) - 1;
      bits = (bits & ~ties) | first_of(ties, cut.wanted, ties_seen, turn, s.scratch);
    }
    listed = append(bits, part, listed, p.active, turn, s.scratch);
    tile += TILE_SCORES;
    if (tile >= p.count) break;
    part = part_of(p.count, tile);
    load_scores(p.scores, p.count, part, own);
  }
  if (threadIdx.x == 0) __stcg(p.active_count, listed);
}

}  // namespace select_block
