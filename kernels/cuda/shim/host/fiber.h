/* A stack of its own, switched to and from without the kernel's help. */
#pragma once
#include <sys/mman.h>
#include <unistd.h>
#include <cstdint>
#include <cstdlib>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace shim {

constexpr size_t stack_bytes = 128 << 10;

/* A stack with a page below it that traps an overflow. */
inline char *new_stack()
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = (char *)mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED || mprotect(p, page, PROT_NONE)) abort();
	return p + page;
}

#if defined(__x86_64__)
extern "C" void shim_switch(void **save, void *to);

struct context {
	void *sp = nullptr;
	/* Starts at entry when it is first switched to; entry never returns. */
	void start(char *stack, void (*entry)())
	{
		void **top = (void **)(stack + stack_bytes);
		*--top = nullptr; /* entry finds the stack as after a call */
		*--top = (void *)entry;
		for (int i = 0; i < 6; i++) *--top = nullptr; /* the registers that a call keeps */
		sp = top;
	}
	void switch_to(context &to) { shim_switch(&sp, to.sp); }
};
#else
struct context {
	ucontext_t u;
	void start(char *stack, void (*entry)())
	{
		if (getcontext(&u)) abort();
		u.uc_stack.ss_sp = stack;
		u.uc_stack.ss_size = stack_bytes;
		u.uc_link = nullptr;
		makecontext(&u, entry, 0);
	}
	void switch_to(context &to) { swapcontext(&u, &to.u); }
};
#endif

} // namespace shim
