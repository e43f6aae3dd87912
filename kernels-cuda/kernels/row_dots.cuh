// A row of the union of some tokens' lists, against the x of the tokens that list it.
//
//   members   00000001   00000101   00110101   11111111      a byte a row, bit t for token t
//   tokens           1          2          4          8      that the warp takes side by side, the last
//                                                            again for those that are missing
//   row       read once, each weight converted once, used for all of them
//
// A warp's work follows the tokens that list its row, not the size of the batch: rows that one token
// lists cost what they cost alone. For each token and byte of weights, gate_up in bf16 takes half a
// multiply-add and 1 byte of x, in q8_0 0.94 and 1.9. A multiprocessor of an H200 gets 18 bytes of
// weights a clock (4.3 TB/s, 132, 1.8 GHz), and has 4 instructions of a warp and 128 bytes of cache a
// clock (published). What the loops compiled for it can take, in bytes of weights a clock (counted), the
// tokens that list a row being
//
//              1    2    4    8
//   bf16      64   43   26   14     bound by x from the cache: 1024 / (8 + 8 tokens); memory up to 6
//   q8_0      20   17   13    8     by instructions, conversion above all; memory up to 2
//
// Tokens that each list a tenth of the rows by chance are 1.4 a row in a batch of 8. The x of a batch is
// 32 KiB a token at 8192 columns: of 8 tokens, all of a multiprocessor's cache.
#pragma once

#include "row_dot.cuh"

// The x of up to COUNT tokens of a batch.
template <int COUNT>
struct SomeX {
  static constexpr int TOKENS = COUNT;
  const float* x;
  uint32_t first[COUNT];  // of each token's values
  __device__ __forceinline__ const float* of(int t) const { return x + first[t]; }
};

// Gives `put` the sums of each token in `members`, of which there are at most TOKENS.
template <class F, bool WIDE, int TOKENS, int MATRICES, class Put>
__device__ __forceinline__ void dots_of_some(const uint8_t* const (&rows)[MATRICES], const float* x,
                                             uint32_t cols, uint32_t members, Put put) {
  SomeX<TOKENS> some = {x, {}};
  uint32_t tokens[TOKENS];
#pragma unroll
  for (int i = 0; i < TOKENS; ++i) {
    tokens[i] = static_cast<uint32_t>(__ffs(static_cast<int>(members))) - 1;
    some.first[i] = tokens[i] * cols;
    const uint32_t rest = members & (members - 1);
    if (rest != 0) members = rest;
  }
  float sums[TOKENS][MATRICES];
  clear(sums);
  lane_dot<F, WIDE>(rows, some, cols, sums);
  add_lanes(sums);
  // Stand-ins put what is there already.
#pragma unroll
  for (int i = 0; i < TOKENS; ++i) put(tokens[i], sums[i]);
}

// The same for the whole batch side by side, members or not: each token has its place, which takes
// fewer registers than looking for it.
template <class F, int MATRICES, class Put>
__device__ __forceinline__ void dots_of_batch(const uint8_t* const (&rows)[MATRICES], const float* x,
                                              uint32_t cols, uint32_t tokens, uint32_t members,
                                              Put put) {
  SomeX<THRESHER_MAX_BATCH> all = {x, {}};
#pragma unroll
  for (uint32_t t = 0; t < THRESHER_MAX_BATCH; ++t) all.first[t] = min(t, tokens - 1) * cols;
  float sums[THRESHER_MAX_BATCH][MATRICES];
  clear(sums);
  lane_dot<F, true>(rows, all, cols, sums);
  add_lanes(sums);
#pragma unroll
  for (uint32_t t = 0; t < THRESHER_MAX_BATCH; ++t) {
    if ((members >> t & 1) != 0) put(t, sums[t]);
  }
}

// Gives `put` the sums of each token in `members`, of which there is at least one. Where the narrow
// loads are needed the row is read again for each token, from the cache.
template <class F, int MATRICES, class Put>
__device__ __forceinline__ void dots_of_members(const uint8_t* const (&rows)[MATRICES], bool wide,
                                                const float* x, uint32_t cols, uint32_t tokens,
                                                uint32_t members, Put put) {
  if (!wide) {
    for (; members != 0; members &= members - 1) {
      dots_of_some<F, false, 1>(rows, x, cols, members & (0u - members), put);
    }
    return;
  }
  const int count = __popc(members);
  if (count == 1) {
    dots_of_some<F, true, 1>(rows, x, cols, members, put);
  } else if (count == 2) {
    dots_of_some<F, true, 2>(rows, x, cols, members, put);
  } else if (count <= 4) {
    dots_of_some<F, true, 4>(rows, x, cols, members, put);
  } else {
    dots_of_batch<F>(rows, x, cols, tokens, members, put);
  }
}
