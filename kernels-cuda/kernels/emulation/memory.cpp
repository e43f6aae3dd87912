// Who may read and write what of global memory.
//
// In an ordinary launch nothing orders two threads of different blocks, so what one thread writes is
// its own. In a cooperative launch a thread may build on what another wrote if between the two lies
//   - in another block: a grid_add by the writer's block, and in the reader's block a grid_read or
//     grid_add that saw the counter with it or what was added later;
//   - in another warp of the block: a barrier of the block or of some of its warps;
//   - in its warp: one of those or a warp operation.
//
//   block 0   write, stamped release 1 │ grid_add: the counter carries {0: 1} │ now release 2
//   block 1                                grid_read: has seen {0: 1} │ may read that write
//
// What a thread of the block did or saw counts for all of it: threads that act too early are caught
// in the orders in which they do.
#include <algorithm>

#include "pipeline.h"
#include "scheduler.h"

namespace emulation {
namespace {

uint32_t& seen(uint32_t by, uint32_t block) {
  return running->seen[static_cast<size_t>(by) * running->asked->blocks + block];
}

// Whether what the stamp stands for comes before what the running thread does.
bool comes_before(const Stamp& stamp) {
  const Fiber& fiber = *running->fiber;
  if (!stamp.written || (stamp.block == fiber.block && stamp.thread == fiber.thread)) return true;
  if (!running->asked->cooperative) return false;
  if (stamp.block != fiber.block) return seen(fiber.block, stamp.block) >= stamp.release;
  const bool same_warp = stamp.thread / WARP_LANES == fiber.thread / WARP_LANES;
  return block_of(fiber).met > stamp.time || (same_warp && warp_of(fiber).met > stamp.time);
}

Stamp stamp_of_now() {
  const Fiber& fiber = *running->fiber;
  const uint32_t release = running->asked->cooperative ? seen(fiber.block, fiber.block) : 0;
  return {running->meetings, fiber.block, static_cast<uint16_t>(fiber.thread), true, release};
}

Stamp* stamps_of(const EmulatedBuffer& buffer, const void* address) {
  return running->writers[&buffer - running->asked->buffers].data() +
         (static_cast<const unsigned char*>(address) - static_cast<const unsigned char*>(buffer.start));
}

const EmulatedBuffer& check(const void* address, uint64_t bytes, const char* verb) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    fault("%s %u bytes at an address that they do not divide", verb, static_cast<unsigned int>(bytes));
  }
  const EmulatedBuffer* buffer = buffer_of(address, bytes);
  if (buffer == nullptr) {
    fault("%s %u bytes outside every buffer", verb, static_cast<unsigned int>(bytes));
  }
  return *buffer;
}

[[noreturn]] void fault_of_order(const char* verb, const Stamp& stamp) {
  if (!running->asked->cooperative) fault("%s what another thread writes", verb);
  fault("%s what thread %u of block %u wrote, with no %s barrier between", verb, stamp.thread,
        stamp.block, stamp.block == running->fiber->block ? "block" : "grid");
}

const EmulatedBuffer& check_counter(const void* counter, const char* verb) {
  if (!running->asked->cooperative) {
    fault("%s a counter of the grid in a launch that is not cooperative", verb);
  }
  const EmulatedBuffer& buffer = check(counter, sizeof(uint32_t), verb);
  if (!buffer.writable) fault("%s a counter in a buffer that is only read", verb);
  // A plain store resets a counter: see grid_store.
  const Stamp& stamp = *stamps_of(buffer, counter);
  if (!comes_before(stamp)) fault_of_order(verb, stamp);
  return buffer;
}

std::vector<uint32_t>& releases_of(const void* counter) {
  std::vector<uint32_t>& clock = running->released[reinterpret_cast<uintptr_t>(counter)];
  clock.resize(running->asked->blocks);
  return clock;
}

void acquire(const std::vector<uint32_t>& clock) {
  uint32_t* mine = &seen(running->fiber->block, 0);
  for (size_t i = 0; i < clock.size(); ++i) mine[i] = std::max(mine[i], clock[i]);
}

// Those who poll have something to look at.
void counter_changed() {
  ++running->progress;
  for (const uint32_t index : running->spinners) make_ready(running->fibers[index]);
  running->spinners.clear();
}

}  // namespace

void forget_writes() {
  const EmulatedLaunch& asked = *running->asked;
  running->writers.resize(asked.buffer_count);
  for (size_t i = 0; i < asked.buffer_count; ++i) {
    running->writers[i].assign(asked.buffers[i].writable ? asked.buffers[i].bytes : 0, Stamp{});
  }
  running->meetings = 0;
  running->released.clear();
  running->seen.clear();
  if (!asked.cooperative) return;
  running->seen.assign(static_cast<size_t>(asked.blocks) * asked.blocks, 0);
  for (uint32_t block = 0; block < asked.blocks; ++block) seen(block, block) = 1;
}

const EmulatedBuffer* buffer_of(const void* address, uint64_t bytes) {
  const uintptr_t from = reinterpret_cast<uintptr_t>(address);
  for (size_t i = 0; i < running->asked->buffer_count; ++i) {
    const EmulatedBuffer& buffer = running->asked->buffers[i];
    const uintptr_t start = reinterpret_cast<uintptr_t>(buffer.start);
    if (from >= start && bytes <= buffer.bytes && from - start <= buffer.bytes - bytes) return &buffer;
  }
  return nullptr;
}

bool was_written(const EmulatedBuffer& buffer, const void* address, uint64_t bytes) {
  if (!buffer.writable) return false;
  const Stamp* stamps = stamps_of(buffer, address);
  return std::any_of(stamps, stamps + bytes, [](const Stamp& stamp) { return stamp.written; });
}

void check_read(const void* address, uint64_t bytes, bool read_only_cache) {
  const EmulatedBuffer& buffer = check(address, bytes, "reads");
  if (!buffer.writable) return;
  const Stamp* stamps = stamps_of(buffer, address);
  for (uint64_t i = 0; i < bytes; ++i) {
    if (!comes_before(stamps[i])) fault_of_order("reads", stamps[i]);
    if (read_only_cache && stamps[i].written) {
      fault("reads through the read-only cache what this launch wrote");
    }
  }
}

void check_write(const void* address, uint64_t bytes) {
  const EmulatedBuffer& buffer = check(address, bytes, "writes");
  if (!buffer.writable) fault("writes to a buffer that is only read");
  Stamp* stamps = stamps_of(buffer, address);
  for (uint64_t i = 0; i < bytes; ++i) {
    if (!comes_before(stamps[i])) fault_of_order("writes", stamps[i]);
  }
  std::fill(stamps, stamps + bytes, stamp_of_now());
  ++running->progress;
}

}  // namespace emulation

using namespace emulation;

uint32_t grid_read(const uint32_t* counter) {
  may_be_late();
  check_counter(counter, "reads");
  acquire(releases_of(counter));
  return *counter;
}

uint32_t grid_add(uint32_t* counter, uint32_t value) {
  may_be_late();
  check_counter(counter, "adds to");
  const uint32_t block = running->fiber->block;
  std::vector<uint32_t>& clock = releases_of(counter);
  acquire(clock);
  const uint32_t* mine = &seen(block, 0);
  std::copy(mine, mine + clock.size(), clock.begin());
  ++seen(block, block);
  note_meeting(block_of(*running->fiber));
  counter_changed();
  const uint32_t old = *counter;
  *counter = old + value;
  return old;
}

void grid_store(uint32_t* counter, uint32_t value) {
  may_be_late();
  const EmulatedBuffer& buffer = check_counter(counter, "resets");
  const std::vector<uint32_t>& clock = releases_of(counter);
  const uint32_t* mine = &seen(running->fiber->block, 0);
  for (size_t i = 0; i < clock.size(); ++i) {
    if (mine[i] < clock[i]) {
      fault("resets a counter that block %zu added to, without having seen that", i);
    }
  }
  Stamp* stamps = stamps_of(buffer, counter);
  std::fill(stamps, stamps + sizeof(uint32_t), stamp_of_now());
  running->released.erase(reinterpret_cast<uintptr_t>(counter));
  counter_changed();
  *counter = value;
}

namespace {

// Mail has no order but what its words say: only the place is checked.
template <class T>
T read_mail(const T* from) {
  may_be_late();
  check(from, sizeof(T), "reads");
  return *from;
}

template <class T>
void write_mail(T* to, T value) {
  may_be_late();
  if (!check(to, sizeof(T), "writes").writable) fault("writes to a buffer that is only read");
  *to = value;
  counter_changed();
}

}  // namespace

uint4 mail_read(const uint4* from) { return read_mail(from); }
uint64_t mail_read(const uint64_t* from) { return read_mail(from); }
void mail_write(uint4* to, uint4 words) { write_mail(to, words); }
void mail_write(uint32_t* to, uint32_t word) { write_mail(to, word); }
void mail_write(uint64_t* to, uint64_t word) { write_mail(to, word); }

void spin() {
  Fiber& fiber = *running->fiber;
  fiber.meeting = Meeting::COUNTER;
  running->spinners.push_back(static_cast<uint32_t>(&fiber - running->fibers.data()));
  park();
}
