/* Small matrix products and transposes in cache, for attention.
 *
 * Every element of a product is one chain of multiply-adds in ascending k, so
 * that its bits depend neither on the width of vectors nor on how the rows are
 * grouped into register tiles. */

/* What becomes of the old contents of the product. */
enum { RK_OVERWRITE, RK_ADD, RK_ADD_SCALED };

/* out[m][n] ← (old, by mode, times in[m]) + Σ_k A[m][k]·b[k·bs + n], times after[m] where after is given. */
struct rk_product {
	float *out;
	const float *a, *b;
	int64_t out_stride, b_stride;
	int64_t a_row, a_k; /* A[m][k] = a[m·a_row + k·a_k] */
	int64_t m, n, k;
	int mode;
	const float *in, *after;
};

/* A tile of mr rows and nv vectors, the last one of w elements. by_k: a_row is 1;
 * otherwise a_k is 1. All of mr, nv and by_k are constants where this is called. */
RK_INLINE void rk_product_tile(const struct rk_product *p, int mr, int nv, int by_k, int64_t m, int64_t n, int64_t w)
{
	vf acc[8][4];
	float *out = p->out + m * p->out_stride + n;
	const int64_t row = by_k ? 1 : p->a_row, step = by_k ? p->a_k : 1, bs = p->b_stride;
	const float *a = p->a + m * row, *b = p->b + n;
	_Pragma("GCC unroll 8") for (int i = 0; i < mr; i++)
		_Pragma("GCC unroll 4") for (int j = 0; j < nv; j++) {
			vf old = vf_zero();
			if (p->mode != RK_OVERWRITE) {
				old = rk_get(out + i * p->out_stride + j * VL, w);
				if (p->mode == RK_ADD_SCALED) old *= p->in[m + i];
			}
			acc[i][j] = old;
		}
	for (int64_t k = 0; k < p->k; k++, a += step, b += bs) {
		vf bv[4];
		_Pragma("GCC unroll 4") for (int j = 0; j < nv; j++) bv[j] = vf_load(b + j * VL);
		_Pragma("GCC unroll 8") for (int i = 0; i < mr; i++) {
			vf av = vf_set1(a[i * row]);
			_Pragma("GCC unroll 4") for (int j = 0; j < nv; j++) acc[i][j] = vf_fma(av, bv[j], acc[i][j]);
		}
	}
	_Pragma("GCC unroll 8") for (int i = 0; i < mr; i++)
		_Pragma("GCC unroll 4") for (int j = 0; j < nv; j++) {
			vf sum = acc[i][j];
			if (p->after) sum *= p->after[m + i];
			rk_put(out + i * p->out_stride + j * VL, sum, w);
		}
}

#define RK_PRODUCT_ROWS(big, mid, nv, by_k, w) \
	do { \
		int64_t m = 0; \
		for (; m + (big) <= p->m; m += (big)) rk_product_tile(p, big, nv, by_k, m, n, w); \
		for (; m + (mid) <= p->m; m += (mid)) rk_product_tile(p, mid, nv, by_k, m, n, w); \
		for (; m < p->m; m++) rk_product_tile(p, 1, nv, by_k, m, n, w); \
	} while (0)

RK_INLINE void rk_product_columns(const struct rk_product *p, int by_k)
{
	int64_t n = 0;
#if defined(RK_AVX512) /* 32 registers */
	for (; n + 4 * VL <= p->n; n += 4 * VL) RK_PRODUCT_ROWS(6, 2, 4, by_k, VL);
	if (n + 3 * VL <= p->n) {
		RK_PRODUCT_ROWS(8, 4, 3, by_k, VL);
		n += 3 * VL;
	}
	for (; n + 2 * VL <= p->n; n += 2 * VL) RK_PRODUCT_ROWS(8, 4, 2, by_k, VL);
#elif defined(RK_AVX2)
	for (; n + 2 * VL <= p->n; n += 2 * VL) RK_PRODUCT_ROWS(6, 2, 2, by_k, VL);
#else
	for (; n + 2 * VL <= p->n; n += 2 * VL) RK_PRODUCT_ROWS(4, 2, 2, by_k, VL);
#endif
	for (; n + VL <= p->n; n += VL) RK_PRODUCT_ROWS(8, 4, 1, by_k, VL);
	/* Reading b past its row is safe; the excess is not stored. */
	if (n < p->n) RK_PRODUCT_ROWS(8, 4, 1, by_k, p->n - n);
}

static void K(product_by_row)(const struct rk_product *p) { rk_product_columns(p, 0); }
static void K(product_by_k)(const struct rk_product *p) { rk_product_columns(p, 1); }

/* dst[c·pitch + r] ← src[r·stride + c] for r < rows, and 0 for rows ≤ r < filled; filled is a multiple of VL. */
static void K(turn)(float *dst, int64_t pitch, const float *src, int64_t stride, int64_t rows, int64_t filled, int64_t cols)
{
	for (int64_t r = 0; r < filled; r += VL)
		for (int64_t c = 0; c < cols; c += VL) {
			const float *row[VL];
			for (int i = 0; i < VL; i++) row[i] = r + i < rows ? src + (r + i) * stride + c : K(zeros);
			K(transpose_block)(row, 0, dst + c * pitch + r, pitch, cols - c);
		}
}
