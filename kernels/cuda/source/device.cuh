/* What a kernel is written against. Two compilers read it: NVRTC for the GPU, and a
 * C++ compiler for the shim (RESSA_SHIM), whose shim.h defines the same names.
 *
 * float arithmetic that decides bits is spelled out (add_rn, mul_rn, fma_rn): no
 * contraction, no fast-math. Products and sums written with operators are compiled
 * with --fmad=false and -ffp-contract=off, so they are rounded one by one. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef int i32;

/* A matrix in device memory: element (r, c) lies at data + r·stride + c, in elements of
 * dtype. Its mirror is view in launch.go. */
enum { F32 = 0, BF16 = 1, F64 = 2, I32 = 3, U64 = 4 };
struct view {
	void *data;
	i64 rows, cols, stride;
	i32 dtype, pad;
};

/* What every argument struct begins with, as `struct head head`. A kernel that finds a
 * wrong index in device memory says so in the stream's fault (refuse); what is
 * launched behind it then does nothing, since the host learns of it late. */
struct fault {
	u64 serial; /* of the launch; 0: none */
	u64 first;  /* ~(i << 32 | v), greatest of the launch: the lowest index i, and v */
};
struct head {
	struct fault *fault;
	u64 serial; /* of this launch in its stream, from 1 on */
};

/* What one access to memory takes. */
struct alignas(8) two { float x, y; };
struct alignas(16) four { float at[4]; };
struct alignas(16) words { u32 at[4]; };

#if defined(RESSA_SHIM)
#include "shim.h"
#else
/* A kernel on its one argument, a. */
#define KERNEL(name, args) KERNEL_WITH(, name, args)
/* At most `threads` a block, so that the compiler knows how many registers there are. */
#define KERNEL_BOUNDED(name, args, threads) KERNEL_WITH(__launch_bounds__(threads), name, args)
/* So that a multiprocessor has registers for this many blocks, and the compiler aims at no more. */
#define KERNEL_RESIDENT(name, args, threads, blocks) KERNEL_WITH(__launch_bounds__(threads, blocks), name, args)
#define KERNEL_WITH(bounds, name, args) \
	DEVICE void name##_body(const struct args &a); \
	extern "C" __global__ void bounds name(const __grid_constant__ struct args a) \
	{ \
		if (!dropped(a.head)) name##_body(a); \
	} \
	DEVICE void name##_body(const struct args &a)
#define DEVICE static __device__ __forceinline__
#define SHARED(type, name, n) __shared__ __align__(16) type name[n]
#define SHARED_DYNAMIC(type, name) \
	extern __shared__ __align__(128) unsigned char ressa_dynamic[]; \
	type *name = (type *)ressa_dynamic
#define UNROLL _Pragma("unroll")
DEVICE u32 thread_x() { return threadIdx.x; }
DEVICE u32 threads_x() { return blockDim.x; }
DEVICE u32 block_x() { return blockIdx.x; }
DEVICE u32 block_y() { return blockIdx.y; }
DEVICE u32 block_z() { return blockIdx.z; }
DEVICE u32 blocks_x() { return gridDim.x; }
DEVICE u32 blocks_y() { return gridDim.y; }
DEVICE void barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }
/* A pointer into an allocation; the shim checks what is read and written through it. */
template <typename T> DEVICE T *global(T *p) { return p; }
/* For faults alone: no value is ever made by atomics. */
DEVICE void atomic_max(u64 *p, u64 v) { atomicMax(p, v); }
DEVICE float add_rn(float a, float b) { return __fadd_rn(a, b); }
DEVICE float mul_rn(float a, float b) { return __fmul_rn(a, b); }
DEVICE float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float div_rn(float a, float b) { return __fdiv_rn(a, b); }
DEVICE float sqrt_rn(float a) { return __fsqrt_rn(a); }
DEVICE double add_rn(double a, double b) { return __dadd_rn(a, b); }
DEVICE double fma_rn(double a, double b, double c) { return __fma_rn(a, b, c); }
DEVICE float nearest(float a) { return rintf(a); } /* ties to even */
DEVICE float largest(float a, float b) /* NaN where one of them is */
{
	float d;
	asm("max.NaN.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
	return d;
}
DEVICE u32 bits_of(float a) { return __float_as_uint(a); }
DEVICE u64 bits_of(double a) { return (u64)__double_as_longlong(a); }
DEVICE float float_of(u32 a) { return __uint_as_float(a); }
/* a in the low half, b in the high one; to_bf16 but for NaN's bits. */
DEVICE u32 two_bf16(float a, float b)
{
	u32 d;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(b), "f"(a));
	return d;
}
DEVICE i32 ones(u64 a) { return __popcll(a); }
DEVICE i32 first_one(u64 a) { return __ffsll((i64)a) - 1; } /* −1 where there is none */
/* All 32 lanes of a warp take part. */
DEVICE float shuffle_xor(float v, i32 lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
DEVICE double shuffle_xor(double v, i32 lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
DEVICE i32 shuffle_xor(i32 v, i32 lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
DEVICE float shuffle(float v, i32 lane) { return __shfl_sync(0xffffffffu, v, lane); }
DEVICE i32 shuffle(i32 v, i32 lane) { return __shfl_sync(0xffffffffu, v, lane); }
DEVICE u32 ballot(bool v) { return __ballot_sync(0xffffffffu, v); }

/* 16 bytes from device to shared memory, behind the arithmetic (sm_80); `bytes` < 16
 * fills the rest with zeros. */
DEVICE void copy_async(void *shared, const void *p, i32 bytes)
{
	u32 to = (u32)__cvta_generic_to_shared(shared);
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(p), "r"(bytes) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* Until at most n groups are on their way. */
template <int n> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory"); }

/* Four 8 × 8 blocks of bf16 from shared memory; lane l names row l%8 of block l/8. */
DEVICE void load_matrix(u32 (&d)[4], const void *row)
{
	u32 from = (u32)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(from) : "memory");
}
DEVICE void load_matrix_turned(u32 (&d)[4], const void *row)
{
	u32 from = (u32)__cvta_generic_to_shared(row);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(from) : "memory");
}
/* d (16 × 8) += a (16 × 16) · b (16 × 8), bf16 in, float32 sums, in the fragments of PTX's m16n8k16. */
DEVICE void multiply_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* d (16 × 8) += a (16 × 32, two values of each four) · b (32 × 8), in PTX's sparse m16n8k32. Of
 * lanes 4·r and 4·r + 1, `places` has in its low half where the values of row r stand in
 * the groups of the first and last 16 columns, two bits each, and in its high half those
 * of row r + 8. The two of a group differ and ascend. */
DEVICE void multiply_sparse_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[4], u32 places)
{
	asm volatile("mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, 0x0;"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places));
}
#endif

/* Whether an earlier launch of the stream found a fault. */
DEVICE bool dropped(const struct head &h)
{
	u64 serial = *global(&h.fault->serial);
	return serial != 0 && serial < h.serial;
}
/* Entry i of an index is v, and there is no such row; or what else checked (stream.go) is told. */
DEVICE void refuse(const struct head &h, i64 i, i32 v)
{
	*global(&h.fault->serial) = h.serial;
	atomic_max(global(&h.fault->first), ~((u64)i << 32 | (u32)v));
}

/* bfloat16 as bits: to nearest even, NaN kept quiet, as kernels.ToBF16 does. */
DEVICE float from_bf16(u16 h) { return float_of((u32)h << 16); }
DEVICE u16 to_bf16(float f)
{
	u32 u = bits_of(f);
	if (f != f) return (u16)(u >> 16 | 0x40);
	return (u16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
#if defined(RESSA_SHIM)
DEVICE u32 two_bf16(float a, float b) { return to_bf16(a) | (u32)to_bf16(b) << 16; }
#endif

/* An element of a view that is F32. */
DEVICE float &element(const view &v, i64 row, i64 col) { return *global((float *)v.data + row * v.stride + col); }
/* Elements of a view that is F32 or BF16. */
DEVICE float load(const view &v, i64 row, i64 col)
{
	i64 i = row * v.stride + col;
	return v.dtype == BF16 ? from_bf16(*global((const u16 *)v.data + i)) : *global((const float *)v.data + i);
}
/* Four elements of a row, from a multiple of 4 on; 0 for those without a bit in `kept` and
 * outside the view. */
DEVICE void load_four(float (&d)[4], const view &v, i64 row, i64 col, u32 kept)
{
	const i64 size = v.dtype == BF16 ? 2 : 4, n = v.cols - col;
	const char *p = (const char *)v.data + (row * v.stride + col) * size;
	UNROLL
	for (i32 e = 0; e < 4; e++) d[e] = 0;
	if (!kept) return;
	if (n >= 4 && !(((u64)v.data | v.stride * size) & (4 * size - 1))) {
		if (v.dtype == BF16) {
			const two w = *global((const two *)p);
			d[0] = float_of(bits_of(w.x) << 16), d[1] = float_of(bits_of(w.x) & 0xffff0000u);
			d[2] = float_of(bits_of(w.y) << 16), d[3] = float_of(bits_of(w.y) & 0xffff0000u);
		} else {
			const four w = *global((const four *)p);
			UNROLL
			for (i32 e = 0; e < 4; e++) d[e] = w.at[e];
		}
		UNROLL
		for (i32 e = 0; e < 4; e++)
			if (!(kept >> e & 1)) d[e] = 0;
		return;
	}
	UNROLL
	for (i32 e = 0; e < 4; e++)
		if (kept >> e & 1 && e < n) d[e] = load(v, row, col + e);
}
DEVICE void store(const view &v, i64 row, i64 col, float x)
{
	i64 i = row * v.stride + col;
	if (v.dtype == BF16) *global((u16 *)v.data + i) = to_bf16(x);
	else *global((float *)v.data + i) = x;
}
DEVICE bool kept(const view &mask, i64 row, i64 col)
{
	return !mask.data || *global((const u64 *)mask.data + row * mask.stride + (col >> 6)) >> (col & 63) & 1;
}
