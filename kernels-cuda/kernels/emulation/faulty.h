// Kernels that are wrong, each in one way that the emulation must catch, and a right one. Tests run
// them; nvcc never sees them. Those of the first part take GemvParams and write to `h` one value per
// thread.
#pragma once

#include "../cluster.cuh"

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

// The next four are what the sanitizers must catch. Keeps a value past the end of its own array.
extern "C" void faulty_own_array(const GemvParams p) {
  float own[8];
  for (uint32_t i = 0; i <= p.cols; ++i) own[i] = __ldg(p.x + i % p.cols);
  __stcg(p.h + threadIdx.x, own[threadIdx.x % p.cols]);
}

// Reads past the end of a shared array.
extern "C" void faulty_shared_array(const GemvParams p) {
  __shared__ float written[64];
  written[threadIdx.x] = 1.f;
  __syncthreads();
  __stcg(p.h + threadIdx.x, written[threadIdx.x + p.cols]);
}

// Reads past the end of dynamic shared memory.
extern "C" void faulty_dynamic_shared(const GemvParams p) {
  const float* values = reinterpret_cast<const float*>(dynamic_shared());
  __stcg(p.h + threadIdx.x, values[p.cols * (threadIdx.x + 1)]);
}

// Shifts a word by as many bits as it has: host and GPU disagree on what that is.
extern "C" void faulty_shift(const GemvParams p) {
  __stcg(p.h + threadIdx.x, static_cast<float>(1u << (p.cols + threadIdx.x)));
}

// Writes, then reads through the read-only cache.
extern "C" void faulty_cache(const GemvParams p) {
  __stcg(p.h + threadIdx.x, 1.f);
  __stcg(p.h + threadIdx.x, __ldg(p.h + threadIdx.x));
}

// The second part: one cooperative kernel, right with Mistake::NONE. Every block adds up its rows and
// the sum of all rows comes out of every block.
//
//   rows    │ 0 │ 1 │ 2 │ 3 │ 4 │ ..  block b takes b, b + blocks, ..
//             bulk copies, two under way ──▶ slot 0 │ slot 1 ──▶ consumer warps ──▶ partials[b]
//   grid barrier on `arrived`; then totals[b] = own + sum of the other blocks' partials; the last to
//   leave resets the counters
//
// Shared: two slots of a row │ full[2] │ empty[2] │ a sum per consumer warp; and, as a shared array,
// the block's own partial.
struct RingParams {
  const uint8_t* rows;
  float* partials;
  float* totals;
  uint32_t* arrived;
  uint32_t* left;
  uint32_t row_count;
  uint32_t cols;  // f32 values, a multiple of 4
};

enum class Mistake {
  NONE,
  COPY_PAST_BUFFER,
  COPY_MISALIGNED,
  COPY_OUTSIDE_SHARED,
  COPY_LEFT_BEHIND,
  COPY_OF_WRITTEN,
  NO_WAIT,           // consumers read a slot without waiting for its copy
  NO_EMPTY_WAIT,     // the producer fills a slot that is still read
  NO_ARRIVAL,        // the producer never announces its bytes
  NO_INIT,           // the barriers are not initialised
  TOO_FEW_WARPS,     // a named barrier for more threads than come
  MISSING_BLOCK,     // a block does not arrive at the grid barrier
  NO_GRID_BARRIER,   // partials are read without one
  NO_BLOCK_BARRIER,  // the block arrives at the grid barrier before its partial is written
  BAD_RESET,         // the counters are reset by a block that does not know that all have arrived
  SHARED_OVERRUN,
};

template <Mistake MISTAKE>
struct Ring {
  static constexpr uint32_t SLOTS = 2;
  const RingParams& p;
  float* own;
  uint8_t* slots;
  uint64_t* full;
  uint64_t* empty;
  float* sums;
  uint32_t consumers;  // warps

  Ring(const RingParams& params, float* own_partial) : p(params), own(own_partial) {
    slots = dynamic_shared();
    full = reinterpret_cast<uint64_t*>(slots + SLOTS * row_bytes());
    empty = full + SLOTS;
    sums = reinterpret_cast<float*>(empty + SLOTS);
    consumers = blockDim.x / WARP - 1;
  }

  uint32_t row_bytes() const { return p.cols * sizeof(float); }

  void produce() const {
    uint32_t turn = 0;
    for (uint32_t row = blockIdx.x; row < p.row_count; row += gridDim.x, ++turn) {
      const uint32_t slot = turn % SLOTS;
      // The first turn of a slot waits for a phase before the first: complete.
      if (MISTAKE != Mistake::NO_EMPTY_WAIT) barrier_wait(empty + slot, turn / SLOTS % 2 ^ 1);
      uint8_t* to = slots + slot * row_bytes();
      const uint8_t* from = p.rows + uint64_t{row} * row_bytes();
      if (MISTAKE == Mistake::COPY_PAST_BUFFER && row + 1 == p.row_count) from += 16;
      if (MISTAKE == Mistake::COPY_MISALIGNED) from += 4;
      if (MISTAKE == Mistake::COPY_OUTSIDE_SHARED) to += 1 << 20;
      if (MISTAKE == Mistake::COPY_OF_WRITTEN) {
        __stcg(p.totals + blockIdx.x, 0.f);
        from = reinterpret_cast<const uint8_t*>(p.totals);
      }
      if (MISTAKE != Mistake::NO_ARRIVAL) barrier_arrive_expect(full + slot, row_bytes());
      bulk_copy(to, from, MISTAKE == Mistake::COPY_OF_WRITTEN ? 16 : row_bytes(), full + slot);
    }
    // Only for consumers that do not: no copy may outlive the block.
    for (uint32_t i = 0; MISTAKE == Mistake::NO_WAIT && i < SLOTS && i < turn; ++i) {
      const uint32_t last = turn - 1 - i;
      barrier_wait(full + last % SLOTS, last / SLOTS % 2);
    }
  }

  void consume() const {
    const uint32_t warp = threadIdx.x / WARP - 1;
    float sum = 0.f;
    uint32_t turn = 0;
    for (uint32_t row = blockIdx.x; row < p.row_count; row += gridDim.x, ++turn) {
      const uint32_t slot = turn % SLOTS;
      if (MISTAKE != Mistake::NO_WAIT) barrier_wait(full + slot, turn / SLOTS % 2);
      const float* values = reinterpret_cast<const float*>(slots + slot * row_bytes());
      for (uint32_t c = threadIdx.x - WARP; c < p.cols; c += consumers * WARP) sum += values[c];
      __syncwarp();
      if (threadIdx.x % WARP == 0) barrier_arrive(empty + slot);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) sums[warp] = sum;
    named_barrier(1, (consumers + (MISTAKE == Mistake::TOO_FEW_WARPS ? 1 : 0)) * WARP);
    if (threadIdx.x == WARP) {
      float total = 0.f;
      for (uint32_t i = 0; i < consumers; ++i) total += sums[i];
      *own = total;
      __stcg(p.partials + blockIdx.x, total);
    }
  }

  void meet_the_grid() const {
    if (MISTAKE == Mistake::NO_GRID_BARRIER) return;
    if (threadIdx.x == 0) {
      grid_add(p.arrived, 1);
      while (grid_read(p.arrived) < gridDim.x) spin();
    }
    __syncthreads();
  }

  void reset() const {
    if (MISTAKE == Mistake::BAD_RESET) {
      if (blockIdx.x == 0) grid_store(p.left, 0);
      grid_add(p.left, 1);
      return;
    }
    if (grid_add(p.left, 1) != gridDim.x - 1) return;
    grid_store(p.arrived, 0);
    grid_store(p.left, 0);
  }

  void run() const {
    if (threadIdx.x == 0 && MISTAKE != Mistake::NO_INIT) {
      for (uint32_t slot = 0; slot < SLOTS; ++slot) {
        barrier_init(full + slot, 1);
        barrier_init(empty + slot, consumers);
      }
      barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x >= WARP) {
      consume();
    } else if (threadIdx.x == 0) {
      produce();
    }
    if (MISTAKE != Mistake::NO_BLOCK_BARRIER) __syncthreads();
    if (MISTAKE == Mistake::MISSING_BLOCK && blockIdx.x == 1) return;
    meet_the_grid();
    if (threadIdx.x != 0) return;
    float total = *own;
    for (uint32_t block = 0; block < gridDim.x; ++block) {
      if (block != blockIdx.x) total += __ldcg(p.partials + block);
    }
    __stcg(p.totals + blockIdx.x, total);
    reset();
    if (MISTAKE == Mistake::COPY_LEFT_BEHIND) bulk_copy(slots, p.rows, row_bytes(), full);
    if (MISTAKE == Mistake::SHARED_OVERRUN) sums[consumers] = 0.f;
  }
};

#define RING(name, mistake)                     \
  extern "C" void name(const RingParams p) {    \
    __shared__ float own;                       \
    Ring<Mistake::mistake>(p, &own).run();      \
  }

RING(ring_sum, NONE)
RING(faulty_copy_past_buffer, COPY_PAST_BUFFER)
RING(faulty_copy_misaligned, COPY_MISALIGNED)
RING(faulty_copy_outside_shared, COPY_OUTSIDE_SHARED)
RING(faulty_copy_left_behind, COPY_LEFT_BEHIND)
RING(faulty_copy_of_written, COPY_OF_WRITTEN)
RING(faulty_no_wait, NO_WAIT)
RING(faulty_no_empty_wait, NO_EMPTY_WAIT)
RING(faulty_no_arrival, NO_ARRIVAL)
RING(faulty_no_init, NO_INIT)
RING(faulty_too_few_warps, TOO_FEW_WARPS)
RING(faulty_missing_block, MISSING_BLOCK)
RING(faulty_no_grid_barrier, NO_GRID_BARRIER)
RING(faulty_no_block_barrier, NO_BLOCK_BARRIER)
RING(faulty_bad_reset, BAD_RESET)
RING(faulty_shared_overrun, SHARED_OVERRUN)

// The third part: one kernel of a cluster, right with ClusterMistake::NONE. Twice every block sends a
// number to every block, itself included; h[block] is the sum of what it received.
enum class ClusterMistake {
  NONE,
  NO_CLUSTER_BARRIER,  // words may come before there is a barrier to count them
  NO_EXPECT,
  NO_RECEIVE,  // words are read without waiting for them
  NO_MEETING,  // the second numbers may come before the first are read
  EARLY_RETURN,
  OUTSIDE_CLUSTER,
  OUTSIDE_SHARED,
};

template <ClusterMistake MISTAKE>
struct Cluster {
  struct Shared {
    uint32_t words[32];
    uint64_t came;
  };

  static void run(const GemvParams& p) {
    Shared& s = *reinterpret_cast<Shared*>(dynamic_shared());
    const uint32_t rank = cluster_rank();
    if (threadIdx.x == 0) {
      barrier_init(&s.came, 1);
      cluster_init_fence();
    }
    __syncthreads();
    if (MISTAKE != ClusterMistake::NO_CLUSTER_BARRIER) {
      cluster_arrive();
      cluster_wait();
    }
    uint32_t sum = 0;
    for (uint32_t turn = 0; turn < 2; ++turn) {
      if (threadIdx.x == 0 && MISTAKE != ClusterMistake::NO_EXPECT) {
        barrier_arrive_expect(&s.came, gridDim.x * sizeof(uint32_t));
      }
      if (threadIdx.x < gridDim.x) {
        const uint32_t past = MISTAKE == ClusterMistake::OUTSIDE_CLUSTER ? 1 : 0;
        const uint32_t at = MISTAKE == ClusterMistake::OUTSIDE_SHARED ? 16 * blockDim.x : rank;
        send(s.words + at, 100 * turn + rank, &s.came, threadIdx.x + past);
      }
      if (MISTAKE == ClusterMistake::EARLY_RETURN && turn == 1) return;
      if (MISTAKE != ClusterMistake::NO_RECEIVE) received(&s.came, turn);
      for (uint32_t block = 0; block < gridDim.x; ++block) sum += s.words[block];
      if (MISTAKE != ClusterMistake::NO_MEETING) {
        cluster_arrive();
        cluster_wait();
      }
    }
    if (threadIdx.x == 0) __stcg(p.h + rank, static_cast<float>(sum));
  }
};

#define CLUSTER(name, mistake) \
  extern "C" void name(const GemvParams p) { Cluster<ClusterMistake::mistake>::run(p); }

CLUSTER(cluster_sum, NONE)
CLUSTER(faulty_no_cluster_barrier, NO_CLUSTER_BARRIER)
CLUSTER(faulty_no_expect, NO_EXPECT)
CLUSTER(faulty_no_receive, NO_RECEIVE)
CLUSTER(faulty_no_meeting, NO_MEETING)
CLUSTER(faulty_early_return, EARLY_RETURN)
CLUSTER(faulty_outside_cluster, OUTSIDE_CLUSTER)
CLUSTER(faulty_outside_shared, OUTSIDE_SHARED)
