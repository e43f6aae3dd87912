// Barriers in shared memory, bulk copies, words for other blocks, barriers of some warps and of the
// cluster: see pipeline.h.
#include "pipeline.h"

#include <algorithm>

#include "scheduler.h"

namespace emulation {
namespace {

constexpr uint32_t COUNT_MOST = (1u << 20) - 1;  // PTX: of arrivals, and of bytes either way
constexpr uint32_t BYTES_ZERO = 1u << 20;
constexpr uint32_t BYTES_UNINITIALISED = (1u << 23) - 1;  // as NaN-filled memory has it
constexpr uint32_t BULK_UNIT = 16;

// What the emulation keeps in a barrier's 8 bytes.
struct Phase {
  uint64_t arrivals : 20;  // of every phase
  uint64_t missing : 20;   // of this phase
  uint64_t bytes : 23;     // announced but not landed, plus BYTES_ZERO: a copy may land before
  uint64_t parity : 1;
};
static_assert(sizeof(Phase) == sizeof(uint64_t), "a barrier is 8 bytes");

bool inside_dynamic_shared(const Block& block, const void* address, uint64_t bytes) {
  const uintptr_t start = reinterpret_cast<uintptr_t>(block.dynamic);
  const uintptr_t from = reinterpret_cast<uintptr_t>(address);
  const uint64_t size = running->asked->shared_bytes;
  return from >= start && bytes <= size && from - start <= size - bytes;
}

void check_place(const uint64_t* barrier) {
  const Block& block = block_of(*running->fiber);
  if (reinterpret_cast<uintptr_t>(barrier) % sizeof(uint64_t) != 0 ||
      !inside_dynamic_shared(block, barrier, sizeof(uint64_t))) {
    fault("uses a barrier that is not an aligned word of its block's dynamic shared memory");
  }
}

Phase load(const uint64_t* barrier) {
  Phase phase;
  std::memcpy(&phase, barrier, sizeof phase);
  return phase;
}

void store(uint64_t* barrier, const Phase& phase) { std::memcpy(barrier, &phase, sizeof phase); }

Phase load_initialised(const uint64_t* barrier) {
  check_place(barrier);
  const Phase phase = load(barrier);
  if (phase.bytes == BYTES_UNINITIALISED) fault("uses a barrier that nobody initialised");
  return phase;
}

// Stores the barrier; if its phase is complete, begins the next one and wakes who waited.
void update(Block& block, uint64_t* barrier, Phase phase) {
  const bool complete = phase.missing == 0 && phase.bytes == BYTES_ZERO;
  if (complete) {
    phase.parity ^= 1;
    phase.missing = phase.arrivals;
  }
  store(barrier, phase);
  if (!complete) return;
  note_meeting(block);
  Fiber* fibers = &running->fibers[(&block - running->blocks.data()) *
                                   static_cast<size_t>(running->asked->threads)];
  auto& waiters = block.phase_waiters;
  const auto done = [&](uint32_t thread) {
    if (fibers[thread].barrier != barrier) return false;
    make_ready(fibers[thread]);
    return true;
  };
  waiters.erase(std::remove_if(waiters.begin(), waiters.end(), done), waiters.end());
}

void arrive(uint64_t* barrier, uint32_t bytes) {
  may_be_late();
  Phase phase = load_initialised(barrier);
  if (phase.missing == 0) fault("arrives at a barrier at which all arrivals of its phase were made");
  if (phase.bytes + uint64_t{bytes} > uint64_t{BYTES_ZERO} + COUNT_MOST) {
    fault("announces more bytes than a barrier can count");
  }
  phase.missing -= 1;
  phase.bytes += bytes;
  update(block_of(*running->fiber), barrier, phase);
}

void check_copy(const Block& block, const uint8_t* to, const uint8_t* from, uint32_t bytes) {
  const auto multiple = [](uint64_t of) { return of % BULK_UNIT == 0; };
  if (!multiple(reinterpret_cast<uintptr_t>(to)) || !multiple(reinterpret_cast<uintptr_t>(from)) ||
      !multiple(bytes)) {
    fault("copies %u bytes in bulk where size, source and destination are not all multiples of %u",
          bytes, BULK_UNIT);
  }
  if (!inside_dynamic_shared(block, to, bytes)) {
    fault("copies %u bytes in bulk to outside its block's dynamic shared memory", bytes);
  }
  const EmulatedBuffer* buffer = buffer_of(from, bytes);
  if (buffer == nullptr) fault("copies %u bytes in bulk from outside every buffer", bytes);
  if (was_written(*buffer, from, bytes)) fault("copies in bulk what this launch wrote");
}

// Lands now or later; the destination is undefined until then.
void put_on_its_way(Copy copy) {
  std::memset(copy.to, 0xff, copy.bytes);
  constexpr uint64_t NOTHING_ELSE = ~uint64_t{0};
  constexpr uint32_t ROUNDS_LATE = 8;
  const bool dated = running->shuffled && running->random.below(4) != 0;
  const uint64_t late = dated ? running->random.below(ROUNDS_LATE) : 0;
  copy.due = dated ? running->round + late : NOTHING_ELSE;
  ++running->blocks[copy.block - running->first_block].copies;
  running->copies.push_back(copy);
  if (dated && late == 0) land(running->copies.size() - 1);
}

template <class Words>
void send_words(Words* to, Words words, uint64_t* barrier, uint32_t to_block) {
  may_be_late();
  const Block& own = block_of(*running->fiber);
  if (to_block >= running->blocks.size()) {
    fault("sends words to block %u of %zu", to_block, running->blocks.size());
  }
  const Block& block = running->blocks[to_block];
  check_place(barrier);
  if (reinterpret_cast<uintptr_t>(to) % sizeof(Words) != 0 ||
      !inside_dynamic_shared(own, to, sizeof(Words))) {
    fault("sends %zu bytes to where they do not fit dynamic shared memory", sizeof(Words));
  }
  if (block.live == 0) fault("sends words to block %u, which has returned", to_block);
  const auto there = [&](void* local) {
    return block.dynamic + (static_cast<unsigned char*>(local) - own.dynamic);
  };
  Copy copy = {to_block, there(to), nullptr, sizeof(Words),
               reinterpret_cast<uint64_t*>(there(barrier)), 0, {}};
  if (load(copy.barrier).bytes == BYTES_UNINITIALISED) {
    fault("sends words to block %u, whose barrier nobody initialised", to_block);
  }
  std::memcpy(copy.words, &words, sizeof(Words));
  put_on_its_way(copy);
}

}  // namespace

void land(size_t index) {
  const Copy copy = running->copies[index];
  running->copies[index] = running->copies.back();  // they have no order
  running->copies.pop_back();
  Block& block = running->blocks[copy.block - running->first_block];
  --block.copies;
  ++running->progress;
  const char* name = running->kernel->name;
  if (copy.from != nullptr && was_written(*buffer_of(copy.from, copy.bytes), copy.from, copy.bytes)) {
    fail("%s: the launch wrote what block %u was copying in bulk", name, copy.block);
    return;
  }
  std::memcpy(copy.to, copy.from != nullptr ? copy.from : copy.words, copy.bytes);
  Phase phase = load(copy.barrier);
  const bool countable = phase.bytes + uint64_t{COUNT_MOST} >= uint64_t{BYTES_ZERO} + copy.bytes;
  if (phase.bytes == BYTES_UNINITIALISED || !countable) {
    fail("%s: block %u: %u bytes land that their barrier cannot count", name, copy.block, copy.bytes);
    return;
  }
  phase.bytes -= copy.bytes;
  update(block, copy.barrier, phase);
}

}  // namespace emulation

using namespace emulation;

uint8_t* dynamic_shared() { return block_of(*running->fiber).dynamic; }

void barrier_init(uint64_t* barrier, uint32_t arrivals) {
  check_place(barrier);
  if (running->fiber->at_cluster_barrier != 0) {
    fault("initialises a barrier after it arrived at the cluster's, when others may use it");
  }
  if (arrivals == 0 || arrivals > COUNT_MOST) {
    fault("initialises a barrier for %u arrivals, not 1 to %u", arrivals, COUNT_MOST);
  }
  store(barrier, Phase{arrivals, arrivals, BYTES_ZERO, 0});
}

void barrier_arrive(uint64_t* barrier) { arrive(barrier, 0); }

void barrier_arrive_expect(uint64_t* barrier, uint32_t bytes) { arrive(barrier, bytes); }

void barrier_wait(uint64_t* barrier, uint32_t parity) {
  may_be_late();
  Fiber& fiber = *running->fiber;
  // A thread that sleeps through two phases waits on, as it may on a GPU.
  while (load_initialised(barrier).parity == (parity & 1)) {
    fiber.meeting = Meeting::PHASE;
    fiber.barrier = barrier;
    block_of(fiber).phase_waiters.push_back(fiber.thread);
    park();
  }
}

void bulk_copy(uint8_t* shared_to, const uint8_t* global_from, uint32_t bytes, uint64_t* barrier) {
  may_be_late();
  check_copy(block_of(*running->fiber), shared_to, global_from, bytes);
  load_initialised(barrier);
  put_on_its_way({running->fiber->block, shared_to, global_from, bytes, barrier, 0, {}});
}

void send(uint32_t* to, uint32_t word, uint64_t* barrier, uint32_t block) {
  send_words(to, word, barrier, block);
}

void send(uint4* to, uint4 words, uint64_t* barrier, uint32_t block) {
  send_words(to, words, barrier, block);
}

void cluster_arrive() {
  may_be_late();
  Fiber& fiber = *running->fiber;
  if (fiber.at_cluster_barrier != 0) fault("arrives twice at a barrier of the cluster");
  fiber.at_cluster_barrier = running->cluster_barriers + 1;
  if (++running->at_cluster_barrier == running->fibers.size()) {
    running->at_cluster_barrier = 0;
    ++running->cluster_barriers;
    ++running->progress;  // and no meeting: it orders no memory
    for (Fiber& other : running->fibers) {
      if (other.state == State::WAITING && other.meeting == Meeting::CLUSTER) make_ready(other);
    }
  }
  may_be_late();  // with what it does before it waits
}

void cluster_wait() {
  Fiber& fiber = *running->fiber;
  if (fiber.at_cluster_barrier == 0) fault("waits at a barrier of the cluster without arriving");
  while (running->cluster_barriers < fiber.at_cluster_barrier) {
    fiber.meeting = Meeting::CLUSTER;
    park();
  }
  fiber.at_cluster_barrier = 0;
}

void named_barrier(uint32_t id, uint32_t threads) {
  Fiber& fiber = *running->fiber;
  Block& block = block_of(fiber);
  if (id == 0 || id >= NAMED_BARRIERS) fault("is at barrier %u, not 1 to %u", id, NAMED_BARRIERS - 1);
  if (threads == 0 || threads % WARP_LANES != 0 || threads > running->asked->threads) {
    fault("is at barrier %u for %u threads, which are not whole warps of the block", id, threads);
  }
  NamedBarrier& barrier = block.named[id];
  if (barrier.arrived > 0 && barrier.threads != threads) {
    fault("is at barrier %u for %u threads, others for %u", id, threads, barrier.threads);
  }
  fiber.meeting = Meeting::NAMED;
  fiber.lanes = id;
  fiber.state = State::WAITING;
  barrier.threads = threads;
  barrier.arrived += 1;
  if (barrier.arrived == threads) {
    barrier.arrived = 0;
    note_meeting(block);
    Fiber* fibers = &fiber - fiber.thread;
    for (uint32_t base = 0; base < running->asked->threads; base += WARP_LANES) {
      uint32_t here = 0;
      for (uint32_t lane = 0; lane < WARP_LANES; ++lane) {
        Fiber& other = fibers[base + lane];
        const bool named = other.state == State::WAITING && other.meeting == Meeting::NAMED;
        if (!named || other.lanes != id) continue;
        here += 1;
        make_ready(other);
      }
      if (here != 0 && here != WARP_LANES) {
        fault("meets %u threads at barrier %u, of which warp %u has only %u", threads, id,
              base / WARP_LANES, here);
      }
    }
  }
  switch_context(fiber.context, running->scheduler);
}
