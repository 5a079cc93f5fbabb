/* The optimiser step and sums of squares; see optim.h. */
#include "rowops_lanes.h"

/* w elements of one step, every product and sum rounded by itself. */
#define RK_ADAMW(keep) \
	do { \
		vf old_p = rk_get(p + i, w), old_m = rk_get(m + i, w), old_v = rk_get(v + i, w); \
		vf gr = rk_get(grad + i, w) * a->grad_scale; \
		vf new_p = old_p - old_p * a->decay; \
		vf new_m = old_m * a->beta1 + gr * a->rest1; \
		vf new_v = old_v * a->beta2 + gr * gr * a->rest2; \
		vf den = vf_sqrt(new_v) / a->root + a->eps; \
		new_p = new_p - (new_m / den) * a->step; \
		rk_put(p + i, keep(new_p, old_p), w); \
		rk_put(m + i, keep(new_m, old_m), w); \
		rk_put(v + i, keep(new_v, old_v), w); \
	} while (0)
#define RK_ALL(now, old) (now)
#define RK_KEPT(now, old) vf_by_bits(bits, now, old)

/* One step of AdamW; masked elements are left alone. */
static void K(adamw)(const void *args, int64_t task, void *scratch)
{
	const struct rk_adamw *a = args;
	struct rk_part part = rk_part_of(a->param, a->flat, a->block, task);
	(void)scratch;
	for (int64_t r = 0; r < part.rows; r++) {
		float *p = rk_part_row(part, a->param, r), *m = rk_part_row(part, a->m, r), *v = rk_part_row(part, a->v, r);
		const float *grad = rk_part_row(part, a->grad, r);
		if (!a->mask.data) {
			RK_EACH(part.cols, RK_ADAMW(RK_ALL););
			continue;
		}
		const uint64_t *mask = (const uint64_t *)a->mask.data + (part.first + r) * a->mask.stride;
		RK_EACH(part.cols,
			const uint32_t bits = (uint32_t)(mask[i >> 6] >> (i & 63)) & ((1u << VL) - 1);
			if (bits) RK_ADAMW(RK_KEPT););
	}
}

/* Σ x² of a piece in sixteen float64 lanes, folded like rk_lanes. The squares of
 * float32 are exact, so that it does not matter whether they are fused. */
static void K(segment_squares)(const void *args, int64_t task, void *scratch)
{
	const struct rk_squares *a = args;
	const struct rk_squares_piece *piece = &a->pieces[task];
	typedef float half __attribute__((vector_size(VL * 2)));
	enum { WIDTH = VL / 2, PARTS = RK_LANES / WIDTH };
	vd sum[PARTS] = {{0}};
	int64_t i = 0;
	(void)scratch;
	for (; i + RK_LANES <= piece->n; i += RK_LANES)
		_Pragma("GCC unroll 8") for (int k = 0; k < PARTS; k++) {
			half h;
			memcpy(&h, piece->x + i + k * WIDTH, sizeof h);
			vd x = __builtin_convertvector(h, vd);
			sum[k] += x * x;
		}
	double lane[RK_LANES];
	memcpy(lane, sum, sizeof lane);
	for (int l = 0; i < piece->n; i++, l++) lane[l] += (double)piece->x[i] * piece->x[i];
	for (int n = RK_LANES / 2; n > 0; n /= 2)
		for (int l = 0; l < n; l++) lane[l] += lane[l + n];
	*piece->to = lane[0];
}

/* dst[0][c] ← Σ over rows of x[r][c]², rows ascending, task = 32 columns */
static void K(column_squares)(const void *args, int64_t task, void *scratch)
{
	const struct rk_squares *a = args;
	const int64_t lo = task * RK_SQUARES_COLUMNS, n = a->x.cols - lo < RK_SQUARES_COLUMNS ? a->x.cols - lo : RK_SQUARES_COLUMNS;
	double sum[RK_SQUARES_COLUMNS] = {0};
	(void)scratch;
	for (int64_t r = 0; r < a->x.rows; r++) {
		const float *x = rk_f32(a->x, r) + lo;
		if (n == RK_SQUARES_COLUMNS)
			for (int c = 0; c < RK_SQUARES_COLUMNS; c++) sum[c] += (double)x[c] * x[c];
		else
			for (int64_t c = 0; c < n; c++) sum[c] += (double)x[c] * x[c];
	}
	memcpy((double *)a->dst.data + lo, sum, (size_t)n * sizeof *sum);
}
