// Enough of CUDA for kernels/*.cu to compile as C++17 and run on the host.
//
// The threads of a launch are fibers, switched only where a thread must wait or may be late. An
// ordinary launch runs its blocks one after another; a cooperative one has all of them alive at once
// (pipeline.h is what such kernels wait with), and may stand for a cluster. What it shows:
//   - indices, tails, masks, reductions: the values, by the same source
//   - a global access outside the buffers that the launch was given, or misaligned
//   - a global address written by two threads, or read by one after another wrote it, unless the
//     launch is cooperative and a barrier of the block or a counter of the grid lies between
//   - a read through the read-only cache (__ldg) of what the launch wrote
//   - shared memory read before it was written: every block starts with it full of NaN
//   - a barrier or a warp operation that some of its threads never reach, a phase that never
//     completes, a counter that never changes
//   - a missing barrier, if the order of threads decides the result: launches take an order
// And under the sanitizers of the compiler (feature `sanitizers`):
//   - an access past a shared array, a thread's own array or the end of dynamic shared memory (of
//     that without them: nearby writes), and what C++ leaves undefined, such as too wide a shift
// What it cannot show: the memory model beyond that order, bank conflicts, coalescing, real
// scheduling, speed, a loop that for ever changes what another waits for, whether a cluster finds
// room on a GPU, and the last bit of expf.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
// All shared arrays lie in one section of their own, which is filled with NaN before each block.
#define __shared__ static __attribute__((section("thresher_shared")))

struct Index3 {
  unsigned int x, y, z;
};
inline Index3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) uint2 {
  unsigned int x, y;
};
struct alignas(16) uint4 {
  unsigned int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace emulation {

// What a thread waits for: BLOCK all threads of its block, SHUFFLE, BALLOT, SUM and WARP lanes of its
// warp, and what pipeline.h has: NAMED some warps, PHASE a barrier in shared memory, COUNTER a change
// of a counter in global memory, CLUSTER all threads of the cluster.
enum class Meeting : uint8_t { BLOCK, SHUFFLE, BALLOT, SUM, WARP, NAMED, PHASE, COUNTER, CLUSTER };

// Waits for the other threads of one of the first five and gives this thread what it takes from it:
// SHUFFLE the value of lane `from`, BALLOT the lanes whose value is not zero, SUM all values.
uint64_t meet(Meeting meeting, unsigned int lanes, uint64_t value, unsigned int from);

// Returns if the launch may read or write `bytes` at `address`; if not, the launch has failed. The
// read-only cache never sees what the launch writes.
void check_read(const void* address, uint64_t bytes, bool read_only_cache);
void check_write(const void* address, uint64_t bytes);

inline unsigned int lane() { return threadIdx.x % 32; }

template <class T>
T shuffle(unsigned int lanes, T value, unsigned int from) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "one register pair at most");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet(Meeting::SHUFFLE, lanes, bits, from);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T read(const T* address, bool read_only_cache) {
  check_read(address, sizeof(T), read_only_cache);
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

template <class T>
void write(T* address, T value) {
  check_write(address, sizeof(T));
  std::memcpy(address, &value, sizeof(T));
}

}  // namespace emulation

inline void __syncthreads() { emulation::meet(emulation::Meeting::BLOCK, 0, 0, 0); }

inline void __syncwarp(unsigned int lanes = 0xffffffffu) {
  emulation::meet(emulation::Meeting::WARP, lanes, 0, emulation::lane());
}

template <class T>
T __shfl_xor_sync(unsigned int lanes, T value, unsigned int mask) {
  return emulation::shuffle(lanes, value, emulation::lane() ^ mask);
}

template <class T>
T __shfl_sync(unsigned int lanes, T value, unsigned int from) {
  return emulation::shuffle(lanes, value, from % 32);
}

template <class T>
T __shfl_up_sync(unsigned int lanes, T value, unsigned int by) {
  const unsigned int lane = emulation::lane();
  return emulation::shuffle(lanes, value, lane >= by ? lane - by : lane);
}

// For shared memory: fibers switch only where they wait, so nothing comes between.
inline unsigned int atomicAdd(unsigned int* address, unsigned int value) {
  const unsigned int before = *address;
  *address = before + value;
  return before;
}

inline unsigned int __ballot_sync(unsigned int lanes, int predicate) {
  return static_cast<unsigned int>(
      emulation::meet(emulation::Meeting::BALLOT, lanes, predicate != 0, 0));
}

inline unsigned int __reduce_add_sync(unsigned int lanes, unsigned int value) {
  return static_cast<unsigned int>(emulation::meet(emulation::Meeting::SUM, lanes, value, 0));
}

template <class T>
T __ldg(const T* address) {
  return emulation::read(address, true);
}

template <class T>
T __ldcg(const T* address) {
  return emulation::read(address, false);
}

template <class T>
void __stcg(T* address, T value) {
  emulation::write(address, value);
}

inline int __popc(unsigned int bits) { return __builtin_popcount(bits); }

// 1 for bit 0; 0 if no bit is set.
inline int __ffs(int bits) { return __builtin_ffs(bits); }

// Byte i of the result is the byte of b:a, 0 to 7, that nibble i of the selector names.
inline unsigned int __byte_perm(unsigned int a, unsigned int b, unsigned int selector) {
  const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
  unsigned int result = 0;
  for (unsigned int i = 0; i < 4; ++i) {
    const unsigned int from = selector >> 4 * i & 7;
    result |= static_cast<unsigned int>(both >> 8 * from & 0xff) << 8 * i;
  }
  return result;
}

inline float __fdividef(float a, float b) { return a / b; }

template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}

template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

inline unsigned int __float_as_uint(float value) {
  unsigned int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float __uint_as_float(unsigned int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct __half {
  unsigned short bits;
};

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }

inline float __half2float(__half half) {
  const unsigned int sign = (half.bits & 0x8000u) << 16;
  const unsigned int exponent = half.bits >> 10 & 0x1f;
  const unsigned int fraction = half.bits & 0x3ff;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -magnitude : magnitude;
  }
  const unsigned int exponent_bits = exponent == 31 ? 0xffu : exponent - 15 + 127;
  return __uint_as_float(sign | exponent_bits << 23 | fraction << 13);
}
