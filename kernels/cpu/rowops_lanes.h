/* Rows of any length as vectors, and sums over sixteen lanes that every variant
 * folds in the same order: lane l sums the elements l, l+16, l+32, …; then the
 * upper half is added to the lower one, four times. A variant of narrower
 * vectors keeps 16/VL of them side by side, so that variants that fuse products
 * alike agree in every bit. */
#ifndef RK_ROWOPS_LANES_H
#define RK_ROWOPS_LANES_H

enum { RK_LANES = 16, RK_GROUPS = RK_LANES / VL };

struct rk_lanes { vf v[RK_GROUPS]; };

#if VL == 16
#define RK_FOLD(op) \
	vf a = s->v[0]; \
	a = op(a, (vf)__builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)); \
	return a[0]
#elif VL == 8
#define RK_FOLD(op) \
	vf a = op(s->v[0], s->v[1]); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3)); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5)); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6)); \
	return a[0]
#else
#define RK_FOLD(op) \
	vf a = op(op(s->v[0], s->v[2]), op(s->v[1], s->v[3])); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 2, 3, 0, 1)); \
	a = op(a, (vf)__builtin_shufflevector(a, a, 1, 0, 3, 2)); \
	return a[0]
#endif
#define RK_PLUS(a, b) ((a) + (b))

RK_INLINE float rk_lanes_sum(const struct rk_lanes *s) { RK_FOLD(RK_PLUS); }
RK_INLINE float rk_lanes_max(const struct rk_lanes *s) { RK_FOLD(vf_max); }
RK_INLINE struct rk_lanes rk_lanes_of(float x)
{
	struct rk_lanes s;
	for (int g = 0; g < RK_GROUPS; g++) s.v[g] = vf_set1(x);
	return s;
}

RK_INLINE vi vi_iota(void)
{
#if VL == 16
	return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif VL == 8
	return (vi){0, 1, 2, 3, 4, 5, 6, 7};
#else
	return (vi){0, 1, 2, 3};
#endif
}

/* a < b ? yes : no */
RK_INLINE vf vf_less(vf a, vf b, vf yes, vf no)
{
#if defined(RK_AVX512)
	return (vf)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ), (__m512)no, (__m512)yes);
#else
	return vf_select(a < b, yes, no);
#endif
}
RK_INLINE vf vi_less(vi a, vi b, vf yes, vf no)
{
#if defined(RK_AVX512)
	return (vf)_mm512_mask_blend_ps(_mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b), (__m512)no, (__m512)yes);
#else
	return vf_select(a < b, yes, no);
#endif
}
/* bit l of bits ? yes : no, in lane l */
RK_INLINE vf vf_by_bits(uint32_t bits, vf yes, vf no)
{
#if defined(RK_AVX512)
	return (vf)_mm512_mask_blend_ps((__mmask16)bits, (__m512)no, (__m512)yes);
#else
	const vi lane = (vi){1, 2, 4, 8
#if VL == 8
		, 16, 32, 64, 128
#endif
	};
	return vf_select((vi_set1((int32_t)bits) & lane) == lane, yes, no);
#endif
}

/* The w ≤ VL elements from p on, zero or other beyond them. */
RK_INLINE vf rk_get(const float *p, int64_t w) { return w >= VL ? vf_load(p) : vf_loadn(p, w); }
RK_INLINE vf rk_keep(vf x, int64_t w) { return w >= VL ? x : vi_less(vi_iota(), vi_set1((int32_t)w), x, vf_zero()); }
RK_INLINE vf rk_get_or(const float *p, int64_t w, float other)
{
	return w >= VL ? vf_load(p) : vi_less(vi_iota(), vi_set1((int32_t)w), vf_loadn(p, w), vf_set1(other));
}
RK_INLINE void rk_put(float *p, vf x, int64_t w)
{
	if (w >= VL) vf_store(p, x);
	else vf_storen(p, x, w);
}

/* A parameter in F32 or BF16. Reading past its end is safe, so that a part of a
 * vector is read like a whole one where the elements beyond w do not matter. */
RK_INLINE vf rk_param(const void *p, int32_t dtype, int64_t i)
{
	return dtype == RK_BF16 ? vf_load_bf16((const uint16_t *)p + i) : vf_load((const float *)p + i);
}

/* Runs the body over a row of n elements: i is the first of w = VL (fewer at the
 * end) elements and g their group of lanes. */
#define RK_EACH(n, ...) \
	do { \
		const int64_t n_ = (n); \
		int64_t i_ = 0; \
		for (; i_ + RK_LANES <= n_; i_ += RK_LANES) { \
			_Pragma("GCC unroll 4") \
			for (int g_ = 0; g_ < RK_GROUPS; g_++) { \
				const int64_t i = i_ + g_ * VL, w = VL; \
				const int g = g_; \
				(void)g; \
				__VA_ARGS__ \
			} \
		} \
		_Pragma("GCC unroll 4") \
		for (int g_ = 0; g_ < RK_GROUPS; g_++) { \
			const int64_t i = i_ + g_ * VL, w = n_ - i < VL ? n_ - i : VL; \
			const int g = g_; \
			(void)g; \
			if (w <= 0) break; \
			__VA_ARGS__ \
		} \
	} while (0)

/* The part of an elementwise operation that a task takes: block elements of flat
 * operands, or block rows. */
struct rk_part { int64_t rows, cols, first; int flat; };

RK_INLINE struct rk_part rk_part_of(struct rk_mat m, int32_t flat, int64_t block, int64_t task)
{
	struct rk_part p = {.flat = flat, .first = task * block};
	int64_t left = (flat ? m.rows * m.cols : m.rows) - p.first;
	if (left > block) left = block;
	p.rows = flat ? 1 : left;
	p.cols = flat ? left : m.cols;
	return p;
}
RK_INLINE float *rk_part_row(struct rk_part p, struct rk_mat m, int64_t r)
{
	return (float *)m.data + (p.flat ? p.first : (p.first + r) * m.stride);
}
#endif
