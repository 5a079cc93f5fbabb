/* What the kernels of attention on tensor cores share. Blocks have four warps; a warp has
 * 16·M rows of a product and all of its columns, in the fragments of m16n8k16: lane l
 * holds, of 16 × 8 sums, columns 2·(l%4) and the next of rows l/4 and l/4 + 8. So what a
 * warp has made, rounded, is the left operand of the next product without shared memory.
 *
 * attention_round has written the operands that tiles of a head read again and again as
 * bfloat16: D columns a row, a multiple of 128 rows a head, and zeros behind the valid
 * rows and columns. */
#pragma once
#include "attention.cuh"

#define FLASH_THREADS 128
#define LOG2E 1.44269504f
#define LN2 0.69314718f
#define UNSEEN 1e30f /* log-sum-exp of a query that sees nothing: all its weights are 0 */

template <int D> struct tile_of {
	enum { pitch = D + 8 }; /* in u16: rows of ldmatrix lie in different banks */
};
DEVICE i32 lane() { return thread_x() % 32; }
DEVICE i32 warp() { return thread_x() / 32; }

/* 2^t to about one unit in the last place, for t below 127; +0 up to −127, NaN for NaN. The
 * polynomial is the one of least relative error on ±½ whose value at 0 is 1. */
DEVICE float exp2_of(float t)
{
	const float shift = 12582912.0f; /* as in exp_of */
	t = largest(t, -127.0f);
	const float n = add_rn(t, shift), r = add_rn(t, -add_rn(n, -shift));
	float p = fma_rn(1.3264723893e-3f, r, 9.6715128696e-3f);
	p = fma_rn(p, r, 5.5507337542e-2f);
	p = fma_rn(p, r, 2.4022242080e-1f);
	p = fma_rn(p, r, 6.9314697759e-1f);
	p = fma_rn(p, r, 1.0f);
	return mul_rn(p, float_of((bits_of(n) << 23) + 0x3f800000u));
}

/* What scores are multiplied by: |scale| in base 2; scale's sign is q's. It is not 0, so that
 * −∞ stays what it is: the score of a key that is not seen, whose weight then is 0. */
DEVICE float score_scale(const struct attention_args &a) { return largest(mul_rn(a.scale < 0 ? -a.scale : a.scale, LOG2E), 1e-30f); }
#define HIDDEN float_of(0xff800000u)

/* Eight elements of a row times sign, rounded; from the one at `cols` on they are 0. */
DEVICE words round_eight(const float *from, i32 cols, float sign)
{
	float v[8] = {};
	if (cols >= 8 && !((u64)from & 15)) {
		const four low = *global((const four *)from), high = *global((const four *)(from + 4));
		UNROLL
		for (int e = 0; e < 4; e++) v[e] = low.at[e], v[4 + e] = high.at[e];
	} else {
		UNROLL
		for (int e = 0; e < 8; e++)
			if (e < cols) v[e] = *global(from + e);
	}
	words w;
	UNROLL
	for (int e = 0; e < 4; e++) w.at[e] = two_bf16(mul_rn(sign, v[2 * e]), mul_rn(sign, v[2 * e + 1]));
	return w;
}

/* tile ← ROWS rows that attention_round has written, behind the arithmetic. A thread has
 * the same columns of all its rows, so that it keeps one address. */
template <int ROWS, int D> DEVICE void copy_tile(u16 *tile, const u16 *from)
{
	constexpr i32 ACROSS = D / 8, TOGETHER = FLASH_THREADS % ACROSS == 0 ? FLASH_THREADS / ACROSS : 8;
	static_assert(ROWS % TOGETHER == 0, "rows of a tile");
	const i32 r = thread_x() / ACROSS, d = thread_x() % ACROSS * 8;
	if (r >= TOGETHER) return;
	tile += r * tile_of<D>::pitch + d, from += r * D + d;
	UNROLL
	for (i32 e = 0; e < ROWS; e += TOGETHER) copy_async(tile + e * tile_of<D>::pitch, from + e * D, 16);
}

/* Where a lane reads a fragment at the start of a tile; others lie at constant distances
 * from there. A left operand has 16 rows of the tile and 16 columns. Of a right operand
 * two fragments are read, f[0], f[1] and f[2], f[3]: 8 columns of the product each. They
 * are rows of the tile, with the depth along its columns, or columns, with the depth along
 * its rows (load_matrix_turned). */
template <int D> DEVICE const u16 *left_in(const u16 *tile) { return tile + lane() % 16 * tile_of<D>::pitch + lane() / 16 * 8; }
template <int D> DEVICE const u16 *right_rows_in(const u16 *tile)
{
	return tile + (lane() / 16 * 8 + lane() % 8) * tile_of<D>::pitch + lane() / 8 % 2 * 8;
}
template <int D> DEVICE const u16 *right_columns_in(const u16 *tile) { return left_in<D>(tile); }

template <int M, int N> DEVICE void multiply_pair(float (&sum)[M][N][4], const u32 (&l)[M][4], const u32 (&r)[4], i32 j)
{
	const u32 first[2] = {r[0], r[1]}, second[2] = {r[2], r[3]};
	UNROLL
	for (int m = 0; m < M; m++) multiply_bf16(sum[m][j], l[m], first), multiply_bf16(sum[m][j + 1], l[m], second);
}

/* sum ← the warp's rows of `rows` times all N·8 rows of `cols`. While fragments are
 * multiplied, the next right ones are read. */
template <int M, int N, int D> DEVICE void multiply_tiles(float (&sum)[M][N][4], const u16 *rows, const u16 *cols)
{
	constexpr int PITCH = tile_of<D>::pitch, PAIRS = N / 2, STEPS = D / 16 * PAIRS;
	rows = left_in<D>(rows + 16 * M * warp() * PITCH), cols = right_rows_in<D>(cols);
	UNROLL
	for (int m = 0; m < M; m++)
		UNROLL
		for (int j = 0; j < N; j++)
			UNROLL
			for (int e = 0; e < 4; e++) sum[m][j][e] = 0;
	u32 l[M][4], r[2][4];
	load_matrix(r[0], cols);
	UNROLL
	for (int i = 0; i < STEPS; i++) {
		const int d = i / PAIRS * 16, next = i + 1;
		if (i % PAIRS == 0)
			UNROLL
			for (int m = 0; m < M; m++) load_matrix(l[m], rows + 16 * m * PITCH + d);
		if (next < STEPS) load_matrix(r[next % 2], cols + next % PAIRS * 16 * PITCH + next / PAIRS * 16);
		multiply_pair(sum, l, r[i % 2], i % PAIRS * 2);
	}
}
/* acc ← acc + weights times the first C·8 columns of the tile's N·8 rows. Weights are pairs
 * of columns: [m][j][0] of row l/4 of 16 × 8, [m][j][1] of row l/4 + 8. */
template <int M, int N, int D, int C> DEVICE void multiply_weights(float (&acc)[M][C][4], const u32 (&weights)[M][N][2], const u16 *tile)
{
	constexpr int PITCH = tile_of<D>::pitch, PAIRS = C / 2, STEPS = N / 2 * PAIRS;
	tile = right_columns_in<D>(tile);
	u32 r[2][4];
	load_matrix_turned(r[0], tile);
	UNROLL
	for (int i = 0; i < STEPS; i++) {
		const int n = i / PAIRS * 2, next = i + 1;
		if (next < STEPS) load_matrix_turned(r[next % 2], tile + next / PAIRS * 16 * PITCH + next % PAIRS * 16);
		u32 l[M][4];
		UNROLL
		for (int m = 0; m < M; m++)
			UNROLL
			for (int e = 0; e < 4; e++) l[m][e] = weights[m][n + e / 2][e % 2];
		multiply_pair(acc, l, r[i % 2], i % PAIRS * 2);
	}
}

/* Row and column of element e of sum (m, j), in the block's tile. */
template <int M> DEVICE i32 row_in(int m, int e) { return 16 * (M * warp() + m) + lane() / 4 + e / 2 * 8; }
DEVICE i32 col_in(int j, int e) { return 8 * j + lane() % 4 * 2 + e % 2; }

/* Of factor·acc, those rows below `rows` and columns below `cols`, at (row, col) of m. */
template <int M, int C> DEVICE void store_tile(const float (&acc)[M][C][4], float factor, const view &to, i64 row, i64 col, i32 rows, i32 cols)
{
	const bool paired = !(((u64)to.data | to.stride * 4 | col * 4) & 7);
	UNROLL
	for (int m = 0; m < M; m++)
		UNROLL
		for (int e = 0; e < 4; e += 2) {
			const i32 r = row_in<M>(m, e);
			if (r >= rows) continue;
			UNROLL
			for (int c = 0; c < C; c++) {
				const i32 d = col_in(c, 0);
				float *p = (float *)to.data + (row + r) * to.stride + col + d;
				const two v = {mul_rn(acc[m][c][e], factor), mul_rn(acc[m][c][e + 1], factor)};
				if (paired && d + 1 < cols) *global((two *)p) = v;
				else {
					if (d < cols) *global(p) = v.x;
					if (d + 1 < cols) *global(p + 1) = v.y;
				}
			}
		}
}
