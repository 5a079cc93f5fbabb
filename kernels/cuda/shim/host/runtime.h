/* What the parts of the shim share. Kernels run one at a time, on whichever thread
 * of the host waits for them, under one lock: state is plain and global. */
#pragma once
#include "thread.h"
#include <string>
#include <vector>

namespace shim {

std::string text(site s);

/* A kernel of the sources; a static one for each registers itself. */
struct entry {
	const char *name;
	size_t args; /* bytes of its argument struct */
	void (*body)(const void *args);
	unsigned threads; /* the most of a block */
	bool exact = false; /* no fewer either */
	size_t shared = 0; /* bytes of static shared memory, where it lies before the dynamic one */
	int dynamic_shared = 48 << 10; /* the most of a launch */
	unsigned runs = 0; /* every other launch runs threads and blocks backwards */
	entry(const char *name, size_t args, void (*body)(const void *), unsigned threads);
};
std::vector<entry *> &entries();

/* Runs a launch; returns 0 or a CUresult, with the reason in `why`. */
int run(entry &e, dim3 grid, dim3 threads, size_t shared, const void *args, std::string &why);

/* Called by a running thread. fail does not return. */
[[noreturn]] void fail(int code, const std::string &why, site s);
/* What is run: everything, or what moves bytes alone (copies and the kernel `move`),
 * or nothing. What is not moved is zero; without anything moved, memory is accounted
 * for and not there. For tests of what large models take. */
enum runs { ALL, MOVES, NOTHING };
runs what_runs();

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
