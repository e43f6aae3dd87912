// swapcontext makes two system calls for the signal mask, which no fiber changes: most of the time
// of a launch. On x86-64 the switch is by hand; elsewhere it is swapcontext.
#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "sanitizers.h"

namespace emulation {
namespace {

// Not a power of two: the used ends of the stacks then fall into different sets of the caches.
#ifdef THRESHER_SANITIZERS
constexpr size_t STACK_BYTES = 256 * 1024 + 17 * 64;  // between variables lie bytes to watch
#else
constexpr size_t STACK_BYTES = 64 * 1024 + 17 * 64;
#endif

unsigned char* stacks = nullptr;
size_t stack_count = 0;

unsigned char* bottom_of(size_t stack) { return stacks + stack * STACK_BYTES; }

}  // namespace

bool reserve_stacks(size_t count) {
  if (count <= stack_count) return true;
  abandon_stacks();
  if (stacks != nullptr) munmap(stacks, stack_count * STACK_BYTES);
  stack_count = 0;
  stacks = nullptr;
  // Pages that no fiber touches cost nothing.
  void* memory = mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  stacks = static_cast<unsigned char*>(memory);
  stack_count = count;
  return true;
}

void abandon_stacks() { allow(stacks, stack_count * STACK_BYTES); }

#ifdef __x86_64__

// The System V ABI lets a call destroy every register but these six and the stack pointer. (The
// modes of the floating-point units are also the callee's to keep; kernels do not change them.)
asm(R"(
  .text
  .p2align 4
  .globl thresher_switch
  .hidden thresher_switch
  .type thresher_switch, @function
thresher_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
  .size thresher_switch, .-thresher_switch
)");

extern "C" void thresher_switch(void** from, void* to);

void prepare(Context& to, size_t stack, void (*entry)()) {
  // As thresher_switch leaves a stack: six registers, then where to return. At a function's first
  // instruction the stack pointer is 8 past a multiple of 16.
  const uintptr_t end = reinterpret_cast<uintptr_t>(bottom_of(stack) + STACK_BYTES) & ~uintptr_t{15};
  uint64_t* top = reinterpret_cast<uint64_t*>(end) - 8;
  for (int i = 0; i < 8; ++i) top[i] = 0;
  top[6] = reinterpret_cast<uint64_t>(entry);
  to.stack_pointer = top;
}

void switch_context(Context& from, Context& to) {
  thresher_switch(&from.stack_pointer, to.stack_pointer);
}

#else

void prepare(Context& to, size_t stack, void (*entry)()) {
  getcontext(&to.saved);
  to.saved.uc_stack.ss_sp = bottom_of(stack);
  to.saved.uc_stack.ss_size = STACK_BYTES;
  to.saved.uc_link = nullptr;
  makecontext(&to.saved, entry, 0);
}

void switch_context(Context& from, Context& to) { swapcontext(&from.saved, &to.saved); }

#endif

}  // namespace emulation
