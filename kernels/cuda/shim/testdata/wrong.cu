/* Kernels that are wrong, each in one way, and some that are right: what the shim has to
 * find, and what it has to compute. */
#include "device.cuh"

struct probe_args {
	struct head head;
	float *out;
	const float *in;
	i64 n;
};

KERNEL(divergent_barrier, probe_args)
{
	if (thread_x() < 32) barrier(); /* the others have ended */
}
KERNEL(two_barriers, probe_args)
{
	if (thread_x() % 2) barrier();
	else barrier();
}
/* Reads what the next thread writes, without waiting for it. */
KERNEL(missing_barrier, probe_args)
{
	SHARED(float, s, 64);
	s[thread_x()] = (float)thread_x();
	*global(a.out + thread_x()) = s[(thread_x() + 1) % 64];
}
KERNEL(missing_lane, probe_args)
{
	if (thread_x() != 5) *global(a.out + thread_x()) = shuffle_xor(1.0f, 1);
}
KERNEL(lanes_apart, probe_args)
{
	float v = 0;
	if (thread_x() == 7) v = shuffle(1.0f, 0);
	else v = shuffle(2.0f, 0);
	*global(a.out + thread_x()) = v;
}
KERNEL(short_warp, probe_args) { ballot(true); }
KERNEL(reads_behind, probe_args) { *global(a.out) = *global(a.in + a.n); }
KERNEL(writes_before, probe_args) { *global(a.out - 1) = 0; }
KERNEL(off_alignment, probe_args) { *global((float *)((char *)a.out + 2)) = 0; }
KERNEL(overruns_shared, probe_args)
{
	SHARED_DYNAMIC(float, s);
	s[a.n] = 0;
}
KERNEL(unset_shared, probe_args)
{
	SHARED(float, s, 32);
	SHARED_DYNAMIC(float, d);
	*global(a.out + thread_x()) = block_x() ? s[thread_x()] : d[thread_x()];
	s[thread_x()] = d[thread_x()] = 1; /* which the next block must not see */
}
/* Without copy_wait the values are not there. */
template <bool wait> DEVICE void copy_through_shared(const probe_args &a)
{
	SHARED(float, s, 128);
	for (i32 group = 0; group < 2; group++) {
		copy_async(s + group * 64 + thread_x() * 4, a.in + group * 64 + thread_x() * 4, thread_x() == 0 ? 8 : 16);
		copy_commit();
	}
	if (wait) copy_wait<0>();
	else copy_wait<1>(); /* the second is still on its way */
	barrier();
	for (i32 i = thread_x(); i < 128; i += 16) *global(a.out + i) = s[i];
}
KERNEL(waits_for_copies, probe_args) { copy_through_shared<true>(a); }
KERNEL(waits_for_one_copy, probe_args) { copy_through_shared<false>(a); }

/* out (16 × 8) = in (16 × 16) · in[256…] (16 × 8), both row-major, through shared memory
 * and the fragments that load_matrix gives. */
KERNEL(warp_product, probe_args)
{
	SHARED(u16, x, 256);
	SHARED(u16, y, 256); /* 16 × 16, half of it used */
	for (i32 i = thread_x(); i < 256; i += 32) {
		x[i] = to_bf16(*global(a.in + i));
		y[i] = i % 16 < 8 ? to_bf16(*global(a.in + 256 + i / 16 * 8 + i % 16)) : 0;
	}
	barrier();
	u32 l = thread_x(), fa[4], fb[4];
	load_matrix(fa, x + (l % 8 + l / 8 % 2 * 8) * 16 + l / 16 * 8);
	load_matrix_turned(fb, y + (l % 8 + l / 8 % 2 * 8) * 16 + l / 16 * 8);
	float d[4] = {0, 0, 0, 0};
	u32 b[2] = {fb[0], fb[1]};
	multiply_bf16(d, fa, b);
	for (i32 i = 0; i < 4; i++) *global(a.out + (l / 4 + i / 2 * 8) * 8 + l % 4 * 2 + i % 2) = d[i];
}
/* out (16 × 8) = a sparse matrix (16 × 32) · in[256…] (32 × 8). Row r of group g of four
 * columns has in[16·r + 2·g] at place (r + g) % 3 and in[16·r + 2·g + 1] at the next, or, with
 * `same`, both at one. */
template <i32 same> DEVICE void warp_sparse_product_of(const probe_args &a)
{
	const i32 l = thread_x(), row = l / 4, col = l % 4 * 2;
	u32 left[4], right[4], places = 0;
	for (i32 i = 0; i < 4; i++) {
		const float *x = a.in + (row + i % 2 * 8) * 16 + col + i / 2 * 8, *y = a.in + 256 + (col + 8 * i) * 8 + row;
		left[i] = two_bf16(*global(x), *global(x + 1)), right[i] = two_bf16(*global(y), *global(y + 8));
		for (i32 h = 0; h < 2; h++) {
			const u32 first = (row + 8 * h + 4 * (l % 2) + i) % 3;
			places |= (first | (first + 1 - same) << 2) << (16 * h + 4 * i);
		}
	}
	if (l % 4 > 1) places = 0; /* these are not looked at */
	float d[4] = {0, 0, 0, 0};
	multiply_sparse_bf16(d, left, right, places);
	for (i32 i = 0; i < 4; i++) *global(a.out + (row + i / 2 * 8) * 8 + col + i % 2) = d[i];
}
KERNEL(warp_sparse_product, probe_args) { warp_sparse_product_of<0>(a); }
KERNEL(same_places, probe_args) { warp_sparse_product_of<1>(a); }
KERNEL(warp_sum, probe_args)
{
	float v = *global(a.in + block_x() * threads_x() + thread_x());
	for (i32 lanes = 16; lanes; lanes >>= 1) v = add_rn(v, shuffle_xor(v, lanes));
	if (thread_x() % 32 == 0) *global(a.out + (block_x() * threads_x() + thread_x()) / 32) = v;
}
