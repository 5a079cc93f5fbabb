/* The softmax of a tile of queries over keys, tile by tile, and the values' sum under it. */
#pragma once
#include "attention.cuh"

/* Sum and maximum over the 16 threads of a row. */
DEVICE float row_sum(float v)
{
	UNROLL
	for (i32 lanes = 8; lanes; lanes >>= 1) v = add_rn(v, shuffle_xor(v, lanes));
	return v;
}
DEVICE float row_max(float v)
{
	UNROLL
	for (i32 lanes = 8; lanes; lanes >>= 1) v = greater(v, shuffle_xor(v, lanes));
	return v;
}

/* What a thread has of its rows so far: the greatest score, the sum of the weights, and
 * of the values. */
template <int RI, int D> struct progress {
	float acc[RI][D / 16], top[RI], sum[RI];
};
/* Ends row i: acc becomes its output; returns its log-sum-exp. */
template <int RI, int D> DEVICE float finish(progress<RI, D> &p, int i)
{
	const float inverse = p.sum[i] == 0 ? 0 : div_rn(1, p.sum[i]);
	UNROLL
	for (int c = 0; c < D / 16; c++) p.acc[i][c] = mul_rn(p.acc[i][c], inverse);
	return add_rn(p.top[i], log_of(p.sum[i]));
}

/* s, scores of the keys from k0 on, becomes their weights; p counts them and scales its
 * sums to the new greatest score. */
template <int RI, int RJ, int D> DEVICE void weigh(progress<RI, D> &p, float (&s)[RI][RJ], const i32 (&seen)[RI], i32 k0, float scale)
{
	UNROLL
	for (int i = 0; i < RI; i++) {
		const i32 left = seen[i] - k0;
		float next = p.top[i], more = 0;
		UNROLL
		for (int j = 0; j < RJ; j++) {
			s[i][j] = mul_rn(s[i][j], scale);
			if (across() + 16 * j < left) next = greater(next, s[i][j]);
		}
		next = row_max(next);
		UNROLL
		for (int j = 0; j < RJ; j++) {
			s[i][j] = across() + 16 * j < left ? exp_of(add_rn(s[i][j], -next)) : 0;
			more = add_rn(more, s[i][j]);
		}
		const float before = exp_of(add_rn(p.top[i], -next));
		p.sum[i] = fma_rn(p.sum[i], before, row_sum(more));
		p.top[i] = next;
		UNROLL
		for (int c = 0; c < D / 16; c++) p.acc[i][c] = mul_rn(p.acc[i][c], before);
	}
}

/* Of the keys from..to of a sequence, row i of the thread sees those before seen[i]. q is in
 * shared memory; a tile of keys, then of values, and the weights lie behind it. */
template <int D, int ROWS, int KEYS, bool wide>
DEVICE void attend(progress<ROWS / 16, D> &p, const struct attention_args &a, float *q, const i32 (&seen)[ROWS / 16], i64 k_row, i64 k_col, i32 n, i32 from, i32 to)
{
	constexpr int RI = ROWS / 16, RJ = KEYS / 16;
	float *keys = q + ROWS * (D + PAD), *weights = keys + KEYS * (D + PAD), s[RI][RJ];
	UNROLL
	for (int i = 0; i < RI; i++) {
		p.top[i] = LOWEST, p.sum[i] = 0;
		UNROLL
		for (int c = 0; c < D / 16; c++) p.acc[i][c] = 0;
	}
	const auto load = [&](const view &m, i32 k0) {
		if constexpr (wide) load_wide<KEYS, D>(keys, m, k_row + k0, k_col, n - k0, a.dim, a.rounded);
		else load_tile<KEYS, D>(keys, m, k_row + k0, k_col, n - k0, a.dim);
	};
	i32 last = 0;
	UNROLL
	for (int i = 0; i < RI; i++) last = seen[i] > last ? seen[i] : last;
	for (i32 k0 = from; k0 < to; k0 += KEYS) {
		const bool idle = !ballot(k0 < last); /* the whole warp */
		barrier(); /* the values have been read */
		load(a.k, k0);
		barrier();
		if (!idle) multiply_rows<RI, RJ, D>(s, q, keys);
		barrier();
		load(a.v, k0);
		if (!idle) {
			weigh<RI, RJ, D>(p, s, seen, k0, a.scale);
			keep_weights<RI, RJ>(weights, s);
		}
		barrier();
		if (!idle) multiply_columns<RI, KEYS, D>(p.acc, weights, keys);
	}
}
