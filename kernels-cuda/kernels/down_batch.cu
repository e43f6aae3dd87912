// Neuron-major down of a batch: y[t][c] += sum of h[t][j] * W[active[j]][c] over the rows active[j]
// that token t lists
//
// A block owns 64 columns, as down's do, and walks the union of the tokens' lists in tiles of rows. A
// tile passes through shared memory, where each token finds the rows of its own:
//
//                      block 0     block 1
//                     ┌─ 64 ─────┬─ 64 ─────┬ ..
//   W[active[0]]      │          │               tile 1  ─▶ registers of the whole block, asked for
//     ..              │ tile 0   │                          while tile 0 is in use
//   W[active[255]]    │          │               tile 0  ─▶ shared memory
//   W[active[256]]    ├──────────┤
//     ..              │ tile 1   │               own rows of token 0:  0 2 3 7 ..    rank n, n + 1, ..
//                                                own rows of token 1:  1 3 4 ..      rank m, m + 1, ..
//
//   walker w adds a token's own rows of rank w, w + n, w + 2n .. : the rows and the order in which down
//   adds that token's list by itself. The ends are down's too, so y is the same, bit for bit.
//
// A row that a token does not list never meets its h: neither an infinity in the row nor one in h
// reaches the sum.
//
// What a multiprocessor of an H200 needs for a row of a block's 64 columns, in clocks, at 4 instructions
// a clock (published) and the instructions of the loops compiled for it (counted), beside 18 bytes of
// memory a clock (row_dots.cuh):
//
//              memory   a row: 2 tokens, 8 tokens   a pair of a token   a row that all of 8
//                       ask, convert, look for it   and a row it lists  tokens list, with them
//   bf16, f16     7.1            3          5              1.7                    6.5
//   q8_0          3.8            6          8              1.9                    9.1
//
// So bf16 is bound by memory up to 2 pairs a row in a batch of 2 and 1 in a batch of 8, and q8_0 by
// instructions always; it gains over tokens one by one, which take 5 clocks a pair, from 3 or 4 pairs a
// row on (derived, lanes that idle left out). Tokens that each list a tenth of the rows by chance are
// 1.05, 1.2 and 1.4 pairs a row in batches of 2, 4 and 8. In flight: 32 KiB a multiprocessor in f32, f16
// and bf16, 17 in q8_0, 7 in q4_0.
#include "formats.cuh"
#include "pipeline.cuh"

constexpr uint32_t BATCH = THRESHER_MAX_BATCH;
constexpr uint32_t BATCH_WARPS = THRESHER_DOWN_THREADS / WARP;
static_assert(BATCH_WARPS == 2 * BATCH, "two warps a token look for its own rows");
static_assert(THRESHER_DOWN_THREADS == BATCH * THRESHER_DOWN_COLUMNS, "a thread for each sum");

template <class F>
struct Tiles {
  static constexpr uint32_t LANES = THRESHER_DOWN_COLUMNS / F::COLUMNS;
  static constexpr uint32_t WALKERS = THRESHER_DOWN_THREADS / LANES;
  // Weights that take long to convert lie in shared memory as f32, the others as in W.
  static constexpr bool CONVERTED = F::BLOCK > 1;
  // Chunks of a tile that a thread asks for, as far as registers and shared memory go.
  static constexpr uint32_t PASSES = !CONVERTED ? 4 : F::COLUMNS > 4 ? 3 : 8;
  static constexpr uint32_t ROWS = PASSES * WALKERS;
  static constexpr uint32_t HALF = ROWS / 2;
  static constexpr uint32_t BALLOTS = HALF / WARP;
  static constexpr uint32_t QUADS = CONVERTED ? F::COLUMNS / 4 : 1;

  // What a thread has of the next tile, on its way.
  struct Ahead {
    typename F::Chunk chunks[PASSES];
    uint32_t members[BALLOTS];
    float h[BALLOTS];
  };

  struct Own {
    uint32_t quad;  // the first of a row's in a plane
    float h;
  };

  struct Shared {
    union {
      // Quad q of chunk i of thread n in plane q at i * THRESHER_DOWN_THREADS + n: row after row, and
      // neighbouring lanes beside each other.
      uint4 planes[QUADS][ROWS * LANES];
      float partial[BATCH][BATCH_WARPS][THRESHER_DOWN_COLUMNS];
    };
    // Each token's own rows of the tile, those of the tile's second half from HALF on.
    Own own[BATCH][ROWS];
    uint32_t listed[BATCH][2];
    // Own rows of the tiles before.
    uint32_t ranked[BATCH];
  };
  static_assert(sizeof(Shared) <= THRESHER_DOWN_BATCH_SHARED, "what a launch asks for");

  static __device__ __forceinline__ void keep(const typename F::Chunk& chunk, uint32_t at, Shared& s) {
    if constexpr (CONVERTED) {
      float weights[F::COLUMNS];
      F::decode(chunk, weights);
#pragma unroll
      for (uint32_t q = 0; q < QUADS; ++q) {
        s.planes[q][at] = {__float_as_uint(weights[4 * q]), __float_as_uint(weights[4 * q + 1]),
                           __float_as_uint(weights[4 * q + 2]), __float_as_uint(weights[4 * q + 3])};
      }
    } else {
      s.planes[0][at] = chunk;
    }
  }

  static __device__ __forceinline__ void kept(const Shared& s, uint32_t at,
                                              float (&weights)[F::COLUMNS]) {
    if constexpr (CONVERTED) {
#pragma unroll
      for (uint32_t q = 0; q < QUADS; ++q) {
        const uint4 quad = s.planes[q][at];
        weights[4 * q] = __uint_as_float(quad.x);
        weights[4 * q + 1] = __uint_as_float(quad.y);
        weights[4 * q + 2] = __uint_as_float(quad.z);
        weights[4 * q + 3] = __uint_as_float(quad.w);
      }
    } else {
      F::decode(s.planes[0][at], weights);
    }
  }
};

// The token whose own rows a warp looks for, and in which half of a tile.
__device__ __forceinline__ uint32_t searched_token() { return threadIdx.x / WARP % BATCH; }
__device__ __forceinline__ uint32_t searched_half() { return threadIdx.x / WARP / BATCH; }

// The thread's rows of the tile at `base`; past the end of the list its last row, which exists.
template <class F>
__device__ __forceinline__ void ask_for_indices(const DownBatchParams& p, uint32_t base,
                                                uint32_t count,
                                                uint32_t (&rows)[Tiles<F>::PASSES]) {
#pragma unroll
  for (uint32_t i = 0; i < Tiles<F>::PASSES; ++i) {
    const uint32_t j = base + i * Tiles<F>::WALKERS + threadIdx.x / Tiles<F>::LANES;
    rows[i] = __ldg(p.active + min(j, count - 1));
  }
}

template <class F, bool WIDE>
__device__ __forceinline__ void ask_for_tile(const DownBatchParams& p, uint32_t base, uint32_t count,
                                             uint32_t column,
                                             const uint32_t (&rows)[Tiles<F>::PASSES],
                                             typename Tiles<F>::Ahead& ahead) {
  using T = Tiles<F>;
  if (column < p.cols) {
#pragma unroll
    for (uint32_t i = 0; i < T::PASSES; ++i) {
      const uint8_t* const row = p.weights + rows[i] * p.row_bytes;
      ahead.chunks[i] = F::template load<WIDE>(row + F::offset(column), column, p.cols - column);
    }
  }
  const uint32_t token = searched_token();
  if (token >= p.tokens) return;
  const float* const h = p.h + token * p.h_stride;
#pragma unroll
  for (uint32_t i = 0; i < T::BALLOTS; ++i) {
    const uint32_t j = base + searched_half() * T::HALF + i * WARP + threadIdx.x % WARP;
    ahead.members[i] = j < count ? __ldg(p.members + j) : 0u;
    ahead.h[i] = j < count ? __ldg(h + j) : 0.f;
  }
}

template <class F>
__device__ __forceinline__ void store_tile(const typename Tiles<F>::Ahead& ahead, uint32_t tokens,
                                           uint32_t ranked, typename Tiles<F>::Shared& s) {
  using T = Tiles<F>;
#pragma unroll
  for (uint32_t i = 0; i < T::PASSES; ++i) {
    T::keep(ahead.chunks[i], i * THRESHER_DOWN_THREADS + threadIdx.x, s);
  }
  const uint32_t token = searched_token();
  if (token >= tokens) return;
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t first = searched_half() * T::HALF;
  uint32_t listed = 0;
#pragma unroll
  for (uint32_t i = 0; i < T::BALLOTS; ++i) {
    const bool own = (ahead.members[i] >> token & 1) != 0;
    const uint32_t lanes = __ballot_sync(ALL_LANES, own);
    if (own) {
      const uint32_t at = first + listed + __popc(lanes & ((1u << lane) - 1));
      s.own[token][at] = {(first + i * WARP + lane) * T::LANES, ahead.h[i]};
    }
    listed += __popc(lanes);
  }
  if (lane == 0) {
    s.listed[token][searched_half()] = listed;
    if (searched_half() == 0) s.ranked[token] = ranked;
  }
}

// Whether all tokens list all of a tile's rows, at the same ranks but for whole rounds of walkers.
template <class F>
__device__ __forceinline__ bool is_shared(const typename Tiles<F>::Shared& s, uint32_t tokens,
                                          uint32_t rows) {
  const uint32_t token = min(threadIdx.x % WARP, tokens - 1);
  const bool other = s.listed[token][0] + s.listed[token][1] != rows ||
                     (s.ranked[token] - s.ranked[0]) % Tiles<F>::WALKERS != 0;
  return __ballot_sync(ALL_LANES, other) == 0;
}

template <class F>
__device__ __forceinline__ void add_shared_tile(const typename Tiles<F>::Shared& s, uint32_t tokens,
                                                uint32_t rows, float (&sums)[BATCH][F::COLUMNS]) {
  using T = Tiles<F>;
  const uint32_t walker = threadIdx.x / T::LANES;
#pragma unroll 1
  for (uint32_t i = (walker - s.ranked[0]) % T::WALKERS; i < rows; i += T::WALKERS) {
    float weights[F::COLUMNS];
    T::kept(s, i * T::LANES + threadIdx.x % T::LANES, weights);
#pragma unroll
    for (uint32_t t = 0; t < BATCH; ++t) {
      if (t >= tokens) break;
      const float h = s.own[t][i].h;
#pragma unroll
      for (uint32_t k = 0; k < F::COLUMNS; ++k) sums[t][k] = fmaf(h, weights[k], sums[t][k]);
    }
  }
}

template <class F>
__device__ __forceinline__ void add_tile(const typename Tiles<F>::Shared& s, uint32_t tokens,
                                         float (&sums)[BATCH][F::COLUMNS]) {
  using T = Tiles<F>;
  const uint32_t walker = threadIdx.x / T::LANES;
#pragma unroll
  for (uint32_t t = 0; t < BATCH; ++t) {
    if (t >= tokens) break;
    const uint32_t in_first = s.listed[t][0];
    const uint32_t in_tile = in_first + s.listed[t][1];
#pragma unroll 1
    for (uint32_t i = (walker - s.ranked[t]) % T::WALKERS; i < in_tile; i += T::WALKERS) {
      const typename T::Own own = s.own[t][i < in_first ? i : i - in_first + T::HALF];
      float weights[F::COLUMNS];
      T::kept(s, own.quad + threadIdx.x % T::LANES, weights);
#pragma unroll
      for (uint32_t k = 0; k < F::COLUMNS; ++k) sums[t][k] = fmaf(own.h, weights[k], sums[t][k]);
    }
  }
}

template <class F, bool WIDE>
__device__ __forceinline__ void add_tiles(const DownBatchParams& p, uint32_t column,
                                          typename Tiles<F>::Shared& s,
                                          float (&sums)[BATCH][F::COLUMNS]) {
  using T = Tiles<F>;
  const uint32_t count = __ldg(p.active_count);
  if (count == 0) return;
  typename T::Ahead ahead = {};
  uint32_t rows[T::PASSES];
  // Indices are a tile ahead of the rows that they name: no load waits for one just asked for.
  ask_for_indices<F>(p, 0, count, rows);
  ask_for_tile<F, WIDE>(p, 0, count, column, rows, ahead);
  ask_for_indices<F>(p, T::ROWS, count, rows);
  uint32_t ranked = 0;
#pragma unroll 1
  for (uint32_t base = 0; base < count; base += T::ROWS) {
    store_tile<F>(ahead, p.tokens, ranked, s);
    if (base + T::ROWS < count) {
      ask_for_tile<F, WIDE>(p, base + T::ROWS, count, column, rows, ahead);
      ask_for_indices<F>(p, base + 2 * T::ROWS, count, rows);
    }
    __syncthreads();
    const uint32_t searched = min(searched_token(), p.tokens - 1);
    ranked += s.listed[searched][0] + s.listed[searched][1];
    const uint32_t in_tile = min(T::ROWS, count - base);
    if (is_shared<F>(s, p.tokens, in_tile)) {
      add_shared_tile<F>(s, p.tokens, in_tile, sums);
    } else {
      add_tile<F>(s, p.tokens, sums);
    }
    __syncthreads();
  }
}

template <class F>
__device__ __forceinline__ void down_batch(const DownBatchParams& p) {
  using T = Tiles<F>;
  typename T::Shared& s = *reinterpret_cast<typename T::Shared*>(dynamic_shared());
  const uint32_t lane = threadIdx.x % T::LANES;
  const uint32_t base = blockIdx.x * THRESHER_DOWN_COLUMNS;
  const uint32_t column = base + lane * F::COLUMNS;

  float sums[BATCH][F::COLUMNS] = {};
  if (F::wide(p.weights, p.row_bytes)) {
    add_tiles<F, true>(p, column, s, sums);
  } else {
    add_tiles<F, false>(p, column, s, sums);
  }

#pragma unroll
  for (uint32_t t = 0; t < BATCH; ++t) {
#pragma unroll
    for (uint32_t k = 0; k < F::COLUMNS; ++k) {
#pragma unroll
      for (uint32_t offset = T::LANES; offset < WARP; offset *= 2) {
        sums[t][k] += __shfl_xor_sync(ALL_LANES, sums[t][k], offset);
      }
      if (threadIdx.x % WARP < T::LANES) {
        s.partial[t][threadIdx.x / WARP][lane * F::COLUMNS + k] = sums[t][k];
      }
    }
  }
  __syncthreads();

  const uint32_t token = threadIdx.x / THRESHER_DOWN_COLUMNS;
  const uint32_t own = threadIdx.x % THRESHER_DOWN_COLUMNS;
  if (token < p.tokens && base + own < p.cols) {
    float sum = 0.f;
    for (uint32_t warp = 0; warp < BATCH_WARPS; ++warp) sum += s.partial[token][warp][own];
    float* y = p.y + static_cast<uint64_t>(token) * p.cols + base + own;
    __stcg(y, __ldcg(y) + sum);
  }
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_batch_f32(const __grid_constant__ DownBatchParams p) {
  down_batch<F32>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_batch_f16(const __grid_constant__ DownBatchParams p) {
  down_batch<F16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_batch_bf16(const __grid_constant__ DownBatchParams p) {
  down_batch<BF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_batch_q8_0(const __grid_constant__ DownBatchParams p) {
  down_batch<Q8_0>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_batch_q4_0(const __grid_constant__ DownBatchParams p) {
  down_batch<Q4_0>(p);
}
