// How blocks of a thread-block cluster (Hopper and newer) tell each other things: by stores into each
// other's shared memory, which a barrier beside the words counts as they come.
//
//   block a                                   block b
//   barrier_init(came, 1)                     barrier_init(came, 1)
//   cluster_init_fence                        cluster_init_fence
//   cluster_arrive .. cluster_wait  ◀───────▶ cluster_arrive .. cluster_wait
//                                             barrier_arrive_expect(came, bytes)
//   send(word, value, came, b) ── 4 bytes ──▶ word, came
//                                             received(came, parity): all `bytes` are there
//
// Bytes may come before they are expected: the phase waits for the one arrival. What comes for the next
// phase must not come before this one is complete, nor overwrite what may still be read. A block must
// not return while anything is on its way to it: it has to wait for all that it is sent.
#pragma once

#include "pipeline.cuh"

#ifdef __CUDACC__

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Between the inits of barriers and the barrier of the cluster. barrier_init_fence has another fence,
// for bulk copies, which may wait for loads under way.
__device__ __forceinline__ void cluster_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// The barrier of the cluster, in two halves. It orders nothing but what cluster_init_fence does: no
// other memory is shared before it.
__device__ __forceinline__ void cluster_arrive() {
  __syncwarp();
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

__device__ __forceinline__ void cluster_wait() {
  __syncwarp();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}

// Where another block of the cluster, or this one, has what lies here at `local`.
__device__ __forceinline__ uint32_t address_in(const void* local, uint32_t block) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(address)
      : "r"(shared_address(local)), "r"(block));
  return address;
}

__device__ __forceinline__ void send(uint32_t* to, uint32_t word, uint64_t* barrier, uint32_t block) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                   address_in(to, block)),
               "r"(word), "r"(address_in(barrier, block))
               : "memory");
}

__device__ __forceinline__ void send(uint4* to, uint4 words, uint64_t* barrier, uint32_t block) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(address_in(to, block)),
      "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w), "r"(address_in(barrier, block))
      : "memory");
}

// As barrier_wait, for what other blocks sent.
__device__ __forceinline__ void received(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n\t.reg .pred done;\n\tmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%1], "
        "%2;\n\tselp.u32 %0, 1, 0, done;\n\t}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
}

#else
inline void cluster_init_fence() {}
inline void received(uint64_t* barrier, uint32_t parity) { barrier_wait(barrier, parity); }
#endif
