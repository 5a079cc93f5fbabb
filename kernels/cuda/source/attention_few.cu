//compile: hot=attention_few_*
/* The forward pass of attention for few queries (as in generation): the keys of a head are
 * divided among blocks, each of which has 16 rows, which are the queries of all heads that
 * read those keys; attention_join adds what the blocks have found, in the order of the keys. */
#include "attention_forward.cuh"

#define FEW 16 /* rows of a block */

/* What row r of `group`·q_len of a key head is: a query of a head. */
struct few_row {
	i32 query;
	i64 pair;     /* the row in lse */
	i64 row, col; /* in q and o */
};
DEVICE few_row few_row_of(const struct attention_args &a, i32 b, i32 kv, i32 r)
{
	const i32 h = kv * (a.heads / a.kv_heads) + r / a.q_len, i = r % a.q_len;
	return {i, (i64)b * a.heads + h, (i64)b * a.q_len + i, (i64)h * a.dim};
}

/* Of a row and part of the keys: the sum of the values, of the weights, and the greatest
 * score. Parts lie one after the other, rows as lse has them. */
DEVICE float *part_of(const struct attention_args &a, i32 split, const few_row &r)
{
	return a.parts + (split * a.lse.rows * a.q_len + r.pair * a.q_len + r.query) * (a.dim + 2);
}

template <int D, int KEYS> DEVICE void few(const struct attention_args &a)
{
	SHARED_DYNAMIC(float, q);
	const i32 rows = a.heads / a.kv_heads * a.q_len, all = (i32)(a.lse.rows / (a.heads / a.kv_heads)), split = block_y();
	const i32 of = block_x() % all, b = of / a.kv_heads, kv = of % a.kv_heads, r0 = (i32)block_x() / all * FEW;
	const i32 n = keys_of(a, b, thread_x() == 0), r = r0 + down();
	if (n < 0) return; /* the whole block */
	for (i32 i = thread_x(); i < FEW * D; i += THREADS) {
		const i32 d = i % D;
		float v = 0;
		if (r0 + i / D < rows && d < a.dim) {
			const few_row at = few_row_of(a, b, kv, r0 + i / D);
			v = element(a.q, at.row, at.col + d);
		}
		q[i / D * (D + PAD) + d] = a.rounded ? from_bf16(to_bf16(v)) : v;
	}
	progress<1, D> p;
	const i32 seen[1] = {r < rows ? visible(a, n, few_row_of(a, b, kv, r).query) : 0};
	const i32 from = split * a.span;
	attend<D, FEW, KEYS, true>(p, a, q, seen, (i64)b * a.pitch, (i64)kv * a.dim, n, from, least(from + a.span, visible(a, n, a.q_len - 1)));
	if (r >= rows) return;
	const few_row at = few_row_of(a, b, kv, r);
	if (!a.parts) {
		const float lse = finish(p, 0);
		if (across() == 0) element(a.lse, at.pair, at.query) = lse;
	}
	float *part = part_of(a, split, at);
	UNROLL
	for (int c = 0; c < D / 16; c++) {
		const i32 d = 2 * across() + c / 2 * 32 + c % 2;
		if (d >= a.dim) continue;
		if (a.parts) *global(part + d) = p.acc[0][c];
		else element(a.o, at.row, at.col + d) = p.acc[0][c];
	}
	if (a.parts && across() == 0) *global(part + a.dim) = p.sum[0], *global(part + a.dim + 1) = p.top[0];
}

/* The tiles are those of attention_few.go. */
#define FEW_QUERIES(D, KEYS) \
	KERNEL_RESIDENT(attention_few_##D, attention_args, THREADS, 2) { few<D, KEYS>(a); }
FEW_QUERIES(32, 64)
FEW_QUERIES(64, 64)
FEW_QUERIES(96, 64)
FEW_QUERIES(128, 64)
FEW_QUERIES(256, 32)

/* The parts of a row, a warp each: weights of a part count e^(its greatest score − that of all). */
KERNEL_BOUNDED(attention_join, attention_args, THREADS)
{
	const i64 i = (i64)block_x() * WARPS + thread_x() / 32, pair = i / a.q_len;
	const i32 query = (i32)(i % a.q_len), lane = thread_x() % 32, h = (i32)(pair % a.heads);
	if (pair >= a.lse.rows) return; /* the whole warp */
	const few_row at = {query, pair, pair / a.heads * a.q_len + query, (i64)h * a.dim};
	float top = LOWEST, sum = 0;
	for (i32 s = 0; s < a.splits; s++) top = greater(top, *global(part_of(a, s, at) + a.dim + 1));
	for (i32 s = 0; s < a.splits; s++) {
		const float *part = part_of(a, s, at) + a.dim;
		sum = fma_rn(*global(part), exp_of(add_rn(*global(part + 1), -top)), sum);
	}
	const float inverse = sum == 0 ? 0 : div_rn(1, sum);
	for (i32 d = lane; d < a.dim; d += 32) {
		float v = 0;
		for (i32 s = 0; s < a.splits; s++) {
			const float *part = part_of(a, s, at);
			v = fma_rn(*global(part + d), exp_of(add_rn(*global(part + a.dim + 1), -top)), v);
		}
		element(a.o, at.row, at.col + d) = mul_rn(v, inverse);
	}
	if (lane == 0) element(a.lse, pair, query) = add_rn(top, log_of(sum));
}
