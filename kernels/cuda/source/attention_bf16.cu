//compile: hot=*
/* The forward pass of attention on tensor cores (FlashAttention-2): operands of products
 * are rounded to bfloat16, sums and the softmax are float32. */
#include "attention_bf16.cuh"

/* to ← x of a head each, for two operands of one shape (the grid's y). */
struct attention_round_args {
	struct head head;
	struct view x, y, lengths; /* lengths may be absent */
	u16 *x_to, *y_to;          /* [batch·heads][rows][built] */
	i32 heads, dim, built, rows;
	i32 pitch, valid; /* rows of a sequence in x; of these, those that count, or the most that its length may be */
	i32 negated;      /* x, not y */
	i32 sequence;     /* as in attention_args */
};
KERNEL_BOUNDED(attention_round, attention_round_args, THREADS)
{
	const view &x = block_y() ? a.y : a.x;
	u16 *to = block_y() ? a.y_to : a.x_to;
	const i32 across = a.built / 8;
	const i64 i = (i64)block_x() * THREADS + thread_x(), row = i / across;
	const i32 d = (i32)(i % across) * 8, of = (i32)(row / a.rows), r = (i32)(row % a.rows), b = of / a.heads;
	if (b >= x.rows / a.pitch) return;
	i32 n = a.valid;
	if (a.lengths.data) {
		n = *global((const i32 *)a.lengths.data + b);
		if (n < 0 || n > a.valid) return refuse(a.head, a.sequence + b, n);
	}
	const float *from = (const float *)x.data + ((i64)b * a.pitch + r) * x.stride + of % a.heads * a.dim + d;
	*global((words *)(to + i * 8)) = round_eight(from, r < n ? a.dim - d : 0, a.negated && !block_y() ? -1.0f : 1.0f);
}

/* q ← the block's queries, rounded; zero behind them. */
template <int ROWS, int D> DEVICE void round_queries(u16 *q, const struct attention_args &a, i64 row, i64 col, i32 rows)
{
	const float *from = (const float *)a.q.data + row * a.q.stride + col, sign = a.scale < 0 ? -1.0f : 1.0f;
	for (i32 i = thread_x(); i < ROWS * D / 8; i += FLASH_THREADS) {
		const i32 r = i / (D / 8), d = i % (D / 8) * 8;
		*(words *)(q + r * tile_of<D>::pitch + d) = round_eight(from + r * a.q.stride + d, r < rows ? a.dim - d : 0, sign);
	}
}

/* The greatest and the sum over the four lanes of a row. */
DEVICE float row_largest(float v)
{
	v = largest(v, shuffle_xor(v, 1));
	return largest(v, shuffle_xor(v, 2));
}
DEVICE float row_total(float v)
{
	v = add_rn(v, shuffle_xor(v, 1));
	return add_rn(v, shuffle_xor(v, 2));
}

/* A block has 64·M queries of a head. The greatest score is rounded where the others are
 * not, so all weights of a row have a factor near 1 in common, which the end cancels; up to
 * scores of 2³⁰ it is in range. While scores are made, the values are on their
 * way, and while they are summed, the next keys. */
template <int D, int M, int KEYS> DEVICE void forward(const struct attention_args &a)
{
	constexpr int ROWS = 64 * M, N = KEYS / 8, PITCH = tile_of<D>::pitch;
	SHARED_DYNAMIC(u16, q);
	u16 *k = q + ROWS * PITCH, *v = k + KEYS * PITCH;
	const auto [of, n, q0, rows, q_col, k_col, q_row, k_row] = tile_of_queries<ROWS>(a);
	if (n < 0) return; /* the whole block */
	const i64 head = ((i64)(of / a.heads) * a.kv_heads + of % a.heads / (a.heads / a.kv_heads)) * a.k_rows;
	const u16 *keys = a.k16 + head * D, *values = a.v16 + head * D;
	const i32 end = visible(a, n, q0 + rows - 1), from = 16 * M * warp();
	const i32 last = from < rows ? visible(a, n, q0 + least(rows, from + 16 * M) - 1) : 0; /* keys of this warp */
	const i32 all = visible(a, n, q0 + from); /* keys that all of its queries see */
	const float scale = score_scale(a);

	if (end > 0) copy_tile<KEYS, D>(k, keys);
	copy_commit();
	round_queries<ROWS, D>(q, a, q_row, q_col, rows);
	float acc[M][D / 8][4] = {}, top[M][2], sum[M][2] = {}, s[M][N][4];
	UNROLL
	for (int m = 0; m < M; m++) top[m][0] = top[m][1] = -UNSEEN; /* in base 2 */
	for (i32 k0 = 0; k0 < end; k0 += KEYS) {
		copy_wait<0>();
		barrier();
		copy_tile<KEYS, D>(v, values + (i64)k0 * D);
		copy_commit();
		if (k0 < last) multiply_tiles<M, N, D>(s, q, k);
		copy_wait<0>();
		barrier();
		if (k0 + KEYS < end) copy_tile<KEYS, D>(k, keys + (i64)(k0 + KEYS) * D);
		copy_commit();
		if (k0 >= last) continue; /* the whole warp */
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
		float before[M][2];
		u32 weights[M][N][2];
		bool moved = false;
		UNROLL
		for (int m = 0; m < M; m++)
			UNROLL
			for (int e = 0; e < 4; e += 2) {
				float most = s[m][0][e];
				UNROLL
				for (int j = 0; j < N; j++) most = largest(most, largest(s[m][j][e], s[m][j][e + 1]));
				const float next = largest(top[m][e / 2], mul_rn(row_largest(most), scale));
				before[m][e / 2] = exp2_of(add_rn(top[m][e / 2], -next));
				moved = moved || before[m][e / 2] != 1;
				top[m][e / 2] = next;
				float more = 0;
				UNROLL
				for (int j = 0; j < N; j++) {
					float p[2];
					UNROLL
					for (int c = 0; c < 2; c++) {
						p[c] = exp2_of(fma_rn(s[m][j][e + c], scale, -next));
						more = add_rn(more, p[c]);
					}
					weights[m][j][e / 2] = two_bf16(p[0], p[1]);
				}
				sum[m][e / 2] = fma_rn(sum[m][e / 2], before[m][e / 2], more);
			}
		if (ballot(moved)) { /* else it would be a product with one */
			UNROLL
			for (int m = 0; m < M; m++)
				UNROLL
				for (int c = 0; c < D / 8; c++)
					UNROLL
					for (int e = 0; e < 4; e++) acc[m][c][e] = mul_rn(acc[m][c][e], before[m][e / 2]);
		}
		multiply_weights<M, N, D>(acc, weights, v);
	}
	UNROLL
	for (int m = 0; m < M; m++)
		UNROLL
		for (int h = 0; h < 2; h++) {
			const i32 r = row_in<M>(m, 2 * h);
			const float total = row_total(sum[m][h]), inverse = total == 0 ? 0 : div_rn(1, total);
			UNROLL
			for (int c = 0; c < D / 8; c++) acc[m][c][2 * h] = mul_rn(acc[m][c][2 * h], inverse), acc[m][c][2 * h + 1] = mul_rn(acc[m][c][2 * h + 1], inverse);
			if (r < rows && lane() % 4 == 0) element(a.lse, of, q0 + r) = fma_rn(top[m][h], LN2, log_of(total));
		}
	store_tile(acc, 1, a.o, q_row, q_col, rows, a.dim);
}

/* The tiles are those of attention_bf16.go. */
#define FORWARD(D, M, KEYS) \
	KERNEL_RESIDENT(attention_forward_bf16_##D, attention_args, FLASH_THREADS, 2) { forward<D, M, KEYS>(a); }
FORWARD(32, 2, 64)
FORWARD(64, 2, 64)
FORWARD(80, 2, 32)
FORWARD(96, 2, 32)
FORWARD(128, 2, 32)
FORWARD(256, 1, 32)
