//compile: hot=*
/* The backward pass of attention on tensor cores, in the form of attention_backward.cu:
 * weights and their gradients are rounded to bfloat16 as operands of products. */
#include "attention_bf16.cuh"

/* delta ← dO·O and lse2 ← the log-sum-exp in base 2, of a query and head, a warp each; a
 * query that sees nothing, or is behind the last one, gets 0 and UNSEEN. */
KERNEL_BOUNDED(attention_delta_bf16, attention_args, THREADS)
{
	const i64 i = (i64)block_x() * WARPS + thread_x() / 32, of = i / a.q_rows;
	const i32 q = (i32)(i % a.q_rows), b = (i32)(of / a.heads);
	if (of >= a.lse.rows) return; /* the whole warp */
	float delta = 0, lse = UNSEEN;
	if (q < a.q_len) {
		delta = delta_of<true>(a, (i64)b * a.q_len + q, (i32)(of % a.heads));
		lse = mul_rn(element(a.lse, of, q), LOG2E);
		if (lse < -UNSEEN) lse = UNSEEN;
	}
	if (lane() == 0) *global(a.delta + i) = delta, *global(a.lse2 + i) = lse;
}

/* dQ: a block has 64·M queries of a head, and walks over the keys. */
template <int D, int M, int KEYS> DEVICE void queries(const struct attention_args &a)
{
	constexpr int ROWS = 64 * M, N = KEYS / 8, PITCH = tile_of<D>::pitch;
	SHARED_DYNAMIC(u16, q);
	u16 *d_o = q + ROWS * PITCH, *k = d_o + ROWS * PITCH, *v = k + KEYS * PITCH;
	const auto [of, n, q0, rows, q_col, k_col, q_row, k_row] = tile_of_queries<ROWS>(a);
	if (n < 0) return; /* the whole block */
	const i64 head = ((i64)(of / a.heads) * a.kv_heads + of % a.heads / (a.heads / a.kv_heads)) * a.k_rows;
	const u16 *keys = a.k16 + head * D, *values = a.v16 + head * D;
	const i64 first = (i64)of * a.q_rows + q0;
	const i32 end = visible(a, n, q0 + rows - 1), from = 16 * M * warp();
	const i32 last = from < rows ? visible(a, n, q0 + least(rows, from + 16 * M) - 1) : 0; /* keys of this warp */
	const i32 all = visible(a, n, q0 + from); /* keys that all of its queries see */
	const float scale = score_scale(a);

	copy_tile<ROWS, D>(q, a.q16 + first * D);
	copy_tile<ROWS, D>(d_o, a.d_o16 + first * D);
	if (end > 0) copy_tile<KEYS, D>(v, values);
	copy_commit();
	if (end > 0) copy_tile<KEYS, D>(k, keys);
	copy_commit();
	float acc[M][D / 8][4] = {}, s[M][N][4], dp[M][N][4], lse[M][2], delta[M][2];
	UNROLL
	for (int m = 0; m < M; m++)
		UNROLL
		for (int h = 0; h < 2; h++) {
			lse[m][h] = *global(a.lse2 + first + row_in<M>(m, 2 * h));
			delta[m][h] = *global(a.delta + first + row_in<M>(m, 2 * h));
		}
	for (i32 k0 = 0; k0 < end; k0 += KEYS) {
		copy_wait<1>();
		barrier();
		if (k0 < last) multiply_tiles<M, N, D>(dp, d_o, v);
		copy_wait<0>();
		barrier();
		if (k0 + KEYS < end) copy_tile<KEYS, D>(v, values + (i64)(k0 + KEYS) * D);
		copy_commit();
		if (k0 < last) {
			multiply_tiles<M, N, D>(s, q, k);
			if (k0 + KEYS > all) /* not all keys are seen by all */
				UNROLL
				for (int m = 0; m < M; m++)
					UNROLL
					for (int e = 0; e < 4; e++) {
						const i32 seen = visible(a, n, q0 + row_in<M>(m, e)) - k0;
						UNROLL
						for (int j = 0; j < N; j++)
							if (col_in(j, e) >= seen) s[m][j][e] = HIDDEN;
					}
			u32 weights[M][N][2];
			UNROLL
			for (int m = 0; m < M; m++)
				UNROLL
				for (int h = 0; h < 2; h++) {
					UNROLL
					for (int j = 0; j < N; j++) {
						float ds[2];
						UNROLL
						for (int c = 0; c < 2; c++) {
							const float p = exp2_of(fma_rn(s[m][j][2 * h + c], scale, -lse[m][h]));
							ds[c] = mul_rn(p, add_rn(dp[m][j][2 * h + c], -delta[m][h]));
						}
						weights[m][j][h] = two_bf16(ds[0], ds[1]);
					}
				}
			multiply_weights<M, N, D>(acc, weights, k);
		}
		barrier();
		if (k0 + KEYS < end) copy_tile<KEYS, D>(k, keys + (i64)(k0 + KEYS) * D);
		copy_commit();
	}
	copy_wait<0>();
	store_tile(acc, a.scale, a.dq, q_row, q_col, rows, a.dim);
}

/* dK and dV: a block has 64·M keys of one of their heads, and walks over the heads that
 * read them and their queries; with two stages, the next are on their way meanwhile. Its
 * products have keys for rows. With HALVES = 2 a block has half of the columns (the grid's y). */
template <int D, int M, int QUERIES, int STAGES, int HALVES> DEVICE void keys(const struct attention_args &a)
{
	constexpr int ROWS = 64 * M, N = QUERIES / 8, C = D / 8 / HALVES, PITCH = tile_of<D>::pitch, STAGE = 2 * QUERIES * PITCH;
	SHARED_DYNAMIC(u16, k);
	u16 *v = k + ROWS * PITCH, *stages = v + ROWS * PITCH; /* of each stage queries, then dO */
	float *numbers = (float *)(stages + STAGES * STAGE); /* of each stage lse2, then delta */
	const i32 tiles = (a.pitch + ROWS - 1) / ROWS, heads = blocks_x() / tiles, of = block_x() % heads;
	const i32 b = of / a.kv_heads, kv = of % a.kv_heads, k0 = (i32)block_x() / heads * ROWS, group = a.heads / a.kv_heads;
	const i32 n = keys_of(a, b, false), d0 = (i32)block_y() * 8 * C;
	if (n < 0) return; /* the whole block */
	/* The first tile of queries with one that sees the first key. */
	const i32 first = a.causal && k0 - n + a.q_len > 0 ? (k0 - n + a.q_len) / QUERIES * QUERIES : 0;
	const bool any = k0 < n && first < a.q_len;
	const float scale = score_scale(a);
	const auto fetch = [&](i64 row, i32 stage) { /* the queries from row on, in scratch */
		u16 *to = stages + stage * STAGE;
		copy_tile<QUERIES, D>(to, a.q16 + row * D);
		copy_tile<QUERIES, D>(to + STAGE / 2, a.d_o16 + row * D);
		const i32 t = thread_x();
		if (t < QUERIES / 2) {
			const float *from = t < QUERIES / 4 ? a.lse2 + row + 4 * t : a.delta + row + 4 * t - QUERIES;
			copy_async(numbers + stage * 2 * QUERIES + 4 * t, from, 16);
		}
	};
	i64 head = ((i64)b * a.heads + kv * group) * a.q_rows; /* the first row of the next tile's */
	const i64 heads_end = head + (i64)group * a.q_rows;
	if (any) {
		const i64 row = (i64)of * a.k_rows + k0;
		copy_tile<ROWS, D>(k, a.k16 + row * D);
		copy_tile<ROWS, D>(v, a.v16 + row * D);
		fetch(head + first, 0);
	}
	copy_commit();
	float dk[M][C][4] = {}, dv[M][C][4] = {}, s[M][N][4], dp[M][N][4];
	i32 next = first, stage = 0;
	while (any && head < heads_end) {
		const i32 q0 = next, from = k0 + 16 * M * warp();
		next += QUERIES;
		if (next >= a.q_len) next = first, head += a.q_rows;
		copy_wait<0>();
		barrier(); /* and the tile before has been read */
		if (STAGES == 2) {
			if (head < heads_end) fetch(head + next, stage ^ 1);
			copy_commit();
		}
		if (from < visible(a, n, least(q0 + QUERIES, a.q_len) - 1)) {
			const u16 *q = stages + stage * STAGE, *d_o = q + STAGE / 2;
			const float *lse = numbers + stage * 2 * QUERIES, *delta = lse + QUERIES;
			multiply_tiles<M, N, D>(s, k, q);
			multiply_tiles<M, N, D>(dp, v, d_o);
			if (from + 16 * M > visible(a, n, q0)) /* not all keys are seen by all */
				UNROLL
				for (int j = 0; j < N; j++)
					UNROLL
					for (int c = 0; c < 2; c++) {
						const i32 seen = visible(a, n, q0 + col_in(j, c)) - k0;
						UNROLL
						for (int m = 0; m < M; m++)
							UNROLL
							for (int e = c; e < 4; e += 2)
								if (row_in<M>(m, e) >= seen) s[m][j][e] = HIDDEN;
					}
			u32 weights[M][N][2], slopes[M][N][2];
			UNROLL
			for (int j = 0; j < N; j++) {
				const two l = *(const two *)(lse + col_in(j, 0)), t = *(const two *)(delta + col_in(j, 0));
				UNROLL
				for (int m = 0; m < M; m++)
					UNROLL
					for (int h = 0; h < 2; h++) {
						float p[2], ds[2];
						UNROLL
						for (int c = 0; c < 2; c++) {
							p[c] = exp2_of(fma_rn(s[m][j][2 * h + c], scale, c ? -l.y : -l.x));
							ds[c] = mul_rn(p[c], add_rn(dp[m][j][2 * h + c], c ? -t.y : -t.x));
						}
						weights[m][j][h] = two_bf16(p[0], p[1]), slopes[m][j][h] = two_bf16(ds[0], ds[1]);
					}
			}
			multiply_weights<M, N, D>(dv, weights, d_o + d0);
			multiply_weights<M, N, D>(dk, slopes, q + d0);
		}
		if (STAGES == 2) stage ^= 1;
		else if (head < heads_end) {
			barrier(); /* this tile has been read */
			fetch(head + next, 0);
			copy_commit();
		}
	}
	copy_wait<0>();
	const i64 row = (i64)b * a.pitch + k0, col = kv * a.dim + d0;
	const i32 rows = least(ROWS, a.pitch - k0);
	store_tile(dk, a.scale < 0 ? -a.scale : a.scale, a.dk, row, col, rows, least(8 * C, a.dim - d0));
	store_tile(dv, 1, a.dv, row, col, rows, least(8 * C, a.dim - d0));
}

/* The tiles are those of attention_bf16.go. */
#define QUERIES(D, M, KEYS) \
	KERNEL_RESIDENT(attention_queries_bf16_##D, attention_args, FLASH_THREADS, 2) { queries<D, M, KEYS>(a); }
QUERIES(32, 2, 32)
QUERIES(64, 2, 32)
QUERIES(80, 2, 32)
QUERIES(96, 2, 32)
QUERIES(128, 1, 64)
QUERIES(256, 1, 16)

#define KEYS(D, M, QUERIES, STAGES, HALVES) \
	KERNEL_RESIDENT(attention_keys_bf16_##D, attention_args, FLASH_THREADS, 2) { keys<D, M, QUERIES, STAGES, HALVES>(a); }
KEYS(32, 2, 32, 2, 1)
KEYS(64, 2, 32, 2, 1)
KEYS(80, 1, 32, 2, 1)
KEYS(96, 1, 32, 2, 1)
KEYS(128, 1, 32, 2, 1)
KEYS(256, 1, 16, 1, 2)
