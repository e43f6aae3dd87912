// Selection by a cluster of eight blocks of 16 warps, for Hopper and newer.
//
// Each of the 128 warps owns a run of neighbouring scores, all runs alike, in stretches of 256; each lane
// eight neighbours of a stretch, which stay in registers where there is one stretch:
//
//   scores        ├──────────── block 0 ────────────┤   ..   ├──────────── block 7 ────────────┤
//                 ├─ warp 0 ─┼─ warp 1 ─┼ .. ┼─ 15 ─┤
//   a stretch     │lane 0: 8│lane 1: 8│ .. │lane 31: 8│     two requests of 16 bytes a lane
//
// A chosen score's place in the list is the count of the chosen in earlier blocks, earlier warps, earlier
// stretches, lower lanes, and before it in its lane.
//
// A threshold takes one exchange: every warp sends its count to every block.
//
//   warp: count ─ 4 bytes ─▶ totals[128] of each block ─▶ sum of those before
//
// Top-k is a radix selection from the highest digit down: the digits of the scores that agree with the cut
// so far are counted, and the bin is found in which the k-th largest lies. Two exchanges a digit tell
// every block what all have, and what the blocks before it have, so that the list needs none:
//
//   4096 bins in shared memory
//     ─▶ sums of 32 groups of 128 ─ 1 KB ─▶ each block: which group has the cut
//     ─▶ the 128 bins of that group ─ 4 KB ─▶ each block: which bin, and how many of it are wanted
//
//   key    │ 12 bits │ 12 bits │ 8 bits │      unsigned keys in the order of their scores
//   shift   20        8         0              the last digit takes four bits of the second again
//
// Of scores that are spread out, 24 bits leave the k-th alone in its bin, and the last digit is not
// looked at. Nobody reads another block's memory, and every block waits for all that it is sent, so it
// may return when it has written its part.
#pragma once

#include "cluster.cuh"

namespace select_cluster {

constexpr uint32_t BLOCKS = THRESHER_SELECT_CLUSTER_BLOCKS;
constexpr uint32_t THREADS = THRESHER_SELECT_CLUSTER_THREADS;
constexpr uint32_t WARPS = THREADS / WARP;
constexpr uint32_t ALL_WARPS = BLOCKS * WARPS;
constexpr uint32_t OWN = 8;  // neighbouring scores of a lane
constexpr uint32_t STRETCH = WARP * OWN;
// Two counts of a warp share a word.
constexpr uint32_t HALF_BITS = 16;
constexpr uint32_t HALF = (1u << HALF_BITS) - 1;
static_assert(THRESHER_SELECT_MAX_SCORES / ALL_WARPS <= HALF, "a warp's counts fit half a word");

__device__ __forceinline__ uint32_t lane_id() { return threadIdx.x % WARP; }
__device__ __forceinline__ uint32_t warp_id() { return threadIdx.x / WARP; }

// The scores of one warp.
struct Run {
  uint32_t begin, end;
  bool one_stretch;  // in every warp
};

__device__ __forceinline__ Run run_of(uint32_t count) {
  const uint32_t each = ((count + ALL_WARPS - 1) / ALL_WARPS + 3) / 4 * 4;
  const uint32_t begin = min((cluster_rank() * WARPS + warp_id()) * each, count);
  return {begin, min(begin + each, count), each <= STRETCH};
}

// The lane's scores of the stretch that begins at `stretch`, NaN for those past the end of the run.
__device__ __forceinline__ void load_scores(const float* scores, uint32_t count, const Run& run,
                                            uint32_t stretch, float (&own)[OWN]) {
  const uint32_t first = stretch + lane_id() * OWN;
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) own[i] = __uint_as_float(0x7fffffffu);
  // Runs begin and end at multiples of four then.
  if (aligned_to_16(reinterpret_cast<uintptr_t>(scores)) && count % 4 == 0) {
#pragma unroll
    for (uint32_t i = 0; i < OWN; i += 4) {
      if (first + i < run.end) {
        const float4 four = __ldg(reinterpret_cast<const float4*>(scores + first + i));
        own[i] = four.x;
        own[i + 1] = four.y;
        own[i + 2] = four.z;
        own[i + 3] = four.w;
      }
    }
  } else {
#pragma unroll
    for (uint32_t i = 0; i < OWN; ++i) {
      if (first + i < run.end) own[i] = __ldg(scores + first + i);
    }
  }
}

struct ThresholdShared {
  uint32_t totals[ALL_WARPS];  // sent by every warp of the cluster
  uint64_t came;
};
static_assert(sizeof(ThresholdShared) <= THRESHER_SELECT_CLUSTER_SHARED, "dynamic shared memory");

// How many of the lane's scores, or of their keys, reach `cut`.
template <class T>
__device__ __forceinline__ uint32_t count_reaching(const T (&own)[OWN], T cut) {
  uint32_t count = 0;
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) count += own[i] >= cut;
  return count;
}

// Lists those; the lane's first has index `first`.
template <class T>
__device__ __forceinline__ void list_reaching(const T (&own)[OWN], T cut, uint32_t first, uint32_t* out) {
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) {
    if (own[i] >= cut) __stcg(out++, first + i);
  }
}

__device__ __forceinline__ void threshold(const SelectThresholdParams& p) {
  ThresholdShared& s = *reinterpret_cast<ThresholdShared*>(dynamic_shared());
  // Before the loads: once they are asked for, a compiler may let the arrival wait for them.
  if (threadIdx.x == 0) {
    barrier_init(&s.came, 1);
    cluster_init_fence();
    barrier_arrive_expect(&s.came, sizeof(s.totals));
  }
  cluster_arrive();
  const float threshold = __ldg(p.threshold);
  const Run run = run_of(p.count);
  float own[OWN];
  load_scores(p.scores, p.count, run, run.begin, own);
  __syncthreads();
  cluster_wait();

  uint32_t reaching = count_reaching(own, threshold);
#pragma unroll 1
  for (uint32_t at = run.begin + STRETCH; at < run.end; at += STRETCH) {
    load_scores(p.scores, p.count, run, at, own);
    reaching += count_reaching(own, threshold);
  }
  uint32_t to_lane = sum_to_lane(reaching);
  const uint32_t total = __shfl_sync(ALL_LANES, to_lane, WARP - 1);
  const uint32_t warp = cluster_rank() * WARPS + warp_id();
  if (lane_id() < BLOCKS) send(&s.totals[warp], total, &s.came, lane_id());
  received(&s.came, 0);

  uint32_t before = 0;
  uint32_t all = 0;
#pragma unroll
  for (uint32_t i = 0; i < ALL_WARPS; i += WARP) {
    const uint32_t of_warp = s.totals[i + lane_id()];
    all += of_warp;
    if (i + lane_id() < warp) before += of_warp;
  }
  uint32_t listed = __reduce_add_sync(ALL_LANES, before);
#pragma unroll 1
  for (uint32_t at = run.begin; at < run.end; at += STRETCH) {
    if (!run.one_stretch) {
      load_scores(p.scores, p.count, run, at, own);
      reaching = count_reaching(own, threshold);
      to_lane = sum_to_lane(reaching);
    }
    list_reaching(own, threshold, at + lane_id() * OWN, p.active + listed + to_lane - reaching);
    listed += __shfl_sync(ALL_LANES, to_lane, WARP - 1);
  }
  if (warp == 0) {
    all = __reduce_add_sync(ALL_LANES, all);
    if (lane_id() == 0) __stcg(p.active_count, all);
  }
}

constexpr uint32_t DIGIT_BITS = 12;
constexpr uint32_t BINS = 1u << DIGIT_BITS;
constexpr uint32_t GROUPS = WARP;  // a lane each
constexpr uint32_t GROUP_BINS = BINS / GROUPS;
constexpr uint32_t LANE_BINS = GROUP_BINS / WARP;
static_assert(LANE_BINS == 4, "16 bytes a lane");
constexpr uint32_t THREAD_BINS = BINS / THREADS;
static_assert(THREAD_BINS % 4 == 0 && GROUP_BINS % THREAD_BINS == 0, "whole fours, whole groups");
constexpr uint32_t NAN_KEY = 0;  // below that of -infinity

struct TopKShared {
  uint32_t bins[2][BINS];  // of a digit and the next
  // Sent by every block: sums of all groups, and the bins of the group with the cut.
  uint32_t groups[BLOCKS][GROUPS];
  uint32_t chosen[BLOCKS][GROUP_BINS];
  uint64_t groups_came, chosen_came;
  uint32_t tallies[WARPS];
  // What warp 0 tells the others.
  uint32_t digit, above, within, above_before, ties_before;
};
static_assert(sizeof(TopKShared) <= THRESHER_SELECT_CLUSTER_SHARED, "dynamic shared memory");

__device__ __forceinline__ uint32_t key_of(float score) {
  if (score != score) return NAN_KEY;
  const uint32_t bits = __float_as_uint(score + 0.f);  // -0 + 0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ void load_keys(const SelectTopKParams& p, const Run& run, uint32_t stretch,
                                          uint32_t (&keys)[OWN]) {
  float own[OWN];
  load_scores(p.scores, p.count, run, stretch, own);
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) keys[i] = key_of(own[i]);
}

// How many of the lane's keys of a stretch are scores.
__device__ __forceinline__ uint32_t present_in(const Run& run, uint32_t stretch) {
  const uint32_t first = stretch + lane_id() * OWN;
  return first < run.end ? run.end - first : 0;
}

// The cut as far as it is known: its bits in `known`; how many of the keys that agree with it are
// wanted, out of how many; and, in the blocks before this one, the keys above it and those that agree.
struct Cut {
  uint32_t key, known;
  uint32_t wanted, within;
  uint32_t above_before, ties_before;
};

__device__ __forceinline__ void count_digits(const uint32_t (&keys)[OWN], uint32_t present,
                                             const Cut& cut, uint32_t shift, uint32_t (&bins)[BINS]) {
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) {
    if (i < present && ((keys[i] ^ cut.key) & cut.known) == 0) {
      atomicAdd(&bins[keys[i] >> shift & (BINS - 1)], 1u);
    }
  }
}

// Sends the sums of this block's groups to every block. Group 0 has the highest bins.
__device__ __forceinline__ void send_groups(const uint32_t (&bins)[BINS], TopKShared& s) {
  constexpr uint32_t GROUP_THREADS = GROUP_BINS / THREAD_BINS;
  static_assert(BLOCKS <= GROUP_THREADS && GROUP_THREADS <= WARP, "a block for each of some threads");
  uint32_t sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < THREAD_BINS; i += 4) {
    const uint32_t lowest = BINS - THREAD_BINS * (threadIdx.x + 1);
    const uint4 four = *reinterpret_cast<const uint4*>(&bins[lowest + i]);
    sum += four.x + four.y + four.z + four.w;
  }
#pragma unroll
  for (uint32_t offset = GROUP_THREADS / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(ALL_LANES, sum, offset);
  }
  const uint32_t group = threadIdx.x / GROUP_THREADS;
  const uint32_t to = threadIdx.x % GROUP_THREADS;
  if (to < BLOCKS) send(&s.groups[cluster_rank()][group], sum, &s.groups_came, to);
}

// Finds the digit of the cut, together with the other blocks. Warp 0 calls this.
__device__ __forceinline__ void find_digit(const uint32_t (&bins)[BINS], const Cut& cut,
                                           uint32_t parity, TopKShared& s) {
  const uint32_t lane = lane_id();
  const uint32_t rank = cluster_rank();
  received(&s.groups_came, parity);
  uint32_t group = 0;
  uint32_t group_before = 0;
#pragma unroll
  for (uint32_t block = 0; block < BLOCKS; ++block) {
    const uint32_t part = s.groups[block][lane];
    group += part;
    if (block < rank) group_before += part;
  }
  const uint32_t to_group = sum_to_lane(group);
  const uint32_t chosen = __ffs(__ballot_sync(ALL_LANES, to_group >= cut.wanted)) - 1;
  const uint32_t above_group = __shfl_sync(ALL_LANES, to_group - group, chosen);

  const uint32_t lowest = BINS - GROUP_BINS * chosen - LANE_BINS * (lane + 1);
  const uint4 own = *reinterpret_cast<const uint4*>(&bins[lowest]);
#pragma unroll
  for (uint32_t block = 0; block < BLOCKS; ++block) {
    send(reinterpret_cast<uint4*>(&s.chosen[rank][LANE_BINS * lane]), own, &s.chosen_came, block);
  }
  received(&s.chosen_came, parity);
  uint32_t of[LANE_BINS] = {};
  uint32_t of_before[LANE_BINS] = {};
#pragma unroll
  for (uint32_t block = 0; block < BLOCKS; ++block) {
    const uint4 four = *reinterpret_cast<const uint4*>(&s.chosen[block][LANE_BINS * lane]);
    const uint32_t part[LANE_BINS] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (uint32_t i = 0; i < LANE_BINS; ++i) {
      of[i] += part[i];
      if (block < rank) of_before[i] += part[i];
    }
  }
  uint32_t lane_bins = 0;
  uint32_t lane_before = 0;
#pragma unroll
  for (uint32_t i = 0; i < LANE_BINS; ++i) {
    lane_bins += of[i];
    lane_before += of_before[i];
  }
  const uint32_t to_lane = above_group + sum_to_lane(lane_bins);
  uint32_t above = to_lane - lane_bins;
  const bool has_cut = above < cut.wanted && cut.wanted <= to_lane;
  const uint32_t owner = __ffs(__ballot_sync(ALL_LANES, has_cut)) - 1;
  uint32_t before = __reduce_add_sync(
      ALL_LANES, (lane < chosen ? group_before : 0) + (lane < owner ? lane_before : 0));
  if (has_cut) {
    // From the lane's highest bin down.
    uint32_t bin = LANE_BINS - 1;
    uint32_t within = of[bin];
    uint32_t ties_before = of_before[bin];
#pragma unroll
    for (uint32_t next = LANE_BINS - 1; next-- > 0;) {
      if (bin == next + 1 && above + within < cut.wanted) {
        above += within;
        before += ties_before;
        bin = next;
        within = of[next];
        ties_before = of_before[next];
      }
    }
    s.digit = lowest + bin;
    s.above = above;
    s.within = within;
    s.above_before = before;
    s.ties_before = ties_before;
  }
}

// Narrows the cut by the digit at `shift`, whose counts are in the bins. `turn` alternates from digit
// to digit.
__device__ __forceinline__ void narrow(Cut& cut, uint32_t shift, uint32_t turn, TopKShared& s) {
  const auto& bins = s.bins[turn];
  if (threadIdx.x == 0) {
    barrier_arrive_expect(&s.groups_came, sizeof(s.groups));
    barrier_arrive_expect(&s.chosen_came, sizeof(s.chosen));
  }
  send_groups(bins, s);
  if (warp_id() == 0) find_digit(bins, cut, turn, s);
  __syncthreads();
  cut.key |= s.digit << shift;
  cut.known = ~0u << shift;
  cut.wanted -= s.above;
  cut.within = s.within;
  cut.above_before += s.above_before;
  cut.ties_before = s.ties_before;
}

__device__ __forceinline__ void clear(uint32_t (&bins)[BINS]) {
#pragma unroll
  for (uint32_t i = 0; i < THREAD_BINS; i += 4) {
    *reinterpret_cast<uint4*>(&bins[i * THREADS + threadIdx.x * 4]) = uint4{0, 0, 0, 0};
  }
}

// Keys above the cut in the lower half, those that agree with it in the upper one.
__device__ __forceinline__ uint32_t tally_of(const uint32_t (&keys)[OWN], uint32_t present,
                                             const Cut& cut) {
  uint32_t tally = 0;
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) {
    const uint32_t high = keys[i] & cut.known;
    if (i < present) tally += high > cut.key ? 1u : high == cut.key ? 1u << HALF_BITS : 0u;
  }
  return tally;
}

// Tells the block what this warp has in all, `to_lane` being up to each lane. A lane gets what the warp of
// its number has, 0 unless that is an earlier one: their sum is what stands before this warp.
__device__ __forceinline__ uint32_t tally_before(uint32_t to_lane, TopKShared& s) {
  if (lane_id() == WARP - 1) s.tallies[warp_id()] = to_lane;
  __syncthreads();
  return lane_id() < warp_id() ? s.tallies[lane_id()] : 0;
}

// Lists all keys that reach the cut, where as many are wanted: what lies past the end of a run has the
// key of a NaN, which does not. It takes half the instructions of what follows.
__device__ __forceinline__ void list_all(const SelectTopKParams& p, const Run& run, const Cut& cut,
                                         uint32_t (&keys)[OWN], TopKShared& s) {
  uint32_t reaching = 0;
#pragma unroll 1
  for (uint32_t at = run.begin; at < run.end; at += STRETCH) {
    if (!run.one_stretch) load_keys(p, run, at, keys);
    reaching += count_reaching(keys, cut.key);
  }
  uint32_t to_lane = sum_to_lane(reaching);
  uint32_t listed = cut.above_before + cut.ties_before + __reduce_add_sync(ALL_LANES, tally_before(to_lane, s));
#pragma unroll 1
  for (uint32_t at = run.begin; at < run.end; at += STRETCH) {
    if (!run.one_stretch) {
      load_keys(p, run, at, keys);
      reaching = count_reaching(keys, cut.key);
      to_lane = sum_to_lane(reaching);
    }
    list_reaching(keys, cut.key, at + lane_id() * OWN, p.active + listed + to_lane - reaching);
    listed += __shfl_sync(ALL_LANES, to_lane, WARP - 1);
  }
}

// Lists the keys above the cut, and of those that agree with it as many as are wanted.
__device__ __forceinline__ void list_wanted(const SelectTopKParams& p, const Run& run, const Cut& cut,
                                            uint32_t (&keys)[OWN], TopKShared& s) {
  uint32_t tally = 0;
#pragma unroll 1
  for (uint32_t at = run.begin; at < run.end; at += STRETCH) {
    if (!run.one_stretch) load_keys(p, run, at, keys);
    tally += tally_of(keys, present_in(run, at), cut);
  }
  uint32_t to_lane = sum_to_lane(tally);
  const uint32_t earlier = tally_before(to_lane, s);
  uint32_t above = cut.above_before + __reduce_add_sync(ALL_LANES, earlier & HALF);
  uint32_t ties = cut.ties_before + __reduce_add_sync(ALL_LANES, earlier >> HALF_BITS);
#pragma unroll 1
  for (uint32_t at = run.begin; at < run.end; at += STRETCH) {
    if (!run.one_stretch) {
      load_keys(p, run, at, keys);
      tally = tally_of(keys, present_in(run, at), cut);
      to_lane = sum_to_lane(tally);
    }
    const uint32_t lower = to_lane - tally;
    const uint32_t first = at + lane_id() * OWN;
    uint32_t above_here = above + (lower & HALF);
    uint32_t ties_here = ties + (lower >> HALF_BITS);
#pragma unroll
    for (uint32_t i = 0; i < OWN; ++i) {
      if (first + i < run.end) {
        const uint32_t high = keys[i] & cut.known;
        const bool is_tie = high == cut.key;
        if (high > cut.key || (is_tie && ties_here < cut.wanted)) {
          __stcg(p.active + above_here + min(ties_here, cut.wanted), first + i);
        }
        above_here += high > cut.key;
        ties_here += is_tie;
      }
    }
    const uint32_t of_stretch = __shfl_sync(ALL_LANES, to_lane, WARP - 1);
    above += of_stretch & HALF;
    ties += of_stretch >> HALF_BITS;
  }
}

__device__ __forceinline__ void top_k(const SelectTopKParams& p) {
  TopKShared& s = *reinterpret_cast<TopKShared*>(dynamic_shared());
  // Before the loads, as for a threshold.
  if (threadIdx.x == 0) {
    barrier_init(&s.groups_came, 1);
    barrier_init(&s.chosen_came, 1);
    cluster_init_fence();
  }
  cluster_arrive();
  const uint32_t k = min(__ldg(p.k), p.count);
  const Run run = run_of(p.count);
  float own[OWN];
  load_scores(p.scores, p.count, run, run.begin, own);
  clear(s.bins[0]);
  clear(s.bins[1]);
  __syncthreads();
  cluster_wait();
  if (k == 0) {  // in every block
    if (threadIdx.x == 0 && cluster_rank() == 0) __stcg(p.active_count, 0u);
    return;
  }
  uint32_t keys[OWN];
#pragma unroll
  for (uint32_t i = 0; i < OWN; ++i) keys[i] = key_of(own[i]);

  Cut cut = {0, 0, k, p.count, 0, 0};
  uint32_t turn = 0;
  uint32_t shift = 32 - DIGIT_BITS;
#pragma unroll 1
  while (true) {
#pragma unroll 1
    for (uint32_t at = run.begin; at < run.end; at += STRETCH) {
      if (!run.one_stretch) load_keys(p, run, at, keys);
      count_digits(keys, present_in(run, at), cut, shift, s.bins[turn]);
    }
    __syncthreads();
    narrow(cut, shift, turn, s);
    // All that agree so far are wanted: they are as good as ties with the exact cut.
    if (shift == 0 || cut.wanted == cut.within) break;
    shift = shift > DIGIT_BITS ? shift - DIGIT_BITS : 0;
    turn ^= 1;
    if (shift == 0) {  // the third digit counts where the first did
      clear(s.bins[turn]);
      __syncthreads();
    }
  }

  if (cut.wanted == cut.within && cut.key != NAN_KEY) {
    list_all(p, run, cut, keys, s);
  } else {
    list_wanted(p, run, cut, keys, s);
  }
  if (threadIdx.x == 0 && cluster_rank() == 0) __stcg(p.active_count, k);
}

}  // namespace select_cluster
