/* The product of two matrices in tiles of 128 × 128, for blocks of 256 threads. Tensor
 * cores multiply bfloat16; a float32 is the sum of three (hi + mid + lo, exactly, but for
 * what lies below 2⁻¹³³), and of the nine products six count: the others are below 2⁻²⁴ of
 * the first. An operand that is bfloat16, or rounded to it, has one part. Each 16 products
 * are added on their own, the smallest parts first, and then to the sum in float32, so that
 * what a tensor core cuts off does not grow with the depth. Infinities of three parts give
 * NaN. */
#pragma once
#include "device.cuh"

enum {
	SIDE = 128, DEPTH = 16, PRODUCT_THREADS = 256,
	PITCH = 24, TURNED_PITCH = 136, /* in u16: rows of ldmatrix lie in different banks */
	PLANE = SIDE * PITCH, /* one part of SIDE × DEPTH */
};

/* What an operand is in memory, and in how many parts it is multiplied. */
struct whole { enum { dtype = F32, parts = 3 }; };
struct rounded { enum { dtype = F32, parts = 1 }; }; /* once, to bfloat16 */
struct half { enum { dtype = BF16, parts = 1 }; };

/* SIDE × DEPTH elements of an operand, from device memory over registers to shared
 * memory. Rows of the matrix run along the depth, or, turned, along the side. */
template <bool turned, typename T> struct operand {
	view v;
	i64 first, side; /* of the tile; of the matrix */
	bool paired; /* two elements at once are aligned */
	u32 held[4][T::dtype == F32 ? 2 : 1];
};
template <bool turned> DEVICE i32 along_side(i32 e) { return turned ? thread_x() % 64 * 2 : thread_x() / 8 + 32 * e; }
template <bool turned> DEVICE i32 along_depth(i32 e) { return turned ? thread_x() / 64 + 4 * e : thread_x() % 8 * 2; }

DEVICE bool pairs(const view &v)
{
	const i32 size = v.dtype == F32 ? 4 : 2;
	return !(((u64)v.data | v.stride * size) & (2 * size - 1));
}
template <bool turned, typename T> DEVICE void fetch(operand<turned, T> &x, i64 from, i64 to)
{
	UNROLL
	for (i32 e = 0; e < 4; e++) {
		const i64 s = x.first + along_side<turned>(e), k = from + along_depth<turned>(e);
		const i64 row = turned ? k : s, col = turned ? s : k, cols = turned ? x.side : to;
		const i64 n = row < (turned ? to : x.side) ? cols - col : 0, at = row * x.v.stride + col;
		if constexpr (T::dtype == F32) {
			const float *p = (const float *)x.v.data + at;
			two w = {0, 0};
			if (n >= 2 && x.paired) w = *global((const two *)p);
			else {
				if (n >= 1) w.x = *global(p);
				if (n >= 2) w.y = *global(p + 1);
			}
			x.held[e][0] = bits_of(w.x), x.held[e][1] = bits_of(w.y);
		} else {
			const u16 *p = (const u16 *)x.v.data + at;
			u32 w = 0;
			if (n >= 2 && x.paired) w = *global((const u32 *)p);
			else {
				if (n >= 1) w = *global(p);
				if (n >= 2) w |= (u32)*global(p + 1) << 16;
			}
			x.held[e][0] = w;
		}
	}
}
template <bool turned, typename T> DEVICE void put(const operand<turned, T> &x, u16 *planes)
{
	UNROLL
	for (i32 e = 0; e < 4; e++) {
		const i32 s = along_side<turned>(e), k = along_depth<turned>(e);
		u32 *to = (u32 *)(planes + (turned ? k * TURNED_PITCH + s : s * PITCH + k));
		if constexpr (T::dtype == BF16) *to = x.held[e][0];
		else if constexpr (T::parts == 1) *to = two_bf16(float_of(x.held[e][0]), float_of(x.held[e][1]));
		else {
			float v = float_of(x.held[e][0]), w = float_of(x.held[e][1]);
			UNROLL
			for (i32 p = 0; p < T::parts; p++) {
				const u32 both = two_bf16(v, w);
				to[p * PLANE / 2] = both;
				v = add_rn(v, -float_of(both << 16)), w = add_rn(w, -float_of(both & 0xffff0000u));
			}
		}
	}
}

/* Rows m to m + 15 of one part as the left fragment of a product. */
template <bool turned> DEVICE void left_fragment(u32 (&d)[4], const u16 *plane, i32 m)
{
	const i32 l = thread_x() % 32;
	if (turned) load_matrix_turned(d, plane + (l / 16 * 8 + l % 8) * TURNED_PITCH + m + l / 8 % 2 * 8);
	else load_matrix(d, plane + (m + l % 16) * PITCH + l / 16 * 8);
}
/* Columns n to n + 7 as d[0] and d[1], the next 8 as d[2] and d[3]. */
template <bool turned> DEVICE void right_fragments(u32 (&d)[4], const u16 *plane, i32 n)
{
	const i32 l = thread_x() % 32;
	if (turned) load_matrix_turned(d, plane + l % 16 * TURNED_PITCH + n + l / 16 * 8);
	else load_matrix(d, plane + (n + l / 16 * 8 + l % 8) * PITCH + l / 8 % 2 * 8);
}

/* A warp's part of the tile: 64 rows × 32 columns, in fragments of 16 × 8. */
typedef float sums[4][4][4];
DEVICE i32 warp_row() { return thread_x() / 128 * 64; }
DEVICE i32 warp_col() { return thread_x() / 32 % 4 * 32; }

/* Calls f(row, col, sum) for each element of this thread, counted from the tile's start. */
template <typename F> DEVICE void each_sum(const sums &sum, F f)
{
	const i32 l = thread_x() % 32, row = warp_row() + l / 4, col = warp_col() + l % 4 * 2;
	UNROLL
	for (i32 i = 0; i < 4; i++)
		UNROLL
		for (i32 j = 0; j < 4; j++)
			UNROLL
			for (i32 e = 0; e < 4; e++) f(row + 16 * i + e / 2 * 8, col + 8 * j + e % 2, sum[i][j][e]);
}

/* Adds DEPTH products to each sum of the first `fragments` · 16 rows. */
template <bool ta, int pa, bool tb, int pb> DEVICE void add_products(sums &sum, const u16 *a, const u16 *b, i32 fragments)
{
	u32 right[pb][4][2];
	UNROLL
	for (i32 p = 0; p < pb; p++)
		UNROLL
		for (i32 j = 0; j < 4; j += 2) {
			u32 d[4];
			right_fragments<tb>(d, b + p * PLANE, warp_col() + 8 * j);
			right[p][j][0] = d[0], right[p][j][1] = d[1], right[p][j + 1][0] = d[2], right[p][j + 1][1] = d[3];
		}
	UNROLL
	for (i32 i = 0; i < 4; i++) {
		if (i >= fragments) continue; /* the whole warp */
		u32 left[pa][4];
		UNROLL
		for (i32 p = 0; p < pa; p++) left_fragment<ta>(left[p], a + p * PLANE, warp_row() + 16 * i);
		float part[4][4] = {};
		UNROLL
		for (i32 order = pa + pb - 2 < 2 ? pa + pb - 2 : 2; order >= 0; order--)
			UNROLL
			for (i32 p = 0; p < pa; p++) {
				if (order - p < 0 || order - p >= pb) continue;
				UNROLL
				for (i32 j = 0; j < 4; j++) multiply_bf16(part[j], left[p], right[order - p][j]);
			}
		UNROLL
		for (i32 j = 0; j < 4; j++)
			UNROLL
			for (i32 e = 0; e < 4; e++) sum[i][j][e] = add_rn(sum[i][j][e], part[j][e]);
	}
}

/* sum ← rows m.. of op(A) times columns n.. of op(B), from `from` to `to` of the depth.
 * While one chunk is multiplied, the next is on its way to registers. */
template <bool ta, typename A, bool tb, typename B>
DEVICE void multiply_tile(sums &sum, u16 *planes, const view &va, const view &vb, i64 m, i64 n, i64 rows, i64 cols, i64 from, i64 to)
{
	operand<ta, A> a = {va, m, rows, pairs(va), {}};
	operand<tb, B> b = {vb, n, cols, pairs(vb), {}};
	const i64 left = rows - m - warp_row();
	const i32 fragments = cols - n <= warp_col() || left <= 0 ? 0 : left >= 64 ? 4 : (i32)(left + 15) / 16;
	if (from < to) fetch(a, from, to), fetch(b, from, to);
	for (i32 stage = 0; from < to; stage ^= 1) {
		u16 *at = planes + stage * (A::parts + B::parts) * PLANE;
		put(a, at), put(b, at + A::parts * PLANE);
		barrier(); /* who puts into this stage again has passed the next one */
		from += DEPTH;
		if (from < to) fetch(a, from, to), fetch(b, from, to);
		if (fragments > 0) add_products<ta, A::parts, tb, B::parts>(sum, at, at + A::parts * PLANE, fragments);
	}
}

/* What becomes of a sum: dst ← scale·sum, + bias of its column, + dst; +0 where masked. */
struct target {
	struct view dst, bias, mask; /* bias and mask may be absent */
	float scale;
	i32 accumulate;
};
DEVICE void finish(const target &t, i64 row, i64 col, float sum)
{
	float v = mul_rn(t.scale, sum);
	if (t.bias.data) v = add_rn(v, load(t.bias, 0, col));
	if (t.accumulate) v = add_rn(v, load(t.dst, row, col));
	store(t.dst, row, col, kept(t.mask, row, col) ? v : 0.0f);
}
