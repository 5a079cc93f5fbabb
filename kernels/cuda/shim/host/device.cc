/* Functions of libcuda: errors, the device, its context and memory. */
#include "state.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace shim {
namespace {

char the_context;

size_t total_memory()
{
	const char *v = getenv("RESSA_SHIM_MEMORY"); /* bytes; for tests of running out */
	return v ? strtoull(v, nullptr, 10) : (size_t)1 << 30;
}

/* Of the device that is played, 10·major + minor. */
int capability()
{
	const char *v = getenv("RESSA_SHIM_CAPABILITY");
	return v ? atoi(v) : 80; /* an A100 */
}

} // namespace

int most_shared()
{
	switch (capability()) {
	case 80: case 87: return 163 << 10;
	case 86: case 89: case 120: case 121: return 99 << 10;
	default: return 227 << 10;
	}
}

} // namespace shim

using namespace shim;

API cuInit(unsigned) { return 0; }
API cuDriverGetVersion(int *v) { return *v = 12080, 0; }

API cuGetErrorName(int code, const char **text)
{
	static const std::map<int, const char *> names = {{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
		{INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"}, {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
		{NOT_READY, "CUDA_ERROR_NOT_READY"}, {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
		{MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS"}, {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"}};
	auto f = names.find(code);
	if (f == names.end()) return INVALID_VALUE;
	*text = f->second;
	return 0;
}

API cuGetErrorString(int code, const char **text)
{
	std::lock_guard<std::mutex> guard(lock);
	static thread_local std::string kept;
	kept = details.count(code) ? details[code] : "no description";
	*text = kept.c_str();
	return 0;
}

API cuDeviceGetCount(int *n) { return *n = 1, 0; }
API cuDeviceGet(int *device, int ordinal) { return ordinal ? refuse(101, "no such device") : (*device = 0, 0); }
API cuDeviceGetName(char *name, int bytes, int) { return strncpy(name, "shim", bytes), 0; }
API cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = total_memory(), 0; }
API cuDeviceGetUuid_v2(unsigned char *uuid, int)
{
	for (int i = 0; i < 16; i++) uuid[i] = i;
	return 0;
}

API cuDeviceGetAttribute(int *value, int attribute, int)
{
	const std::map<int, int> values = {{75, capability() / 10}, {76, capability() % 10}, {16, 108}, {97, most_shared()}, {40, 2}};
	auto f = values.find(attribute);
	return f == values.end() ? refuse(INVALID_VALUE, "unknown attribute") : (*value = f->second, 0);
}

API cuDevicePrimaryCtxRetain(void **context, int)
{
	std::lock_guard<std::mutex> guard(lock);
	if (!retained++) failed = 0;
	return *context = &the_context, 0;
}

API cuDevicePrimaryCtxRelease_v2(int)
{
	std::lock_guard<std::mutex> guard(lock);
	if (!retained) return refuse(INVALID_CONTEXT, "the context is not retained");
	if (--retained) return 0;
	drain_all();
	streams.clear();
	release_all();
	return 0;
}

API cuCtxSetCurrent(void *context) { return current = context, 0; }

API cuMemGetInfo_v2(size_t *available, size_t *total)
{
	GUARD;
	*total = total_memory(), *available = *total - std::min(*total, allocated());
	return 0;
}

API cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
	GUARD;
	if (!bytes) return refuse(INVALID_VALUE, "an allocation of 0 bytes");
	void *p = allocate(bytes, total_memory());
	*address = (uint64_t)(uintptr_t)p;
	return p ? 0 : refuse(OUT_OF_MEMORY, std::to_string(bytes) + " bytes beside " + std::to_string(allocated()) + " in use");
}

API cuMemFree_v2(uint64_t address)
{
	GUARD;
	if (drain_all()) return failed; /* as the driver, which waits for the device */
	return release((void *)address) ? 0 : refuse(INVALID_VALUE, "not an allocation");
}

API cuMemAllocHost_v2(void **p, size_t bytes)
{
	GUARD;
	if (!(*p = malloc(bytes ? bytes : 1))) return refuse(OUT_OF_MEMORY, "host memory");
	memset(*p, 0xff, bytes);
	pinned[*p] = bytes;
	return 0;
}

API cuMemFreeHost(void *p)
{
	std::lock_guard<std::mutex> guard(lock);
	if (!pinned.erase(p)) return refuse(INVALID_VALUE, "not pinned memory");
	drain_all();
	free(p);
	return 0;
}
