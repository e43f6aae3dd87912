// Neuron-major down: y[c] += sum over j of h[j] * W[active[j]][c]
//
// A block owns 64 columns and walks the whole list, so no two blocks share an output and nothing is
// atomic. Within a block the list is dealt to walkers, each a few lanes that cover the 64 columns:
//
//                      block 0     block 1
//                     ┌─ 64 ─────┬─ 64 ─────┬ ..
//   W[active[0]]      │walker 0  │walker 0  │
//   W[active[1]]      │walker 1  │walker 1  │
//     ..              │  ..      │  ..      │
//   W[active[n]]      │walker 0  │walker 0  │     n walkers in a block
//                     └────┬─────┴──────────┘
//                          ▼ walkers of a warp by shuffle, warps in order through shared memory
//                        y[0..64)
//
// The order of addition: walker w adds positions w, w + n, w + 2n .. in that order; then walkers of
// a warp by butterfly; then warps 0, 1, 2 .. It depends on the list and the format, not on the
// grid, the device or the schedule, so equal inputs give equal bits. To give one column range to
// several blocks, cut the list into slices whose bounds depend on its length alone, let each block
// write its slice's sums, and add the slices in ascending order in a second kernel: fixed again.
#include "formats.cuh"

constexpr uint32_t DOWN_WARPS = THRESHER_DOWN_THREADS / WARP;

// Adds positions first, first + walkers, .. of the list: NEURONS_IN_FLIGHT of them, all asked for before the
// first is used. With TAIL the list may end among them; those past its end read its last row, which
// exists, and count as zero.
template <class F, bool WIDE, bool TAIL>
__device__ __forceinline__ void add_neurons(const DownParams& p, uint32_t first, uint32_t walkers,
                                            uint32_t count, uint32_t column,
                                            float (&sums)[F::COLUMNS]) {
  const uint8_t* rows[F::NEURONS_IN_FLIGHT];
  float h[F::NEURONS_IN_FLIGHT];
#pragma unroll
  for (uint32_t i = 0; i < F::NEURONS_IN_FLIGHT; ++i) {
    const uint32_t j = TAIL ? min(first + i * walkers, count - 1) : first + i * walkers;
    rows[i] = p.weights + __ldg(p.active + j) * p.row_bytes;
    h[i] = __ldg(p.h + j);
  }
  typename F::Chunk chunks[F::NEURONS_IN_FLIGHT];
#pragma unroll
  for (uint32_t i = 0; i < F::NEURONS_IN_FLIGHT; ++i) {
    chunks[i] = F::template load<WIDE>(rows[i] + F::offset(column), column, p.cols - column);
  }
#pragma unroll
  for (uint32_t i = 0; i < F::NEURONS_IN_FLIGHT; ++i) {
    if (TAIL && first + i * walkers >= count) break;
    float weights[F::COLUMNS];
    F::decode(chunks[i], weights);
#pragma unroll
    for (uint32_t k = 0; k < F::COLUMNS; ++k) sums[k] = fmaf(h[i], weights[k], sums[k]);
  }
}

template <class F, bool WIDE>
__device__ __forceinline__ void walk(const DownParams& p, uint32_t walker, uint32_t walkers,
                                     uint32_t column, float (&sums)[F::COLUMNS]) {
  const uint32_t count = __ldg(p.active_count);
  uint32_t first = walker;
  for (; first + (F::NEURONS_IN_FLIGHT - 1) * walkers < count; first += F::NEURONS_IN_FLIGHT * walkers) {
    add_neurons<F, WIDE, false>(p, first, walkers, count, column, sums);
  }
  if (first < count) add_neurons<F, WIDE, true>(p, first, walkers, count, column, sums);
}

template <class F>
__device__ __forceinline__ void down(const DownParams& p,
                                     float (&partial)[DOWN_WARPS][THRESHER_DOWN_COLUMNS]) {
  constexpr uint32_t LANES = THRESHER_DOWN_COLUMNS / F::COLUMNS;
  constexpr uint32_t WALKERS = THRESHER_DOWN_THREADS / LANES;
  const uint32_t lane = threadIdx.x % LANES;
  const uint32_t base = blockIdx.x * THRESHER_DOWN_COLUMNS;
  const uint32_t column = base + lane * F::COLUMNS;

  float sums[F::COLUMNS] = {};
  const uint32_t walker = threadIdx.x / LANES;
  if (column < p.cols) {
    if (F::wide(p.weights, p.row_bytes)) {
      walk<F, true>(p, walker, WALKERS, column, sums);
    } else {
      walk<F, false>(p, walker, WALKERS, column, sums);
    }
  }

#pragma unroll
  for (uint32_t k = 0; k < F::COLUMNS; ++k) {
#pragma unroll
    for (uint32_t offset = LANES; offset < WARP; offset *= 2) {
      sums[k] += __shfl_xor_sync(ALL_LANES, sums[k], offset);
    }
    if (threadIdx.x % WARP < LANES) {
      partial[threadIdx.x / WARP][lane * F::COLUMNS + k] = sums[k];
    }
  }
  __syncthreads();

  if (threadIdx.x < THRESHER_DOWN_COLUMNS && base + threadIdx.x < p.cols) {
    float sum = 0.f;
    for (uint32_t warp = 0; warp < DOWN_WARPS; ++warp) sum += partial[warp][threadIdx.x];
    float* y = p.y + base + threadIdx.x;
    __stcg(y, __ldcg(y) + sum);
  }
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_f32(const __grid_constant__ DownParams p) {
  __shared__ float partial[DOWN_WARPS][THRESHER_DOWN_COLUMNS];
  down<F32>(p, partial);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_f16(const __grid_constant__ DownParams p) {
  __shared__ float partial[DOWN_WARPS][THRESHER_DOWN_COLUMNS];
  down<F16>(p, partial);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_bf16(const __grid_constant__ DownParams p) {
  __shared__ float partial[DOWN_WARPS][THRESHER_DOWN_COLUMNS];
  down<BF16>(p, partial);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_q8_0(const __grid_constant__ DownParams p) {
  __shared__ float partial[DOWN_WARPS][THRESHER_DOWN_COLUMNS];
  down<Q8_0>(p, partial);
}

extern "C" __global__ void __launch_bounds__(THRESHER_DOWN_THREADS, THRESHER_DOWN_BLOCKS_PER_SM)
    down_q4_0(const __grid_constant__ DownParams p) {
  __shared__ float partial[DOWN_WARPS][THRESHER_DOWN_COLUMNS];
  down<Q4_0>(p, partial);
}
