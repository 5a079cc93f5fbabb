/* What a running thread of a kernel calls, without the standard library's containers. */
#pragma once
#include <cstddef>
#include <cstdint>

namespace shim {

struct site { /* a place in a kernel's source */
	const char *file;
	int line;
};

struct dim3 { unsigned x, y, z; };

/* Where the running thread is. */
struct place {
	dim3 grid, block_of, threads;
	unsigned thread;
};
extern place now;
extern uint64_t block_serial; /* grows with every block, so that shared memory is new in each */
extern unsigned char dynamic_shared[];
extern size_t block_shared; /* bytes of it that the running block has */

/* All threads wait for one barrier: at one place, or, where barriers are numbered, under
 * one number, and then only the lanes of a warp at one place. */
void wait_barrier(site s, int number = -1);
/* Waits until all lanes of the warp are at this place, when perform is called once
 * with what each of them passed as mine. */
void collective(void (*perform)(void **lanes), void *mine, site s);
void copy_later(void *to, const void *from, int bytes, site s);
void commit_copies();
void perform_copies(int but_groups);
/* Fails the launch unless [p, p + bytes) lies in one allocation and p is aligned. */
void check_slowly(const void *p, size_t bytes, size_t align, site s);
struct known { uintptr_t from, to; };
extern known recent[64]; /* allocations, by a page in which an address was found */
inline void check(const void *p, size_t bytes, size_t align, site s)
{
	uintptr_t a = (uintptr_t)p;
	const known &k = recent[a >> 12 & 63];
	if (a < k.from || a + bytes > k.to || a % align) check_slowly(p, bytes, align, s);
}

} // namespace shim
