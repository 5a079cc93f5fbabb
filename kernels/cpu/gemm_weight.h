/* W_eff a tile at a time. Every operation that needs it calls rk_weight_rows, so
 * that its bits are the same everywhere. */

/* Lanes whose bit is 1 keep their value, the others are +0. */
RK_INLINE vf vf_keep(vf v, uint32_t bits)
{
#if defined(RK_AVX512)
	return (vf)_mm512_maskz_mov_ps((__mmask16)bits, (__m512)v);
#elif defined(RK_AVX2)
	const vi lane = {1, 2, 4, 8, 16, 32, 64, 128};
	return (vf)((vi)v & ((vi_set1((int32_t)bits) & lane) == lane));
#else
	const vi lane = {1, 2, 4, 8};
	return (vf)((vi)v & ((vi_set1((int32_t)bits) & lane) == lane));
#endif
}

RK_INLINE vf K(load_weight)(struct rk_mat w, int64_t row, int64_t col)
{
	if (w.dtype == RK_F32) return vf_load((const float *)w.data + row * w.stride + col);
	return vf_load_bf16((const uint16_t *)w.data + row * w.stride + col);
}

RK_INLINE int K(is_plain)(const struct rk_weight *w)
{
	return w->w.dtype == RK_F32 && !w->mask.data && !w->a.data && w->round == RK_F32;
}

/* Columns col … col+4·VL−1 of `rows` rows: scale·(Σ_k B·A) added to W, rounded once, masked.
 * Row i of W starts at row base + i of `plain`, column at. */
RK_INLINE void K(weight_block)(const int rows, const struct rk_weight *w, int64_t row, int64_t col,
	struct rk_mat plain, int64_t base, int64_t at, float *dst, int64_t ld)
{
	enum { V = 4 };
	vf sum[4][V] = {{{0}}};
	if (w->a.data) {
		const float *a = (const float *)w->a.data + col;
		const float *b = (const float *)w->b.data + row * w->b.stride;
		for (int64_t k = 0; k < w->a.rows; k++, a += w->a.stride) {
			vf av[V];
#pragma GCC unroll 4
			for (int j = 0; j < V; j++) av[j] = vf_load(a + j * VL);
#pragma GCC unroll 4
			for (int i = 0; i < rows; i++) {
				vf bv = vf_set1(b[i * w->b.stride + k]);
#pragma GCC unroll 4
				for (int j = 0; j < V; j++) sum[i][j] = vf_fma(bv, av[j], sum[i][j]);
			}
		}
	}
	vf scale = vf_set1(w->scale);
#pragma GCC unroll 4
	for (int i = 0; i < rows; i++) {
		uint64_t word = ~(uint64_t)0;
		if (w->mask.data) word = ((const uint64_t *)w->mask.data)[(row + i) * w->mask.stride + (col >> 6)] >> (col & 63);
#pragma GCC unroll 4
		for (int j = 0; j < V; j++) {
			vf v = K(load_weight)(plain, base + i, at + j * VL);
			if (w->a.data) v = v + scale * sum[i][j];
			if (w->round == RK_BF16) v = vf_round_bf16(v);
			if (w->mask.data) v = vf_keep(v, (uint32_t)(word >> (j * VL) & ((1u << VL) - 1)));
			vf_store(dst + i * ld + j * VL, v);
		}
	}
}

/* Puts the next of the packed values where `word` keeps an element, zero elsewhere; returns how many.
 * Reads up to VL values past the last. */
RK_INLINE int64_t K(expand)(struct rk_mat values, int64_t at, uint64_t word, float *dst)
{
#if defined(RK_AVX512)
	int64_t n = at;
#pragma GCC unroll 4
	for (int q = 0; q < 64; q += 16) {
		__mmask16 keep = (__mmask16)(word >> q);
		vf v = values.dtype == RK_F32 ? vf_load((const float *)values.data + n) : vf_load_bf16((const uint16_t *)values.data + n);
		vf_store(dst + q, (vf)_mm512_maskz_expand_ps(keep, (__m512)v));
		n += __builtin_popcount(keep);
	}
	return n - at;
#else
	int64_t n = at;
	memset(dst, 0, 64 * sizeof *dst);
	for (; word; word &= word - 1, n++)
		dst[__builtin_ctzll(word)] = values.dtype == RK_F32 ? ((const float *)values.data)[n] : rk_of_bf16(((const uint16_t *)values.data)[n]);
	return n - at;
#endif
}

/* Rows row … row+rows−1, 64 columns from col, which is a multiple of 64. Columns past the
 * last are whatever memory holds. */
static __attribute__((noinline)) void K(weight_rows)(const struct rk_weight *w, int64_t row, int64_t rows, int64_t col, float *dst, int64_t ld)
{
	enum { AT_ONCE = VL == 16 ? 4 : 2 };
	if (!w->offsets.data) {
		for (int64_t c = 0; c < 64; c += 4 * VL) {
			if (col + c >= w->w.cols) break;
			int64_t i = 0;
			for (; i + AT_ONCE <= rows; i += AT_ONCE) K(weight_block)(AT_ONCE, w, row + i, col + c, w->w, row + i, col + c, dst + i * ld + c, ld);
			for (; i < rows; i++) K(weight_block)(1, w, row + i, col + c, w->w, row + i, col + c, dst + i * ld + c, ld);
		}
		return;
	}
	float wide[AT_ONCE * 64];
	const struct rk_mat expanded = {.data = wide, .stride = 64, .dtype = RK_F32};
	const uint64_t *words = (const uint64_t *)w->mask.data + (col >> 6);
	int64_t at = 0, n = 0;
	for (int64_t i = 0; i < rows; i += n) {
		n = rows - i >= AT_ONCE ? AT_ONCE : 1;
		for (int64_t j = 0; j < n; j++) {
			int64_t r = row + i + j;
			if (i + j == 0 || r % 64 == 0) {
				at = ((const int32_t *)w->offsets.data)[(r >> 6) * w->offsets.stride + (col >> 6)];
				for (int64_t above = r & ~63; above < r; above++) at += __builtin_popcountll(words[above * w->mask.stride]);
			}
			at += K(expand)(w->w, at, words[r * w->mask.stride], wide + j * 64);
		}
		for (int64_t c = 0; c < 64; c += 4 * VL) {
			if (col + c >= w->w.cols) break;
			if (n == AT_ONCE) K(weight_block)(AT_ONCE, w, row + i, col + c, expanded, 0, c, dst + i * ld + c, ld);
			else K(weight_block)(1, w, row + i, col + c, expanded, 0, c, dst + i * ld + c, ld);
		}
	}
}

static void K(effective_weight)(const void *args, int64_t task, void *scratch)
{
	const struct rk_effective *g = args;
	float *t = scratch; /* 16 × 64 */
	int64_t lo = task * 16, n = g->dst.rows - lo < 16 ? g->dst.rows - lo : 16;
	for (int64_t col = 0; col < g->dst.cols; col += 64) {
		int64_t m = g->dst.cols - col < 64 ? g->dst.cols - col : 64;
		K(weight_rows)(&g->w, lo, n, col, t, 64);
		for (int64_t i = 0; i < n; i++) {
			if (g->dst.dtype == RK_BF16) rk_narrow(rk_bf16(g->dst, lo + i) + col, t + i * 64, m);
			else memcpy(rk_f32(g->dst, lo + i) + col, t + i * 64, (size_t)m * 4);
		}
	}
}
