// What blocks tell each other inside one launch, without a barrier: each word says itself whether it is
// the new one. Whoever waits for it reads it over and over.
//
//   a value    f32 whose lowest bit is its turn: 0, 1, 0, 1 .. at each writing of the same word
//   a packet   32 bits of content and the 32-bit epoch of its writing
//
// The turn takes the place of the value's last bit, and the reader clears it: a value that went by mail is
// rounded to one bit less, the same in every turn.
//
// Vectors lie in quads of four columns, dealt to threads: with T = columns / 16,
//
//   quad        0 .. T-1              T .. 2T-1             2T ..        3T ..
//   columns     16 t ..               16 t + 4 ..           16 t + 8 ..  16 t + 12 ..
//
// so that thread t of T, which works on columns 16 t to 16 t + 15, reads next to its neighbours.
//
// A word may be written again once every reader has read it. The step kernel's phases see to it: a phase
// begins when the one before has given everything it gives, so nobody still reads what it read.
#pragma once

#include "pipeline.cuh"

__device__ __forceinline__ uint32_t stamped(float value, uint32_t turn) {
  return (__float_as_uint(value) & ~1u) | turn;
}

__device__ __forceinline__ uint4 stamped(const float4& quad, uint32_t turn) {
  return {stamped(quad.x, turn), stamped(quad.y, turn), stamped(quad.z, turn),
          stamped(quad.w, turn)};
}

__device__ __forceinline__ bool has_come(const uint4& words, uint32_t turn) {
  const uint32_t all = words.x & words.y & words.z & words.w;
  const uint32_t any = words.x | words.y | words.z | words.w;
  return ((turn ? all : ~any) & 1u) != 0;
}

__device__ __forceinline__ float4 quad_of(const uint4& words) {
  return {__uint_as_float(words.x & ~1u), __uint_as_float(words.y & ~1u),
          __uint_as_float(words.z & ~1u), __uint_as_float(words.w & ~1u)};
}

// Reads COUNT quads, all asked for at once, and those that have not come again and again.
template <uint32_t COUNT>
__device__ __forceinline__ void await_quads(const uint4* const (&from)[COUNT], uint32_t turn,
                                            float4 (&quads)[COUNT]) {
  uint4 words[COUNT];
#pragma unroll
  for (uint32_t i = 0; i < COUNT; ++i) words[i] = mail_read(from[i]);
  while (true) {
    bool come[COUNT];
    bool all = true;
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
      come[i] = has_come(words[i], turn);
      all = all && come[i];
    }
    if (all) break;
    spin();
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
      if (!come[i]) words[i] = mail_read(from[i]);
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < COUNT; ++i) quads[i] = quad_of(words[i]);
}

__device__ __forceinline__ void send_packet(uint64_t* to, uint32_t content, uint32_t epoch) {
  mail_write(to, static_cast<uint64_t>(epoch) << 32 | content);
}

__device__ __forceinline__ uint32_t await_packet(const uint64_t* from, uint32_t epoch) {
  while (true) {
    const uint64_t packet = mail_read(from);
    if (static_cast<uint32_t>(packet >> 32) == epoch) return static_cast<uint32_t>(packet);
    spin();
  }
}
