/* What device.cuh needs of the shim: the same names as for the GPU, made of ordinary
 * C++. A place in the source (SITE) is that of the caller, for messages. */
#pragma once
#include "runtime.h"
#include <cstring>
#include <type_traits>

#define SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define HERE (shim::site{file, line})

#define KERNEL(name, args) KERNEL_BOUNDED(name, args, 1024)
#define KERNEL_RESIDENT(name, args, threads, blocks) KERNEL_BOUNDED(name, args, threads)
#define KERNEL_BOUNDED(name, args, threads) \
	static void name##_body(const struct args &a); \
	static shim::entry name##_entry(#name, sizeof(struct args), [](const void *p) { \
		const struct args &a = *(const struct args *)p; \
		if (!dropped(a.head)) name##_body(a); \
	}, threads); \
	static void name##_body(const struct args &a)
#define DEVICE static inline
#define UNROLL

namespace shim {

/* Static shared memory; its contents are NaN in each new block. */
template <size_t bytes> struct storage {
	alignas(128) unsigned char data[bytes];
	uint64_t block;
};
template <size_t bytes> inline void *fresh(storage<bytes> &s)
{
	if (s.block != block_serial) {
		memset(s.data, 0xff, bytes);
		s.block = block_serial;
	}
	return s.data;
}

template <typename T> struct exchange {
	T in, out;
	i32 lane;
};
template <typename T> inline T exchanged(T v, i32 lane, void (*perform)(void **), site s)
{
	exchange<T> x{v, v, lane};
	collective(perform, &x, s);
	return x.out;
}
template <typename T> inline T exchange_xor(T v, i32 lanes, site s)
{
	return exchanged(v, lanes, [](void **l) {
		for (i32 i = 0; i < 32; i++) {
			auto *x = (exchange<T> *)l[i];
			x->out = ((exchange<T> *)l[(i ^ x->lane) & 31])->in;
		}
	}, s);
}
template <typename T> inline T exchange_from(T v, i32 lane, site s)
{
	return exchanged(v, lane, [](void **l) {
		for (i32 i = 0; i < 32; i++) {
			auto *x = (exchange<T> *)l[i];
			x->out = ((exchange<T> *)l[x->lane & 31])->in;
		}
	}, s);
}

void load_matrix(u32 *d, const void *row, bool turned, site s);
void multiply_bf16(float *d, const u32 *a, const u32 *b, site s);
void multiply_sparse_bf16(float *d, const u32 *a, const u32 *b, u32 places, site s);

} // namespace shim

#define SHARED(type, name, n) \
	static shim::storage<sizeof(type[n])> name##_storage; \
	type(&name)[n] = *(type(*)[n])shim::fresh(name##_storage)
#define SHARED_DYNAMIC(type, name) type *name = (type *)shim::dynamic_shared

DEVICE u32 thread_x() { return shim::now.thread; }
DEVICE u32 threads_x() { return shim::now.threads.x; }
DEVICE u32 block_x() { return shim::now.block_of.x; }
DEVICE u32 block_y() { return shim::now.block_of.y; }
DEVICE u32 block_z() { return shim::now.block_of.z; }
DEVICE u32 blocks_x() { return shim::now.grid.x; }
DEVICE u32 blocks_y() { return shim::now.grid.y; }
DEVICE void barrier(SITE) { shim::wait_barrier(HERE); }
DEVICE void warp_barrier(SITE) { shim::collective([](void **) {}, nullptr, HERE); }
template <typename T> DEVICE T *global(T *p, SITE)
{
	shim::check(p, sizeof(T), alignof(T), HERE);
	return p;
}
DEVICE void atomic_max(u64 *p, u64 v) { if (v > *p) *p = v; }

DEVICE float add_rn(float a, float b) { return a + b; }
DEVICE float mul_rn(float a, float b) { return a * b; }
DEVICE float fma_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE float div_rn(float a, float b) { return a / b; }
DEVICE float sqrt_rn(float a) { return __builtin_sqrtf(a); }
DEVICE double add_rn(double a, double b) { return a + b; }
DEVICE double fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
DEVICE float nearest(float a) { return __builtin_rintf(a); }
DEVICE float largest(float a, float b) { return a != a || a > b ? a : b; }
DEVICE u32 bits_of(float a) { u32 u; memcpy(&u, &a, 4); return u; }
DEVICE u64 bits_of(double a) { u64 u; memcpy(&u, &a, 8); return u; }
DEVICE float float_of(u32 a) { float f; memcpy(&f, &a, 4); return f; }
DEVICE i32 ones(u64 a) { return __builtin_popcountll(a); }
DEVICE i32 first_one(u64 a) { return __builtin_ffsll((i64)a) - 1; }

DEVICE float shuffle_xor(float v, i32 lanes, SITE) { return shim::exchange_xor(v, lanes, HERE); }
DEVICE double shuffle_xor(double v, i32 lanes, SITE) { return shim::exchange_xor(v, lanes, HERE); }
DEVICE i32 shuffle_xor(i32 v, i32 lanes, SITE) { return shim::exchange_xor(v, lanes, HERE); }
DEVICE float shuffle(float v, i32 lane, SITE) { return shim::exchange_from(v, lane, HERE); }
DEVICE i32 shuffle(i32 v, i32 lane, SITE) { return shim::exchange_from(v, lane, HERE); }
DEVICE u32 ballot(bool v, SITE)
{
	return shim::exchanged((u32)v, 0, [](void **l) {
		u32 all = 0;
		for (i32 i = 0; i < 32; i++) all |= ((shim::exchange<u32> *)l[i])->in << i;
		for (i32 i = 0; i < 32; i++) ((shim::exchange<u32> *)l[i])->out = all;
	}, HERE);
}

/* Performed by copy_wait, not before: who does not wait sees NaN. */
DEVICE void copy_async(void *to, const void *p, i32 bytes, SITE) { shim::copy_later(to, p, bytes, HERE); }
DEVICE void copy_commit() { shim::commit_copies(); }
template <int n> DEVICE void copy_wait() { shim::perform_copies(n); }

DEVICE void load_matrix(u32 (&d)[4], const void *row, SITE) { shim::load_matrix(d, row, false, HERE); }
DEVICE void load_matrix_turned(u32 (&d)[4], const void *row, SITE) { shim::load_matrix(d, row, true, HERE); }
DEVICE void multiply_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], SITE) { shim::multiply_bf16(d, a, b, HERE); }
DEVICE void multiply_sparse_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[4], u32 places, SITE)
{
	shim::multiply_sparse_bf16(d, a, b, places, HERE);
}
