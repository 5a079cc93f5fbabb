/* Functions of libcuda: copies, streams, events, modules, launches. */
#include "state.h"
#include <cstring>
#include <ctime>

namespace shim {

entry::entry(const char *n, size_t a, void (*b)(const void *), unsigned t) : name(n), args(a), body(b), threads(t) { entries().push_back(this); }

std::vector<entry *> &entries()
{
	static std::vector<entry *> all;
	return all;
}

namespace {

char the_module;

std::shared_ptr<stream> find(void *s)
{
	auto f = streams.find(s);
	return f == streams.end() ? nullptr : f->second;
}

int enqueue(void *s, std::function<int()> f, std::shared_ptr<mark> after = nullptr)
{
	auto to = find(s);
	if (!to) return refuse(INVALID_VALUE, "no such stream");
	to->work.push_back({std::move(f), std::move(after)});
	return 0;
}

bool host_inside(const void *p, size_t bytes)
{
	auto next = pinned.upper_bound((void *)p);
	if (next == pinned.begin()) return false;
	auto &r = *std::prev(next);
	return (char *)p + bytes <= (char *)r.first + r.second;
}

int copy(void *to, const void *from, size_t bytes, bool to_device, bool from_device, void *s)
{
	for (auto side : {std::pair<const void *, bool>(to, to_device), {from, from_device}})
		if (side.second ? !inside(side.first, bytes) : !host_inside(side.first, bytes))
			return refuse(INVALID_VALUE, side.second ? "copy " + describe(side.first, bytes) : "a copy's host memory is not pinned");
	return enqueue(s, [=] {
		if (what_runs() != NOTHING) memmove(to, from, bytes);
		else if (!to_device) memset(to, 0, bytes);
		return 0;
	});
}

double clock_ms()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

} // namespace
} // namespace shim

using namespace shim;

API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *s) { GUARD; return copy((void *)to, from, n, true, false, s); }
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *s) { GUARD; return copy(to, (void *)from, n, false, true, s); }
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *s) { GUARD; return copy((void *)to, (void *)from, n, true, true, s); }

API cuMemsetD8Async(uint64_t to, unsigned char value, size_t n, void *s)
{
	GUARD;
	if (!inside((void *)to, n)) return refuse(INVALID_VALUE, "fill " + describe((void *)to, n));
	return enqueue(s, [=] {
		if (what_runs() != NOTHING) memset((void *)to, value, n);
		return 0;
	});
}

API cuStreamCreate(void **s, unsigned)
{
	GUARD;
	auto made = std::make_shared<stream>();
	streams[*s = made.get()] = made;
	return 0;
}

API cuStreamDestroy_v2(void *s)
{
	std::lock_guard<std::mutex> guard(lock);
	auto f = find(s);
	if (!f) return refuse(INVALID_VALUE, "no such stream");
	f->drain();
	streams.erase(s);
	return 0;
}

API cuStreamSynchronize(void *s)
{
	GUARD;
	auto f = find(s);
	if (!f) return refuse(INVALID_VALUE, "no such stream");
	others_first(f.get());
	waits++;
	return f->drain();
}

API cuStreamQuery(void *s)
{
	GUARD;
	auto f = find(s);
	if (!f) return refuse(INVALID_VALUE, "no such stream");
	if (f->work.empty()) return 0;
	others_first(f.get());
	int r = f->work.empty() ? failed : f->step();
	if (f->work.empty()) waits++;
	return r ? r : NOT_READY;
}

API cuStreamWaitEvent(void *s, void *e, unsigned)
{
	GUARD;
	auto m = ((event *)e)->last;
	return m ? enqueue(s, [] { return 0; }, m) : 0;
}

API cuEventCreate(void **e, unsigned) { GUARD; return *e = new event, 0; }
API cuEventDestroy_v2(void *e) { return delete (event *)e, 0; }

API cuEventRecord(void *e, void *s)
{
	GUARD;
	auto m = std::make_shared<mark>();
	m->of = find(s);
	((event *)e)->last = m;
	return enqueue(s, [m] { return m->done = true, m->ms = clock_ms(), 0; });
}

API cuEventQuery(void *e)
{
	GUARD;
	auto m = ((event *)e)->last;
	if (!m || m->done) return 0;
	others_first(m->of.get());
	int r = m->done ? failed : m->of->step();
	if (m->done) waits++;
	return r ? r : NOT_READY;
}

API cuEventSynchronize(void *e)
{
	GUARD;
	auto m = ((event *)e)->last;
	if (!m || m->done) return 0;
	others_first(m->of.get());
	waits++;
	return m->wait();
}

API cuEventElapsedTime(float *ms, void *from, void *to)
{
	GUARD;
	auto a = ((event *)from)->last, b = ((event *)to)->last;
	if (!a || !b || !a->done || !b->done) return NOT_READY;
	return *ms = (float)(b->ms - a->ms), 0;
}

/* Any object will do: the kernels are those that were compiled in. One that begins
 * with "invalid" is refused, as the JIT refuses what it cannot compile. */
API cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values)
{
	GUARD;
	if (strncmp((const char *)image, "invalid", 7)) return *module = &the_module, 0;
	for (unsigned i = 0; i + 1 < n; i++)
		if (options[i] == 5) strncpy((char *)values[i], (const char *)image, (size_t)values[i + 1] - 1);
	return refuse(INVALID_IMAGE, "device kernel image is invalid");
}

API cuModuleUnload(void *) { return 0; }

API cuModuleGetFunction(void **function, void *, const char *name)
{
	GUARD;
	for (entry *e : entries())
		if (!strcmp(e->name, name)) return *function = e, 0;
	return refuse(NOT_FOUND, "named symbol not found");
}

API cuFuncGetAttribute(int *value, int attribute, void *function)
{
	GUARD;
	/* Registers and local memory are ptxas's to know. */
	const entry *e = (entry *)function;
	return *value = attribute == 0 ? (int)e->threads : attribute == 1 ? (int)e->shared : 0, 0;
}

API cuFuncSetAttribute(void *function, int attribute, int value)
{
	GUARD;
	entry *e = (entry *)function;
	if (attribute != 8 || value < 0 || value + (int)e->shared > most_shared()) return refuse(INVALID_VALUE, "dynamic shared memory of " +
		std::to_string(value) + " bytes beside " + std::to_string(e->shared) + ", of at most " + std::to_string(most_shared()));
	return e->dynamic_shared = value, 0;
}

API cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
	void *s, void **params, void **extra)
{
	GUARD;
	entry *e = (entry *)function;
	std::string name = "kernel " + std::string(e->name);
	if (params || !extra || extra[0] != (void *)1 || extra[2] != (void *)2) return refuse(INVALID_VALUE, name + ": arguments must be one buffer");
	size_t bytes = *(size_t *)extra[3];
	if (bytes != e->args) return refuse(INVALID_VALUE, name + " takes " + std::to_string(e->args) + " bytes of arguments, not " + std::to_string(bytes));
	if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535) return refuse(INVALID_VALUE, name + ": a grid of " +
		std::to_string(gx) + " × " + std::to_string(gy) + " × " + std::to_string(gz));
	if (!bx || bx > e->threads || (e->exact && bx != e->threads) || by != 1 || bz != 1) return refuse(INVALID_VALUE, name + ": a block of " + std::to_string(bx) + " × " +
		std::to_string(by) + " × " + std::to_string(bz) + " threads, of " + (e->exact ? "exactly " : "at most ") + std::to_string(e->threads));
	if ((int)shared > e->dynamic_shared) return refuse(INVALID_VALUE, name + ": " + std::to_string(shared) + " bytes of shared memory, of at most " +
		std::to_string(e->dynamic_shared));
	auto args = std::make_shared<std::vector<uint64_t>>((bytes + 7) / 8);
	memcpy(args->data(), extra[1], bytes);
	return enqueue(s, [=] {
		if (what_runs() == NOTHING || (what_runs() == MOVES && strcmp(e->name, "move"))) return 0;
		std::string why;
		int r = run(*e, {gx, gy, gz}, {bx, by, bz}, shared, args->data(), why);
		return r ? refuse(r, why) : 0;
	});
}
