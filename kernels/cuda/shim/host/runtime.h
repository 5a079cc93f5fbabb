/* What the parts of the shim share. Kernels run one at a time, on whichever thread
 * of the host waits for them, under one lock: state is plain and global. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace shim {

struct site { /* a place in a kernel's source */
	const char *file;
	int line;
};
std::string text(site s);

/* A kernel of the sources; a static one for each registers itself. */
struct entry {
	const char *name;
	size_t args; /* bytes of its argument struct */
	void (*body)(const void *args);
	unsigned threads; /* the most of a block */
	int dynamic_shared = 48 << 10;
	unsigned runs = 0; /* every other launch runs threads and blocks backwards */
	entry(const char *name, size_t args, void (*body)(const void *), unsigned threads);
};
std::vector<entry *> &entries();

struct dim3 { unsigned x, y, z; };

/* Where the running thread is. */
struct place {
	dim3 grid, block_of, threads;
	unsigned thread;
};
extern place now;
extern uint64_t block_serial; /* grows with every block, so that shared memory is new in each */
extern unsigned char dynamic_shared[];

/* Runs a launch; returns 0 or a CUresult, with the reason in `why`. */
int run(entry &e, dim3 grid, dim3 threads, size_t shared, const void *args, std::string &why);

/* Called by a running thread. fail does not return. */
[[noreturn]] void fail(int code, const std::string &why, site s);
void wait_barrier(site s);
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

/* Memory of the device. */
void *allocate(size_t bytes, size_t most);
bool release(void *p);
void release_all();
bool inside(const void *p, size_t bytes);
std::string describe(const void *p, size_t bytes); /* why it is not inside */
size_t allocated();

/* Results, by CUDA's numbers. */
enum {
	INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, NOT_READY = 600,
	ILLEGAL_ADDRESS = 700, MISALIGNED_ADDRESS = 716, LAUNCH_FAILED = 719,
};

} // namespace shim
