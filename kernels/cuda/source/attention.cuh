/* What the kernels of attention share: tiles of D columns in shared memory, multiplied in
 * float32 by 16 × 16 threads. Thread (y, x) has RI rows from y·RI on of each product, so
 * the rows of a product of weights lie with half a warp, which wrote those weights. */
#pragma once
#include "log.cuh"
#include "math.cuh"
#include "reduce.cuh"

#define PAD 4 /* floats behind each row of a tile: quads of 16 rows fall into different banks */

struct attention_args {
	struct head head;
	struct view q, k, v, o, lse, lengths; /* lengths may be absent */
	struct view d_o, dq, dk, dv;          /* absent in the forward pass */
	float *delta;                         /* dO·O, [batch·heads][q_len]; q_rows for q_len in the bfloat16 form */
	float *lse2;                          /* bfloat16 form: the log-sum-exp in base 2, as delta */
	u16 *q16, *k16, *v16, *d_o16;         /* what attention_round has made of q, k, v and d_o */
	float *parts;                         /* few queries: partial sums, see attention_few.cu; null where one block has all keys */
	i32 heads, kv_heads, dim, q_len, k_len, pitch, causal;
	float scale;
	i32 q_rows, k_rows;       /* rows of a head in q16 and d_o16, and in k16 and v16 */
	i32 splits, span, rounded; /* few queries: parts of the keys, keys of each, and whether operands are rounded to bfloat16 */
	i32 sequence;              /* what number the first one has in the call, for messages */
};

DEVICE i32 across() { return (i32)thread_x() % 16; }
DEVICE i32 down() { return (i32)thread_x() / 16; }
DEVICE i32 least(i32 a, i32 b) { return a < b ? a : b; }

/* The valid keys of sequence b, or −1 where its length is none; the first thread of a
 * block or warp then reports it. */
DEVICE i32 keys_of(const struct attention_args &a, i32 b, bool first)
{
	if (!a.lengths.data) return a.k_len;
	i32 n = *global((const i32 *)a.lengths.data + b);
	if (n >= 0 && n <= a.k_len) return n;
	if (first) refuse(a.head, a.sequence + b, n);
	return -1;
}
/* How many of n keys query i sees: the first ones. */
DEVICE i32 visible(const struct attention_args &a, i32 n, i32 i)
{
	i32 seen = a.causal ? least(n, i + n - a.q_len + 1) : n;
	return seen > 0 ? seen : 0;
}

/* dO·O of a head's query, one warp. Where products round their operands, dO is here what it
 * is there, so that gradients of scores cancel as they should. */
template <bool rounded> DEVICE float delta_of(const struct attention_args &a, i64 row, i32 head)
{
	float sum = 0;
	for (i32 d = thread_x() % 32; d < a.dim; d += 32) {
		const float g = element(a.d_o, row, head * a.dim + d);
		sum = fma_rn(rounded ? from_bf16(to_bf16(g)) : g, element(a.o, row, head * a.dim + d), sum);
	}
	UNROLL
	for (i32 lanes = 16; lanes; lanes >>= 1) sum = add_rn(sum, shuffle_xor(sum, lanes));
	return sum;
}

/* What a block has whose tile is ROWS queries of a head: sequence and head in one (of),
 * the valid keys n (−1: none to do), the queries from q0 on, and where they and the keys lie. */
struct query_tile {
	i32 of, n, q0, rows, q_col, k_col;
	i64 q_row, k_row;
};
template <int ROWS> DEVICE query_tile tile_of_queries(const struct attention_args &a)
{
	const i32 tiles = (a.q_len + ROWS - 1) / ROWS, all = blocks_x() / tiles, of = block_x() % all;
	const i32 b = of / a.heads, h = of % a.heads, q0 = (tiles - 1 - (i32)block_x() / all) * ROWS; /* causal: the longest first */
	return {of, keys_of(a, b, thread_x() == 0), q0, least(ROWS, a.q_len - q0), h * a.dim, h / (a.heads / a.kv_heads) * a.dim,
		(i64)b * a.q_len + q0, (i64)b * a.pitch};
}

/* tile ← ROWS rows of m from (row, col) on; zero behind `rows` rows and `dim` columns. */
template <int ROWS, int D> DEVICE void load_tile(float *tile, const view &m, i64 row, i64 col, i32 rows, i32 dim)
{
	const float *from = (const float *)m.data + row * m.stride + col;
	for (i32 i = thread_x(); i < ROWS * D; i += THREADS) {
		i32 r = i / D, d = i % D;
		tile[r * (D + PAD) + d] = r < rows && d < dim ? *global(from + r * m.stride + d) : 0;
	}
}
/* The quad at p, of a row that has n more elements; quads: rows are aligned, and end with one. */
template <bool quads> DEVICE four load_quad(const float *p, i32 n)
{
	four w = {};
	if (quads) {
		if (n > 0) w = *global((const four *)p);
	} else
		UNROLL
		for (int j = 0; j < 4; j++)
			if (j < n) w.at[j] = *global(p + j);
	return w;
}
/* load_tile with several quads on their way at once; values are rounded to bfloat16 if that
 * is asked for. */
template <int ROWS, int D, bool quads> DEVICE void load_quads(float *tile, const float *from, i64 stride, i32 rows, i32 dim, bool rounded)
{
	constexpr i32 QUADS = D / 4, EACH = ROWS * QUADS / THREADS, HELD = EACH % 4 == 0 ? 4 : EACH % 3 == 0 ? 3 : EACH;
	static_assert(ROWS * QUADS % THREADS == 0, "quads of a thread");
	for (i32 at = thread_x(); at < ROWS * QUADS; at += HELD * THREADS) {
		four held[HELD];
		UNROLL
		for (int e = 0; e < HELD; e++) {
			const i32 r = (at + e * THREADS) / QUADS, d = (at + e * THREADS) % QUADS * 4;
			held[e] = load_quad<quads>(from + r * stride + d, r < rows ? dim - d : 0);
		}
		UNROLL
		for (int e = 0; e < HELD; e++) {
			const i32 r = (at + e * THREADS) / QUADS, d = (at + e * THREADS) % QUADS * 4;
			if (rounded)
				UNROLL
				for (int j = 0; j < 4; j += 2) {
					const u32 both = two_bf16(held[e].at[j], held[e].at[j + 1]);
					held[e].at[j] = float_of(both << 16), held[e].at[j + 1] = float_of(both & 0xffff0000u);
				}
			*(four *)(tile + r * (D + PAD) + d) = held[e];
		}
	}
}
template <int ROWS, int D> DEVICE void load_wide(float *tile, const view &m, i64 row, i64 col, i32 rows, i32 dim, bool rounded)
{
	const float *from = (const float *)m.data + row * m.stride + col;
	if (((u64)from | m.stride * 4 | dim * 4) & 15) load_quads<ROWS, D, false>(tile, from, m.stride, rows, dim, rounded);
	else load_quads<ROWS, D, true>(tile, from, m.stride, rows, dim, rounded);
}
/* Of acc, RI rows from `from` on of m, those below `rows` and `dim` columns. */
template <int RI, int D> DEVICE void store_rows(const float (&acc)[RI][D / 16], const view &m, i64 row, i64 col, i32 rows, i32 dim)
{
	UNROLL
	for (int i = 0; i < RI; i++) {
		i32 r = down() * RI + i;
		UNROLL
		for (int c = 0; c < D / 16; c++) {
			i32 d = 2 * across() + c / 2 * 32 + c % 2;
			if (r < rows && d < dim) *global((float *)m.data + (row + r) * m.stride + col + d) = acc[i][c];
		}
	}
}

/* s[i][j] ← row y·RI + i of `rows` times row x + 16j of `cols`, d ascending */
template <int RI, int RJ, int D> DEVICE void multiply_rows(float (&s)[RI][RJ], const float *rows, const float *cols)
{
	UNROLL
	for (int i = 0; i < RI; i++)
		UNROLL
		for (int j = 0; j < RJ; j++) s[i][j] = 0;
	for (int d = 0; d < D; d += 4) {
		four r[RI], c[RJ];
		UNROLL
		for (int i = 0; i < RI; i++) r[i] = *(const four *)(rows + (down() * RI + i) * (D + PAD) + d);
		UNROLL
		for (int j = 0; j < RJ; j++) c[j] = *(const four *)(cols + (across() + 16 * j) * (D + PAD) + d);
		UNROLL
		for (int e = 0; e < 4; e++)
			UNROLL
			for (int i = 0; i < RI; i++)
				UNROLL
				for (int j = 0; j < RJ; j++) s[i][j] = fma_rn(r[i].at[e], c[j].at[e], s[i][j]);
	}
}
/* weights ← s, which multiply_rows has laid out; only the half warp's own rows */
template <int RI, int RJ> DEVICE void keep_weights(float *weights, const float (&s)[RI][RJ])
{
	warp_barrier(); /* what was there has been read */
	UNROLL
	for (int i = 0; i < RI; i++)
		UNROLL
		for (int j = 0; j < RJ; j++) weights[(down() * RI + i) * (16 * RJ + PAD) + across() + 16 * j] = s[i][j];
	warp_barrier();
}
/* acc ← acc + weights (rows × N) · tile (N × D), n ascending; columns 2x + 32c and the next */
template <int RI, int N, int D> DEVICE void multiply_columns(float (&acc)[RI][D / 16], const float *weights, const float *tile)
{
	for (int n = 0; n < N; n += 4) {
		four w[RI];
		UNROLL
		for (int i = 0; i < RI; i++) w[i] = *(const four *)(weights + (down() * RI + i) * (N + PAD) + n);
		UNROLL
		for (int e = 0; e < 4; e++)
			UNROLL
			for (int c = 0; c < D / 32; c++) {
				const two t = *(const two *)(tile + (n + e) * (D + PAD) + 2 * across() + 32 * c);
				UNROLL
				for (int i = 0; i < RI; i++) {
					acc[i][2 * c] = fma_rn(w[i].at[e], t.x, acc[i][2 * c]);
					acc[i][2 * c + 1] = fma_rn(w[i].at[e], t.y, acc[i][2 * c + 1]);
				}
			}
	}
}
