#include <stdint.h>
#include <string.h>

// A pass covers rows lo to hi-1; the library picks the processor's clone.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define PASS static __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) void
#else
#define PASS static void
#endif

static inline float dense_round(float v)
{
	uint32_t u;
	memcpy(&u, &v, 4);
	uint32_t r = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
	r = v != v ? (u | 0x400000u) & 0xffff0000u : r;
	memcpy(&v, &r, 4);
	return v;
}

static inline float dense_masked(float v, uint32_t bits, int j)
{
	uint32_t u;
	memcpy(&u, &v, 4);
	u &= 0u - (bits >> j & 1);
	memcpy(&v, &u, 4);
	return v;
}

// 32 columns of one row: out = mask(round(w + scale·out)). w is absent for a
// gradient, which is scaled and masked only.
static inline __attribute__((always_inline)) void dense_block(float *restrict out, const float *restrict w,
	const uint16_t *restrict narrow, float scale, int add, int round, uint32_t bits, int n)
{
	for (int j = 0; j < n; j++) {
		float v;
		if (narrow) {
			uint32_t u = (uint32_t)narrow[j] << 16;
			memcpy(&v, &u, 4);
			v = add ? v + scale * out[j] : v;
		} else if (w) {
			v = add ? w[j] + scale * out[j] : w[j];
		} else {
			v = scale * out[j];
		}
		v = round ? dense_round(v) : v;
		out[j] = dense_masked(v, bits, j);
	}
}

static inline __attribute__((always_inline)) void dense_rows(float *out, int64_t out_stride, const float *w, const uint16_t *narrow,
	int64_t w_stride, const uint64_t *mask, int64_t mask_stride, float scale, int add, int round, int64_t cols, int64_t lo, int64_t hi)
{
	for (int64_t i = lo; i < hi; i++) {
		float *o = out + i * out_stride;
		const uint32_t *m = mask ? (const uint32_t *)(mask + i * mask_stride) : 0;
		for (int64_t c = 0; c < cols; c += 32) {
			int64_t n = cols - c;
			uint32_t bits = m ? m[c / 32] : 0xffffffffu;
			const float *wide = w ? w + i * w_stride + c : 0;
			const uint16_t *half = narrow ? narrow + i * w_stride + c : 0;
			if (n >= 32)
				dense_block(o + c, wide, half, scale, add, round, bits, 32);
			else
				dense_block(o + c, wide, half, scale, add, round, bits, (int)n);
		}
	}
}

#define DENSE_PARAMS float *out, int64_t out_stride, const void *w, int64_t w_stride, const uint64_t *mask, int64_t mask_stride, \
	float scale, int add, int64_t cols, int64_t lo, int64_t hi

PASS dense_wide(DENSE_PARAMS)
{
	dense_rows(out, out_stride, w, 0, w_stride, mask, mask_stride, scale, add, 0, cols, lo, hi);
}
PASS dense_wide_rounded(DENSE_PARAMS)
{
	dense_rows(out, out_stride, w, 0, w_stride, mask, mask_stride, scale, add, 1, cols, lo, hi);
}
PASS dense_narrow(DENSE_PARAMS)
{
	dense_rows(out, out_stride, 0, w, w_stride, mask, mask_stride, scale, add, 0, cols, lo, hi);
}
PASS dense_narrow_rounded(DENSE_PARAMS)
{
	dense_rows(out, out_stride, 0, w, w_stride, mask, mask_stride, scale, add, 1, cols, lo, hi);
}
PASS dense_gradient(DENSE_PARAMS)
{
	dense_rows(out, out_stride, 0, 0, 0, mask, mask_stride, scale, 1, 0, cols, lo, hi);
}
