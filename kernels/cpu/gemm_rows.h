/* Few rows of A times B (n, k): a decoder's step, bound by reading W. Blocks of W are
 * turned in registers and multiplied at once; an element is the chain of products that
 * the register tile forms, so its bits are the same. */

/* m rows (a constant) times columns j … j+h·VL−1 of B, h groups of VL. */
RK_INLINE void K(few_columns)(const int m, const int h, const int narrow, const struct rk_gemm *g, int64_t j)
{
	const struct rk_mat w = g->b.w;
	const int step = narrow ? 2 * VL : VL, size = narrow ? 2 : 4;
	const char *src[2][VL];
	vf sum[2][RK_FEW];
	for (int q = 0; q < h; q++)
		for (int i = 0; i < VL; i++) src[q][i] = K(element)(w, rk_least(j + q * VL + i, g->n - 1), 0);
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
				for (int i = 0; i < VL; i++) {
					rows[i] = (const float *)(src[q][i] + k * size);
					__builtin_prefetch((const char *)rows[i] + 512);
				}
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
			for (int r = 0; r < m; r++) {
				vf old = sum[q][r];
				if (k0 == 0) {
					int64_t n = rk_least(g->n - j - q * VL, VL);
					old = g->accumulate && n > 0 ? vf_loadn(rk_f32(g->c, r) + j + q * VL, n) : vf_zero();
				}
				sum[q][r] = k0 > 0 || g->accumulate ? old + acc[q][r] : acc[q][r];
			}
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

#define RK_FEW_ROWS(m) \
	static __attribute__((noinline)) void K(few_wide_##m)(const struct rk_gemm *g, int64_t j) { K(few_columns)(m, m > 4 ? 1 : 2, 0, g, j); } \
	static __attribute__((noinline)) void K(few_narrow_##m)(const struct rk_gemm *g, int64_t j) { K(few_columns)(m, m > 4 ? 1 : 2, 1, g, j); }

#define RK_FEW_SIZES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
RK_FEW_SIZES(RK_FEW_ROWS)

/* Tasks: groups of jg columns, a multiple of 2·VL. */
static void K(few_rows)(const void *args, int64_t task, void *scratch)
{
	typedef void (*function)(const struct rk_gemm *, int64_t);
	static const function of[RK_FEW][2] = {
#define X(m) {K(few_wide_##m), K(few_narrow_##m)},
		RK_FEW_SIZES(X)
#undef X
	};
	const struct rk_gemm *g = args;
	(void)scratch;
	int64_t end = rk_least((task + 1) * g->jg, g->n);
	for (int64_t j = task * g->jg; j < end; j += g->m > 4 ? VL : 2 * VL)
		of[g->m - 1][g->b.w.dtype == RK_BF16](g, j);
}
