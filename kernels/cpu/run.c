/* What is compiled once: running tasks, memory, the compiler's name. */
#include "kernels.h"
#include <stdlib.h>
#if defined(__linux__)
#define RK_MADVISE 1
#endif
#ifdef RK_MADVISE
/* -std=c11 hides madvise; its declaration and the one constant are stable ABI. */
extern int madvise(void *addr, size_t length, int advice);
enum { RK_MADV_HUGEPAGE = 14 };
#endif
#if defined(__unix__) || defined(__APPLE__)
extern int sched_yield(void); /* hidden likewise */
#else
static void sched_yield(void) {}
#endif

void rk_run(rk_task fn, const void *args, int64_t n, void *scratch)
{
	for (int64_t i = 0; i < n; i++) fn(args, i, scratch);
}

void rk_run_shared(rk_task fn, const void *args, int64_t n, int64_t *next, void *scratch)
{
	for (;;) {
		int64_t i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
		if (i >= n) return;
		fn(args, i, scratch);
	}
}

/* What is waited for takes microseconds, unless the thread that does it lost its processor. */
void rk_wait(const int64_t *at, int64_t value)
{
	for (int spins = 0; __atomic_load_n(at, __ATOMIC_ACQUIRE) < value; spins++) {
		if (spins > 2000) sched_yield();
#if defined(__x86_64__)
		else __builtin_ia32_pause();
#endif
	}
}

enum { ALIGN = 64, PADDING = 512, HUGE_PAGE = 2 << 20 };

void *rk_alloc(int64_t bytes)
{
	if (bytes < 0 || (uint64_t)bytes > SIZE_MAX / 2) return NULL;
	/* calloc gets large blocks from the kernel, already zero and untouched. */
	size_t align = bytes >= 4 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
	size_t total = (size_t)bytes + PADDING + align + sizeof(void *);
	char *block = calloc(1, total);
	if (!block) return NULL;
	uintptr_t at = ((uintptr_t)block + sizeof(void *) + align - 1) / align * align;
	((void **)at)[-1] = block;
#ifdef RK_MADVISE
	if (align == HUGE_PAGE) madvise((void *)at, (size_t)bytes / HUGE_PAGE * HUGE_PAGE, RK_MADV_HUGEPAGE);
#endif
	return (void *)at;
}

void rk_free(void *p)
{
	if (p) free(((void **)p)[-1]);
}

#define STR_(x) #x
#define STR(x) STR_(x)
const char *rk_compiler(void)
{
#if defined(__clang__)
	return "clang" STR(__clang_major__) "." STR(__clang_minor__);
#elif defined(__GNUC__)
	return "gcc" STR(__GNUC__) "." STR(__GNUC_MINOR__);
#else
	return "cc";
#endif
}
