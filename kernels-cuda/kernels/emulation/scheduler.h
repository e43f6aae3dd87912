// What the parts of the emulation know of the launch that is running: host.cpp runs its threads,
// memory.cpp watches what they read and write, pipeline.cpp has the barriers in shared memory.
//
//   READY ──run──▶ WAITING, for a meeting, a phase of a barrier or a change of a counter ──▶ READY ..
//     └──────────▶ FINISHED
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "fiber.h"
#include "host.h"
#include "launch.h"

namespace emulation {

constexpr uint32_t WARP_LANES = 32;
constexpr uint32_t NAMED_BARRIERS = 16;

enum class State : uint8_t { READY, WAITING, FINISHED };

struct Fiber {
  Context context;
  uint32_t block, thread;
  State state;
  // What it waits for, with the arguments of that.
  Meeting meeting;
  uint32_t lanes;  // of a warp operation; of NAMED the number of the barrier
  uint32_t from;
  uint64_t value;
  uint64_t taken;
  const uint64_t* barrier;  // of PHASE
  // The barrier of the cluster at which it has arrived and not waited, counted from 1; or 0.
  uint64_t at_cluster_barrier;
};

struct Warp {
  // Lanes that can run, and lanes at a warp operation.
  uint32_t ready, waiting;
  // The last meeting that all or some lanes had: a time of Launch::meetings.
  uint64_t met;
  bool held_back;
  bool lags;
};

// bar.sync with a number: how many threads it is for and how many are there.
struct NamedBarrier {
  uint32_t threads, arrived;
};

struct Block {
  std::vector<Warp> warps;
  // Dynamic shared memory with room to align it and, behind it, bytes that must stay as they are.
  std::vector<unsigned char> memory;
  unsigned char* dynamic;
  // The shared arrays of this block, while another one runs.
  std::vector<unsigned char> arrays;
  uint32_t live, at_meeting, copies;
  NamedBarrier named[NAMED_BARRIERS];
  // Threads that wait for a phase of a barrier.
  std::vector<uint32_t> phase_waiters;
  // The last meeting across warps: a time of Launch::meetings.
  uint64_t met;
};

// A bulk copy, or words for another block, on its way into a block's shared memory.
struct Copy {
  uint32_t block;
  unsigned char* to;
  const unsigned char* from;  // null for words
  uint32_t bytes;
  uint64_t* barrier;
  uint64_t due;  // a round
  unsigned char words[16];
};

// Who last wrote a byte, and when: see memory.cpp.
struct Stamp {
  uint64_t time;
  uint32_t block;
  uint16_t thread;
  bool written;
  uint32_t release;
};

// SplitMix64: the launch's random choices.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  // Below `bound`, which is at most 2^32.
  uint32_t below(uint64_t bound) { return static_cast<uint32_t>((next() >> 32) * bound >> 32); }
};

struct Launch {
  const EmulatedLaunch* asked;
  const Kernel* kernel;
  Random random;
  bool shuffled;
  bool failed;

  // The blocks that are alive, `first_block` first, and their threads, a block's in a row.
  uint32_t first_block;
  std::vector<Block> blocks;
  std::vector<Fiber> fibers;
  Context scheduler;
  Fiber* fiber;  // that runs; null in the scheduler
  uint64_t round;
  // Whether warps that lag may run in this round.
  bool laggards_turn;
  uint32_t live_blocks;
  // How often anything happened that may let another thread go on.
  uint64_t progress;
  std::vector<uint32_t> spinners;
  std::vector<Copy> copies;
  // Barriers of the cluster that are complete, and threads that have arrived at the next.
  uint64_t cluster_barriers;
  size_t at_cluster_barrier;

  // memory.cpp: per buffer, the writer of each byte; who has seen what of whom; counts of meetings.
  std::vector<std::vector<Stamp>> writers;
  std::vector<uint32_t> seen;
  std::unordered_map<uintptr_t, std::vector<uint32_t>> released;
  uint64_t meetings;
};

extern Launch* running;

inline Block& block_of(const Fiber& fiber) {
  return running->blocks[fiber.block - running->first_block];
}
inline Warp& warp_of(const Fiber& fiber) { return block_of(fiber).warps[fiber.thread / WARP_LANES]; }

// Records the first fault of the launch. From the scheduler, with no thread to blame.
__attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

// Records what the running thread did wrong and never returns to it.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fault(const char* format, ...);

// Lets others run until `make_ready`. `meeting` and its arguments are set.
void park();
void make_ready(Fiber& fiber);

// In a random order, sometimes lets others run first, as if this thread were slow.
void may_be_late();

// The threads of the block have met: what one did before, the others may build on.
void note_meeting(Block& block);

// memory.cpp
void forget_writes();
// The buffer that holds all of a range, or null.
const EmulatedBuffer* buffer_of(const void* address, uint64_t bytes);
// Whether the launch wrote any of it.
bool was_written(const EmulatedBuffer& buffer, const void* address, uint64_t bytes);

// pipeline.cpp
// Completes the copy number `index` of those that have not landed.
void land(size_t index);

}  // namespace emulation
