// What a persistent kernel needs beside loads and stores: copies from global to shared memory that
// run while the block computes, barriers in shared memory that count them, and a barrier of the grid.
//
// Hopper and newer copy with the bulk engine: one thread asks for a whole row. Ampere and Ada copy
// 16 bytes a lane. Both fill slots of shared memory that a barrier guards:
//
//   producer warp                              consumer warps
//   barrier_wait(empty[s])                     barrier_wait(full[s])
//   fill_begin(full[s], bytes)                 .. read slot s ..
//   copy_rows(count, row bytes, full[s] ..)    barrier_arrive(empty[s])
//   fill_end(full[s])
#pragma once

#include "device.cuh"

// Bytes of one bulk copy at most. Copies of up to 34816 bytes were seen to work on an H200; the only
// ones of 65536, of f32 projections, left no numbers there.
constexpr uint32_t MOST_AT_ONCE = 32768;

#ifdef __CUDACC__

__device__ __forceinline__ uint8_t* dynamic_shared() {
  extern __shared__ __align__(128) uint8_t shared[];
  return shared;
}

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}

// Between the inits and the first copy: the copy engine sees shared memory by a path of its own.
__device__ __forceinline__ void barrier_init_fence() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
  asm volatile(
      "{\n\t.reg .b64 state;\n\tmbarrier.arrive.shared.b64 state, [%0];\n\t}" ::"r"(
          shared_address(barrier))
      : "memory");
}

// Returns once the barrier has left its phase of this parity.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  do {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n\t.reg .pred done;\n\tmbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n\t"
        "selp.u32 %0, 1, 0, done;\n\t}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
#else
    // try_wait, which may sleep, is of sm_90.
    asm volatile(
        "{\n\t.reg .pred done;\n\tmbarrier.test_wait.parity.shared.b64 done, [%1], %2;\n\t"
        "selp.u32 %0, 1, 0, done;\n\t}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
#endif
  } while (done == 0);
}

// Arrivals that fill_begin and fill_end make on a barrier for one filling of its slot.
__host__ __device__ constexpr uint32_t fill_arrivals() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  return WARP;
#else
  return 1;
#endif
}

// Every lane of the producer warp calls these three, with the same arguments.
__device__ __forceinline__ void fill_begin(uint64_t* barrier, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  if (threadIdx.x % WARP == 0) {
    asm volatile(
        "{\n\t.reg .b64 state;\n\tmbarrier.arrive.expect_tx.shared.b64 state, [%0], %1;\n\t}" ::"r"(
            shared_address(barrier)),
        "r"(bytes)
        : "memory");
  }
#endif
}

// One copy by the engine, of at most MOST_AT_ONCE bytes. The bytes are read once: L2 gives them up first.
__device__ __forceinline__ void bulk_copy(uint8_t* to, const uint8_t* from, uint32_t bytes,
                                          uint64_t* barrier) {
#if __CUDA_ARCH__ >= 900
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
#endif
}

// 16 bytes, before Hopper.
__device__ __forceinline__ void lane_copy(uint8_t* to, const uint8_t* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from))
               : "memory");
}

__device__ __forceinline__ void fill_end(uint64_t* barrier) {
#if __CUDA_ARCH__ < 900
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(barrier))
               : "memory");
#endif
}

__device__ __forceinline__ void named_barrier(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ uint32_t grid_read(const uint32_t* counter) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
               : "=r"(value)
               : "l"(__cvta_generic_to_global(counter))
               : "memory");
  return value;
}

// What the calling thread wrote, and what it saw others write, is there for whoever reads the sum.
__device__ __forceinline__ uint32_t grid_add(uint32_t* counter, uint32_t value) {
  uint32_t before;
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter)), "r"(value)
               : "memory");
  return before;
}

__device__ __forceinline__ void grid_store(uint32_t* counter, uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(counter)),
               "r"(value)
               : "memory");
}

__device__ __forceinline__ void spin() {}

// A load that the compiler leaves where it stands: before a wait, that is.
__device__ __forceinline__ uint32_t load_now(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(from)));
  return value;
}

// sum + a[0] * b[0] + a[1] * b[1] for two signed 16-bit values and bytes 0 and 1 of `b`, unsigned.
__device__ __forceinline__ int32_t dot_two_low(uint32_t a, uint32_t b, int32_t sum) {
  int32_t result;
  asm("dp2a.lo.s32.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
  return result;
}

// The same with bytes 2 and 3.
__device__ __forceinline__ int32_t dot_two_high(uint32_t a, uint32_t b, int32_t sum) {
  int32_t result;
  asm("dp2a.hi.s32.u32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
  return result;
}

// Words that say by themselves when they are there (mailbox.cuh): no order between them is needed.
__device__ __forceinline__ uint4 mail_read(const uint4* from) {
  uint4 words;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(__cvta_generic_to_global(from)));
  return words;
}

__device__ __forceinline__ void mail_write(uint4* to, uint4 words) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(
                   __cvta_generic_to_global(to)),
               "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w));
}

__device__ __forceinline__ void mail_write(uint32_t* to, uint32_t word) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(to)), "r"(word));
}

__device__ __forceinline__ uint64_t mail_read(const uint64_t* from) {
  uint64_t word;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];"
               : "=l"(word)
               : "l"(__cvta_generic_to_global(from)));
  return word;
}

__device__ __forceinline__ void mail_write(uint64_t* to, uint64_t word) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(to)), "l"(word));
}

#else
#include "emulation/pipeline.h"

inline uint32_t fill_arrivals() { return 1; }
inline void fill_begin(uint64_t* barrier, uint32_t bytes) {
  if (threadIdx.x % WARP == 0) barrier_arrive_expect(barrier, bytes);
}
inline void fill_end(uint64_t*) {}
#endif

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define THRESHER_COPIES_BY_LANES
#endif

// Every lane of the producer warp calls these two, with the same arguments, which are multiples of 16.
__device__ __forceinline__ void warp_copy(uint8_t* to, const uint8_t* from, uint32_t bytes,
                                          uint64_t* barrier) {
  const uint32_t lane = threadIdx.x % WARP;
#ifdef THRESHER_COPIES_BY_LANES
  for (uint32_t at = lane * 16; at < bytes; at += WARP * 16) lane_copy(to + at, from + at);
#else
  for (uint32_t at = lane * MOST_AT_ONCE; at < bytes; at += WARP * MOST_AT_ONCE) {
    bulk_copy(to + at, from + at, min(bytes - at, MOST_AT_ONCE), barrier);
  }
#endif
}

// Copies rows of at most MOST_AT_ONCE bytes: row k from `from(k)` to `to(k)`. The lanes work out a row
// each for the engine: one lane alone takes longer for a short row than memory does.
template <class To, class From>
__device__ __forceinline__ void copy_rows(uint32_t count, uint32_t bytes, uint64_t* barrier, To to,
                                          From from) {
#ifdef THRESHER_COPIES_BY_LANES
  for (uint32_t k = 0; k < count; ++k) warp_copy(to(k), from(k), bytes, barrier);
#else
  for (uint32_t k = threadIdx.x % WARP; k < count; k += WARP) bulk_copy(to(k), from(k), bytes, barrier);
#endif
}
