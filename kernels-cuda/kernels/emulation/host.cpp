// The scheduler behind host.h.
//
//   ready ──run──▶ waiting at a meeting ──everyone it needs is there──▶ ready ..
//     └──────────▶ finished
//
// When no thread is ready and no meeting is complete, the threads left can never go on.
#include "host.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <random>
#include <unordered_map>
#include <vector>

#include "launch.h"

// The linker's names for the ends of the section that holds the shared arrays.
extern "C" unsigned char __start_thresher_shared[];
extern "C" unsigned char __stop_thresher_shared[];

namespace emulation {
namespace {

constexpr unsigned int WARP = 32;
constexpr size_t STACK_BYTES = 64 * 1024;

enum class State : uint8_t { READY, WAITING, FINISHED };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<unsigned char[]> stack;
  State state;
  Meeting meeting;
  unsigned int lanes;
  uint64_t value;
  unsigned int from;
  uint64_t taken;
};

struct Launch {
  const Kernel* kernel;
  const void* params;
  const EmulatedBuffer* buffers;
  size_t buffer_count;
  std::mt19937_64 order;
  bool shuffled;
  std::vector<Fiber> fibers;
  std::vector<unsigned int> turns;
  ucontext_t scheduler;
  unsigned int current;
  // Who wrote each byte of the writable buffers in this launch.
  std::unordered_map<uintptr_t, uint64_t> writers;
  bool failed;
  char* message;
  size_t message_capacity;
};

Launch* running = nullptr;

__attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
  if (running->failed) return;
  running->failed = true;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(running->message, running->message_capacity, format, arguments);
  va_end(arguments);
}

uint64_t thread_id() {
  return static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

void enter_kernel() {
  running->kernel->body(running->params);
  Fiber& fiber = running->fibers[running->current];
  fiber.state = State::FINISHED;
  swapcontext(&fiber.context, &running->scheduler);
}

void start(Fiber& fiber) {
  if (!fiber.stack) fiber.stack = std::make_unique<unsigned char[]>(STACK_BYTES);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = STACK_BYTES;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter_kernel, 0);
  fiber.state = State::READY;
}

bool run_ready_threads() {
  if (running->shuffled) {
    std::shuffle(running->turns.begin(), running->turns.end(), running->order);
  }
  bool any = false;
  for (const unsigned int thread : running->turns) {
    Fiber& fiber = running->fibers[thread];
    if (fiber.state != State::READY) continue;
    any = true;
    running->current = thread;
    threadIdx.x = thread;
    swapcontext(&running->scheduler, &fiber.context);
  }
  return any;
}

// __syncthreads completes when every thread that has not returned is at it.
bool complete_block_meeting() {
  bool any = false;
  for (const Fiber& fiber : running->fibers) {
    if (fiber.state == State::FINISHED) continue;
    if (fiber.state != State::WAITING || fiber.meeting != Meeting::BLOCK) return false;
    any = true;
  }
  for (Fiber& fiber : running->fibers) {
    if (fiber.state == State::WAITING) fiber.state = State::READY;
  }
  return any;
}

bool names(unsigned int lanes, unsigned int lane) { return lanes >> lane & 1; }

// A warp operation completes when every lane it names is at the same operation, naming the same.
bool all_lanes_are_here(const Fiber* warp, const Fiber& first) {
  for (unsigned int lane = 0; lane < WARP; ++lane) {
    if (!names(first.lanes, lane)) continue;
    const Fiber& other = warp[lane];
    if (other.state != State::WAITING || other.meeting != first.meeting ||
        other.lanes != first.lanes) {
      return false;
    }
  }
  return true;
}

void exchange(Fiber* warp, unsigned int lanes) {
  uint64_t ballot = 0;
  for (unsigned int lane = 0; lane < WARP; ++lane) {
    if (names(lanes, lane) && warp[lane].value != 0) ballot |= uint64_t{1} << lane;
  }
  for (unsigned int lane = 0; lane < WARP; ++lane) {
    if (!names(lanes, lane)) continue;
    Fiber& fiber = warp[lane];
    if (fiber.meeting == Meeting::BALLOT) {
      fiber.taken = ballot;
    } else if (names(lanes, fiber.from)) {
      fiber.taken = warp[fiber.from].value;
    } else {
      fail("%s: lane %u shuffles from lane %u, which takes no part", running->kernel->name, lane,
           fiber.from);
    }
    fiber.state = State::READY;
  }
}

bool complete_warp_meetings() {
  bool any = false;
  for (size_t base = 0; base < running->fibers.size(); base += WARP) {
    Fiber* warp = &running->fibers[base];
    for (unsigned int lane = 0; lane < WARP; ++lane) {
      Fiber& fiber = warp[lane];
      if (fiber.state != State::WAITING || fiber.meeting == Meeting::BLOCK) continue;
      if (!names(fiber.lanes, lane)) {
        fail("%s: lane %u calls a warp operation that does not name it", running->kernel->name, lane);
        return false;
      }
      if (!all_lanes_are_here(warp, fiber)) continue;
      exchange(warp, fiber.lanes);
      any = true;
    }
  }
  return any;
}

void run_block() {
  std::fill(__start_thresher_shared, __stop_thresher_shared, 0xff);
  for (Fiber& fiber : running->fibers) start(fiber);
  while (!running->failed) {
    if (run_ready_threads()) continue;
    const auto waiting = std::count_if(running->fibers.begin(), running->fibers.end(),
                                       [](const Fiber& f) { return f.state == State::WAITING; });
    if (waiting == 0) return;
    if (complete_warp_meetings() || complete_block_meeting()) continue;
    fail("%s: block %u: %d of %u threads wait at a barrier or warp operation that the others never "
         "reach",
         running->kernel->name, blockIdx.x, static_cast<int>(waiting), blockDim.x);
  }
}

const EmulatedBuffer* buffer_of(uintptr_t address, uint64_t bytes) {
  for (size_t i = 0; i < running->buffer_count; ++i) {
    const EmulatedBuffer& buffer = running->buffers[i];
    const uintptr_t start = reinterpret_cast<uintptr_t>(buffer.start);
    if (address >= start && address + bytes <= start + buffer.bytes) return &buffer;
  }
  return nullptr;
}

const EmulatedBuffer* check(const void* pointer, uint64_t bytes, const char* verb) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  if (address % bytes != 0) {
    fail("%s: thread %u of block %u %s %u bytes at an address that they do not divide",
         running->kernel->name, threadIdx.x, blockIdx.x, verb, static_cast<unsigned int>(bytes));
    return nullptr;
  }
  const EmulatedBuffer* buffer = buffer_of(address, bytes);
  if (buffer == nullptr) {
    fail("%s: thread %u of block %u %s %u bytes outside every buffer", running->kernel->name,
         threadIdx.x, blockIdx.x, verb, static_cast<unsigned int>(bytes));
  }
  return buffer;
}

}  // namespace

uint64_t meet(Meeting meeting, unsigned int lanes, uint64_t value, unsigned int from) {
  Fiber& fiber = running->fibers[running->current];
  fiber.meeting = meeting;
  fiber.lanes = lanes;
  fiber.value = value;
  fiber.from = from;
  fiber.state = State::WAITING;
  swapcontext(&fiber.context, &running->scheduler);
  return fiber.taken;
}

bool may_read(const void* address, uint64_t bytes) {
  const EmulatedBuffer* buffer = check(address, bytes, "reads");
  if (buffer == nullptr) return false;
  if (buffer->writable) {
    for (uint64_t i = 0; i < bytes; ++i) {
      const auto writer = running->writers.find(reinterpret_cast<uintptr_t>(address) + i);
      if (writer != running->writers.end() && writer->second != thread_id()) {
        fail("%s: thread %u of block %u reads what another thread writes", running->kernel->name,
             threadIdx.x, blockIdx.x);
      }
    }
  }
  return true;
}

bool may_write(const void* address, uint64_t bytes) {
  const EmulatedBuffer* buffer = check(address, bytes, "writes");
  if (buffer == nullptr) return false;
  if (!buffer->writable) {
    fail("%s: thread %u of block %u writes to a buffer that is only read", running->kernel->name,
         threadIdx.x, blockIdx.x);
    return false;
  }
  for (uint64_t i = 0; i < bytes; ++i) {
    const auto entry =
        running->writers.emplace(reinterpret_cast<uintptr_t>(address) + i, thread_id());
    if (entry.first->second != thread_id()) {
      fail("%s: thread %u of block %u writes what another thread writes", running->kernel->name,
           threadIdx.x, blockIdx.x);
    }
  }
  return true;
}

}  // namespace emulation

extern "C" int thresher_emulate(const char* name, const void* params, uint32_t blocks,
                                uint32_t threads, const EmulatedBuffer* buffers,
                                size_t buffer_count, uint64_t order, char* message,
                                size_t message_capacity) {
  using namespace emulation;
  // threadIdx and the shared arrays are the process's own: one launch at a time.
  static std::mutex one_launch;
  static Launch launch;
  const std::lock_guard<std::mutex> guard(one_launch);

  running = &launch;
  launch.kernel = find_kernel(name);
  launch.params = params;
  launch.buffers = buffers;
  launch.buffer_count = buffer_count;
  launch.order.seed(order);
  launch.shuffled = order != 0;
  launch.writers.clear();
  launch.failed = false;
  launch.message = message;
  launch.message_capacity = message_capacity;

  if (launch.kernel == nullptr) {
    fail("no kernel is called %s", name);
  } else if (threads == 0 || threads % WARP != 0 || threads > 1024) {
    fail("%s: %u threads are not whole warps, 1024 threads at most", name, threads);
  }
  launch.fibers.resize(threads);
  launch.turns.resize(threads);
  for (uint32_t i = 0; i < threads; ++i) launch.turns[i] = i;

  threadIdx = {0, 0, 0};
  blockDim = {threads, 1, 1};
  gridDim = {blocks, 1, 1};
  for (uint32_t block = 0; block < blocks && !launch.failed; ++block) {
    blockIdx = {block, 0, 0};
    run_block();
  }
  return launch.failed ? 1 : 0;
}
