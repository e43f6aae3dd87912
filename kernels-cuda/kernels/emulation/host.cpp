// The scheduler behind host.h: turns, and the meetings of threads. When no thread can run, no bulk
// copy is under way and polling finds nothing new, the threads left can never go on.
#include "host.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <mutex>

#include "sanitizers.h"
#include "scheduler.h"

// The linker's names for the ends of the section that holds the shared arrays.
extern "C" unsigned char __start_thresher_shared[];
extern "C" unsigned char __stop_thresher_shared[];

namespace emulation {

Launch* running = nullptr;

namespace {

// What a GPU has at most: 227 KiB on sm_90.
constexpr uint32_t SHARED_BYTES_MOST = 227 * 1024;
constexpr size_t FIBERS_MOST = 64 * 1024;
constexpr size_t SHARED_ALIGNMENT = 128;
constexpr size_t FENCE_BYTES = 1024;

// Random orders hold back a quarter of the warps, and now and then whole blocks, this many rounds.
constexpr uint64_t HOLD_ROUNDS = 16;

char* message_to = nullptr;
size_t message_capacity_left = 0;

void record(const char* format, va_list arguments) {
  if (running->failed) return;
  running->failed = true;
  std::vsnprintf(message_to, message_capacity_left, format, arguments);
}

bool names(uint32_t lanes, uint32_t lane) { return lanes >> lane & 1; }

uint32_t bit_of(const Fiber& fiber) { return 1u << fiber.thread % WARP_LANES; }

// __syncthreads completes when every thread that has not returned is at it.
void complete_block_meeting(Block& block, Fiber* fibers) {
  if (block.at_meeting == 0 || block.at_meeting != block.live) return;
  block.at_meeting = 0;
  note_meeting(block);
  for (uint32_t thread = 0; thread < running->asked->threads; ++thread) {
    if (fibers[thread].state == State::WAITING) make_ready(fibers[thread]);
  }
}

// A warp operation completes when every lane it names is at the same operation, naming the same.
bool all_lanes_are_here(const Fiber* warp, const Fiber& last) {
  for (uint32_t lane = 0; lane < WARP_LANES; ++lane) {
    if (!names(last.lanes, lane)) continue;
    if (warp[lane].meeting != last.meeting || warp[lane].lanes != last.lanes) return false;
  }
  return true;
}

void exchange(Fiber* lanes_of_warp, Warp& warp, uint32_t lanes) {
  uint64_t ballot = 0;
  uint64_t sum = 0;
  for (uint32_t lane = 0; lane < WARP_LANES; ++lane) {
    if (!names(lanes, lane)) continue;
    if (lanes_of_warp[lane].value != 0) ballot |= uint64_t{1} << lane;
    sum += lanes_of_warp[lane].value;
  }
  for (uint32_t lane = 0; lane < WARP_LANES; ++lane) {
    if (!names(lanes, lane)) continue;
    Fiber& fiber = lanes_of_warp[lane];
    if (fiber.meeting == Meeting::BALLOT) {
      fiber.taken = ballot;
    } else if (fiber.meeting == Meeting::SUM) {
      fiber.taken = sum;
    } else if (names(lanes, fiber.from)) {
      fiber.taken = lanes_of_warp[fiber.from].value;
    } else {
      fault("shares a warp whose lane %u shuffles from lane %u, which takes no part", lane,
            fiber.from);
    }
    make_ready(fiber);
  }
  warp.waiting &= ~lanes;
  warp.met = ++running->meetings;
}

void enter_kernel() {
  running->kernel->body(running->asked->params);
  Fiber& fiber = *running->fiber;
  Block& block = block_of(fiber);
  fiber.state = State::FINISHED;
  ++running->progress;
  --block.live;
  complete_block_meeting(block, &fiber - fiber.thread);
  if (block.live == 0) {
    --running->live_blocks;
    if (block.copies > 0) {
      fault("is the block's last to return, with copies or words of other blocks still under way");
    }
    const unsigned char* end = block.dynamic + running->asked->shared_bytes;
    allow(end, FENCE_BYTES);
    if (std::any_of(end, end + FENCE_BYTES, [](unsigned char byte) { return byte != 0xff; })) {
      fault("is the block's last to return: the block wrote past its dynamic shared memory");
    }
  }
  switch_context(fiber.context, running->scheduler);
}

void start_block(Block& block, uint32_t index, Fiber* fibers, size_t first_stack) {
  const EmulatedLaunch& asked = *running->asked;
  block.warps.assign(asked.threads / WARP_LANES, Warp{~0u, 0, 0, false, false});
  allow(block.memory.data(), block.memory.size());
  block.memory.assign(SHARED_ALIGNMENT + asked.shared_bytes + FENCE_BYTES, 0xff);
  const uintptr_t start = reinterpret_cast<uintptr_t>(block.memory.data());
  const size_t past = start % SHARED_ALIGNMENT;
  block.dynamic = block.memory.data() + (past == 0 ? 0 : SHARED_ALIGNMENT - past);
  forbid(block.dynamic + asked.shared_bytes, FENCE_BYTES);
  if (running->blocks.size() > 1) {
    block.arrays.assign(__stop_thresher_shared - __start_thresher_shared, 0xff);
  }
  block.live = asked.threads;
  block.at_meeting = 0;
  block.copies = 0;
  std::fill(std::begin(block.named), std::end(block.named), NamedBarrier{0, 0});
  block.phase_waiters.clear();
  block.met = 0;
  for (uint32_t thread = 0; thread < asked.threads; ++thread) {
    Fiber& fiber = fibers[thread];
    fiber.block = index;
    fiber.thread = thread;
    fiber.state = State::READY;
    fiber.at_cluster_barrier = 0;
    prepare(fiber.context, first_stack + thread, enter_kernel);
  }
}

template <class T>
void shuffle_in_order(std::vector<T>& items) {
  for (size_t i = items.size(); running->shuffled && i > 1; --i) {
    std::swap(items[i - 1], items[running->random.below(i)]);
  }
}

// Makes some warps, of random orders, late for a while: on a GPU any warp may be.
void hold_some_back() {
  if (!running->shuffled || running->round % HOLD_ROUNDS != 0) return;
  for (Block& block : running->blocks) {
    const bool all = running->blocks.size() > 1 && running->random.below(4) == 0;
    for (Warp& warp : block.warps) warp.held_back = all || running->random.below(4) == 0;
  }
}

// Half of random orders have a warp or a whole block that runs only when nobody else can: whoever
// overtakes it, and writes what it has still to read, is found out.
void choose_laggards() {
  const size_t count = running->blocks.size();
  if (!running->shuffled || count == 1 || running->random.below(2) != 0) return;
  std::vector<Warp>& warps = running->blocks[running->random.below(count)].warps;
  const bool all = running->random.below(2) == 0;
  for (Warp& warp : warps) warp.lags = all;
  warps[running->random.below(warps.size())].lags = true;
}

bool wait_for_laggards() {
  for (const Block& block : running->blocks) {
    for (const Warp& warp : block.warps) {
      if (warp.lags && warp.ready != 0) return running->laggards_turn = true;
    }
  }
  return false;
}

bool let_go() {
  bool any = false;
  for (Block& block : running->blocks) {
    for (Warp& warp : block.warps) {
      any = any || (warp.held_back && warp.ready != 0);
      warp.held_back = false;
    }
  }
  return any;
}

// Lets every thread of the block that can run do so once.
bool run_ready_threads(Block& block) {
  static std::vector<uint32_t> turns;
  const uint32_t threads = running->asked->threads;
  turns.clear();
  for (size_t w = 0; w < block.warps.size(); ++w) {
    Warp& warp = block.warps[w];
    if (warp.held_back || (warp.lags && !running->laggards_turn)) continue;
    for (uint32_t left = warp.ready; left != 0; left &= left - 1) {
      turns.push_back(static_cast<uint32_t>(w) * WARP_LANES + __builtin_ctz(left));
    }
    warp.ready = 0;
  }
  if (turns.empty()) return false;
  shuffle_in_order(turns);

  const bool alone = running->blocks.size() == 1;
  if (!alone) std::copy(block.arrays.begin(), block.arrays.end(), __start_thresher_shared);
  Fiber* fibers = &running->fibers[(&block - running->blocks.data()) * static_cast<size_t>(threads)];
  blockIdx.x = fibers->block;
  for (const uint32_t thread : turns) {
    threadIdx.x = thread;
    running->fiber = fibers + thread;
    switch_context(running->scheduler, fibers[thread].context);
    if (running->failed) break;
  }
  running->fiber = nullptr;
  if (!alone) std::copy(__start_thresher_shared, __stop_thresher_shared, block.arrays.begin());
  return true;
}

bool run_round() {
  static std::vector<uint32_t> turns;
  hold_some_back();
  turns.resize(running->blocks.size());
  for (uint32_t i = 0; i < turns.size(); ++i) turns[i] = i;
  shuffle_in_order(turns);
  bool any = false;
  for (const uint32_t block : turns) {
    if (running->failed) return true;
    any |= run_ready_threads(running->blocks[block]);
  }
  running->laggards_turn = false;
  ++running->round;
  return any;
}

bool land_due_copies() {
  bool any = false;
  for (size_t i = 0; i < running->copies.size();) {
    if (running->copies[i].due <= running->round) {
      land(i);
      any = true;
    } else {
      ++i;
    }
  }
  return any;
}

bool land_one_copy() {
  const size_t count = running->copies.size();
  if (count == 0) return false;
  land(running->shuffled ? running->random.below(count) : 0);
  return true;
}

bool wake_spinners() {
  for (const uint32_t index : running->spinners) make_ready(running->fibers[index]);
  const bool any = !running->spinners.empty();
  running->spinners.clear();
  return any;
}

void fail_for_good() {
  uint32_t meeting = 0, phase = 0, polling = 0;
  const Fiber* first = nullptr;
  for (const Fiber& fiber : running->fibers) {
    if (fiber.state == State::FINISHED) continue;
    if (first == nullptr) first = &fiber;
    if (fiber.meeting == Meeting::PHASE) {
      ++phase;
    } else if (fiber.meeting == Meeting::COUNTER) {
      ++polling;
    } else {
      ++meeting;
    }
  }
  if (first == nullptr) return;
  char text[192];
  int used = 0;
  const auto say = [&](uint32_t count, const char* what) {
    if (count == 0 || used >= static_cast<int>(sizeof text)) return;
    used += std::snprintf(text + used, sizeof text - used, "%s%u %s", used == 0 ? "" : "; ", count,
                          what);
  };
  say(meeting, "wait at a barrier or warp operation that the others never reach");
  say(phase, "wait for a phase of a barrier that never completes");
  say(polling, "poll a counter that the others never change");
  fail("%s: of %zu threads, from thread %u of block %u on: %s", running->kernel->name,
       running->fibers.size(), first->thread, first->block, text);
}

// Runs `count` blocks together.
void run_blocks(uint32_t first, uint32_t count) {
  const uint32_t threads = running->asked->threads;
  running->first_block = first;
  running->blocks.resize(count);
  running->fibers.resize(static_cast<size_t>(count) * threads);
  running->spinners.clear();
  running->copies.clear();
  running->live_blocks = count;
  running->laggards_turn = false;
  running->cluster_barriers = running->at_cluster_barrier = 0;
  std::fill(__start_thresher_shared, __stop_thresher_shared, 0xff);
  for (uint32_t i = 0; i < count; ++i) {
    const size_t base = static_cast<size_t>(i) * threads;
    start_block(running->blocks[i], first + i, &running->fibers[base], base);
  }
  choose_laggards();
  uint64_t polled_at = ~uint64_t{0};
  bool polled_by_all = true;
  while (!running->failed && running->live_blocks > 0) {
    if (run_round()) {
      land_due_copies();
      continue;
    }
    if (let_go() || land_due_copies() || land_one_copy()) continue;
    // What a loop polls may have changed in a way not known here: once more, if anything happened.
    if (polled_at != running->progress && wake_spinners()) {
      polled_at = running->progress;
      polled_by_all = false;
      continue;
    }
    if (wait_for_laggards()) continue;
    // A thread that lags may have been halfway through what it polls.
    if (!polled_by_all && wake_spinners()) {
      polled_by_all = true;
      continue;
    }
    fail_for_good();
  }
}

bool may_run(const EmulatedLaunch& asked) {
  if (running->kernel == nullptr) {
    fail("no kernel is called %s", asked.name);
  } else if (asked.threads == 0 || asked.threads % WARP_LANES != 0 || asked.threads > 1024) {
    fail("%s: %u threads are not whole warps, 1024 threads at most", asked.name, asked.threads);
  } else if (asked.shared_bytes > SHARED_BYTES_MOST) {
    fail("%s: %u bytes of shared memory; a block has %u at most", asked.name, asked.shared_bytes,
         SHARED_BYTES_MOST);
  } else {
    const size_t alive = (asked.cooperative ? asked.blocks : size_t{1}) * asked.threads;
    if (alive > FIBERS_MOST || !reserve_stacks(alive)) {
      fail("%s: %zu threads at once are too many for the emulation", asked.name, alive);
    }
  }
  return !running->failed;
}

}  // namespace

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record(format, arguments);
  va_end(arguments);
}

void fault(const char* format, ...) {
  char act[192];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(act, sizeof act, format, arguments);
  va_end(arguments);
  Fiber& fiber = *running->fiber;
  fail("%s: thread %u of block %u %s", running->kernel->name, fiber.thread, fiber.block, act);
  for (;;) switch_context(fiber.context, running->scheduler);
}

void park() {
  Fiber& fiber = *running->fiber;
  fiber.state = State::WAITING;
  switch_context(fiber.context, running->scheduler);
}

void make_ready(Fiber& fiber) {
  fiber.state = State::READY;
  warp_of(fiber).ready |= bit_of(fiber);
}

void may_be_late() {
  if (!running->shuffled || running->random.below(4) != 0) return;
  Fiber& fiber = *running->fiber;
  make_ready(fiber);
  switch_context(fiber.context, running->scheduler);
}

void note_meeting(Block& block) {
  block.met = ++running->meetings;
  ++running->progress;
}

uint64_t meet(Meeting meeting, unsigned int lanes, uint64_t value, unsigned int from) {
  Fiber& fiber = *running->fiber;
  Fiber* fibers = &fiber - fiber.thread;
  Block& block = block_of(fiber);
  fiber.meeting = meeting;
  fiber.lanes = lanes;
  fiber.value = value;
  fiber.from = from;
  fiber.state = State::WAITING;
  if (meeting == Meeting::BLOCK) {
    ++block.at_meeting;
    // Also makes this thread ready: it goes on in its next turn, like the others.
    complete_block_meeting(block, fibers);
  } else {
    Warp& warp = warp_of(fiber);
    if (!names(lanes, fiber.thread % WARP_LANES)) fault("calls a warp operation that does not name it");
    warp.waiting |= bit_of(fiber);
    Fiber* first_lane = fibers + fiber.thread / WARP_LANES * WARP_LANES;
    if ((lanes & ~warp.waiting) == 0 && all_lanes_are_here(first_lane, fiber)) {
      exchange(first_lane, warp, lanes);
    }
  }
  switch_context(fiber.context, running->scheduler);
  return fiber.taken;
}

}  // namespace emulation

extern "C" int thresher_emulate(const EmulatedLaunch* asked, char* message, size_t message_capacity) {
  using namespace emulation;
  // threadIdx and the shared arrays are the process's own: one launch at a time.
  static std::mutex one_launch;
  static Launch launch;
  const std::lock_guard<std::mutex> guard(one_launch);

  running = &launch;
  message_to = message;
  message_capacity_left = message_capacity;
  launch.asked = asked;
  launch.kernel = find_kernel(asked->name);
  launch.random = {asked->order};
  launch.shuffled = asked->order != 0;
  launch.failed = false;
  launch.fiber = nullptr;
  launch.round = 0;
  launch.progress = 0;
  if (!may_run(*asked)) return 1;

  forget_writes();
  threadIdx = blockIdx = {0, 0, 0};
  blockDim = {asked->threads, 1, 1};
  gridDim = {asked->blocks, 1, 1};
  if (asked->cooperative) {
    if (asked->blocks > 0) run_blocks(0, asked->blocks);
  } else {
    for (uint32_t block = 0; block < asked->blocks && !launch.failed; ++block) run_blocks(block, 1);
  }
  if (launch.failed) abandon_stacks();
  return launch.failed ? 1 : 0;
}
