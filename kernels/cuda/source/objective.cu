//compile: hot=*
/* Cross-entropy and distillation over N rows of V logits: a block takes a row. It reads
 * the student's logits and each teacher's (with the student's again) once for their
 * sums of exponentials, and all of them once more for the gradient. */
#include "log.cuh"
#include "math.cuh"
#include "reduce.cuh"

#define AT_ONCE 4 /* elements for which a sum is rescaled together */

struct teacher {
	const float *logits;
	i64 stride;
	float weight;
	i32 pad;
};
struct objective_args {
	struct head head;
	struct view logits, labels, gradient, losses; /* gradient may be absent, or be logits */
	const struct teacher *teachers;
	float by, ce_scale, kl_scale; /* by = 1/T; kl_scale is over T too */
	i32 count;                    /* of teachers */
};

/* Calls f(columns, z, n): up to AT_ONCE of this thread's logits of a row, and where. */
template <typename F> DEVICE void groups_of(const float *z, i64 cols, F f)
{
	for (i64 base = thread_x(); base < cols; base += AT_ONCE * THREADS) {
		float v[AT_ONCE];
		UNROLL
		for (int e = 0; e < AT_ONCE; e++) {
			i64 c = base + e * THREADS;
			v[e] = c < cols ? *global(z + c) : float_of(0xff800000);
		}
		f(base, v);
	}
}
DEVICE float greatest(float top, const float (&v)[AT_ONCE])
{
	UNROLL
	for (int e = 0; e < AT_ONCE; e++) top = greater(top, v[e]);
	return top;
}

/* losses[row] ← (ce, kl), gradient ← that of both, scaled */
KERNEL_BOUNDED(cross_entropy_kl, objective_args, THREADS)
{
	SHARED(float, slots, 6 * WARPS);
	SHARED_DYNAMIC(float, softmax); /* of teacher k: the greatest logit, and 1/Σ */
	const i64 row = block_x(), cols = a.logits.cols;
	const float *z = (const float *)a.logits.data + row * a.logits.stride;
	const i32 label = *global((const i32 *)a.labels.data + row);
	if (label >= cols) { /* the whole block */
		if (thread_x() == 0) refuse(a.head, row, label);
		return;
	}
	const bool hard = label >= 0, same = a.by == 1, soft = a.count && !same;

	/* Σ exp(z − top) and Σ exp((z − top)/T), with the top of what was seen so far */
	float top = LOWEST, sum = 0, sum_soft = 0;
	groups_of(z, cols, [&](i64, const float (&v)[AT_ONCE]) {
		float next = greatest(top, v), d = add_rn(top, -next);
		if (d) sum = mul_rn(sum, exp_of(d)), sum_soft = mul_rn(sum_soft, exp_of(mul_rn(d, a.by)));
		top = next;
		UNROLL
		for (int e = 0; e < AT_ONCE; e++) {
			float x = add_rn(v[e], -top);
			if (hard || same) sum = add_rn(sum, exp_of(x));
			if (soft) sum_soft = add_rn(sum_soft, exp_of(mul_rn(x, a.by)));
		}
	});
	const float own = top;
	top = block_max(own, slots);
	sum = block_sum(mul_rn(sum, exp_of(add_rn(own, -top))), slots + WARPS);
	sum_soft = same ? sum : block_sum(mul_rn(sum_soft, exp_of(mul_rn(add_rn(own, -top), a.by))), slots + 2 * WARPS);

	/* With t a teacher's logits: KL = Σ e^(t/T)·(t − z)/T / Σ e^(t/T) + log Σ e^(z/T) − log Σ e^(t/T) */
	float kl = 0;
	for (i32 k = 0; k < a.count; k++) {
		const struct teacher *teacher = a.teachers + k;
		const float *t = *global(&teacher->logits) + row * *global(&teacher->stride);
		float t_top = LOWEST, t_sum = 0, cross = 0;
		groups_of(t, cols, [&](i64 base, const float (&v)[AT_ONCE]) {
			float next = greatest(t_top, v), d = add_rn(t_top, -next);
			if (d) {
				float f = exp_of(mul_rn(d, a.by));
				t_sum = mul_rn(t_sum, f), cross = mul_rn(cross, f);
			}
			t_top = next;
			UNROLL
			for (int e = 0; e < AT_ONCE; e++) {
				float p = exp_of(mul_rn(add_rn(v[e], -t_top), a.by));
				if (!(p > 0)) continue; /* 0·log 0 is 0, and z may be −∞ */
				t_sum = add_rn(t_sum, p);
				cross = fma_rn(p, mul_rn(add_rn(v[e], -*global(z + base + e * THREADS)), a.by), cross);
			}
		});
		const float t_own = t_top;
		t_top = block_max(t_own, slots + 3 * WARPS); /* two barriers after these were read */
		const float f = exp_of(mul_rn(add_rn(t_own, -t_top), a.by));
		t_sum = block_sum(mul_rn(t_sum, f), slots + 4 * WARPS);
		cross = block_sum(mul_rn(cross, f), slots + 5 * WARPS);
		const float apart = fma_rn(add_rn(top, -t_top), a.by, add_rn(log_of(sum_soft), -log_of(t_sum)));
		kl = fma_rn(*global(&teacher->weight), add_rn(div_rn(cross, t_sum), apart), kl);
		if (thread_x() == 0) softmax[2 * k] = t_top, softmax[2 * k + 1] = div_rn(1, t_sum);
	}
	if (thread_x() == 0) {
		element(a.losses, row, 0) = hard ? add_rn(add_rn(top, -*global(z + label)), log_of(sum)) : 0;
		element(a.losses, row, 1) = kl;
	}
	if (!a.gradient.data) return;
	barrier(); /* softmax is written, and the logit of the label read */

	const float inverse = div_rn(1, sum), inverse_soft = div_rn(1, sum_soft);
	for (i64 c = thread_x(); c < cols; c += THREADS) {
		const float x = add_rn(*global(z + c), -top);
		const float p = hard || same ? mul_rn(exp_of(x), inverse) : 0;
		const float p_soft = soft ? mul_rn(exp_of(mul_rn(x, a.by)), inverse_soft) : p;
		float d = hard ? mul_rn(p, a.ce_scale) : 0;
		if (c == label) d = add_rn(d, -a.ce_scale);
		for (i32 k = 0; k < a.count; k++) {
			const struct teacher *teacher = a.teachers + k;
			const float t = *global(*global(&teacher->logits) + row * *global(&teacher->stride) + c);
			const float q = mul_rn(exp_of(mul_rn(add_rn(t, -softmax[2 * k]), a.by)), softmax[2 * k + 1]);
			d = fma_rn(add_rn(p_soft, -q), mul_rn(a.kl_scale, *global(&teacher->weight)), d);
		}
		element(a.gradient, row, c) = d;
	}
}
