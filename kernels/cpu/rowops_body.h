/* Operations on whole rows; struct rk_rowops says what is in args. */
#include "rowops_lanes.h"

/* dst[i] ← x[i] + p[i mod p.rows], task = block rows */
static void K(add_rows)(const void *args, int64_t task, void *scratch)
{
	const struct rk_rowops *a = args;
	(void)scratch;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < a->dst.rows; r++) {
		const float *x = rk_f32(a->x, r);
		const void *p = rk_bytes(a->p, r % a->p.rows);
		float *dst = rk_f32(a->dst, r);
		RK_EACH(a->dst.cols, rk_put(dst + i, rk_get(x + i, w) + rk_param(p, a->p.dtype, i), w););
	}
}

/* partial[part][j] ← Σ x[i] over block of the rows i = j, j + R, j + 2R, … in ascending order, R = dst.rows;
 * task = (part, j). A single part goes to dst itself. */
static void K(sum_row_groups)(const void *args, int64_t task, void *scratch)
{
	const struct rk_rowops *a = args;
	const int64_t groups = a->dst.rows, cols = a->dst.cols, j = task % groups, part = task / groups;
	(void)scratch;
	float *sum = a->parts > 1 ? a->partial + task * cols : rk_f32(a->dst, j);
	memset(sum, 0, (size_t)cols * 4);
	for (int64_t k = part * a->block; k < (part + 1) * a->block && j + k * groups < a->x.rows; k++) {
		const float *x = rk_f32(a->x, j + k * groups);
		RK_EACH(cols, rk_put(sum + i, rk_get(sum + i, w) + rk_get(x + i, w), w););
	}
}

/* dst[j] ← Σ over parts of partial[part·pitch + j·cols + …] in order, task = block columns of all rows */
static void K(sum_partials)(const void *args, int64_t task, void *scratch)
{
	const struct rk_rowops *a = args;
	const int64_t lo = task * a->block, n = a->dst.cols - lo < a->block ? a->dst.cols - lo : a->block;
	(void)scratch;
	for (int64_t j = 0; j < a->dst.rows; j++) {
		float *dst = rk_f32(a->dst, j) + lo;
		memset(dst, 0, (size_t)n * 4);
		for (int64_t k = 0; k < a->parts; k++) {
			const float *p = a->partial + k * a->pitch + j * a->dst.cols + lo;
			RK_EACH(n, rk_put(dst + i, rk_get(dst + i, w) + rk_get(p + i, w), w););
		}
	}
}

/* dst ← 0, then dst[index[i]] += x[i] in ascending i, task = block columns */
static void K(scatter_add_rows)(const void *args, int64_t task, void *scratch)
{
	const struct rk_rowops *a = args;
	const int64_t lo = task * a->block, n = a->dst.cols - lo < a->block ? a->dst.cols - lo : a->block;
	const int32_t *index = a->index.data;
	(void)scratch;
	for (int64_t r = 0; r < a->dst.rows; r++) memset(rk_f32(a->dst, r) + lo, 0, (size_t)n * 4);
	for (int64_t r = 0; r < a->x.rows; r++) {
		float *dst = rk_f32(a->dst, index[r]) + lo;
		const float *x = rk_f32(a->x, r) + lo;
		RK_EACH(n, rk_put(dst + i, rk_get(dst + i, w) + rk_get(x + i, w), w););
	}
}

/* Rotary embedding in place in dst with the cosines p and the sines, task = block rows */
static void K(rotate)(const void *args, int64_t task, void *scratch)
{
	const struct rk_rowops *a = args;
	const int64_t half = a->head_dim / 2;
	const float sign = a->inverse ? -1.0f : 1.0f;
	(void)scratch;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < a->dst.rows; r++) {
		int32_t position = ((const int32_t *)a->index.data)[r];
		const float *cosine = rk_f32(a->p, position), *sine = rk_f32(a->sin, position);
		for (int64_t h = 0; h < a->dst.cols; h += a->head_dim) {
			float *lower = rk_f32(a->dst, r) + h, *upper = lower + half;
			RK_EACH(half,
				vf c = rk_get(cosine + i, w), s = rk_get(sine + i, w) * sign;
				vf x = rk_get(lower + i, w), y = rk_get(upper + i, w);
				rk_put(lower + i, vf_fma(x, c, -(y * s)), w);
				rk_put(upper + i, vf_fma(y, c, x * s), w););
		}
	}
}

/* dst[0][r] ← the first column of the greatest element of x[r], task = block rows.
 * A block of columns is searched only when it holds the row's new maximum. */
static void K(argmax_rows)(const void *args, int64_t task, void *scratch)
{
	const struct rk_rowops *a = args;
	enum { STRIP = 256 };
	(void)scratch;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < a->x.rows; r++) {
		const float *x = rk_f32(a->x, r);
		float best = -INFINITY;
		int64_t strip = 0, at;
		for (int64_t c = 0; c < a->x.cols; c += STRIP) {
			struct rk_lanes m = rk_lanes_of(-INFINITY);
			int64_t n = a->x.cols - c < STRIP ? a->x.cols - c : STRIP;
			RK_EACH(n, m.v[g] = vf_max(rk_get_or(x + c + i, w, -INFINITY), m.v[g]););
			float top = rk_lanes_max(&m);
			if (top > best) {
				best = top;
				strip = c;
			}
		}
		for (at = strip; at < a->x.cols && x[at] != best; at++) {}
		((int32_t *)a->dst.data)[r] = (int32_t)(at < a->x.cols ? at : 0);
	}
}
