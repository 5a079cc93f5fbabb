/* Layer and RMS norm; struct rk_norm says what is in args. */
#include "activation_math.h"

/* y ← (x − mean)·rstd·gamma + beta, with the statistics of each row. Where x is a
 * sum, the first pass over a row writes it. */
static void K(norm)(const void *args, int64_t task, void *scratch)
{
	const struct rk_norm *a = args;
	const int64_t cols = a->x.cols, lo = task * a->block, hi = lo + a->block < a->x.rows ? lo + a->block : a->x.rows;
	const int layer = a->mean.data != NULL, sums = a->a.data != NULL;
	const void *gamma = a->gamma.data, *beta = a->beta.data;
	(void)scratch;
	for (int64_t r = lo; r < hi; r++) {
		const float *p = sums ? rk_f32(a->a, r) : NULL, *q = sums ? rk_f32(a->b, r) : NULL;
		float *x = rk_f32(a->x, r), *y = rk_f32(a->y, r), mean = 0;
		struct rk_lanes sum = rk_lanes_of(0), squares = rk_lanes_of(0);
		if (layer) {
			if (sums)
				RK_EACH(cols,
					vf h = rk_get(p + i, w) + rk_get(q + i, w);
					rk_put(x + i, h, w);
					sum.v[g] += h;);
			else
				RK_EACH(cols, sum.v[g] += rk_get(x + i, w););
			mean = rk_lanes_sum(&sum) / (float)cols;
			((float *)a->mean.data)[r] = mean;
		}
		if (sums && !layer)
			RK_EACH(cols,
				vf h = rk_get(p + i, w) + rk_get(q + i, w);
				rk_put(x + i, h, w);
				squares.v[g] = vf_fma(h, h, squares.v[g]););
		else
			RK_EACH(cols,
				vf d = rk_keep(rk_get(x + i, w) - mean, w);
				squares.v[g] = vf_fma(d, d, squares.v[g]););
		float rstd = 1.0f / rk_sqrt(rk_lanes_sum(&squares) / (float)cols + a->eps);
		((float *)a->rstd.data)[r] = rstd;
		if (layer)
			RK_EACH(cols,
				vf d = (rk_get(x + i, w) - mean) * rstd;
				rk_put(y + i, vf_fma(d, rk_param(gamma, a->gamma.dtype, i), rk_param(beta, a->beta.dtype, i)), w););
		else
			RK_EACH(cols, rk_put(y + i, rk_get(x + i, w) * rstd * rk_param(gamma, a->gamma.dtype, i), w););
	}
}

/* With xhat the normalised row and e = dy·gamma: y ← (y +) rstd·(e − mean(e) − xhat·mean(e·xhat)),
 * without mean(e) for RMS norm, and this task's sums of dy·xhat and dy. */
static void K(norm_backward)(const void *args, int64_t task, void *scratch)
{
	const struct rk_norm *a = args;
	const int64_t cols = a->x.cols, lo = task * a->block, hi = lo + a->block < a->x.rows ? lo + a->block : a->x.rows;
	const int layer = a->mean.data != NULL;
	const void *gamma = a->gamma.data;
	float *dgamma = a->partial ? a->partial + task * 2 * cols : NULL, *dbeta = a->partial ? dgamma + cols : NULL;
	(void)scratch;
	if (dgamma) memset(dgamma, 0, (size_t)cols * 8);
	for (int64_t r = lo; r < hi; r++) {
		const float *x = rk_f32(a->x, r), *dy = rk_f32(a->dy, r);
		const float rstd = ((float *)a->rstd.data)[r], mean = layer ? ((float *)a->mean.data)[r] : 0;
		float *dx = rk_f32(a->y, r);
		struct rk_lanes se = rk_lanes_of(0), sx = rk_lanes_of(0);
		RK_EACH(cols,
			vf xhat = (rk_get(x + i, w) - mean) * rstd;
			vf e = rk_keep(rk_get(dy + i, w) * rk_param(gamma, a->gamma.dtype, i), w);
			se.v[g] += e;
			sx.v[g] = vf_fma(e, xhat, sx.v[g]););
		const float me = layer ? rk_lanes_sum(&se) / (float)cols : 0, mx = rk_lanes_sum(&sx) / (float)cols;
		RK_EACH(cols,
			vf xhat = (rk_get(x + i, w) - mean) * rstd;
			vf d = rk_get(dy + i, w);
			vf e = vf_fma(xhat, vf_set1(-mx), d * rk_param(gamma, a->gamma.dtype, i) - me) * rstd;
			if (a->accumulate) e += rk_get(dx + i, w);
			rk_put(dx + i, e, w);
			if (dgamma) {
				rk_put(dgamma + i, vf_fma(d, xhat, rk_get(dgamma + i, w)), w);
				rk_put(dbeta + i, rk_get(dbeta + i, w) + d, w);
			});
	}
}
