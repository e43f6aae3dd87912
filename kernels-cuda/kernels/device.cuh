// The CUDA that the kernels are written in. Under nvcc it is CUDA itself; under a C++ compiler it is
// emulation/host.h, which runs the same source on the host.
//
// Global memory is only ever touched through CUDA's cache intrinsics (__ldg, __ldcg, __stcg): they
// say how the value will be reused, and they are where the emulation checks every address.
#pragma once

#ifdef __CUDACC__
#include <cuda_fp16.h>
#else
#include "emulation/host.h"
#endif

#include "params.h"

constexpr uint32_t WARP = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

__device__ __forceinline__ bool aligned_to_16(uint64_t address_or_size) {
  return address_or_size % 16 == 0;
}

// threadIdx.x, asked for anew: no register keeps it, or what follows from it, through a loop around.
__device__ __forceinline__ uint32_t thread_now() {
#ifdef __CUDACC__
  uint32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
#else
  return threadIdx.x;
#endif
}

// The sum over the lanes of a warp, in every lane. The order is fixed by the butterfly:
//   offset 16: 0+16 1+17 ..   offset 8: (0+16)+(8+24) ..   ...   offset 1
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (uint32_t offset = WARP / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(ALL_LANES, value, offset);
  }
  return value;
}

// The sum over this lane and those below it.
__device__ __forceinline__ uint32_t sum_to_lane(uint32_t value) {
#pragma unroll
  for (uint32_t offset = 1; offset < WARP; offset *= 2) {
    const uint32_t below = __shfl_up_sync(ALL_LANES, value, offset);
    if (threadIdx.x % WARP >= offset) value += below;
  }
  return value;
}

// A NaN is neither below zero nor hidden by either branch.
__device__ __forceinline__ float activate(uint32_t activation, float value) {
  if (activation == THRESHER_SILU) return value / (1.f + expf(-value));
  if (activation == THRESHER_IDENTITY) return value;
  return value < 0.f ? 0.f : value;
}
