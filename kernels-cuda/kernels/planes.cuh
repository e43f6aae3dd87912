// Weight rows as the step kernel reads them: padded with zeros to a whole number of stretches of 512
// columns, and for quantised formats with a row's digits first and its scales behind them. A row takes
// the bytes that ggml's blocks would take and starts at a multiple of 16 bytes.
//
//   f32, f16, bf16   │w0 w1 ..                                      │
//   q8_0             │u0 u1 ..             cols bytes│d0 d1 .. f16  │   weight = d * (u - 128)
//   q4_0             │n0 n1 ..         cols / 2 bytes│d0 d1 .. f16  │   weight = d * (n - 8)
//
// Eight columns of q4_0 are a word whose digits, from the lowest, are of columns 0 2 4 6 1 3 5 7.
//
// Thread t of those that share a row works on columns 16 t to 16 t + 15. Each struct has
//
//   PAIRS           pairs of rows that a thread takes from a slot at a time
//   Raw, fetch      the thread's share of a row, as it lies in shared memory
//   FINITE          whether any bits at all are finite weights, short of the factor
//   column          which column its quad k begins with. Threads take their quads in an order of their
//                   own where that keeps the 8 lanes that shared memory serves at once in different banks
//   Input, prepare  its 16 values of x, as `dot` wants them
//   dot             the sum over the 16 columns
//   weights         the 16 weights plus BIAS, short of a factor that it returns
//
// For quantised weights `dot` multiplies integers: x in 16 bits, with a scale for the 16 columns. That
// moves a value of x by at most max |x| / 65500 over the thread's columns. And `weights` leaves digits
// where they fall in an f16 of 1024 and more: the bias is taken off the sum of many rows at once.
#pragma once

#include "pipeline.cuh"

constexpr uint32_t QUADS = 4;
constexpr uint32_t THREAD_COLUMNS = 4 * QUADS;

template <class T>
__device__ __forceinline__ T shared_load(const uint8_t* at) {
  return *reinterpret_cast<const T*>(at);
}

// The halves of a word as f32, exactly.
__device__ __forceinline__ void halves(uint32_t word, float& low, float& high) {
  low = __half2float(__ushort_as_half(static_cast<unsigned short>(word & 0xffffu)));
  high = __half2float(__ushort_as_half(static_cast<unsigned short>(word >> 16)));
}

// x as it is.
struct FloatInput {
  float x[THREAD_COLUMNS];
};

__device__ __forceinline__ float dot_floats(const float (&w)[THREAD_COLUMNS], const FloatInput& input) {
  float even = 0.f;
  float odd = 0.f;
#pragma unroll
  for (uint32_t i = 0; i < THREAD_COLUMNS; i += 2) {
    even = fmaf(w[i], input.x[i], even);
    odd = fmaf(w[i + 1], input.x[i + 1], odd);
  }
  return even + odd;
}

struct PlanesF32 {
  static constexpr uint32_t PAIRS = 1;
  static constexpr bool FINITE = false;
  static constexpr float BIAS = 0.f;
  using Input = FloatInput;
  // Two rows would fill 32 registers: they stay where they lie.
  struct Raw {
    const uint8_t* row;
    uint32_t t;

    __device__ __forceinline__ float4 quad(uint32_t k) const {
      const uint4 words = shared_load<uint4>(row + 4 * column(k, t));
      return {__uint_as_float(words.x), __uint_as_float(words.y), __uint_as_float(words.z),
              __uint_as_float(words.w)};
    }
  };

  static __device__ __forceinline__ uint32_t column(uint32_t quad, uint32_t t) {
    return 16 * t + 4 * (quad ^ (t >> 1 & 3));
  }
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, uint32_t t, uint32_t) { return {row, t}; }
  static __device__ __forceinline__ Input prepare(const float (&x)[THREAD_COLUMNS]) {
    Input input;
#pragma unroll
    for (uint32_t i = 0; i < THREAD_COLUMNS; ++i) input.x[i] = x[i];
    return input;
  }
  static __device__ __forceinline__ float weights(const Raw& raw, float (&w)[THREAD_COLUMNS]) {
#pragma unroll
    for (uint32_t k = 0; k < QUADS; ++k) {
      const float4 four = raw.quad(k);
      w[4 * k] = four.x;
      w[4 * k + 1] = four.y;
      w[4 * k + 2] = four.z;
      w[4 * k + 3] = four.w;
    }
    return 1.f;
  }
  static __device__ __forceinline__ float dot(const Raw& raw, const Input& input) {
    float even = 0.f;
    float odd = 0.f;
#pragma unroll
    for (uint32_t k = 0; k < QUADS; ++k) {
      const float4 four = raw.quad(k);
      even = fmaf(four.x, input.x[4 * k], even);
      odd = fmaf(four.y, input.x[4 * k + 1], odd);
      even = fmaf(four.z, input.x[4 * k + 2], even);
      odd = fmaf(four.w, input.x[4 * k + 3], odd);
    }
    return even + odd;
  }
};

template <bool BRAIN>
struct Planes16 {
  static constexpr uint32_t PAIRS = 1;
  static constexpr bool FINITE = false;
  static constexpr float BIAS = 0.f;
  using Input = FloatInput;
  struct Raw {
    uint4 halves[2];
  };

  static __device__ __forceinline__ uint32_t column(uint32_t quad, uint32_t t) {
    return 16 * t + 4 * (quad ^ (t >> 1 & 2));
  }
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, uint32_t t, uint32_t) {
    return {{shared_load<uint4>(row + 2 * column(0, t)), shared_load<uint4>(row + 2 * column(2, t))}};
  }
  static __device__ __forceinline__ Input prepare(const float (&x)[THREAD_COLUMNS]) {
    return PlanesF32::prepare(x);
  }
  static __device__ __forceinline__ void pair(uint32_t word, float& low, float& high) {
    if (BRAIN) {
      low = __uint_as_float(word << 16);
      high = __uint_as_float(word & 0xffff0000u);
    } else {
      halves(word, low, high);
    }
  }
  static __device__ __forceinline__ float weights(const Raw& raw, float (&w)[THREAD_COLUMNS]) {
#pragma unroll
    for (uint32_t k = 0; k < 2; ++k) {
      pair(raw.halves[k].x, w[8 * k], w[8 * k + 1]);
      pair(raw.halves[k].y, w[8 * k + 2], w[8 * k + 3]);
      pair(raw.halves[k].z, w[8 * k + 4], w[8 * k + 5]);
      pair(raw.halves[k].w, w[8 * k + 6], w[8 * k + 7]);
    }
    return 1.f;
  }
  static __device__ __forceinline__ float dot(const Raw& raw, const Input& input) {
    float w[THREAD_COLUMNS];
    weights(raw, w);
    return dot_floats(w, input);
  }
};

using PlanesF16 = Planes16<false>;
using PlanesBF16 = Planes16<true>;

// x in 16 bits, two to a word, in the order of the digits that they meet.
struct IntegerInput {
  uint32_t pairs[THREAD_COLUMNS / 2];
  float scale;
  int32_t sum;
};

// ORDER: the column whose value is `i`th.
template <class Order>
__device__ __forceinline__ IntegerInput integers(const float (&x)[THREAD_COLUMNS], Order order) {
  float largest = 0.f;
  float size = 0.f;
#pragma unroll
  for (uint32_t i = 0; i < THREAD_COLUMNS; ++i) {
    largest = fmaxf(largest, fabsf(x[i]));
    size += fabsf(x[i]);
  }
  // A value that is not finite makes every sum that it is in NaN.
  const bool finite = size < __uint_as_float(0x7f800000u);
  const float digits = largest > 0.f && finite ? __fdividef(32766.f, largest) : 0.f;
  IntegerInput input;
  input.scale = finite ? largest * (1.f / 32766.f) : __uint_as_float(0x7fc00000u);
  input.sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < THREAD_COLUMNS; i += 2) {
    // Above 1.5 * 2^23 a float counts in ones: its low 16 bits are the integer.
    const uint32_t low = __float_as_uint(fmaf(x[order(i)], digits, 12582912.f));
    const uint32_t high = __float_as_uint(fmaf(x[order(i + 1)], digits, 12582912.f));
    input.pairs[i / 2] = __byte_perm(low, high, 0x5410u);
    input.sum += static_cast<int32_t>(low + high - 2 * 0x4b400000u);
  }
  return input;
}

// sum + a[0] * byte 0 + a[1] * byte 1 + b[0] * byte 2 + b[1] * byte 3
__device__ __forceinline__ int32_t dot_bytes(uint32_t a, uint32_t b, uint32_t bytes, int32_t sum) {
  return dot_two_high(b, bytes, dot_two_low(a, bytes, sum));
}

__device__ __forceinline__ float scale_of(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

struct PlanesQ8_0 {
  static constexpr uint32_t PAIRS = 2;
  static constexpr bool FINITE = true;
  static constexpr float BIAS = 1024.f + 128.f;
  using Input = IntegerInput;
  struct Raw {
    uint4 digits;
    // In a register of its own: packing two would wait for both.
    uint32_t scale;
  };

  static __device__ __forceinline__ uint32_t column(uint32_t quad, uint32_t t) { return 16 * t + 4 * quad; }
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, uint32_t t, uint32_t cols) {
    return {shared_load<uint4>(row + 16 * t), shared_load<unsigned short>(row + cols + t / 2 * 2)};
  }
  static __device__ __forceinline__ Input prepare(const float (&x)[THREAD_COLUMNS]) {
    return integers(x, [](uint32_t i) { return i; });
  }
  static __device__ __forceinline__ float weights(const Raw& raw, float (&w)[THREAD_COLUMNS]) {
    const uint32_t words[QUADS] = {raw.digits.x, raw.digits.y, raw.digits.z, raw.digits.w};
#pragma unroll
    for (uint32_t k = 0; k < QUADS; ++k) {
      // A byte below 0x64 is the f16 1024 + byte.
      halves(__byte_perm(words[k], 0x64646464u, 0x4140u), w[4 * k], w[4 * k + 1]);
      halves(__byte_perm(words[k], 0x64646464u, 0x4342u), w[4 * k + 2], w[4 * k + 3]);
    }
    return scale_of(raw.scale);
  }
  static __device__ __forceinline__ float dot(const Raw& raw, const Input& input) {
    int32_t even = dot_bytes(input.pairs[0], input.pairs[1], raw.digits.x, -128 * input.sum);
    int32_t odd = dot_bytes(input.pairs[2], input.pairs[3], raw.digits.y, 0);
    even = dot_bytes(input.pairs[4], input.pairs[5], raw.digits.z, even);
    odd = dot_bytes(input.pairs[6], input.pairs[7], raw.digits.w, odd);
    return static_cast<float>(even + odd) * (scale_of(raw.scale) * input.scale);
  }
};

struct PlanesQ4_0 {
  static constexpr uint32_t PAIRS = 4;
  static constexpr bool FINITE = true;
  static constexpr float BIAS = 1024.f + 8.f;
  using Input = IntegerInput;
  struct Raw {
    uint2 digits;
    uint32_t scale;
  };

  static __device__ __forceinline__ uint32_t column(uint32_t quad, uint32_t t) { return 16 * t + 4 * quad; }
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, uint32_t t, uint32_t cols) {
    return {shared_load<uint2>(row + 8 * t), shared_load<unsigned short>(row + cols / 2 + t / 2 * 2)};
  }
  static __device__ __forceinline__ Input prepare(const float (&x)[THREAD_COLUMNS]) {
    // Of every eight columns, the bytes of low digits hold 0 4 1 5, those of high digits 2 6 3 7.
    return integers(x, [](uint32_t i) {
      return i / 8 * 8 + i % 8 / 4 * 2 + i % 4 / 2 + i % 2 * 4;
    });
  }
  static __device__ __forceinline__ float weights(const Raw& raw, float (&w)[THREAD_COLUMNS]) {
    const uint32_t words[2] = {raw.digits.x, raw.digits.y};
#pragma unroll
    for (uint32_t k = 0; k < 2; ++k) {
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        halves((words[k] >> 4 * i & 0x000f000fu) | 0x64006400u, w[8 * k + 2 * i], w[8 * k + 2 * i + 1]);
      }
    }
    return scale_of(raw.scale);
  }
  static __device__ __forceinline__ float dot(const Raw& raw, const Input& input) {
    constexpr uint32_t LOW = 0x0f0f0f0fu;
    const uint2 digits = raw.digits;
    int32_t even = dot_bytes(input.pairs[0], input.pairs[1], digits.x & LOW, -8 * input.sum);
    int32_t odd = dot_bytes(input.pairs[2], input.pairs[3], digits.x >> 4 & LOW, 0);
    even = dot_bytes(input.pairs[4], input.pairs[5], digits.y & LOW, even);
    odd = dot_bytes(input.pairs[6], input.pairs[7], digits.y >> 4 & LOW, odd);
    return static_cast<float>(even + odd) * (scale_of(raw.scale) * input.scale);
  }
};
