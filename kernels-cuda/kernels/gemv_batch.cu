// Row-sparse GEMV of a batch: h[t][j] = W[active[j]] . x[t] for every token t that lists row active[j]
//
//   active     3        17       18       42    ..   the union of the tokens' lists
//   members    t0       t0 t1    t1       t0    ..
//              │        │        │        │
//   warp       0        1        2        3     ..   ───▶  h[t0][0] h[t0][1]     0    h[t0][3] ..
//              └ row 3 of W, as row_dots.cuh draws it          0    h[t1][1] h[t1][2]     0    ..
//
// The grid strides over the list, whose length is read here. A token's h is the same, bit for bit, as
// gemv's.
#include "row_dots.cuh"

template <class F>
__device__ __forceinline__ void gemv_batch(const GemvBatchParams& p) {
  const uint32_t warp = (blockIdx.x * blockDim.x + threadIdx.x) / WARP;
  const uint32_t warps = gridDim.x * blockDim.x / WARP;
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t count = __ldg(p.active_count);
  const bool wide =
      F::wide(p.weights, p.row_bytes) && aligned_to_16(reinterpret_cast<uintptr_t>(p.x));
  for (uint32_t j = warp; j < count; j += warps) {
    const uint32_t members = __ldg(p.members + j);
    const uint8_t* const row[1] = {p.weights + __ldg(p.active + j) * p.row_bytes};
    float* const h = p.h + j;
    if (lane < p.tokens && (members >> lane & 1) == 0) __stcg(h + lane * p.h_stride, 0.f);
    const auto put = [&](uint32_t token, const float (&sum)[1]) {
      if (lane == 0) __stcg(h + token * p.h_stride, sum[0]);
    };
    dots_of_members<F>(row, wide, p.x, p.cols, p.tokens, members, put);
  }
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_batch_f32(const __grid_constant__ GemvBatchParams p) {
  gemv_batch<F32>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_batch_f16(const __grid_constant__ GemvBatchParams p) {
  gemv_batch<F16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_batch_bf16(const __grid_constant__ GemvBatchParams p) {
  gemv_batch<BF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_batch_q8_0(const __grid_constant__ GemvBatchParams p) {
  gemv_batch<Q8_0>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_batch_q4_0(const __grid_constant__ GemvBatchParams p) {
  gemv_batch<Q4_0>(p);
}
