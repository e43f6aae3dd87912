// Row-sparse GEMV: h[j] = W[active[j]] . x
//
//   active   3      17     18      42   ..        h
//            │      │      │       │
//   warp     0      1      2       3 ..   ───▶  h[0] h[1] h[2] h[3] ..
//            └ row 3 of W, as row_dot.cuh draws it
//
// The grid strides over the list, whose length is read here: the host need not know it.
#include "row_dot.cuh"

template <class F>
__device__ __forceinline__ void gemv(const GemvParams& p) {
  const uint32_t warp = (blockIdx.x * blockDim.x + threadIdx.x) / WARP;
  const uint32_t warps = gridDim.x * blockDim.x / WARP;
  const uint32_t count = __ldg(p.active_count);
  const bool wide =
      F::wide(p.weights, p.row_bytes) && aligned_to_16(reinterpret_cast<uintptr_t>(p.x));
  for (uint32_t j = warp; j < count; j += warps) {
    const uint8_t* const row[1] = {p.weights + __ldg(p.active + j) * p.row_bytes};
    float sum[1][1];
    row_dot<F>(row, wide, p.x, p.cols, sum);
    if (threadIdx.x % WARP == 0) __stcg(p.h + j, sum[0][0]);
  }
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_f32(const __grid_constant__ GemvParams p) {
  gemv<F32>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_f16(const __grid_constant__ GemvParams p) {
  gemv<F16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_bf16(const __grid_constant__ GemvParams p) {
  gemv<BF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_q8_0(const __grid_constant__ GemvParams p) {
  gemv<Q8_0>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gemv_q4_0(const __grid_constant__ GemvParams p) {
  gemv<Q4_0>(p);
}
