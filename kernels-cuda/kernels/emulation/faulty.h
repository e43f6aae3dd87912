// Kernels that are wrong, each in one way that the emulation must catch. Tests run them; nvcc never
// sees them. All take GemvParams and write to `h` one value per thread.
#pragma once

#include "../device.cuh"

// Reads one value past the end of x.
extern "C" void faulty_bounds(const GemvParams p) { __stcg(p.h + threadIdx.x, __ldg(p.x + p.cols)); }

// Two threads write the same value.
extern "C" void faulty_store(const GemvParams p) { __stcg(p.h + threadIdx.x / 2, 1.f); }

// Half the block returns; a warp of the other half never reaches the barrier either.
extern "C" void faulty_barrier(const GemvParams p) {
  if (threadIdx.x < WARP) __shfl_xor_sync(threadIdx.x < 16 ? 0xffffu : ALL_LANES, 1.f, 1u);
  __syncthreads();
  __stcg(p.h + threadIdx.x, 0.f);
}

// Reads shared memory that nobody wrote.
extern "C" void faulty_shared(const GemvParams p) {
  __shared__ float written[64];
  if (threadIdx.x % 2 == 0) written[threadIdx.x] = 1.f;
  __syncthreads();
  __stcg(p.h + threadIdx.x, written[threadIdx.x]);
}

// Lacks the barrier between writing shared memory and reading a neighbour's.
extern "C" void faulty_order(const GemvParams p) {
  __shared__ float neighbour[64];
  neighbour[threadIdx.x] = static_cast<float>(threadIdx.x);
  __stcg(p.h + threadIdx.x, neighbour[(threadIdx.x + 1) % blockDim.x]);
}

// Shuffles from a lane outside the mask.
extern "C" void faulty_shuffle(const GemvParams p) {
  if (threadIdx.x < 16) __stcg(p.h + threadIdx.x, __shfl_sync(0xffffu, 1.f, 20u));
}

// Loads 16 bytes from an address that is a multiple of 4.
extern "C" void faulty_alignment(const GemvParams p) {
  __stcg(p.h + threadIdx.x, __ldg(reinterpret_cast<const float4*>(p.x + 1)).x);
}
