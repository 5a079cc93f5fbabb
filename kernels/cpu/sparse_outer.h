/* dB and dA over kept elements: for each of them the sum over tokens of dy·x, with
 * tokens in lanes. A lane adds up every VL-th token in ascending order; the lanes
 * are added in one fixed order. */
#if defined(RK_AVX512)
#define SO_NV 12
#else
#define SO_NV 8
#endif
enum { SO_COLS = 32, SO_ROWS = 256, SO_PAIRS = VL == 16 /* 32 registers hold two rows of dy */ };

/* The vectors of the next block where so many tokens are left. */
RK_INLINE int64_t K(block_vectors)(int64_t left)
{
	int64_t most = (left + VL - 1) / VL, nv = 8;
	if (most >= SO_NV) return SO_NV;
	while (nv > most) nv /= 2;
	return nv;
}

/* The kept elements of a task's rows in a tile of 32 columns: of a row first those
 * whose columns it shares with the other row of its pair, then its own. */
struct K(kept) {
	int32_t starts[SO_ROWS + 2];
	int32_t shared[SO_ROWS / 2];
	uint16_t columns[SO_ROWS * SO_COLS + 2 * SO_COLS];
};

RK_INLINE uint32_t K(half_word)(struct rk_mat mask, int64_t row, int64_t col)
{
	return (uint32_t)(K(mask_word)(mask, row, col >> 6) >> (col & 63));
}

RK_INLINE int64_t K(keep)(struct K(kept) *k, struct rk_mat mask, int64_t row, int64_t rows, int64_t col)
{
	int64_t n = 0;
	for (int64_t i = 0; i < rows; i += 2) {
		uint32_t first = K(half_word)(mask, row + i, col), second = i + 1 < rows ? K(half_word)(mask, row + i + 1, col) : 0;
		uint32_t both = SO_PAIRS ? first & second : 0;
		k->starts[i] = (int32_t)n;
		k->shared[i / 2] = __builtin_popcount(both);
		n += K(list)(0, SO_COLS, both, 1, 0, k->columns + n);
		n += K(list)(0, SO_COLS, first & ~both, 1, 0, k->columns + n);
		k->starts[i + 1] = (int32_t)n;
		n += K(list)(0, SO_COLS, both, 1, 0, k->columns + n);
		n += K(list)(0, SO_COLS, second & ~both, 1, 0, k->columns + n);
	}
	k->starts[rows] = (int32_t)n;
	return n;
}

/* acc[j] (VL lanes) += Σ over nv vectors of d · x[column of j], j from one element of a row to another. */
RK_INLINE void K(dots_alone)(const int nv, const vf *d, const float *x, const struct K(kept) *k, int64_t j, int64_t last, float *acc, int first)
{
	for (; j < last; j++) {
		const float *p = x + k->columns[j] * (nv * VL);
		vf s = first ? vf_zero() : vf_load(acc + j * VL);
#pragma GCC unroll 16
		for (int v = 0; v < nv; v++) s = vf_fma(d[v], vf_load(p + v * VL), s);
		vf_store(acc + j * VL, s);
	}
}

/* The same over all rows of dy: one block of tokens. */
RK_INLINE void K(sparse_dots)(const int nv, const float *dy, const float *x, const struct K(kept) *k, int64_t rows, float *acc, int first)
{
	const int64_t step = 2 * ((SO_COLS * nv * VL + rows - 1) / rows); /* of the next block of x, for two rows */
	const float *ahead = x + SO_COLS * nv * VL;
	for (int64_t r = 0; r < rows; r += 2, dy += 2 * nv * VL, ahead += step) {
		vf d[SO_NV], e[SO_NV];
		const float *other = r + 1 < rows ? dy + nv * VL : dy;
		for (int64_t i = 0; i < step; i += 16) __builtin_prefetch(ahead + i, 0, 2);
		for (int64_t i = 0; i < 2 * nv * VL; i += 16) __builtin_prefetch(dy + 2 * nv * VL + i);
#pragma GCC unroll 16
		for (int v = 0; v < nv; v++) d[v] = vf_load(dy + v * VL);
		int64_t j = k->starts[r], i = k->starts[r + 1], shared = 0;
		if (SO_PAIRS) {
			shared = k->shared[r / 2];
#pragma GCC unroll 16
			for (int v = 0; v < nv; v++) e[v] = vf_load(other + v * VL);
			for (int64_t last = j + shared; j < last; j++, i++) {
				const float *p = x + k->columns[j] * (nv * VL);
				vf s = first ? vf_zero() : vf_load(acc + j * VL), t = first ? vf_zero() : vf_load(acc + i * VL);
#pragma GCC unroll 16
				for (int v = 0; v < nv; v++) {
					vf xv = vf_hold(vf_load(p + v * VL));
					s = vf_fma(d[v], xv, s);
					t = vf_fma(e[v], xv, t);
				}
				vf_store(acc + j * VL, s);
				vf_store(acc + i * VL, t);
			}
		}
		K(dots_alone)(nv, d, x, k, j, k->starts[r + 1], acc, first);
		if (r + 1 == rows) return;
		if (!SO_PAIRS) {
#pragma GCC unroll 16
			for (int v = 0; v < nv; v++) e[v] = vf_load(other + v * VL);
		}
		K(dots_alone)(nv, e, x, k, k->starts[r + 1] + shared, k->starts[r + 2], acc, first);
	}
}

#define SO_DOTS(nv) \
	static __attribute__((noinline)) void K(sparse_dots_##nv)(const float *dy, const float *x, const struct K(kept) *k, int64_t rows, float *acc, int first) \
	{ K(sparse_dots)(nv, dy, x, k, rows, acc, first); }
SO_DOTS(1) SO_DOTS(2) SO_DOTS(4) SO_DOTS(8)
#if SO_NV > 8
SO_DOTS(12)
#endif

RK_INLINE void K(dots)(int64_t nv, const float *dy, const float *x, const struct K(kept) *k, int64_t rows, float *acc, int first)
{
	switch (nv) {
	case 1: K(sparse_dots_1)(dy, x, k, rows, acc, first); return;
	case 2: K(sparse_dots_2)(dy, x, k, rows, acc, first); return;
	case 4: K(sparse_dots_4)(dy, x, k, rows, acc, first); return;
#if SO_NV > 8
	case 12: K(sparse_dots_12)(dy, x, k, rows, acc, first); return;
#endif
	default: K(sparse_dots_8)(dy, x, k, rows, acc, first);
	}
}

/* g[j] = scale · the sum of the VL lanes of acc[j]; reads and writes up to VL − 1 past the last. */
RK_INLINE void K(sum_lanes)(const float *acc, int64_t n, float scale, float *g)
{
#if defined(RK_AVX512)
	for (int64_t j = 0; j < n; j += 16, acc += 256) {
		__m512 t[8], u[4];
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++) {
			__m512 a = _mm512_loadu_ps(acc + 32 * i), b = _mm512_loadu_ps(acc + 32 * i + 16);
			t[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
		}
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++) {
			__m512d a = _mm512_castps_pd(t[2 * i]), b = _mm512_castps_pd(t[2 * i + 1]);
			u[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
		}
		/* u[i], lane 4l + s: the lanes 4l … 4l+3 of sum 4i + s */
		__m512 p = _mm512_add_ps(_mm512_shuffle_f32x4(u[0], u[1], 0x88), _mm512_shuffle_f32x4(u[0], u[1], 0xdd));
		__m512 q = _mm512_add_ps(_mm512_shuffle_f32x4(u[2], u[3], 0x88), _mm512_shuffle_f32x4(u[2], u[3], 0xdd));
		__m512 sum = _mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
		_mm512_storeu_ps(g + j, _mm512_mul_ps(_mm512_set1_ps(scale), sum));
	}
#elif defined(RK_AVX2)
	for (int64_t j = 0; j < n; j += 8, acc += 64) {
		__m256 t[4];
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++) t[i] = _mm256_hadd_ps(_mm256_loadu_ps(acc + 16 * i), _mm256_loadu_ps(acc + 16 * i + 8));
		__m256 p = _mm256_hadd_ps(t[0], t[1]), q = _mm256_hadd_ps(t[2], t[3]);
		__m256 sum = _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
		_mm256_storeu_ps(g + j, _mm256_mul_ps(_mm256_set1_ps(scale), sum));
	}
#else
	for (int64_t j = 0; j < n; j++, acc += VL) g[j] = scale * vf_sum(vf_load(acc));
#endif
}

/* pairs[c] = column col + c of A, padded with zeros to rp, and rp zeros behind it. */
RK_INLINE void K(columns_of)(struct rk_mat src, int64_t col, int64_t cols, int64_t rp, float *pairs)
{
	for (int64_t c = 0; c < cols; c++) memset(pairs + (2 * c + 1) * rp, 0, (size_t)rp * 4);
	for (int64_t k = 0; k < rp; k += VL) {
		const float *rows[VL];
		for (int64_t i = 0; i < VL; i++) rows[i] = k + i < src.rows ? (const float *)src.data + (k + i) * src.stride + col : K(zeros);
		for (int64_t c = 0; c < cols; c += VL) K(transpose_block)(rows, c, pairs + 2 * c * rp + k, 2 * rp, rk_least(cols - c, VL));
	}
}

/* da[k][c] = row k of dA's part of pairs[c], for r rows that lie ld floats apart. */
RK_INLINE void K(rows_of)(const float *pairs, int64_t cols, int64_t r, int64_t rp, float *da, int64_t ld)
{
	float t[VL * VL];
	for (int64_t k = 0; k < r; k += VL)
		for (int64_t c = 0; c < cols; c += VL) {
			int64_t n = rk_least(cols - c, VL);
			const float *columns[VL];
			for (int64_t i = 0; i < VL; i++) columns[i] = pairs + (2 * (c + rk_least(i, n - 1)) + 1) * rp;
			K(transpose_block)(columns, k, t, VL, VL);
			for (int64_t i = 0; i < VL && k + i < r; i++) {
				float *dst = da + (k + i) * ld + c;
				if (n == VL) vf_store(dst, vf_load(t + i * VL));
				else vf_storen(dst, vf_load(t + i * VL), n);
			}
		}
}

/* db[row] += Σ g·at[column], da[column] += g·b[row], rows and columns ascending, in pairs; rp
 * floats of r. pairs holds at and da of a column side by side. */
RK_INLINE void K(fold_rows)(const int64_t rp, const float *g, const struct K(kept) *l, int64_t rows, const float *b, float *db, float *pairs)
{
	for (int64_t k = 0; k < rp; k += VL)
		for (int64_t r = 0; r < rows; r++) {
			vf d = vf_load(db + r * rp + k), other = vf_zero(), br = vf_load(b + r * rp + k);
			int64_t j = l->starts[r], last = l->starts[r + 1];
			for (; j + 2 <= last; j += 2) {
				float *p = pairs + l->columns[j] * (2 * rp) + k, *q = pairs + l->columns[j + 1] * (2 * rp) + k;
				vf v = vf_set1(g[j]), w = vf_set1(g[j + 1]);
				d = vf_fma(v, vf_load(p), d);
				other = vf_fma(w, vf_load(q), other);
				vf_store(p + rp, vf_fma(v, br, vf_load(p + rp)));
				vf_store(q + rp, vf_fma(w, br, vf_load(q + rp)));
			}
			if (j < last) {
				float *p = pairs + l->columns[j] * (2 * rp) + k;
				vf v = vf_set1(g[j]);
				d = vf_fma(v, vf_load(p), d);
				vf_store(p + rp, vf_fma(v, br, vf_load(p + rp)));
			}
			vf_store(db + r * rp + k, d + other);
		}
}

static __attribute__((noinline)) void K(fold_vector)(const float *g, const struct K(kept) *l, int64_t rows, const float *b, float *db, float *pairs)
{
	K(fold_rows)(VL, g, l, rows, b, db, pairs);
}

RK_INLINE void K(fold_kept)(int64_t rp, const float *g, const struct K(kept) *l, int64_t rows, const float *b, float *db, float *pairs)
{
	if (rp == VL) K(fold_vector)(g, l, rows, b, db, pairs);
	else K(fold_rows)(rp, g, l, rows, b, db, pairs);
}

static void K(sparse_turn)(const void *args, int64_t task, void *scratch)
{
	const struct rk_sparse_outer *g = args;
	(void)scratch;
	int64_t padded = (g->tokens + VL - 1) / VL * VL, col = task * SO_COLS, width = rk_least(g->nj - col, SO_COLS);
	float *dst = g->turned + col * padded;
	for (int64_t t = 0; t < g->tokens;) {
		int64_t nv = K(block_vectors)(g->tokens - t), n = rk_least(g->tokens - t, nv * VL);
		K(turn_tokens)(g->x, g->t0 + t, n, g->j0 + col, width, dst + t * SO_COLS, nv * VL, nv * VL * g->x.stride);
		t += nv * VL;
	}
}

/* What a task of sparse_outer holds. */
struct K(outer_task) {
	int64_t row, rows;           /* of dy's columns */
	int64_t first, last;         /* columns, relative to j0 */
	int64_t rp;                  /* r, rounded up to VL */
	float *dy;                   /* blocks of tokens: (rows, vectors of the block) */
	float *acc;                  /* VL an element */
	float *sums;                 /* G, and VL more */
	float *pairs;                /* (32, 2, rp): A turned, dA */
	float *b, *db;               /* (rows, rp) */
	struct K(kept) *kept;
};

RK_INLINE struct K(outer_task) K(outer_task_of)(const struct rk_sparse_outer *g, int64_t task, float *scratch)
{
	int64_t parts = (g->nj + g->cols - 1) / g->cols, part = task % parts, row = task / parts * g->rows;
	struct K(outer_task) s = {.row = row, .rows = rk_least(g->out - row, g->rows),
		.first = part * g->cols, .last = rk_least(g->nj, (part + 1) * g->cols), .rp = (g->lora_a.rows + VL - 1) / VL * VL, .dy = scratch};
	s.acc = s.dy + (g->rows + VL) * ((g->tokens + VL - 1) / VL * VL);
	s.sums = s.acc + (g->rows * SO_COLS + VL) * VL;
	s.pairs = s.sums + g->rows * SO_COLS + VL;
	s.b = s.pairs + 2 * SO_COLS * s.rp;
	s.db = s.b + g->rows * s.rp;
	s.kept = (struct K(kept) *)(s.db + g->rows * s.rp);
	return s;
}

static void K(sparse_outer)(const void *args, int64_t task, void *scratch)
{
	const struct rk_sparse_outer *g = args;
	struct K(outer_task) s = K(outer_task_of)(g, task, scratch);
	int64_t r = g->lora_a.rows, rp = s.rp, rows = s.rows, padded = (g->tokens + VL - 1) / VL * VL;
	for (int64_t t = 0; t < g->tokens;) {
		int64_t nv = K(block_vectors)(g->tokens - t), n = rk_least(g->tokens - t, nv * VL);
		K(turn_tokens)(g->dy, g->t0 + t, n, s.row, rows, s.dy + t * rows, nv * VL, nv * VL * g->dy.stride);
		t += nv * VL;
	}
	for (int64_t i = 0; i < rows; i++)
		for (int64_t k = 0; k < rp; k++) s.b[i * rp + k] = k < r ? ((const float *)g->lora_b.data)[(s.row + i) * g->lora_b.stride + k] : 0;
	memset(s.db, 0, (size_t)(rows * rp) * 4);
	float *da = g->da + s.row / g->rows * r * g->in + g->j0;
	for (int64_t c = s.first; c < s.last; c += SO_COLS) {
		int64_t width = rk_least(s.last - c, SO_COLS), n = K(keep)(s.kept, g->mask, s.row, rows, g->j0 + c);
		const float *x = g->turned + c * padded;
		for (int64_t t = 0; t < g->tokens;) {
			int64_t nv = K(block_vectors)(g->tokens - t);
			K(dots)(nv, s.dy + t * rows, x + t * SO_COLS, s.kept, rows, s.acc, t == 0);
			t += nv * VL;
		}
		K(sum_lanes)(s.acc, n, g->scale, s.sums);
		K(columns_of)(g->lora_a, g->j0 + c, width, rp, s.pairs);
		K(fold_kept)(rp, s.sums, s.kept, rows, s.b, s.db, s.pairs);
		K(rows_of)(s.pairs, width, r, rp, da + c, g->in);
	}
	float *db = g->db + ((g->part0 + s.first / g->cols) * g->out + s.row) * r;
	for (int64_t i = 0; i < rows; i++) memcpy(db + i * r, s.db + i * rp, (size_t)r * 4);
}
