// What Rust calls (src/emulated.rs), and the kernels that can be called by name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulation {

struct Kernel {
  const char* name;
  void (*body)(const void* params);
};

// Null if no kernel has this name.
const Kernel* find_kernel(const char* name);

}  // namespace emulation

extern "C" {

// Memory that a launch may touch.
struct EmulatedBuffer {
  const void* start;
  uint64_t bytes;
  uint32_t writable;
};

// A launch of `blocks` blocks of `threads` threads.
struct EmulatedLaunch {
  const char* name;
  const void* params;
  const EmulatedBuffer* buffers;
  size_t buffer_count;
  // 0 takes the threads in ascending order at every turn and lands bulk copies when nothing else can
  // happen; any other value seeds an order of its own.
  uint64_t order;
  uint32_t blocks;
  uint32_t threads;
  // Dynamic shared memory of a block.
  uint32_t shared_bytes;
  // 1: all blocks are alive at once and may wait for each other. 0: one after another.
  uint32_t cooperative;
};

// Returns 0, or 1 with the first fault in `message`.
int thresher_emulate(const EmulatedLaunch* launch, char* message, size_t message_capacity);

// Size, alignment and field offsets of a parameter struct as this compiler lays it out, in order of
// declaration; the count of values, or 0 if there is no such struct or no room.
size_t thresher_layout(const char* name, size_t* values, size_t capacity);

// The value of a constant of params.h, or -1.
int64_t thresher_constant(const char* name);
}
