/* How a block runs: each of its threads is a fiber that runs until it waits. */
#include "fiber.h"
#include "runtime.h"
#include <cstring>

#if defined(__x86_64__)
asm(R"(
.text
.globl shim_switch
.hidden shim_switch
.type shim_switch,@function
shim_switch:
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
.size shim_switch, .-shim_switch
)");
#endif

namespace shim {

place now;
uint64_t block_serial;
size_t block_shared;
constexpr size_t most_shared = 227 << 10, canary_bytes = 256;
alignas(128) unsigned char dynamic_shared[most_shared + canary_bytes];

namespace {

enum state { READY, AT_BARRIER, AT_WARP, ENDED };

struct copy { void *to; const void *from; int bytes, group; };

struct fiber {
	context c;
	char *stack = nullptr;
	enum state state;
	site at;
	int barrier; /* its number; −1 where its place counts */
	void (*perform)(void **);
	void *mine;
	std::vector<copy> copies; /* begun, not performed */
	int group; /* that the next copy belongs to */
};

fiber fibers[1024];
context scheduler;
fiber *running;
entry *kernel;
const void *arguments;
int failure;
std::string reason;

std::string number(unsigned v) { return std::to_string(v); }

std::string where()
{
	return "kernel " + std::string(kernel->name) + ", block (" + number(now.block_of.x) + ", " + number(now.block_of.y) + ", " +
		number(now.block_of.z) + ")";
}

void blame(int code, const std::string &why)
{
	failure = code;
	reason = where() + why;
}

void begin()
{
	kernel->body(arguments);
	running->state = ENDED;
	running->c.switch_to(scheduler);
	abort();
}

void resume(unsigned t)
{
	running = &fibers[t];
	now.thread = t;
	scheduler.switch_to(running->c);
}

void yield(enum state s, site at)
{
	running->state = s;
	running->at = at;
	running->c.switch_to(scheduler);
}

std::string doing(unsigned t)
{
	const fiber &f = fibers[t];
	switch (f.state) {
	case AT_BARRIER: return "waits at the barrier at " + text(f.at);
	case AT_WARP: return "waits for its warp at " + text(f.at);
	case ENDED: return "has ended";
	default: return "runs";
	}
}

bool same(site a, site b) { return a.line == b.line && !strcmp(a.file, b.file); }

/* Whether two threads wait for one barrier. */
bool together(const fiber &f, const fiber &g, bool one_warp)
{
	return f.barrier == g.barrier && ((f.barrier >= 0 && !one_warp) || same(f.at, g.at));
}

/* Runs a warp until all of its lanes are at a barrier or have ended. */
void run_warp(unsigned first, unsigned lanes, bool backwards)
{
	for (;;) {
		for (unsigned i = 0; i < lanes; i++) {
			unsigned t = first + (backwards ? lanes - 1 - i : i);
			if (fibers[t].state == READY) resume(t);
			if (failure) return;
		}
		unsigned waiting = 0, at = 0;
		for (unsigned i = lanes; i-- > 0;)
			if (fibers[first + i].state == AT_WARP) waiting++, at = first + i;
		if (!waiting) return;
		if (lanes < 32) {
			blame(LAUNCH_FAILED, ": an operation of a warp at " + text(fibers[at].at) + " misses lanes: the last warp of " +
				number(now.threads.x) + " threads has " + number(lanes));
			return;
		}
		void *mine[32];
		for (unsigned i = 0; i < 32; i++) {
			const fiber &f = fibers[first + i];
			if (f.state != AT_WARP || !same(f.at, fibers[at].at)) {
				blame(LAUNCH_FAILED, ": an operation of a warp at " + text(fibers[at].at) + " misses a lane: thread " +
					number(first + i) + " " + doing(first + i));
				return;
			}
			mine[i] = f.mine;
		}
		fibers[at].perform(mine);
		for (unsigned i = 0; i < 32; i++) fibers[first + i].state = READY;
	}
}

void run_block(unsigned threads, bool backwards)
{
	for (unsigned t = 0; t < threads; t++) {
		fiber &f = fibers[t];
		if (!f.stack) f.stack = new_stack();
		f.c.start(f.stack, begin);
		f.state = READY;
		f.copies.clear();
		f.group = 0;
	}
	unsigned warps = (threads + 31) / 32;
	for (;;) {
		for (unsigned i = 0; i < warps; i++) {
			unsigned w = backwards ? warps - 1 - i : i;
			run_warp(w * 32, w * 32 + 32 > threads ? threads - w * 32 : 32, backwards);
			if (failure) return;
		}
		/* Every thread has ended or is at a barrier: all of them, and at one. */
		for (unsigned t = 1; t < threads; t++) {
			unsigned other = fibers[t].barrier < 0 ? 0 : t % 32 ? t - 1 : 0; /* whose place must be this one's */
			if (fibers[t].state != fibers[0].state) other = 0;
			else if (fibers[t].state != AT_BARRIER || together(fibers[t], fibers[other], t % 32)) continue;
			blame(LAUNCH_FAILED, ": threads part at a barrier: thread " + number(other) + " " + doing(other) + ", thread " + number(t) + " " + doing(t));
			return;
		}
		if (fibers[0].state == ENDED) return;
		for (unsigned t = 0; t < threads; t++) fibers[t].state = READY;
	}
}

} // namespace

int run(entry &e, dim3 grid, dim3 threads, size_t shared, const void *args, std::string &why)
{
	bool backwards = e.runs++ & 1;
	uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
	kernel = &e, arguments = args, failure = 0;
	now.grid = grid, now.threads = threads, block_shared = e.shared + shared;
	for (uint64_t i = 0; i < blocks && !failure; i++) {
		uint64_t b = backwards ? blocks - 1 - i : i;
		now.block_of = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
		block_serial++;
		memset(dynamic_shared, 0xff, block_shared + canary_bytes);
		run_block(threads.x, backwards);
		static const std::string canary(canary_bytes, '\xff');
		if (!memcmp(dynamic_shared + block_shared, canary.data(), canary_bytes)) continue;
		for (size_t c = 0; c < canary_bytes && !failure; c++)
			if (dynamic_shared[block_shared + c] != 0xff)
				blame(LAUNCH_FAILED, ": byte " + std::to_string(shared + c) + " of " + std::to_string(shared) + " of dynamic shared memory was written");
	}
	why = reason;
	return failure;
}

void fail(int code, const std::string &why, site s)
{
	blame(code, ", thread " + number(now.thread) + ": " + why + " at " + text(s));
	running->c.switch_to(scheduler);
	abort();
}

void wait_barrier(site s, int number)
{
	running->barrier = number;
	yield(AT_BARRIER, s);
}

void collective(void (*perform)(void **), void *mine, site s)
{
	running->perform = perform;
	running->mine = mine;
	yield(AT_WARP, s);
}

void copy_later(void *to, const void *from, int bytes, site s)
{
	if (bytes < 0 || bytes > 16) fail(LAUNCH_FAILED, "a copy of " + std::to_string(bytes) + " bytes", s);
	if ((uintptr_t)to % 16 || (uintptr_t)from % 16) fail(MISALIGNED_ADDRESS, "a copy between addresses that are not multiples of 16", s);
	if (bytes) check(from, bytes, 16, s);
	running->copies.push_back({to, from, bytes, running->group});
}

void commit_copies() { running->group++; }

void perform_copies(int but_groups)
{
	auto &copies = running->copies;
	size_t n = 0;
	for (; n < copies.size() && copies[n].group < running->group - but_groups; n++) {
		memset(copies[n].to, 0, 16);
		memcpy(copies[n].to, copies[n].from, copies[n].bytes);
	}
	copies.erase(copies.begin(), copies.begin() + n);
}

} // namespace shim
