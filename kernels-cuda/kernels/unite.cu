// The union of the lists of some tokens, and of each row the tokens that list it.
//
//   list of token 0     3     17    42 ..    ─┐  a bit each       a byte a row          active
//   list of token 1        8  17 ..           ├──────────▶  .. │00000001│ .. │00000010│  ──▶  3 8 17 42 ..
//     ..                                     ─┘                row 3        row 8       members
//
// One block. A tile of 32768 bytes lies in shared memory, four warps bring each token's list. Setting a
// bit is adding it, as nothing else has it: an integer sum, the same in any order, for which the tokens
// need not wait for each other. A lane then reads the bytes of its rows as select_block.cuh reads scores,
// and writes its rows where a selection would list them.
#include "select_block.cuh"

namespace unite {

using select_block::LANE_SCORES;
using select_block::SLOT_SCORES;
using select_block::SLOTS;
constexpr uint32_t TILE_ROWS = select_block::TILE_SCORES;
constexpr uint32_t LIST_WARPS = select_block::WARPS / THRESHER_MAX_BATCH;
constexpr uint32_t LIST_IN_FLIGHT = 4;

struct Shared {
  select_block::Totals totals;
  uint32_t members[TILE_ROWS / 4];
};

// Where in an ascending list the first index from `bound` on is, at `from` or after. The warp looks at
// 32 places at a time.
__device__ __forceinline__ uint32_t first_at_least(const uint32_t* list, uint32_t from, uint32_t end,
                                                   uint64_t bound) {
  while (from < end) {
    const uint32_t step = (end - from - 1) / WARP + 1;
    const uint64_t at = from + static_cast<uint64_t>(threadIdx.x % WARP) * step;
    const bool below = at < end && __ldg(list + at) < bound;
    const uint32_t lanes_below = __popc(__ballot_sync(ALL_LANES, below));
    if (lanes_below == 0) break;
    // The last place below is no answer, the next place looked at may be.
    const uint64_t next = from + static_cast<uint64_t>(lanes_below) * step;
    if (next < end) end = static_cast<uint32_t>(next);
    from += (lanes_below - 1) * step + 1;
  }
  return from;
}

// Adds the bits of list[from .. end), which are of rows of the tile, by LIST_WARPS warps.
__device__ __forceinline__ void add_members(const uint32_t* list, uint32_t from, uint32_t end,
                                            uint32_t tile, uint32_t token, Shared& s) {
  constexpr uint32_t STRIDE = LIST_WARPS * WARP;
  for (uint64_t first = from + threadIdx.x % STRIDE; first < end; first += LIST_IN_FLIGHT * STRIDE) {
    uint32_t rows[LIST_IN_FLIGHT];
#pragma unroll
    for (uint32_t i = 0; i < LIST_IN_FLIGHT; ++i) {
      rows[i] = first + i * STRIDE < end ? __ldg(list + first + i * STRIDE) - tile : TILE_ROWS;
    }
#pragma unroll
    for (uint32_t i = 0; i < LIST_IN_FLIGHT; ++i) {
      if (rows[i] < TILE_ROWS) atomicAdd(&s.members[rows[i] / 4], 1u << (rows[i] % 4 * 8 + token));
    }
  }
}

// Writes the rows of the tile that have members, and the members, from place `listed` on; how many are
// listed then. Leaves the thread's bytes zero.
__device__ __forceinline__ uint32_t list_members(const UniteParams& p, uint32_t tile, uint32_t listed,
                                                 uint32_t& turn, Shared& s) {
  // As of a tile's scores.
  const uint32_t first = select_block::part_of(TILE_ROWS, 0).first;
  uint32_t words[SLOTS];
  uint32_t bits = 0;
#pragma unroll
  for (uint32_t slot = 0; slot < SLOTS; ++slot) {
    uint32_t& word = s.members[(first + slot * SLOT_SCORES) / 4];
    words[slot] = word;
    word = 0;
#pragma unroll
    for (uint32_t j = 0; j < LANE_SCORES; ++j) {
      const bool any = (words[slot] >> (8 * j) & 0xffu) != 0;
      bits |= static_cast<uint32_t>(any) << (slot * LANE_SCORES + j);
    }
  }
  const select_block::Places place = select_block::places(bits);
  const select_block::BlockSum sum = select_block::sum_over_warps(place.all, turn, s.totals);
#pragma unroll
  for (uint32_t slot = 0; slot < SLOTS; ++slot) {
    uint32_t at = listed + sum.before + place.of_slot[slot];
#pragma unroll
    for (uint32_t j = 0; j < LANE_SCORES; ++j) {
      const uint32_t tokens = words[slot] >> (8 * j) & 0xffu;
      if (tokens != 0) {
        __stcg(p.active + at, tile + first + slot * SLOT_SCORES + j);
        __stcg(p.members + at, static_cast<uint8_t>(tokens));
        ++at;
      }
    }
  }
  return listed + sum.all;
}

__device__ __forceinline__ void run(const UniteParams& p, Shared& s) {
  for (uint32_t i = threadIdx.x; i < TILE_ROWS / 4; i += THRESHER_SELECT_THREADS) s.members[i] = 0;
  const uint32_t token = threadIdx.x / WARP / LIST_WARPS;
  const bool has_list = token < p.tokens;
  const uint32_t* const list = has_list ? p.lists[token] : nullptr;
  const uint32_t count = has_list ? __ldg(p.counts[token]) : 0;
  uint32_t from = 0;
  uint32_t listed = 0;
  uint32_t turn = 0;
  for (uint64_t tile = 0; tile < p.neurons; tile += TILE_ROWS) {
    const uint64_t next = tile + TILE_ROWS;
    const uint32_t end = next < p.neurons ? first_at_least(list, from, count, next) : count;
    __syncthreads();
    add_members(list, from, end, static_cast<uint32_t>(tile), token, s);
    from = end;
    __syncthreads();
    listed = list_members(p, static_cast<uint32_t>(tile), listed, turn, s);
  }
  if (threadIdx.x == 0) __stcg(p.active_count, listed);
}

}  // namespace unite

extern "C" __global__ void __launch_bounds__(THRESHER_SELECT_THREADS)
    unite_u32(const __grid_constant__ UniteParams p) {
  __shared__ unite::Shared shared;
  unite::run(p, shared);
}
