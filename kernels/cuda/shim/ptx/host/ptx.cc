/* Translated kernels on the shim's runtime. */
static const char module[] = "ptx.cc";
constexpr unsigned parameter_bytes = 0;
#include "ptx.h"
#include "runtime.h"
#include <memory>

namespace ptx {

kernel::kernel(const char *name, size_t parameter, void (*body)(const void *), unsigned threads, bool exact, size_t shared)
{
	static std::vector<std::unique_ptr<shim::entry>> kept;
	kept.push_back(std::make_unique<shim::entry>(name, parameter, body, threads));
	kept.back()->exact = exact;
	kept.back()->shared = shared;
	kept.back()->dynamic_shared -= (int)shared;
}

void stop(const char *why, shim::site s) { shim::fail(shim::LAUNCH_FAILED, why, s); }

void *shared_at(u64 a, size_t bytes, shim::site s)
{
	const std::string size = std::to_string(shim::block_shared) + " bytes of shared memory";
	if (a < shared_from || a + bytes > shared_from + shim::block_shared)
		shim::fail(shim::ILLEGAL_ADDRESS, "access out of bounds, byte " + std::to_string((s64)(a - shared_from)) + " to " +
			std::to_string((s64)(a - shared_from + bytes)) + " of " + size, s);
	if (a % bytes) shim::fail(shim::MISALIGNED_ADDRESS, "address in shared memory is no multiple of " + std::to_string(bytes), s);
	return shim::dynamic_shared + (a - shared_from);
}

void exchange_lanes(exchange &mine, shim::site s)
{
	shim::collective([](void **l) {
		u32 value[32];
		for (int i = 0; i < 32; i++) value[i] = ((exchange *)l[((exchange *)l[i])->lane])->value;
		for (int i = 0; i < 32; i++) ((exchange *)l[i])->value = value[i];
	}, &mine, s);
}

u32 ballot_lanes(bool p, shim::site s)
{
	exchange mine = {p, 0};
	shim::collective([](void **l) {
		u32 all = 0;
		for (int i = 0; i < 32; i++) all |= ((exchange *)l[i])->value << i;
		for (int i = 0; i < 32; i++) ((exchange *)l[i])->value = all;
	}, &mine, s);
	return mine.value;
}

} // namespace ptx
