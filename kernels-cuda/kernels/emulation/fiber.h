// A stack of its own for every emulated thread, and the switch from one to another.
#pragma once

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulation {

// Where a fiber, or the scheduler, stopped.
struct Context {
#ifdef __x86_64__
  void* stack_pointer;
#else
  ucontext_t saved;
#endif
};

// Makes `to` run `entry`, which never returns, on stack number `stack` of those reserved.
void prepare(Context& to, size_t stack, void (*entry)());

// Stops here, in `from`, and goes on in `to`.
void switch_context(Context& from, Context& to);

// Sees to it that there are stacks 0 to `count` - 1; false if there is no room for them. No fiber
// may be alive.
bool reserve_stacks(size_t count);

// To be called where fibers stopped for good in the middle of something.
void abandon_stacks();

}  // namespace emulation
