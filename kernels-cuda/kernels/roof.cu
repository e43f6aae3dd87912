// What memory gives when nothing is done with it: every byte read once, 16 bytes a thread, and no
// byte written.
//
//   block b, thread t, turn k:   16 bytes at 16 (t + 512 (b + blocks k)), eight turns on their way
//
// The sum is kept only where it cannot be: where a value turns up that the host did not put there.
#include "device.cuh"

constexpr uint32_t READS = 8;

extern "C" __global__ void __launch_bounds__(THRESHER_ROOF_THREADS)
    read_all(const __grid_constant__ ReadParams p) {
  const uint4* from = reinterpret_cast<const uint4*>(p.from);
  const uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
  uint64_t at = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  uint32_t seen = 0;
  for (; at + (READS - 1) * stride < p.quads; at += READS * stride) {
    uint4 read[READS];
#pragma unroll
    for (uint32_t i = 0; i < READS; ++i) read[i] = __ldg(from + at + i * stride);
#pragma unroll
    for (uint32_t i = 0; i < READS; ++i) seen |= read[i].x | read[i].y | read[i].z | read[i].w;
  }
  for (; at < p.quads; at += stride) {
    const uint4 read = __ldg(from + at);
    seen |= read.x | read.y | read.z | read.w;
  }
  if (seen == p.never) __stcg(p.kept, seen);
}
