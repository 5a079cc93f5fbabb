/* Cross-entropy and distillation; struct rk_loss says what is in args. */
#include "activation_math.h"

/* The greatest element of a row. */
RK_INLINE float rk_row_max(const float *z, int64_t n)
{
	struct rk_lanes m = rk_lanes_of(-INFINITY);
	RK_EACH(n, m.v[g] = vf_max(rk_get_or(z + i, w, -INFINITY), m.v[g]););
	return rk_lanes_max(&m);
}

/* Σ exp((z − top)·by) */
RK_INLINE float rk_row_sum(const float *z, int64_t n, float top, float by)
{
	struct rk_lanes s = rk_lanes_of(0);
	RK_EACH(n, s.v[g] += rk_keep(vf_exp_softmax((rk_get(z + i, w) - top) * by), w););
	return rk_lanes_sum(&s);
}

/* What a row of logits z needs: p = exp((z − top)·by)/sum. */
struct rk_softmax { float top, by, sum, inverse; };

RK_INLINE struct rk_softmax rk_softmax_of(const float *z, int64_t n, float top, float by)
{
	struct rk_softmax s = {.top = top, .by = by, .sum = rk_row_sum(z, n, top, by)};
	s.inverse = 1.0f / s.sum;
	return s;
}
RK_INLINE vf rk_probability(vf z, struct rk_softmax s)
{
	return vf_exp_softmax((z - s.top) * s.by) * s.inverse;
}

/* KL(softmax(t/T) ‖ softmax(z/T)), and the statistics of t in *teacher. With a and b
 * the shifted logits, it is Σ e^a·(a − b)/Σ e^a + log Σ e^b − log Σ e^a in one pass. */
RK_INLINE float rk_divergence(const float *t, const float *z, int64_t n, struct rk_softmax student, struct rk_softmax *teacher)
{
	struct rk_lanes sum = rk_lanes_of(0), cross = rk_lanes_of(0);
	*teacher = (struct rk_softmax){.top = rk_row_max(t, n), .by = student.by};
	const float t_top = teacher->top, by = student.by;
	RK_EACH(n,
		vf a = (rk_get(t + i, w) - t_top) * by, b = (rk_get(z + i, w) - student.top) * by;
		vf e = rk_keep(vf_exp_softmax(a), w);
		sum.v[g] += e;
		/* Nothing where the teacher's probability vanishes, though b may be −∞. */
		cross.v[g] += rk_keep(vf_less(vf_set1(-87.0f), a, e * (a - b), vf_zero()), w););
	teacher->sum = rk_lanes_sum(&sum);
	teacher->inverse = 1.0f / teacher->sum;
	return rk_lanes_sum(&cross) * teacher->inverse + (rk_log(student.sum) - rk_log(teacher->sum));
}

/* losses[r] ← (ce, kl) and gradient ← the gradient of both, scaled; gradient may be logits. */
static void K(cross_entropy_kl)(const void *args, int64_t task, void *scratch)
{
	const struct rk_loss *a = args;
	const int64_t n = a->logits.cols, rows = a->logits.rows;
	const float by = 1.0f / a->temperature;
	struct rk_softmax *teacher = scratch;
	for (int64_t r = task * a->block; r < (task + 1) * a->block && r < rows; r++) {
		const float *z = rk_f32(a->logits, r);
		const int32_t label = ((const int32_t *)a->labels.data)[r];
		const float top = rk_row_max(z, n);
		struct rk_softmax plain = {0}, soft = {0};
		float ce = 0, kl = 0, *loss = rk_f32(a->losses, r);
		if (label >= 0 || by == 1.0f) {
			plain = rk_softmax_of(z, n, top, 1.0f);
			if (label >= 0) ce = (top - z[label]) + rk_log(plain.sum);
		}
		if (a->teachers > 0) {
			soft = by == 1.0f ? plain : rk_softmax_of(z, n, top, by);
			for (int64_t k = 0; k < a->teachers; k++)
				kl += a->weight[k] * rk_divergence(a->teacher[k] + r * a->teacher_stride[k], z, n, soft, &teacher[k]);
		}
		loss[0] = ce;
		loss[1] = kl;
		if (!a->gradient.data) continue;
		float *dz = rk_f32(a->gradient, r);
		const float ce_scale = label >= 0 ? a->ce_scale : 0, kl_scale = a->kl_scale * by;
		RK_EACH(n,
			vf x = rk_get(z + i, w), d = vf_zero(), q = vf_zero();
			if (label >= 0) d = rk_probability(x, plain) * ce_scale;
			if (a->teachers > 0) q = rk_probability(x, soft);
			for (int64_t k = 0; k < a->teachers; k++) {
				vf p = rk_probability(rk_get(a->teacher[k] + r * a->teacher_stride[k] + i, w), teacher[k]);
				d = vf_fma(q - p, vf_set1(kl_scale * a->weight[k]), d);
			}
			rk_put(dz + i, d, w););
		if (label >= 0) dz[label] -= ce_scale;
	}
}
