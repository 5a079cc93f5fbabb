/* exp, log and Φ in float32 vectors, to about one unit in the last place, so
 * that no bit depends on the C library. The polynomials are those of Cephes
 * (S. Moshier, expf.c and logf.c); Φ follows N. Juffa's two branches of erff. */
#ifndef RK_ACTIVATION_MATH_H
#define RK_ACTIVATION_MATH_H
#include "rowops_lanes.h"

#define RK_ROUNDING 12582912.0f /* 1.5·2²³: a sum with it has the nearest integer in its low bits */

/* exp(r + n·ln 2)/2ⁿ and n in the low bits of t, for x = r + n·ln 2. */
RK_INLINE vf rk_exp_parts(vf x, vf *t)
{
	*t = vf_fma(x, vf_set1(1.44269504f), vf_set1(RK_ROUNDING));
	vf n = *t - RK_ROUNDING;
	vf r = vf_fma(n, vf_set1(-0.693359375f), x);
	r = vf_fma(n, vf_set1(2.12194440e-4f), r);
	vf p = vf_set1(1.9875691500e-4f);
	p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
	p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
	p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
	p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
	p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
	return vf_fma(p, r * r, r) + 1.0f;
}

/* exp(x) for x ≤ 88, and 0 below −87, where 2ⁿ is no longer a normal number. */
RK_INLINE vf vf_exp_softmax(vf x)
{
	const vf least = vf_set1(-87.0f);
	vf t, p = rk_exp_parts(vf_max(least, x), &t);
	vi e = (vi)p + ((vi)t << 23);
#if defined(RK_AVX512)
	return vf_less(x, least, vf_zero(), (vf)e);
#else
	return (vf)(e & ~(x < least));
#endif
}

/* exp(x) over the whole range: 2ⁿ in two factors reaches infinity and the denormals. */
RK_INLINE vf vf_exp(vf x)
{
	vf t, p = rk_exp_parts(vf_min(vf_set1(89.0f), vf_max(vf_set1(-105.0f), x)), &t);
	vi e = (vi)t - (vi)vf_set1(RK_ROUNDING), half = e >> 1;
	return p * (vf)((half + 127) << 23) * (vf)((e - half + 127) << 23);
}

/* log(x) for positive normal x; infinity and NaN come back as they are. */
RK_INLINE vf vf_log(vf x)
{
	vi e = ((vi)x - 0x3f3504f3) >> 23; /* leaves a mantissa from √½ to √2 */
	vf f = (vf)((vi)x - (e << 23)) - 1.0f;
	vf n = vf_of_vi(e);
	vf z = f * f;
	vf p = vf_set1(7.0376836292e-2f);
	p = vf_fma(p, f, vf_set1(-1.1514610310e-1f));
	p = vf_fma(p, f, vf_set1(1.1676998740e-1f));
	p = vf_fma(p, f, vf_set1(-1.2420140846e-1f));
	p = vf_fma(p, f, vf_set1(1.4249322787e-1f));
	p = vf_fma(p, f, vf_set1(-1.6668057665e-1f));
	p = vf_fma(p, f, vf_set1(2.0000714765e-1f));
	p = vf_fma(p, f, vf_set1(-2.4999993993e-1f));
	p = vf_fma(p, f, vf_set1(3.3333331174e-1f));
	p = vf_fma(n, vf_set1(-2.12194440e-4f), p * f * z);
	p = vf_fma(z, vf_set1(-0.5f), p);
	return vf_less(x, vf_set1(INFINITY), vf_fma(n, vf_set1(0.693359375f), f + p), x);
}

RK_INLINE float rk_log(float x) { return vf_log(vf_set1(x))[0]; }
RK_INLINE float rk_sqrt(float x) { return vf_sqrt(vf_set1(x))[0]; }

/* Φ(x) = ½(1 + erf(x/√2)). The tail of a negative x is ½·erfc, without cancellation. */
RK_INLINE vf vf_normal_cdf(vf x)
{
	vf a = x * 0.707106781f, t = vf_abs(a), s = a * a;
	vf p = vf_set1(-5.96761703e-4f);
	p = vf_fma(p, s, vf_set1(4.99119423e-3f));
	p = vf_fma(p, s, vf_set1(-2.67681349e-2f));
	p = vf_fma(p, s, vf_set1(1.12819925e-1f));
	p = vf_fma(p, s, vf_set1(-3.76125336e-1f));
	p = vf_fma(p, s, vf_set1(1.28379166e-1f));
	vf centre = vf_fma(vf_fma(p, a, a), vf_set1(0.5f), vf_set1(0.5f));

	vf q = vf_fma(vf_set1(-1.72853470e-5f), t, vf_set1(3.83197126e-4f));
	vf u = vf_fma(vf_set1(-3.88396438e-3f), t, vf_set1(2.42546219e-2f));
	q = vf_fma(q, s, u);
	q = vf_fma(q, t, vf_set1(-1.06777877e-1f));
	q = vf_fma(q, t, vf_set1(-6.34846687e-1f));
	q = vf_fma(q, t, vf_set1(-1.28717512e-1f));
	q = vf_fma(q, t, -t);
	vf tail = vf_exp(q) * 0.5f;
	tail = vf_less(a, vf_zero(), tail, 1.0f - tail);
	return vf_less(vf_set1(0.927734375f), t, tail, centre);
}

/* σ(x) = 1/(1 + exp(−x)), and σ(x)·(1 − σ(x)) without cancellation. */
RK_INLINE vf vf_sigmoid(vf x) { return 1.0f / (vf_exp(-x) + 1.0f); }
RK_INLINE vf vf_sigmoid_slope(vf x, vf *sigmoid)
{
	vf e = vf_exp(-vf_abs(x)), s = 1.0f / (e + 1.0f); /* σ(|x|), and 1 − σ(|x|) = e·s */
	*sigmoid = vf_less(x, vf_zero(), e * s, s);
	return e * s * s;
}
#endif
