/* Few rows of A times B (n, k): a decoder's step, bound by reading W. Blocks of W are
 * turned in registers and multiplied at once; an element is the chain of products that
 * the register tile forms, so its bits are the same. */

/* Multiples of a stride in bytes. The compiler is kept from deriving one from another, so
 * that each stays in a register and 8 rows are 8 addressing modes. */
struct K(strides) {
	int64_t one, three, five, seven;
};

RK_INLINE struct K(strides) K(strides_of)(int64_t bytes)
{
	struct K(strides) s = {bytes, 3 * bytes, 5 * bytes, 7 * bytes};
#if defined(__GNUC__)
	__asm__("" : "+r"(s.one), "+r"(s.three), "+r"(s.five), "+r"(s.seven));
#endif
	return s;
}

/* Row i < 8 from p on; i is a constant where this is called. */
RK_INLINE const float *K(row_of_eight)(const char *p, const struct K(strides) *s, int i)
{
	const int64_t at[8] = {0, s->one, 2 * s->one, s->three, 4 * s->one, s->five, 2 * s->three, s->seven};
	return (const float *)(p + at[i]);
}

/* m rows (a constant) times columns j … j+h·VL−1 of B, h groups of VL. whole: all of them
 * are there. */
RK_INLINE void K(few_columns)(const int m, const int h, const int narrow, const int whole, const struct rk_gemm *g, int64_t j)
{
	const struct rk_mat w = g->b.w;
	const int step = narrow ? 2 * VL : VL, size = narrow ? 2 : 4;
	const struct K(strides) strides = K(strides_of)(w.stride * size);
	const char *src[2][VL];
	vf sum[2][RK_FEW];
	for (int q = 0; q < h; q++) {
		const int64_t at = j + q * VL, n = rk_least(g->n - at, VL);
		for (int i = 0; i < VL; i++) src[q][i] = K(element)(w, rk_least(at + i, g->n - 1), 0);
		for (int r = 0; r < m; r++) sum[q][r] = g->accumulate && n > 0 ? vf_loadn(rk_f32(g->c, r) + at, n) : vf_zero();
	}
	for (int64_t k0 = 0; k0 < g->k; k0 += g->kc) {
		const int64_t end = rk_least(k0 + g->kc, g->k);
		vf acc[2][RK_FEW];
#pragma GCC unroll 2
		for (int q = 0; q < h; q++)
#pragma GCC unroll 8
			for (int r = 0; r < m; r++) acc[q][r] = vf_zero();
		for (int64_t k = k0; k < end; k += step) {
			const int64_t left = end - k;
			const float *a = (const float *)g->a.data + k;
#pragma GCC unroll 2
			for (int q = 0; q < h; q++) {
				vf t[VL];
				const float *rows[VL];
#pragma GCC unroll 16
				for (int i = 0; i < VL; i++)
					rows[i] = whole ? K(row_of_eight)(src[q][i & 8] + k * size, &strides, i & 7) : (const float *)(src[q][i] + k * size);
				K(transpose)(rows, 0, t);
				if (left >= step) {
#pragma GCC unroll 16
					for (int i = 0; i < VL; i++)
#pragma GCC unroll 2
						for (int e = 0; e < step / VL; e++) {
							vf v = !narrow ? t[i] : e ? (vf)((vu)t[i] & 0xffff0000u) : (vf)((vu)t[i] << 16);
#pragma GCC unroll 8
							for (int r = 0; r < m; r++)
								acc[q][r] = vf_fma(vf_set1(a[r * g->a.stride + i * (step / VL) + e]), v, acc[q][r]);
						}
				} else {
					float turned[VL * VL];
					for (int i = 0; i < VL; i++) vf_store(turned + i * VL, t[i]);
					for (int i = 0; i < left; i++) {
						vf v = vf_load(turned + i / (step / VL) * VL);
						if (narrow) v = i & 1 ? (vf)((vu)v & 0xffff0000u) : (vf)((vu)v << 16);
#pragma GCC unroll 8
						for (int r = 0; r < m; r++) acc[q][r] = vf_fma(vf_set1(a[r * g->a.stride + i]), v, acc[q][r]);
					}
				}
			}
		}
		for (int q = 0; q < h; q++)
			for (int r = 0; r < m; r++)
				sum[q][r] = k0 > 0 || g->accumulate ? sum[q][r] + acc[q][r] : acc[q][r];
	}
	for (int q = 0; q < h; q++)
		for (int r = 0; r < m; r++) {
			int64_t at = j + q * VL, n = rk_least(g->n - at, VL);
			if (n <= 0) continue;
			vf v = sum[q][r];
			if (g->bias) v = v + vf_loadn(g->bias + at, n);
			vf_storen(rk_f32(g->c, r) + at, v, n);
		}
}

/* As many chains of products as hide their latency; with AVX-512 the chains of one group end as
 * late as the turning does, and fewer rows of W at a time suit the caches. */
#define RK_FEW_GROUPS(m) (VL == 16 || (m) > 4 ? 1 : 2)

#define RK_FEW_ROWS(m) \
	static __attribute__((noinline)) void K(few_wide_##m)(const struct rk_gemm *g, int64_t j) { K(few_columns)(m, RK_FEW_GROUPS(m), 0, 1, g, j); } \
	static __attribute__((noinline)) void K(few_narrow_##m)(const struct rk_gemm *g, int64_t j) { K(few_columns)(m, RK_FEW_GROUPS(m), 1, 1, g, j); } \
	static __attribute__((noinline)) void K(few_wide_edge_##m)(const struct rk_gemm *g, int64_t j) { K(few_columns)(m, RK_FEW_GROUPS(m), 0, 0, g, j); } \
	static __attribute__((noinline)) void K(few_narrow_edge_##m)(const struct rk_gemm *g, int64_t j) { K(few_columns)(m, RK_FEW_GROUPS(m), 1, 0, g, j); }

#define RK_FEW_SIZES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
RK_FEW_SIZES(RK_FEW_ROWS)

/* Tasks: groups of jg columns, a multiple of 2·VL. */
static void K(few_rows)(const void *args, int64_t task, void *scratch)
{
	typedef void (*function)(const struct rk_gemm *, int64_t);
	static const function of[RK_FEW][2][2] = {
#define X(m) {{K(few_wide_edge_##m), K(few_wide_##m)}, {K(few_narrow_edge_##m), K(few_narrow_##m)}},
		RK_FEW_SIZES(X)
#undef X
	};
	const struct rk_gemm *g = args;
	(void)scratch;
	int64_t end = rk_least((task + 1) * g->jg, g->n), step = RK_FEW_GROUPS(g->m) * VL;
	for (int64_t j = task * g->jg; j < end; j += step)
		of[g->m - 1][g->b.w.dtype == RK_BF16][j + step <= g->n](g, j);
}
