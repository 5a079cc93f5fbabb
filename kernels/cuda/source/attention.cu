//compile: hot=*
/* The forward pass of attention (FlashAttention-2, T. Dao, arXiv 2307.08691): a block has a
 * head's queries of a tile and walks over the tiles of keys, with the softmax of what it
 * has seen so far. */
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

template <int D, int ROWS, int KEYS> DEVICE void forward(const struct attention_args &a)
{
	constexpr int RI = ROWS / 16, RJ = KEYS / 16;
	SHARED_DYNAMIC(float, q);
	float *keys = q + ROWS * (D + PAD), *weights = keys + KEYS * (D + PAD); /* keys, then values */
	const auto [of, n, q0, rows, q_col, k_col, q_row, k_row] = tile_of_queries<ROWS>(a);
	if (n < 0) return; /* the whole block */
	load_tile<ROWS, D>(q, a.q, q_row, q_col, rows, a.dim);

	float acc[RI][D / 16] = {}, top[RI], sum[RI] = {}, s[RI][RJ];
	UNROLL
	for (int i = 0; i < RI; i++) top[i] = LOWEST;
	const i32 end = visible(a, n, q0 + rows - 1);
	for (i32 k0 = 0; k0 < end; k0 += KEYS) {
		barrier(); /* the values have been read */
		load_tile<KEYS, D>(keys, a.k, k_row + k0, k_col, n - k0, a.dim);
		barrier();
		multiply_rows<RI, RJ, D>(s, q, keys);
		barrier();
		load_tile<KEYS, D>(keys, a.v, k_row + k0, k_col, n - k0, a.dim);
		UNROLL
		for (int i = 0; i < RI; i++) {
			const i32 seen = visible(a, n, q0 + down() * RI + i) - k0;
			float next = top[i], more = 0;
			UNROLL
			for (int j = 0; j < RJ; j++) {
				s[i][j] = mul_rn(s[i][j], a.scale);
				if (across() + 16 * j < seen) next = greater(next, s[i][j]);
			}
			next = row_max(next);
			UNROLL
			for (int j = 0; j < RJ; j++) {
				s[i][j] = across() + 16 * j < seen ? exp_of(add_rn(s[i][j], -next)) : 0;
				more = add_rn(more, s[i][j]);
			}
			const float before = exp_of(add_rn(top[i], -next));
			sum[i] = fma_rn(sum[i], before, row_sum(more));
			top[i] = next;
			UNROLL
			for (int c = 0; c < D / 16; c++) acc[i][c] = mul_rn(acc[i][c], before);
		}
		keep_weights<RI, RJ>(weights, s);
		barrier();
		multiply_columns<RI, KEYS, D>(acc, weights, keys);
	}
	UNROLL
	for (int i = 0; i < RI; i++) {
		const i32 r = down() * RI + i;
		const float inverse = sum[i] == 0 ? 0 : div_rn(1, sum[i]);
		UNROLL
		for (int c = 0; c < D / 16; c++) acc[i][c] = mul_rn(acc[i][c], inverse);
		if (r < rows && across() == 0) element(a.lse, of, q0 + r) = add_rn(top[i], log_of(sum[i]));
	}
	store_rows<RI, D>(acc, a.o, q_row, q_col, rows, a.dim);
}

/* The tiles are those of attention.go. */
#define FORWARD(D, ROWS, KEYS) \
	KERNEL_RESIDENT(attention_forward_##D, attention_args, THREADS, 2) { forward<D, ROWS, KEYS>(a); }
FORWARD(32, 64, 64)
FORWARD(64, 64, 64)
FORWARD(96, 64, 64)
FORWARD(128, 64, 64)
FORWARD(256, 32, 32)
