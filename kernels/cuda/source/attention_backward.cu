//compile: hot=*
/* The backward pass of attention: with p = exp(s − lse), dp = dO·v and δ = dO·O it is
 * ds = p·(dp − δ). Weights are made again from the log-sum-exp, once for the queries'
 * gradients and once for the keys' and values', so that each sum lies with one block. */
#include "attention.cuh"

/* delta[of][i] ← dO·O of a query and head, a warp each */
KERNEL_BOUNDED(attention_delta, attention_args, THREADS)
{
	const i64 pair = (i64)block_x() * WARPS + thread_x() / 32, row = pair / a.heads;
	if (row >= a.o.rows) return; /* the whole warp */
	const i32 lane = thread_x() % 32, h = (i32)(pair % a.heads), b = (i32)(row / a.q_len);
	if (keys_of(a, b, lane == 0) < 0) return;
	const float sum = delta_of<false>(a, row, h);
	if (lane == 0) *global(a.delta + ((i64)b * a.heads + h) * a.q_len + row % a.q_len) = sum;
}

/* dQ: a block has a head's queries of a tile, and walks over the keys. */
template <int D, int ROWS, int KEYS> DEVICE void queries(const struct attention_args &a)
{
	constexpr int RI = ROWS / 16, RJ = KEYS / 16;
	SHARED_DYNAMIC(float, q);
	float *d_o = q + ROWS * (D + PAD), *keys = d_o + ROWS * (D + PAD), *weights = keys + KEYS * (D + PAD); /* values, then keys */
	const auto [of, n, q0, rows, q_col, k_col, q_row, k_row] = tile_of_queries<ROWS>(a);
	if (n < 0) return; /* the whole block */
	load_tile<ROWS, D>(q, a.q, q_row, q_col, rows, a.dim);
	load_tile<ROWS, D>(d_o, a.d_o, q_row, q_col, rows, a.dim);

	float acc[RI][D / 16] = {}, s[RI][RJ], dp[RI][RJ], lse[RI], delta[RI];
	UNROLL
	for (int i = 0; i < RI; i++) {
		const i32 r = down() * RI + i;
		lse[i] = r < rows ? element(a.lse, of, q0 + r) : 0;
		delta[i] = r < rows ? *global(a.delta + (i64)of * a.q_len + q0 + r) : 0;
	}
	const i32 end = visible(a, n, q0 + rows - 1);
	for (i32 k0 = 0; k0 < end; k0 += KEYS) {
		barrier(); /* the keys have been read */
		load_tile<KEYS, D>(keys, a.v, k_row + k0, k_col, n - k0, a.dim);
		barrier();
		multiply_rows<RI, RJ, D>(dp, d_o, keys);
		barrier();
		load_tile<KEYS, D>(keys, a.k, k_row + k0, k_col, n - k0, a.dim);
		barrier();
		multiply_rows<RI, RJ, D>(s, q, keys);
		UNROLL
		for (int i = 0; i < RI; i++) {
			const i32 r = down() * RI + i, seen = r < rows ? visible(a, n, q0 + r) - k0 : 0;
			UNROLL
			for (int j = 0; j < RJ; j++) {
				const float p = across() + 16 * j < seen ? exp_of(fma_rn(s[i][j], a.scale, -lse[i])) : 0;
				s[i][j] = mul_rn(mul_rn(p, a.scale), add_rn(dp[i][j], -delta[i]));
			}
		}
		keep_weights<RI, RJ>(weights, s);
		multiply_columns<RI, KEYS, D>(acc, weights, keys);
	}
	store_rows<RI, D>(acc, a.dq, q_row, q_col, rows, a.dim);
}

/* dK and dV: a block has a tile of keys of one of their heads, and walks over the heads
 * that read them and their queries. Its products have keys for rows. */
template <int D, int ROWS, int QUERIES> DEVICE void keys(const struct attention_args &a)
{
	constexpr int RI = ROWS / 16, RJ = QUERIES / 16;
	SHARED_DYNAMIC(float, k);
	float *v = k + ROWS * (D + PAD), *q = v + ROWS * (D + PAD), *d_o = q + QUERIES * (D + PAD), *weights = d_o + QUERIES * (D + PAD);
	const i32 tiles = (a.pitch + ROWS - 1) / ROWS, all = blocks_x() / tiles, of = block_x() % all;
	const i32 b = of / a.kv_heads, kv = of % a.kv_heads, k0 = (i32)block_x() / all * ROWS, group = a.heads / a.kv_heads;
	const i32 n = keys_of(a, b, thread_x() == 0);
	if (n < 0) return; /* the whole block */
	const i64 k_row = (i64)b * a.pitch + k0;
	float dk[RI][D / 16] = {}, dv[RI][D / 16] = {}, s[RI][RJ], dp[RI][RJ];
	if (k0 < n) {
		load_tile<ROWS, D>(k, a.k, k_row, kv * a.dim, n - k0, a.dim);
		load_tile<ROWS, D>(v, a.v, k_row, kv * a.dim, n - k0, a.dim);
	}
	/* The first query that sees the first key. */
	i32 first = a.causal && k0 - n + a.q_len > 0 ? (k0 - n + a.q_len) / QUERIES * QUERIES : 0;
	if (k0 >= n) first = a.q_len;
	for (i32 h = kv * group; h < (kv + 1) * group; h++)
		for (i32 q0 = first; q0 < a.q_len; q0 += QUERIES) {
			const i64 q_row = (i64)b * a.q_len + q0, pair = (i64)b * a.heads + h;
			const i32 rows = least(QUERIES, a.q_len - q0);
			barrier(); /* the queries before have been read */
			load_tile<QUERIES, D>(q, a.q, q_row, h * a.dim, rows, a.dim);
			load_tile<QUERIES, D>(d_o, a.d_o, q_row, h * a.dim, rows, a.dim);
			barrier();
			multiply_rows<RI, RJ, D>(s, k, q);
			multiply_rows<RI, RJ, D>(dp, v, d_o);
			UNROLL
			for (int j = 0; j < RJ; j++) {
				const i32 r = across() + 16 * j, seen = r < rows ? visible(a, n, q0 + r) - k0 : 0;
				const float lse = r < rows ? element(a.lse, pair, q0 + r) : 0;
				const float delta = r < rows ? *global(a.delta + pair * a.q_len + q0 + r) : 0;
				UNROLL
				for (int i = 0; i < RI; i++) {
					s[i][j] = down() * RI + i < seen ? exp_of(fma_rn(s[i][j], a.scale, -lse)) : 0;
					dp[i][j] = mul_rn(mul_rn(s[i][j], a.scale), add_rn(dp[i][j], -delta));
				}
			}
			keep_weights<RI, RJ>(weights, s);
			multiply_columns<RI, QUERIES, D>(dv, weights, d_o);
			keep_weights<RI, RJ>(weights, dp);
			multiply_columns<RI, QUERIES, D>(dk, weights, q);
		}
	const i32 rows = least(ROWS, a.pitch - k0);
	store_rows<RI, D>(dk, a.dk, k_row, kv * a.dim, rows, a.dim);
	store_rows<RI, D>(dv, a.dv, k_row, kv * a.dim, rows, a.dim);
}

/* The tiles are those of attention.go. */
#define QUERIES(D, ROWS, KEYS) \
	KERNEL_RESIDENT(attention_queries_##D, attention_args, THREADS, 2) { queries<D, ROWS, KEYS>(a); }
QUERIES(32, 64, 64)
QUERIES(64, 64, 64)
QUERIES(96, 64, 64)
QUERIES(128, 32, 64)
QUERIES(256, 16, 32)

#define KEYS(D, ROWS, QUERIES) \
	KERNEL_RESIDENT(attention_keys_##D, attention_args, THREADS, 2) { keys<D, ROWS, QUERIES>(a); }
KEYS(32, 64, 32)
KEYS(64, 64, 32)
KEYS(96, 32, 32)
KEYS(128, 32, 32)
KEYS(256, 16, 16)
