/* The device's memory is the host's, each allocation apart from the others. What is
 * freed is kept a while, so that its addresses stay wrong. */
#include "runtime.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <sys/mman.h>

namespace shim {

std::string text(site s)
{
	const char *slash = strrchr(s.file, '/');
	return std::string(slash ? slash + 1 : s.file) + ":" + std::to_string(s.line);
}

namespace {

constexpr size_t gap = 4096, kept = 64 << 20;

struct range {
	uintptr_t from, to;
	void *block;
	size_t mapped; /* bytes that were mapped; 0: from malloc */
	void free() const
	{
		if (mapped) munmap(block, mapped);
		else ::free(block);
	}
};

std::map<uintptr_t, range> live; /* by the first address */
std::deque<range> gone;
size_t live_bytes, gone_bytes;

bool find(uintptr_t p, size_t bytes)
{
	auto next = live.upper_bound(p);
	if (next == live.begin()) return false;
	const range &r = std::prev(next)->second;
	if (p + bytes > r.to) return false;
	recent[p >> 12 & 63] = {r.from, r.to};
	return true;
}

} // namespace

known recent[64];

runs what_runs()
{
	const char *v = getenv("RESSA_SHIM_RUNS");
	return !v || !strcmp(v, "all") ? ALL : !strcmp(v, "moves") ? MOVES : NOTHING;
}

void *allocate(size_t bytes, size_t most)
{
	if (live_bytes + bytes > most) return nullptr;
	runs what = what_runs();
	size_t whole = bytes + 2 * gap + 256, mapped = what == ALL ? 0 : whole;
	int access = what == MOVES ? PROT_READ | PROT_WRITE : PROT_NONE;
	void *block = mapped ? mmap(nullptr, whole, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) : malloc(whole);
	if (!block || block == MAP_FAILED) return nullptr;
	uintptr_t from = ((uintptr_t)block + gap + 255) / 256 * 256;
	if (!mapped) memset((void *)from, 0xff, bytes); /* contents are unknown: NaN */
	live[from] = {from, from + bytes, block, mapped};
	live_bytes += bytes;
	return (void *)from;
}

bool release(void *p)
{
	auto found = live.find((uintptr_t)p);
	if (found == live.end()) return false;
	range r = found->second;
	live.erase(found);
	memset(recent, 0, sizeof recent);
	live_bytes -= r.to - r.from;
	gone.push_back(r);
	gone_bytes += r.to - r.from;
	while (gone_bytes > kept) {
		gone_bytes -= gone.front().to - gone.front().from;
		gone.front().free();
		gone.pop_front();
	}
	return true;
}

void release_all()
{
	while (!live.empty()) release((void *)live.begin()->first);
}

bool inside(const void *p, size_t bytes) { return find((uintptr_t)p, bytes); }

size_t allocated() { return live_bytes; }

std::string describe(const void *p, size_t bytes)
{
	uintptr_t a = (uintptr_t)p;
	for (const range &r : gone)
		if (a >= r.from && a < r.to) return "in an allocation of " + std::to_string(r.to - r.from) + " bytes that was freed";
	for (const auto &l : live) {
		const range &r = l.second;
		std::string size = "an allocation of " + std::to_string(r.to - r.from) + " bytes";
		if (a >= r.from && a < r.to + gap) return "byte " + std::to_string(a - r.from) + " to " + std::to_string(a - r.from + bytes) + " of " + size;
		if (a < r.from && a + gap >= r.from) return std::to_string(r.from - a) + " bytes before " + size;
	}
	return "in no allocation";
}

void check_slowly(const void *p, size_t bytes, size_t align, site s)
{
	if (!find((uintptr_t)p, bytes)) fail(ILLEGAL_ADDRESS, "access out of bounds, " + describe(p, bytes) + ",", s);
	if ((uintptr_t)p % align) fail(MISALIGNED_ADDRESS, "address is no multiple of " + std::to_string(align), s);
}

} // namespace shim
