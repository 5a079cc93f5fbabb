/* log in float32: Cephes' polynomial (S. Moshier, logf.c), as kernels/cpu has it. */
#pragma once
#include "device.cuh"

/* log(x) for x that is positive and normal, or 0; infinity and NaN come back as they are. */
DEVICE float log_of(float x)
{
	if (x == 0) return float_of(0xff800000);
	if (!(x < float_of(0x7f800000))) return x;
	i32 e = (i32)(bits_of(x) - 0x3f3504f3) >> 23; /* leaves a mantissa from √½ to √2 */
	float f = float_of(bits_of(x) - ((u32)e << 23)) - 1.0f, n = (float)e, z = f * f;
	float p = fma_rn(7.0376836292e-2f, f, -1.1514610310e-1f);
	p = fma_rn(p, f, 1.1676998740e-1f);
	p = fma_rn(p, f, -1.2420140846e-1f);
	p = fma_rn(p, f, 1.4249322787e-1f);
	p = fma_rn(p, f, -1.6668057665e-1f);
	p = fma_rn(p, f, 2.0000714765e-1f);
	p = fma_rn(p, f, -2.4999993993e-1f);
	p = fma_rn(p, f, 3.3333331174e-1f);
	p = fma_rn(n, -2.12194440e-4f, p * f * z);
	return fma_rn(n, 0.693359375f, f + fma_rn(z, -0.5f, p));
}
