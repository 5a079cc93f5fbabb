/* exp and Φ in float32, to about one unit in the last place, so that no bit depends
 * on a library. The polynomials are those of kernels/cpu: Cephes' (S. Moshier, expf.c)
 * and N. Juffa's two branches of erff. */
#pragma once
#include "device.cuh"

/* exp(x) over the whole range: 2ⁿ in two factors reaches infinity and the denormals. */
DEVICE float exp_of(float x)
{
	x = x < -105.0f ? -105.0f : x > 89.0f ? 89.0f : x; /* NaN stays */
	const float shift = 12582912.0f; /* 1.5·2²³: a sum with it has the nearest integer in its low bits */
	float t = fma_rn(x, 1.44269504f, shift), n = t - shift;
	float r = fma_rn(n, 2.12194440e-4f, fma_rn(n, -0.693359375f, x));
	float p = fma_rn(1.9875691500e-4f, r, 1.3981999507e-3f);
	p = fma_rn(p, r, 8.3334519073e-3f);
	p = fma_rn(p, r, 4.1665795894e-2f);
	p = fma_rn(p, r, 1.6666665459e-1f);
	p = fma_rn(p, r, 5.0000001201e-1f);
	p = fma_rn(p, r * r, r) + 1.0f;
	i32 e = (i32)bits_of(t) - (i32)bits_of(shift), half = e >> 1;
	return p * float_of((u32)(half + 127) << 23) * float_of((u32)(e - half + 127) << 23);
}

/* Φ(x) = ½(1 + erf(x/√2)). The tail of a negative x is ½·erfc, without cancellation. */
DEVICE float normal_cdf(float x)
{
	float a = x * 0.707106781f, t = a < 0 ? -a : a, s = a * a;
	if (!(t > 0.927734375f)) {
		float p = fma_rn(-5.96761703e-4f, s, 4.99119423e-3f);
		p = fma_rn(p, s, -2.67681349e-2f);
		p = fma_rn(p, s, 1.12819925e-1f);
		p = fma_rn(p, s, -3.76125336e-1f);
		p = fma_rn(p, s, 1.28379166e-1f);
		return fma_rn(fma_rn(p, a, a), 0.5f, 0.5f);
	}
	float q = fma_rn(-1.72853470e-5f, t, 3.83197126e-4f);
	float u = fma_rn(-3.88396438e-3f, t, 2.42546219e-2f);
	q = fma_rn(q, s, u);
	q = fma_rn(q, t, -1.06777877e-1f);
	q = fma_rn(q, t, -6.34846687e-1f);
	q = fma_rn(q, t, -1.28717512e-1f);
	float tail = exp_of(fma_rn(q, t, -t)) * 0.5f;
	return a < 0 ? tail : 1.0f - tail;
}

/* σ(x) = 1/(1 + exp(−x)), and σ(x)·(1 − σ(x)) without cancellation. */
DEVICE float sigmoid(float x) { return div_rn(1.0f, exp_of(-x) + 1.0f); }
DEVICE float sigmoid_slope(float x, float &sigmoid)
{
	float e = exp_of(x < 0 ? x : -x), s = div_rn(1.0f, e + 1.0f); /* σ(|x|), and 1 − σ(|x|) = e·s */
	sigmoid = x < 0 ? e * s : s;
	return e * s * s;
}
