// Gate and up in one pass: h[j] = activation(gate[active[j]] . x) * (up[active[j]] . x)
//
//   active     3             17           ..
//              │             │
//   warp       0             1            ..   ───▶  h[0] h[1] ..
//              ├ gate row 3  ├ gate row 17
//              └ up row 3    └ up row 17
//
// Both rows are in flight together and share each load of x; neither product reaches memory.
#include "row_dot.cuh"

template <class F>
__device__ __forceinline__ void gate_up(const GateUpParams& p) {
  const uint32_t warp = (blockIdx.x * blockDim.x + threadIdx.x) / WARP;
  const uint32_t warps = gridDim.x * blockDim.x / WARP;
  const uint32_t count = __ldg(p.active_count);
  const bool wide = F::wide(p.gate, p.row_bytes) && F::wide(p.up, p.row_bytes) &&
                    aligned_to_16(reinterpret_cast<uintptr_t>(p.x));
  for (uint32_t j = warp; j < count; j += warps) {
    const uint64_t offset = __ldg(p.active + j) * p.row_bytes;
    const uint8_t* const rows[2] = {p.gate + offset, p.up + offset};
    float sums[1][2];
    row_dot<F>(rows, wide, p.x, p.cols, sums);
    if (threadIdx.x % WARP == 0) __stcg(p.h + j, activate(p.activation, sums[0][0]) * sums[0][1]);
  }
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_f32(const __grid_constant__ GateUpParams p) {
  gate_up<F32>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_f16(const __grid_constant__ GateUpParams p) {
  gate_up<F16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_bf16(const __grid_constant__ GateUpParams p) {
  gate_up<BF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_q8_0(const __grid_constant__ GateUpParams p) {
  gate_up<Q8_0>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_q4_0(const __grid_constant__ GateUpParams p) {
  gate_up<Q4_0>(p);
}
