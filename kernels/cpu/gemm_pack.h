/* Packing operands into panels. */

/* t[k] = column k of the VL × VL block at rows src[0…VL−1]. */
RK_INLINE void K(transpose)(const float *const *src, int64_t at, vf *out)
{
#if defined(RK_AVX512)
	__m512 r[16], t[16];
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(src[i] + at);
#pragma GCC unroll 8
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += 4) {
		__m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
		__m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
		r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
		r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
		r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
		r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
	}
	/* r[4q + e], lane 4l + s: row 4q + s, column 4l + e */
#pragma GCC unroll 4
	for (int e = 0; e < 4; e++) {
		__m512 a = _mm512_shuffle_f32x4(r[e], r[4 + e], 0x88), b = _mm512_shuffle_f32x4(r[e], r[4 + e], 0xdd);
		__m512 c = _mm512_shuffle_f32x4(r[8 + e], r[12 + e], 0x88), d = _mm512_shuffle_f32x4(r[8 + e], r[12 + e], 0xdd);
		out[e] = (vf)_mm512_shuffle_f32x4(a, c, 0x88);
		out[8 + e] = (vf)_mm512_shuffle_f32x4(a, c, 0xdd);
		out[4 + e] = (vf)_mm512_shuffle_f32x4(b, d, 0x88);
		out[12 + e] = (vf)_mm512_shuffle_f32x4(b, d, 0xdd);
	}
#elif defined(RK_AVX2)
	__m256 r[8], t[8];
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(src[i] + at);
#pragma GCC unroll 4
	for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
		t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 8; i += 4) {
		__m256d a = _mm256_castps_pd(t[i]), b = _mm256_castps_pd(t[i + 1]);
		__m256d c = _mm256_castps_pd(t[i + 2]), d = _mm256_castps_pd(t[i + 3]);
		r[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
		r[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
		r[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
		r[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
	}
#pragma GCC unroll 4
	for (int e = 0; e < 4; e++) {
		out[e] = (vf)_mm256_permute2f128_ps(r[e], r[4 + e], 0x20);
		out[4 + e] = (vf)_mm256_permute2f128_ps(r[e], r[4 + e], 0x31);
	}
#else
	vf r[VL];
	for (int i = 0; i < VL; i++) r[i] = vf_load(src[i] + at);
	for (int k = 0; k < VL; k++) out[k] = (vf){r[0][k], r[1][k], r[2][k], r[3][k]};
#endif
}

/* Writes the block transposed: its column k to dst + k·ld, k < n, in ascending order (a
 * later row may overwrite the end of an earlier one). */
RK_INLINE void K(transpose_block)(const float *const *src, int64_t at, float *dst, int64_t ld, int64_t n)
{
	vf t[VL];
	K(transpose)(src, at, t);
	if (n >= VL) {
#pragma GCC unroll 16
		for (int k = 0; k < VL; k++) vf_store(dst + k * ld, t[k]);
	} else {
		for (int k = 0; k < n; k++) vf_store(dst + k * ld, t[k]);
	}
}

/* The same of a block of bfloat16, VL rows of 2·VL columns: pairs are turned, then parted. */
RK_INLINE void K(transpose_narrow)(const float *const *src, int64_t at, float *dst, int64_t ld, int64_t n)
{
	vf t[VL];
	K(transpose)(src, at / 2, t);
#pragma GCC unroll 16
	for (int k = 0; k < VL; k++) {
		if (2 * k < n) vf_store(dst + 2 * k * ld, (vf)((vu)t[k] << 16));
		if (2 * k + 1 < n) vf_store(dst + (2 * k + 1) * ld, (vf)((vu)t[k] & 0xffff0000u));
	}
}

static const float K(zeros)[64 + VL];

/* Where an element lies; of bfloat16, two in each float. */
RK_INLINE void *K(element)(struct rk_mat m, int64_t row, int64_t col)
{
	return (char *)m.data + (row * m.stride + col) * (m.dtype == RK_BF16 ? 2 : 4);
}

/* A block of B: columns j0 … j0+nc−1 and k0 … k0+kc−1; panel p goes to panels + p·RK_NR·kc. */
struct K(block) {
	const struct rk_weight *w;
	int64_t j0, nc, k0, kc;
	float *panels;
};

/* W as it lies: expanded at most. */
RK_INLINE int K(is_stored)(const struct rk_weight *w)
{
	return K(is_plain)(w) || (w->w.dtype == RK_BF16 && !w->mask.data && !w->a.data);
}

/* A panel of B (n, k): columns j … of B's rows, that is W's rows, 64 of k at a time. */
RK_INLINE void K(pack_by_n)(const struct K(block) *g, int64_t p, float *t)
{
	const struct rk_weight *w = g->w;
	float *dst = g->panels + p * RK_NR * g->kc;
	int64_t row = g->j0 + p * RK_NR;
	int64_t rows = w->w.rows - row < RK_NR ? w->w.rows - row : RK_NR;
	const int stored = K(is_stored)(w), narrow = stored && w->w.dtype == RK_BF16;
	const float *src[RK_NR];
	for (int64_t i = rows; i < RK_NR; i++) src[i] = K(zeros);
	for (int64_t k = 0; k < g->kc; k += 64) {
		if (!stored) K(weight_rows)(w, row, rows, g->k0 + k, t, 64);
		for (int64_t i = 0; i < rows; i++)
			src[i] = stored ? K(element)(w->w, row + i, g->k0 + k) : t + i * 64;
		int64_t left = g->kc - k < 64 ? g->kc - k : 64;
		if (narrow) {
			for (int64_t v = 0; v < left; v += 2 * VL)
				for (int64_t h = 0; h < RK_NV; h++)
					K(transpose_narrow)(src + h * VL, v, dst + (k + v) * RK_NR + h * VL, RK_NR, left - v);
			continue;
		}
		for (int64_t v = 0; v < left; v += VL)
			for (int64_t h = 0; h < RK_NV; h++)
				K(transpose_block)(src + h * VL, v, dst + (k + v) * RK_NR + h * VL, RK_NR, left - v);
	}
}

/* 64 columns of B (k, n): as many panels as that is. */
RK_INLINE void K(pack_by_k)(const struct K(block) *g, int64_t group, float *t)
{
	const struct rk_weight *w = g->w;
	int64_t col = g->j0 + group * 64;
	int64_t left = g->j0 + g->nc - col < 64 ? g->j0 + g->nc - col : 64;
	float *panel = g->panels + group * 64 * g->kc;
	const int stored = K(is_stored)(w);
	for (int64_t k = 0; k < g->kc; k += 16) {
		int64_t rows = g->kc - k < 16 ? g->kc - k : 16;
		struct rk_mat src = {.data = t, .stride = 64, .dtype = RK_F32};
		if (stored) {
			src = w->w;
			src.data = K(element)(w->w, g->k0 + k, col);
		} else {
			K(weight_rows)(w, g->k0 + k, rows, col, t, 64);
		}
		for (int64_t c = 0; c < left; c += RK_NR) {
			float *dst = panel + c * g->kc + k * RK_NR;
			for (int64_t i = 0; i < rows; i++)
#pragma GCC unroll 2
				for (int j = 0; j < RK_NV; j++) vf_store(dst + i * RK_NR + j * VL, K(load_weight)(src, i, c + j * VL));
		}
	}
}

/* Rows i0 … i0+rows−1 and k0 … k0+kc−1 of A as panels; rows past the last are arbitrary.
 * Writes up to VL − RK_MR floats past the end of dst. */
RK_INLINE void K(pack_rows)(struct rk_mat a, int64_t i0, int64_t rows, int64_t k0, int64_t kc, float *dst)
{
	float wide[RK_MR * 64];
	for (int64_t i = 0; i < rows; i += RK_MR, dst += RK_MR * kc) {
		int64_t n = rows - i < RK_MR ? rows - i : RK_MR;
		const float *src[VL];
		for (int64_t r = n; r < VL; r++) src[r] = K(zeros);
		for (int64_t k = 0; k < kc; k += 64) {
			int64_t left = kc - k < 64 ? kc - k : 64;
			for (int64_t r = 0; r < n; r++) {
				if (a.dtype == RK_F32) {
					src[r] = (const float *)a.data + (i0 + i + r) * a.stride + k0 + k;
					continue;
				}
				for (int64_t v = 0; v < left; v += VL)
					vf_store(wide + r * 64 + v, K(load_weight)(a, i0 + i + r, k0 + k + v));
				src[r] = wide + r * 64;
			}
			for (int64_t v = 0; v < left; v += VL) K(transpose_block)(src, v, dst + (k + v) * RK_MR, RK_MR, left - v);
		}
	}
}

/* Columns i0 … of k0 … of a matrix that lies by k, as panels `width` wide. A few rows at a time,
 * so that a cache line is read once although it feeds several panels. */
RK_INLINE void K(pack_columns)(const int64_t width, struct rk_mat a, int64_t i0, int64_t cols, int64_t k0, int64_t kc, float *dst)
{
	for (int64_t k = 0; k < kc; k += 8) {
		int64_t rows = kc - k < 8 ? kc - k : 8;
		for (int64_t i = 0; i < cols; i += width)
			for (int64_t r = k; r < k + rows; r++)
				for (int64_t v = 0; v < width; v += VL) {
					float *d = dst + i * kc + r * width + v;
					vf x = K(load_weight)(a, k0 + r, i0 + i + v);
					/* The next row of a panel overwrites what is too much; the last one has no next. */
					if (width - v < VL && r == kc - 1) vf_storen(d, x, width - v);
					else vf_store(d, x);
				}
	}
}
