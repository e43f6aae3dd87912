// Bytes that no thread of a launch may touch, for the address sanitizer (feature `sanitizers`): what
// lies behind dynamic shared memory, and what frames have marked on the stack of a thread.
// Without the sanitizer both functions do nothing.
#pragma once

#include <cstddef>

#ifdef THRESHER_SANITIZERS
#include <sanitizer/asan_interface.h>
#endif

namespace emulation {

#ifdef THRESHER_SANITIZERS
inline void forbid(const void* start, size_t bytes) { __asan_poison_memory_region(start, bytes); }
inline void allow(const void* start, size_t bytes) { __asan_unpoison_memory_region(start, bytes); }
#else
inline void forbid(const void*, size_t) {}
inline void allow(const void*, size_t) {}
#endif

}  // namespace emulation
