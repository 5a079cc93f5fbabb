#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FLOOR static __attribute__((noinline, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) float
#else
#define FLOOR static __attribute__((noinline)) float
#endif

typedef float floor_vector __attribute__((vector_size(64)));

// Fused multiply-adds in registers, in independent chains of 16 floats; as many as
// hide the latency with 512-bit registers, or as fit into 256-bit ones. The result
// keeps the compiler from dropping them.
#define FLOOR_ARITHMETIC(name, chains) \
	FLOOR name(int64_t repeats, float a, float b) \
	{ \
		floor_vector x[chains], va, vb, sum; \
		float s = 0; \
		for (int l = 0; l < 16; l++) \
			va[l] = a, vb[l] = b; \
		for (int i = 0; i < chains; i++) \
			x[i] = va + (float)i; \
		for (int64_t n = 0; n < repeats; n++) \
			for (int i = 0; i < chains; i++) \
				x[i] = x[i] * va + vb; \
		sum = x[0]; \
		for (int i = 1; i < chains; i++) \
			sum += x[i]; \
		for (int l = 0; l < 16; l++) \
			s += sum[l]; \
		return s; \
	}
FLOOR_ARITHMETIC(floor_wide, 12)
FLOOR_ARITHMETIC(floor_narrow, 6)

// Reads n floats, a multiple of 256, once: four streams at a time, as operations with
// several operands do, or the prefetcher is the limit.
FLOOR floor_memory(const float *p, int64_t n)
{
	floor_vector sum[4] = {{0}};
	for (int64_t i = 0; i < n / 4; i += 64)
		for (int k = 0; k < 4; k++)
			for (int j = 0; j < 64; j += 16)
				sum[k] += *(const floor_vector *)(p + k * (n / 4) + i + j);
	floor_vector all = sum[0] + sum[1] + sum[2] + sum[3];
	float s = 0;
	for (int l = 0; l < 16; l++)
		s += all[l];
	return s;
}

// Reads and writes n floats, a multiple of 256, in four streams.
FLOOR floor_update(float *p, int64_t n, float by)
{
	floor_vector factor;
	for (int l = 0; l < 16; l++)
		factor[l] = by;
	for (int64_t i = 0; i < n / 4; i += 64)
		for (int k = 0; k < 4; k++)
			for (int j = 0; j < 64; j += 16)
				*(floor_vector *)(p + k * (n / 4) + i + j) *= factor;
	return 0;
}
