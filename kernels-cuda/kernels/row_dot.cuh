// Dot products of the x of a token, or of each of some, with a row of each of MATRICES matrices, by one
// warp.
//
//         ├──── span: 32 chunks ────┼── .. IN_FLIGHT spans are asked for before the first is used
//   row   │lane 0│lane 1│..│lane 31 │lane 0│lane 1│..│lane 31│lane 0 ..
//   x     │  the same columns, through the cache, token by token, once for all the matrices
//
// In flight per warp: f32, f16 and bf16, 4 spans of 512 bytes a matrix; q8_0, 8 spans of 136; q4_0,
// 8 spans of 144. For gate_up in f16 that is 4 KiB a warp, 64 KiB a multiprocessor. Keeping 4.8 TB/s
// (H200, published) busy over 132 multiprocessors at a latency of 0.7 us (assumed) takes 25 KiB each
// (derived).
//
// A lane adds its chunks left to right, then the warp adds its lanes: the order depends on `cols`
// and the format alone, never on the grid, on alignment or on the tokens beside.
#pragma once

#include "formats.cuh"

template <bool WIDE, uint32_t COLUMNS>
__device__ __forceinline__ void load_x(const float* at, uint32_t present, float (&x)[COLUMNS]) {
#pragma unroll
  for (uint32_t i = 0; i < COLUMNS; i += 4) {
    if (WIDE) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(at + i));
      x[i] = four.x;
      x[i + 1] = four.y;
      x[i + 2] = four.z;
      x[i + 3] = four.w;
    } else {
#pragma unroll
      for (uint32_t k = i; k < i + 4; ++k) x[k] = present > k ? __ldg(at + k) : 0.f;
    }
  }
}

// The x of one token.
struct OneX {
  static constexpr int TOKENS = 1;
  const float* x;
  __device__ __forceinline__ const float* of(int) const { return x; }
};

// One lane's share of a row: where it stands.
struct Cursor {
  uint32_t column;
  uint64_t bytes;  // from the start of the row
};

// Adds the lane's chunks in the next SPANS spans and moves on. Columns past `present` count as zero.
template <class F, bool WIDE, uint32_t SPANS, int MATRICES, class X>
__device__ __forceinline__ void add_spans(const uint8_t* const (&rows)[MATRICES], const X& x,
                                          uint32_t present, Cursor& cursor,
                                          float (&sums)[X::TOKENS][MATRICES]) {
  constexpr uint32_t SPAN = WARP * F::COLUMNS;
  typename F::Chunk chunks[SPANS][MATRICES];
#pragma unroll
  for (uint32_t i = 0; i < SPANS; ++i) {
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) {
      chunks[i][m] =
          F::template load<WIDE>(rows[m] + cursor.bytes + F::offset(i * SPAN), cursor.column, present);
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < SPANS; ++i) {
    float weights[MATRICES][F::COLUMNS];
#pragma unroll
    for (int t = 0; t < X::TOKENS; ++t) {
      float values[F::COLUMNS];
      load_x<WIDE>(x.of(t) + cursor.column + i * SPAN, present, values);
#pragma unroll
      for (int m = 0; m < MATRICES; ++m) {
        if (t == 0) F::decode(chunks[i][m], weights[m]);
#pragma unroll
        for (uint32_t k = 0; k < F::COLUMNS; ++k) {
          sums[t][m] = fmaf(weights[m][k], values[k], sums[t][m]);
        }
      }
    }
  }
  cursor.column += SPANS * SPAN;
  cursor.bytes += F::offset(SPANS * SPAN);
}

// Columns of a lane in flight times tokens at most: of the weights' registers, x takes its share, and many
// tokens are busy with what has come.
constexpr uint32_t MOST_COLUMNS = 64;

template <class F, bool WIDE, int MATRICES, class X>
__device__ __forceinline__ void lane_dot(const uint8_t* const (&rows)[MATRICES], const X& x,
                                         uint32_t cols, float (&sums)[X::TOKENS][MATRICES]) {
  constexpr uint32_t MOST = MOST_COLUMNS / X::TOKENS / F::COLUMNS;
  constexpr uint32_t IN_FLIGHT = F::IN_FLIGHT < MOST ? F::IN_FLIGHT : MOST;
  constexpr uint32_t LAST_CHUNK = (IN_FLIGHT - 1) * WARP * F::COLUMNS;
  const uint32_t first = threadIdx.x % WARP * F::COLUMNS;
  Cursor cursor = {first, F::offset(first)};
  while (IN_FLIGHT > 1 && cursor.column + LAST_CHUNK + F::COLUMNS <= cols) {
    add_spans<F, WIDE, IN_FLIGHT>(rows, x, F::COLUMNS, cursor, sums);
  }
  while (cursor.column < cols) {
    add_spans<F, WIDE, 1>(rows, x, cols - cursor.column, cursor, sums);
  }
}

template <int TOKENS, int MATRICES>
__device__ __forceinline__ void clear(float (&sums)[TOKENS][MATRICES]) {
#pragma unroll
  for (int t = 0; t < TOKENS; ++t) {
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) sums[t][m] = 0.f;
  }
}

template <int TOKENS, int MATRICES>
__device__ __forceinline__ void add_lanes(float (&sums)[TOKENS][MATRICES]) {
#pragma unroll
  for (int t = 0; t < TOKENS; ++t) {
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) sums[t][m] = warp_sum(sums[t][m]);
  }
}

// One token. Every lane of the warp must call this; every lane gets the sums.
template <class F, int MATRICES>
__device__ __forceinline__ void row_dot(const uint8_t* const (&rows)[MATRICES], bool wide,
                                        const float* x, uint32_t cols, float (&sums)[1][MATRICES]) {
  clear(sums);
  if (wide) {
    lane_dot<F, true>(rows, OneX{x}, cols, sums);
  } else {
    lane_dot<F, false>(rows, OneX{x}, cols, sums);
  }
  add_lanes(sums);
}
