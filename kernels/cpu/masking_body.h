/* n:m masks, and the elements that a mask keeps; see masking.h. */
#include <float.h>

typedef int64_t K(vl) __attribute__((vector_size(VL * 4)));
enum { K(select_lanes) = VL / 2 };

/* |w|·norm of as many groups as there are lanes, from column lo on, turned: element i of group l
 * lies at s[i·lanes + l]. Behind the last column they are 0. */
RK_INLINE void K(select_scores)(double *s, const struct rk_select *a, int64_t row, int64_t lo, int64_t group)
{
	const int64_t all = K(select_lanes) * group, n = a->w.cols - lo < all ? a->w.cols - lo : all;
	const double *norms = a->norms.data ? (const double *)a->norms.data + lo : NULL;
	double *line = s + all;
	if (a->w.dtype == RK_F32) {
		const float *w = rk_f32(a->w, row) + lo;
		for (int64_t c = 0; c < n; c++) line[c] = fabsf(w[c]);
	} else {
		const uint16_t *w = (const uint16_t *)rk_bytes(a->w, row) + lo;
		for (int64_t c = 0; c < n; c++) line[c] = fabsf(rk_of_bf16(w[c]));
	}
	if (norms)
		for (int64_t c = 0; c < n; c++) line[c] *= norms[c];
	for (int64_t c = n; c < all; c++) line[c] = 0;
	for (int64_t i = 0; i < group; i++)
		for (int64_t l = 0; l < K(select_lanes); l++) s[i * K(select_lanes) + l] = line[l * group + i];
}

/* The kept columns of each group as bits: those that at least drop others go before. A pair
 * of columns is compared once: where the lower one goes before, else the higher one does. */
RK_INLINE K(vl) K(select_groups)(const double *s, int64_t group, int64_t drop)
{
	K(vl) before[64], kept = {0}, ordered = kept - 1;
	vd score[64];
	for (int64_t i = 0; i < group; i++) {
		memcpy(&score[i], s + i * K(select_lanes), sizeof score[i]);
		ordered &= (K(vl))(score[i] >= 0) & (K(vl))(score[i] <= DBL_MAX);
		K(vl) own = {0};
		for (int64_t j = 0; j < i; j++) {
			const K(vl) lower = (K(vl))(score[j] <= score[i]);
			own -= lower;
			before[j] += lower + 1;
		}
		before[i] = own;
	}
	for (int64_t i = 0; i < group; i++) kept |= (K(vl))(before[i] >= drop) & (kept * 0 + (int64_t)(1ull << i));
	return kept & ordered;
}

RK_INLINE void K(select_row)(const struct rk_select *a, int64_t row, int64_t group, double *s)
{
	uint64_t *words = (uint64_t *)a->mask.data + row * a->mask.stride;
	int32_t *bad = (int32_t *)a->bad.data + row;
	memset(words, 0, (size_t)a->mask.cols * sizeof *words);
	*bad = -1;
	for (int64_t lo = 0; lo < a->w.cols; lo += K(select_lanes) * group) {
		int64_t groups = (a->w.cols - lo) / group;
		if (groups > K(select_lanes)) groups = K(select_lanes);
		K(select_scores)(s, a, row, lo, group);
		const K(vl) kept = K(select_groups)(s, group, group - a->keep);
		for (int64_t l = 0; l < groups; l++) {
			const uint64_t bits = (uint64_t)kept[l];
			const int64_t c = lo + l * group;
			words[c >> 6] |= bits << (c & 63);
			if ((c & 63) + group > 64) words[(c >> 6) + 1] |= bits >> (64 - (c & 63));
			/* An ordered group keeps something. */
			for (int64_t i = 0; !bits && *bad < 0 && i < group; i++) {
				const double v = s[i * K(select_lanes) + l];
				if (!(v >= 0 && v <= DBL_MAX)) *bad = (int32_t)(c + i);
			}
		}
	}
}

static void K(select_mask)(const void *args, int64_t task, void *scratch)
{
	const struct rk_select *a = args;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < a->w.rows; r++)
		switch (a->group) {
		case 4: K(select_row)(a, r, 4, scratch); break;
		case 8: K(select_row)(a, r, 8, scratch); break;
		default: K(select_row)(a, r, a->group, scratch);
		}
}

/* Word i of a mask's row, without what lies beyond the columns. */
RK_INLINE uint64_t K(kept_word)(const uint64_t *row, int64_t i, int64_t cols)
{
	const int64_t rest = cols - 64 * i;
	return rest < 64 ? row[i] & ((1ull << rest) - 1) : row[i];
}

static void K(pack_kept)(const void *args, int64_t task, void *scratch)
{
	const struct rk_kept *a = args;
	float *to = a->packed + a->before[task];
	(void)scratch;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < a->dense.rows; r++) {
		const float *row = rk_f32(a->dense, r);
		const uint64_t *words = (const uint64_t *)a->mask.data + r * a->mask.stride;
		for (int64_t i = 0; i < a->mask.cols; i++) {
			uint64_t w = K(kept_word)(words, i, a->dense.cols);
#if defined(RK_AVX512)
			for (const float *from = row + 64 * i; w; w >>= 16, from += 16) {
				const __mmask16 k = (__mmask16)w;
				const int n = __builtin_popcount(k);
				_mm512_mask_storeu_ps(to, rk_first(n), _mm512_maskz_compress_ps(k, _mm512_maskz_loadu_ps(k, from)));
				to += n;
			}
#else
			for (; w; w &= w - 1) *to++ = row[64 * i + __builtin_ctzll(w)];
#endif
		}
	}
}

static void K(unpack_kept)(const void *args, int64_t task, void *scratch)
{
	const struct rk_kept *a = args;
	const float *from = a->packed + a->before[task];
	(void)scratch;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < a->dense.rows; r++) {
		float *row = rk_f32(a->dense, r);
		const uint64_t *words = (const uint64_t *)a->mask.data + r * a->mask.stride;
#if defined(RK_AVX512)
		for (int64_t c = 0; c < a->dense.cols; c += 16) {
			const int64_t n = a->dense.cols - c < 16 ? a->dense.cols - c : 16;
			const __mmask16 k = (__mmask16)(words[c >> 6] >> (c & 63)) & rk_first(n);
			const int kept = __builtin_popcount(k);
			_mm512_mask_storeu_ps(row + c, rk_first(n), _mm512_maskz_expand_ps(k, _mm512_maskz_loadu_ps(rk_first(kept), from)));
			from += kept;
		}
#else
		memset(row, 0, (size_t)a->dense.cols * sizeof *row);
		for (int64_t i = 0; i < a->mask.cols; i++)
			for (uint64_t w = K(kept_word)(words, i, a->dense.cols); w; w &= w - 1) row[64 * i + __builtin_ctzll(w)] = *from++;
#endif
	}
}
