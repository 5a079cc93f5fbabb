/* What is called of libcuda, by the names that it exports. Declared here, so that no
 * header of CUDA is needed: the first list is called without a context, the
 * second with one. */
#ifndef RESSA_LIBCUDA_H
#define RESSA_LIBCUDA_H
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

typedef int result;

#define UNPACK(...) __VA_ARGS__

#define WITHOUT_CONTEXT(F) \
	F(cuInit, (unsigned flags), (flags)) \
	F(cuDriverGetVersion, (int *version), (version)) \
	F(cuGetErrorName, (result error, const char **text), (error, text)) \
	F(cuGetErrorString, (result error, const char **text), (error, text)) \
	F(cuDeviceGetCount, (int *count), (count)) \
	F(cuDeviceGet, (int *device, int ordinal), (device, ordinal)) \
	F(cuDeviceGetName, (char *name, int bytes, int device), (name, bytes, device)) \
	F(cuDeviceTotalMem_v2, (size_t *bytes, int device), (bytes, device)) \
	F(cuDeviceGetUuid_v2, (unsigned char *uuid, int device), (uuid, device)) \
	F(cuDeviceGetAttribute, (int *value, int attribute, int device), (value, attribute, device)) \
	F(cuDevicePrimaryCtxRetain, (void **context, int device), (context, device)) \
	F(cuDevicePrimaryCtxRelease_v2, (int device), (device)) \
	F(cuCtxSetCurrent, (void *context), (context))

#define WITH_CONTEXT(F) \
	F(cuMemGetInfo_v2, (size_t *available, size_t *total), (available, total)) \
	F(cuMemAlloc_v2, (uint64_t *address, size_t bytes), (address, bytes)) \
	F(cuMemFree_v2, (uint64_t address), (address)) \
	F(cuMemAllocHost_v2, (void **p, size_t bytes), (p, bytes)) \
	F(cuMemFreeHost, (void *p), (p)) \
	F(cuMemcpyHtoDAsync_v2, (uint64_t to, const void *from, size_t bytes, void *stream), (to, from, bytes, stream)) \
	F(cuMemcpyDtoHAsync_v2, (void *to, uint64_t from, size_t bytes, void *stream), (to, from, bytes, stream)) \
	F(cuMemcpyDtoDAsync_v2, (uint64_t to, uint64_t from, size_t bytes, void *stream), (to, from, bytes, stream)) \
	F(cuMemsetD8Async, (uint64_t to, unsigned char value, size_t bytes, void *stream), (to, value, bytes, stream)) \
	F(cuStreamCreate, (void **stream, unsigned flags), (stream, flags)) \
	F(cuStreamDestroy_v2, (void *stream), (stream)) \
	F(cuStreamSynchronize, (void *stream), (stream)) \
	F(cuStreamQuery, (void *stream), (stream)) \
	F(cuStreamWaitEvent, (void *stream, void *event, unsigned flags), (stream, event, flags)) \
	F(cuEventCreate, (void **event, unsigned flags), (event, flags)) \
	F(cuEventDestroy_v2, (void *event), (event)) \
	F(cuEventRecord, (void *event, void *stream), (event, stream)) \
	F(cuEventQuery, (void *event), (event)) \
	F(cuEventSynchronize, (void *event), (event)) \
	F(cuEventElapsedTime, (float *ms, void *start, void *end), (ms, start, end)) \
	F(cuModuleLoadDataEx, (void **module, const void *image, unsigned n, int *options, void **values), (module, image, n, options, values)) \
	F(cuModuleUnload, (void *module), (module)) \
	F(cuModuleGetFunction, (void **function, void *module, const char *name), (function, module, name)) \
	F(cuFuncGetAttribute, (int *value, int attribute, void *function), (value, attribute, function)) \
	F(cuFuncSetAttribute, (void *function, int attribute, int value), (function, attribute, value)) \
	F(cuLaunchKernel, (void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
		unsigned shared, void *stream, void **params, void **extra), \
		(function, gx, gy, gz, bx, by, bz, shared, stream, params, extra))

struct cuda {
#define FIELD(name, params, args) result (*name) params;
	WITHOUT_CONTEXT(FIELD)
	WITH_CONTEXT(FIELD)
#undef FIELD
};

/* Set in a result where cuCtxSetCurrent failed, before the call itself. */
#define AT_SET_CURRENT (1 << 24)

#define CALL(name, params, args) \
	static inline result call_##name(const struct cuda *c, UNPACK params) { return c->name args; }
WITHOUT_CONTEXT(CALL)
#undef CALL
#define CALL(name, params, args) \
	static inline result call_##name(const struct cuda *c, void *context, UNPACK params) \
	{ \
		result r = c->cuCtxSetCurrent(context); \
		return r ? r | AT_SET_CURRENT : c->name args; \
	}
WITH_CONTEXT(CALL)
#undef CALL

/* Fills the table; returns the symbol that is missing, or NULL. */
static inline const char *load_symbols(void *library, struct cuda *c)
{
#define SYMBOL(name, params, args) \
	*(void **)&c->name = dlsym(library, #name); \
	if (!c->name) return #name;
	WITHOUT_CONTEXT(SYMBOL)
	WITH_CONTEXT(SYMBOL)
#undef SYMBOL
	return NULL;
}

/* The argument struct goes as one buffer: CU_LAUNCH_PARAM_BUFFER_POINTER (1), _SIZE (2), _END (0). */
static inline result launch(const struct cuda *c, void *context, void *function, const unsigned *grid, const unsigned *block,
	unsigned shared, void *stream, unsigned char *args, size_t bytes)
{
	void *extra[] = {(void *)1, args, (void *)2, &bytes, (void *)0};
	return call_cuLaunchKernel(c, context, function, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, stream, NULL, extra);
}

/* Loads an image; what the JIT says goes to log. CU_JIT_ERROR_LOG_BUFFER is 5, its size 6. */
static inline result load_module(const struct cuda *c, void *context, void **module, const void *image, char *log, size_t bytes)
{
	int options[] = {5, 6};
	void *values[] = {log, (void *)bytes};
	return call_cuModuleLoadDataEx(c, context, module, image, 2, options, values);
}
#endif
