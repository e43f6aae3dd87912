// Gate and up of a batch: for every token t that lists the row active[j]
//
//   h[t][j] = activation(gate[active[j]] . x[t]) * (up[active[j]] . x[t])
//
//   active     3             17            ..   the union of the tokens' lists
//   members    t0    t2         t1         ..
//              │             │
//   warp       0             1             ..   ───▶  h[t0][0]          0 ..
//              ├ gate row 3  ├ gate row 17                  0    h[t1][1] ..
//              └ up row 3    └ up row 17           h[t2][0]          0 ..
//
// Rows and sums as row_dots.cuh draws them: a token's h is the same, bit for bit, as gate_up's.
#include "row_dots.cuh"

template <class F>
__device__ __forceinline__ void gate_up_batch(const GateUpBatchParams& p) {
  const uint32_t warp = (blockIdx.x * blockDim.x + threadIdx.x) / WARP;
  const uint32_t warps = gridDim.x * blockDim.x / WARP;
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t count = __ldg(p.active_count);
  const bool wide = F::wide(p.gate, p.row_bytes) && F::wide(p.up, p.row_bytes) &&
                    aligned_to_16(reinterpret_cast<uintptr_t>(p.x));
  for (uint32_t j = warp; j < count; j += warps) {
    const uint32_t members = __ldg(p.members + j);
    const uint64_t offset = __ldg(p.active + j) * p.row_bytes;
    const uint8_t* const rows[2] = {p.gate + offset, p.up + offset};
    float* const h = p.h + j;
    if (lane < p.tokens && (members >> lane & 1) == 0) __stcg(h + lane * p.h_stride, 0.f);
    const auto put = [&](uint32_t token, const float (&sums)[2]) {
      const float value = activate(p.activation, sums[0]) * sums[1];
      if (lane == 0) __stcg(h + token * p.h_stride, value);
    };
    dots_of_members<F>(rows, wide, p.x, p.cols, p.tokens, members, put);
  }
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_batch_f32(const __grid_constant__ GateUpBatchParams p) {
  gate_up_batch<F32>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_batch_f16(const __grid_constant__ GateUpBatchParams p) {
  gate_up_batch<F16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_batch_bf16(const __grid_constant__ GateUpBatchParams p) {
  gate_up_batch<BF16>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_batch_q8_0(const __grid_constant__ GateUpBatchParams p) {
  gate_up_batch<Q8_0>(p);
}

extern "C" __global__ void __launch_bounds__(THRESHER_ROW_THREADS, THRESHER_ROW_BLOCKS_PER_SM)
    gate_up_batch_q4_0(const __grid_constant__ GateUpBatchParams p) {
  gate_up_batch<Q4_0>(p);
}
