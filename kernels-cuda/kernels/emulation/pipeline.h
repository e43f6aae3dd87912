// pipeline.cuh for the emulation: asynchronous copies into shared memory, barriers that count them,
// and counters by which blocks of a cooperative launch wait for each other.
//
// A bulk copy lands some time after it was asked for: in order 0 when nothing else can happen, in
// random orders at once, some rounds later or then, and not in sequence. Until it lands its bytes of
// shared memory are NaN, so a reader that does not wait, or a copy into a slot that is still read,
// shows in the values. Faults, beyond those that host.h lists:
//   - a copy whose size or either end is not a multiple of 16, that is outside every buffer or outside
//     the block's dynamic shared memory, or that reads what the launch writes
//   - a barrier that nobody initialised, or with more arrivals or bytes than it can count
//   - a block that returns with copies under way, or that wrote past its dynamic shared memory
// Words that a block sends to another of its cluster (all blocks of a cooperative launch) travel in the
// same way. Faults besides:
//   - words for a block that has returned, or whose barrier nobody initialised yet
//   - a barrier that is initialised after its thread arrived at the barrier of the cluster
#pragma once

#include "host.h"

// The start of this block's dynamic shared memory, 128-byte aligned.
uint8_t* dynamic_shared();

// A barrier in shared memory, in phase 0. A phase completes when `arrivals` threads have arrived and
// all bytes announced in it have landed; then the next one begins.
void barrier_init(uint64_t* barrier, uint32_t arrivals);

// Makes initialised barriers visible to bulk copies; the emulation has one view of memory.
inline void barrier_init_fence() {}

void barrier_arrive(uint64_t* barrier);

// Arrives and announces `bytes` of copies.
void barrier_arrive_expect(uint64_t* barrier, uint32_t bytes);

// Waits while the barrier's phase has this parity.
void barrier_wait(uint64_t* barrier, uint32_t parity);

// Copies asynchronously and counts the bytes on the barrier when they have landed.
void bulk_copy(uint8_t* shared_to, const uint8_t* global_from, uint32_t bytes, uint64_t* barrier);

// cluster.cuh
inline uint32_t cluster_rank() { return blockIdx.x; }
void cluster_arrive();
void cluster_wait();

// Puts words where `block` has what lies here at `to`, and counts their bytes on its `barrier`.
void send(uint32_t* to, uint32_t word, uint64_t* barrier, uint32_t block);
void send(uint4* to, uint4 words, uint64_t* barrier, uint32_t block);

// Waits until `threads` threads of the block, in whole warps, are at barrier `id`, 1 to 15.
void named_barrier(uint32_t id, uint32_t threads);

// A counter in global memory, read so that what blocks wrote before they added to it can be read.
uint32_t grid_read(const uint32_t* counter);

// Adds and returns the old value; what the block wrote before goes with it.
uint32_t grid_add(uint32_t* counter, uint32_t value);

// Resets a counter: for a block that has seen all additions to it.
void grid_store(uint32_t* counter, uint32_t value);

// Lets others run: while (grid_read(counter) < wanted) spin();
void spin();

// A load that may be of memory which this launch does not write.
inline uint32_t load_now(const uint32_t* from) { return __ldg(from); }

// Words that say by themselves when they are there: read before, while and after others write them.
uint4 mail_read(const uint4* from);
uint64_t mail_read(const uint64_t* from);
void mail_write(uint4* to, uint4 words);
void mail_write(uint32_t* to, uint32_t word);
void mail_write(uint64_t* to, uint64_t word);

// sum + a[0] * b[0] + a[1] * b[1], of signed halves of `a` and unsigned bytes 0 and 1 of `b`.
inline int32_t dot_two_low(uint32_t a, uint32_t b, int32_t sum) {
  const int32_t low = static_cast<int16_t>(a & 0xffff);
  const int32_t high = static_cast<int16_t>(a >> 16);
  return sum + low * static_cast<int32_t>(b & 0xff) + high * static_cast<int32_t>(b >> 8 & 0xff);
}

// The same with bytes 2 and 3.
inline int32_t dot_two_high(uint32_t a, uint32_t b, int32_t sum) { return dot_two_low(a, b >> 16, sum); }
