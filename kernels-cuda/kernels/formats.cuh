// Weight formats. Each is a struct of the same shape, so that one operator template serves all:
//
//   COLUMNS    consecutive columns of a row that one lane takes at a time: a chunk
//   IN_FLIGHT  chunks of a row that a lane asks for before it uses the first
//   NEURONS_IN_FLIGHT  the same for chunks one below the other, each of its own row
//   BLOCK      weights that share a scale: 1 where there is none
//   Chunk      a chunk as it lies in memory; zero bits decode to zero weights
//   wide       whether the rows are aligned for the wide loads, and so made of whole chunks
//   offset     bytes from the start of a row to the chunk at `column`, a multiple of COLUMNS
//   load       the chunk at address `at`; of its columns the first `present` exist, the rest are
//              zero. The wide loads want all of them
//   decode     a chunk as f32, exactly
//
// Loads are told apart by template argument, not by a run-time test, because a test between two
// loads stops the compiler from having both in flight.
#pragma once

#include "device.cuh"

__device__ __forceinline__ float half_bits_to_float(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

//   row │w0 w1 w2 w3│w4 w5 w6 w7│ ..   4 bytes a weight, 16 bytes a chunk
//   lane      0           1
struct F32 {
  static constexpr uint32_t COLUMNS = 4;
  static constexpr uint32_t IN_FLIGHT = 4;
  static constexpr uint32_t NEURONS_IN_FLIGHT = 8;
  static constexpr uint32_t BLOCK = 1;
  using Chunk = uint4;

  static __device__ __forceinline__ bool wide(const uint8_t* weights, uint64_t row_bytes) {
    return aligned_to_16(reinterpret_cast<uintptr_t>(weights)) && aligned_to_16(row_bytes);
  }

  static __device__ __forceinline__ constexpr uint32_t offset(uint32_t column) {
    return column * 4;
  }

  template <bool WIDE>
  static __device__ __forceinline__ Chunk load(const uint8_t* at, uint32_t, uint32_t present) {
    if (WIDE) return __ldg(reinterpret_cast<const uint4*>(at));
    const unsigned int* weights = reinterpret_cast<const unsigned int*>(at);
    Chunk chunk = {0, 0, 0, 0};
    if (present > 0) chunk.x = __ldg(weights + 0);
    if (present > 1) chunk.y = __ldg(weights + 1);
    if (present > 2) chunk.z = __ldg(weights + 2);
    if (present > 3) chunk.w = __ldg(weights + 3);
    return chunk;
  }

  static __device__ __forceinline__ void decode(const Chunk& chunk, float (&weights)[COLUMNS]) {
    weights[0] = __uint_as_float(chunk.x);
    weights[1] = __uint_as_float(chunk.y);
    weights[2] = __uint_as_float(chunk.z);
    weights[3] = __uint_as_float(chunk.w);
  }
};

//   row │w0 .. w7│w8 .. w15│ ..   2 bytes a weight, 16 bytes a chunk
//   lane     0        1
struct F16 {
  static constexpr uint32_t COLUMNS = 8;
  static constexpr uint32_t IN_FLIGHT = 4;
  static constexpr uint32_t NEURONS_IN_FLIGHT = 6;
  static constexpr uint32_t BLOCK = 1;
  using Chunk = uint4;

  static __device__ __forceinline__ bool wide(const uint8_t* weights, uint64_t row_bytes) {
    return aligned_to_16(reinterpret_cast<uintptr_t>(weights)) && aligned_to_16(row_bytes);
  }

  static __device__ __forceinline__ constexpr uint32_t offset(uint32_t column) {
    return column * 2;
  }

  template <bool WIDE>
  static __device__ __forceinline__ Chunk load(const uint8_t* at, uint32_t, uint32_t present) {
    if (WIDE) return __ldg(reinterpret_cast<const uint4*>(at));
    const unsigned short* weights = reinterpret_cast<const unsigned short*>(at);
    unsigned int words[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      words[i] = present > 2 * i ? __ldg(weights + 2 * i) : 0u;
      if (present > 2 * i + 1) words[i] |= static_cast<unsigned int>(__ldg(weights + 2 * i + 1)) << 16;
    }
    return {words[0], words[1], words[2], words[3]};
  }

  static __device__ __forceinline__ void decode(const Chunk& chunk, float (&weights)[COLUMNS]) {
    const unsigned int words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      weights[2 * i] = half_bits_to_float(words[i] & 0xffffu);
      weights[2 * i + 1] = half_bits_to_float(words[i] >> 16);
    }
  }
};

//   row │w0 .. w7│w8 .. w15│ ..   2 bytes a weight, the upper half of an f32
//   lane     0        1
struct BF16 : F16 {
  static __device__ __forceinline__ void decode(const Chunk& chunk, float (&weights)[COLUMNS]) {
    const unsigned int words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      weights[2 * i] = __uint_as_float(words[i] << 16);
      weights[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
};

// ggml's q8_0: blocks of 32 weights, an f16 scale d before 32 signed bytes q; weight = d * q. The
// product of 11 and 8 bits is exact in f32.
//
//   row │d q0..q3 q4..q7 .. q28..q31│d q0 ..   34 bytes a block
//   lane      0      1         7         8
//
// 34 is 2 modulo 16: whatever the row's alignment, a block is sure of 2 bytes only. A lane loads its
// four q as two 2-byte words, and d as a third that the block's seven other lanes ask for too; the
// warp as a whole still reads one contiguous run of 136 bytes.
struct Q8_0 {
  static constexpr uint32_t COLUMNS = 4;
  static constexpr uint32_t IN_FLIGHT = 8;
  static constexpr uint32_t NEURONS_IN_FLIGHT = 8;
  static constexpr uint32_t BLOCK = 32;
  static constexpr uint32_t BLOCK_BYTES = 34;
  struct Chunk {
    unsigned short scale;
    unsigned short low;   // q0 | q1 << 8
    unsigned short high;  // q2 | q3 << 8
  };

  static __device__ __forceinline__ bool wide(const uint8_t*, uint64_t) { return true; }

  static __device__ __forceinline__ constexpr uint32_t offset(uint32_t column) {
    return column / BLOCK * BLOCK_BYTES + column % BLOCK;
  }

  // Chunks are whole because blocks are, so `present` has nothing to say.
  template <bool WIDE>
  static __device__ __forceinline__ Chunk load(const uint8_t* at, uint32_t column, uint32_t) {
    const unsigned short* scale = reinterpret_cast<const unsigned short*>(at - column % BLOCK);
    const unsigned short* quants = reinterpret_cast<const unsigned short*>(at) + 1;
    return {__ldg(scale), __ldg(quants), __ldg(quants + 1)};
  }

  static __device__ __forceinline__ void decode(const Chunk& chunk, float (&weights)[COLUMNS]) {
    const float scale = half_bits_to_float(chunk.scale);
    weights[0] = scale * static_cast<float>(static_cast<signed char>(chunk.low & 0xff));
    weights[1] = scale * static_cast<float>(static_cast<signed char>(chunk.low >> 8));
    weights[2] = scale * static_cast<float>(static_cast<signed char>(chunk.high & 0xff));
    weights[3] = scale * static_cast<float>(static_cast<signed char>(chunk.high >> 8));
  }
};

// ggml's q4_0: blocks of 32 weights, an f16 scale d before 16 bytes; byte i holds q of weight i in
// its low half and q of weight i + 16 in its high half; weight = d * (q - 8), exact in f32.
//
//   row │d q0|q16 .. q7|q23 q8|q24 .. q15|q31│d q0|q16 ..   18 bytes a block
//   lane      0, 2              1, 3                4, 6
//
// 18 is 2 modulo 16, as 34 is for q8_0: 2-byte loads. Two lanes load the same eight bytes, each for
// its half of them; the warp as a whole reads one contiguous run of 144 bytes.
struct Q4_0 {
  static constexpr uint32_t COLUMNS = 8;
  static constexpr uint32_t IN_FLIGHT = 8;
  static constexpr uint32_t NEURONS_IN_FLIGHT = 8;
  static constexpr uint32_t BLOCK = 32;
  static constexpr uint32_t BLOCK_BYTES = 18;
  struct Chunk {
    unsigned short scale;
    unsigned short pairs[4];  // two bytes each
    uint32_t shift;           // of the lane's half of a byte
  };

  static __device__ __forceinline__ bool wide(const uint8_t*, uint64_t) { return true; }

  static __device__ __forceinline__ constexpr uint32_t offset(uint32_t column) {
    return column / BLOCK * BLOCK_BYTES + column % (BLOCK / 2);
  }

  // Chunks are whole because blocks are, so `present` has nothing to say.
  template <bool WIDE>
  static __device__ __forceinline__ Chunk load(const uint8_t* at, uint32_t column, uint32_t) {
    const unsigned short* scale = reinterpret_cast<const unsigned short*>(at - column % (BLOCK / 2));
    const unsigned short* pairs = reinterpret_cast<const unsigned short*>(at) + 1;
    return {__ldg(scale),
            {__ldg(pairs), __ldg(pairs + 1), __ldg(pairs + 2), __ldg(pairs + 3)},
            column % BLOCK < BLOCK / 2 ? 0u : 4u};
  }

  // 2^23 + q is an f32 whose lowest bits are q: no conversion from integers.
  static __device__ __forceinline__ void decode(const Chunk& chunk, float (&weights)[COLUMNS]) {
    const float scale = half_bits_to_float(chunk.scale);
#pragma unroll
    for (uint32_t i = 0; i < COLUMNS; ++i) {
      const uint32_t shift = chunk.shift + (i % 2 == 0 ? 0 : 8);
      const uint32_t q = static_cast<uint32_t>(chunk.pairs[i / 2]) >> shift & 0xfu;
      weights[i] = scale * (__uint_as_float(0x4b000000u | q) - 8388616.f);
    }
  }
};
