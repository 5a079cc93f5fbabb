/* What a kernel source is written against: a vector type vf of VL floats and
 * the operations that C's operators (+ - * / < & | ^ on vectors) do not give.
 * Each of avx512.c, avx2.c and generic.c defines one RK_… macro and includes
 * this file; K(name) is the variant's name of a function.
 *
 * vf: VL floats, vi: VL int32, vd: VL/2 doubles. A comparison of two vf gives a
 * vi of 0 and −1. Loads and stores need no alignment. */
#include <stdint.h>
#include <string.h>
#include <math.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define RK_INLINE static inline __attribute__((always_inline, unused))
#define RK_CAT_(a, b) a##_##b
#define RK_CAT(a, b) RK_CAT_(a, b)
#define K(name) RK_CAT(rk_##name, RK_VARIANT)

#if defined(RK_AVX512)
#define VL 16
#elif defined(RK_AVX2)
#define VL 8
#else
#define VL 4
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef double vd __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));

RK_INLINE vf vf_load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
RK_INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
RK_INLINE vi vi_load(const int32_t *p) { vi v; memcpy(&v, p, sizeof v); return v; }
RK_INLINE void vi_store(int32_t *p, vi v) { memcpy(p, &v, sizeof v); }
RK_INLINE vf vf_set1(float x) { return x - (vf){0}; }
RK_INLINE vi vi_set1(int32_t x) { return x - (vi){0}; }
RK_INLINE vf vf_zero(void) { return (vf){0}; }

/* The bits of one type as another. */
RK_INLINE vi vf_bits(vf v) { return (vi)v; }
RK_INLINE vf vf_of_bits(vi v) { return (vf)v; }

/* m ? a : b, m from a comparison. */
RK_INLINE vf vf_select(vi m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
RK_INLINE vf vf_abs(vf v) { return (vf)((vi)v & 0x7fffffff); }

/* int32 ↔ float; vi_of_vf truncates. */
RK_INLINE vf vf_of_vi(vi v) { return __builtin_convertvector(v, vf); }
RK_INLINE vi vi_of_vf(vf v) { return __builtin_convertvector(v, vi); }

/* Keeps v in a register: without it a load that two products share is made for each. */
RK_INLINE vf vf_hold(vf v)
{
#if defined(RK_AVX512)
	__asm__("" : "+v"(v));
#elif defined(__x86_64__)
	__asm__("" : "+x"(v));
#endif
	return v;
}

/* The first n < VL elements; the others are zero. */
RK_INLINE vf vf_loadn(const float *p, int64_t n);
RK_INLINE void vf_storen(float *p, vf v, int64_t n);

#if defined(RK_AVX512)
RK_INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
/* a > b ? a : b and a < b ? a : b: b where one is NaN. */
RK_INLINE vf vf_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
RK_INLINE vf vf_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
RK_INLINE vf vf_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
/* To the nearest integer, ties to even. */
RK_INLINE vf vf_round(vf a) { return (vf)_mm512_roundscale_ps((__m512)a, 8); }
RK_INLINE __mmask16 rk_first(int64_t n) { return (__mmask16)((1u << n) - 1); }
RK_INLINE vf vf_loadn(const float *p, int64_t n) { return (vf)_mm512_maskz_loadu_ps(rk_first(n), p); }
RK_INLINE void vf_storen(float *p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, rk_first(n), (__m512)v); }
RK_INLINE vf vf_load_bf16(const uint16_t *p)
{
	__m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
	return (vf)_mm512_slli_epi32(w, 16);
}
#elif defined(RK_AVX2)
RK_INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
RK_INLINE vf vf_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
RK_INLINE vf vf_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
RK_INLINE vf vf_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
RK_INLINE vf vf_round(vf a) { return (vf)_mm256_round_ps((__m256)a, 8); }
RK_INLINE __m256i rk_first(int64_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
RK_INLINE vf vf_loadn(const float *p, int64_t n) { return (vf)_mm256_maskload_ps(p, rk_first(n)); }
RK_INLINE void vf_storen(float *p, vf v, int64_t n) { _mm256_maskstore_ps(p, rk_first(n), (__m256)v); }
RK_INLINE vf vf_load_bf16(const uint16_t *p)
{
	__m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
	return (vf)_mm256_slli_epi32(w, 16);
}
#else
/* Not fused: a product, rounded, and a sum. */
RK_INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
RK_INLINE vf vf_max(vf a, vf b) { return vf_select(a > b, a, b); }
RK_INLINE vf vf_min(vf a, vf b) { return vf_select(a < b, a, b); }
RK_INLINE vf vf_sqrt(vf a)
{
	for (int i = 0; i < VL; i++) a[i] = sqrtf(a[i]);
	return a;
}
/* For |a| < 2²²; adding 1.5·2²³ rounds at the units. */
RK_INLINE vf vf_round(vf a) { vf m = vf_set1(12582912.0f); return (a + m) - m; }
RK_INLINE vf vf_loadn(const float *p, int64_t n)
{
	vf v = {0};
	for (int64_t i = 0; i < n; i++) v[i] = p[i];
	return v;
}
RK_INLINE void vf_storen(float *p, vf v, int64_t n)
{
	for (int64_t i = 0; i < n; i++) p[i] = v[i];
}
RK_INLINE vf vf_load_bf16(const uint16_t *p)
{
	vh h;
	memcpy(&h, p, sizeof h);
	return (vf)(__builtin_convertvector(h, vu) << 16);
}
#endif

/* bfloat16: to nearest even, NaN kept quiet. The result's low 16 bits are zero. */
RK_INLINE vf vf_round_bf16(vf v)
{
	vu u = (vu)v;
	vu r = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u;
	return (vf)vf_select(v == v, (vf)r, (vf)((u | 0x00400000) & 0xffff0000u));
}
/* Stores VL bfloat16; v is rounded here. */
RK_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
	vh h = __builtin_convertvector((vu)vf_round_bf16(v) >> 16, vh);
	memcpy(p, &h, sizeof h);
}
RK_INLINE float rk_of_bf16(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}
RK_INLINE uint16_t rk_to_bf16(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	if (f != f) return (uint16_t)((u | 0x00400000) >> 16);
	return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* Sums and maxima over a vector: halves folded onto each other, always in this order. */
RK_INLINE float vf_sum(vf v)
{
	float t[VL];
	vf_store(t, v);
	for (int n = VL / 2; n > 0; n /= 2)
		for (int i = 0; i < n; i++) t[i] += t[i + n];
	return t[0];
}
RK_INLINE float vf_greatest(vf v)
{
	float t[VL];
	vf_store(t, v);
	for (int n = VL / 2; n > 0; n /= 2)
		for (int i = 0; i < n; i++) t[i] = t[i] > t[i + n] ? t[i] : t[i + n];
	return t[0];
}

/* Mask words: is column c kept in this row? */
RK_INLINE int rk_kept(const uint64_t *row, int64_t c) { return (int)(row[c >> 6] >> (c & 63) & 1); }
