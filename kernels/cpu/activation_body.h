/* Activations and gates; struct rk_activation says what is in args. */
#include "activation_math.h"

#define RK_SQRT_2_PI 0.797884561f /* √(2/π) */
#define RK_TANH_CUBE 0.044715f

/* f(x). ½(1 + tanh u) is formed as σ(2u). */
RK_INLINE vf rk_activation_value(int f, vf x)
{
	switch (f) {
	case RK_GELU: return x * vf_normal_cdf(x);
	case RK_GELU_TANH: return x * vf_sigmoid(x * (2 * RK_SQRT_2_PI) * vf_fma(x * x, vf_set1(RK_TANH_CUBE), vf_set1(1.0f)));
	case RK_QUICK_GELU: return x * vf_sigmoid(x * 1.702f);
	case RK_SILU: return x * vf_sigmoid(x);
	default: return vf_max(vf_zero(), x);
	}
}

/* f'(x) */
RK_INLINE vf rk_activation_slope(int f, vf x)
{
	const vf one = vf_set1(1.0f);
	vf s, slope, u = vf_fma(x * x, vf_set1(RK_TANH_CUBE), one) * (2 * RK_SQRT_2_PI);
	switch (f) {
	case RK_GELU:
		return vf_fma(x * 0.398942280f, vf_exp(x * x * -0.5f), vf_normal_cdf(x)); /* Φ + x·φ */
	case RK_GELU_TANH:
		slope = vf_sigmoid_slope(x * u, &s);
		return vf_fma(x * slope, vf_fma(x * x, vf_set1(3 * RK_TANH_CUBE), one) * (2 * RK_SQRT_2_PI), s);
	case RK_QUICK_GELU:
		slope = vf_sigmoid_slope(x * 1.702f, &s);
		return vf_fma(x * 1.702f, slope, s);
	case RK_SILU:
		slope = vf_sigmoid_slope(x, &s);
		return vf_fma(x, slope, s);
	default:
		return vf_less(vf_zero(), x, one, vf_zero());
	}
}

/* Calls fn with the activation as a constant, so that the loop inside holds one. */
#define RK_BY_ACTIVATION(fn, g, task) \
	switch ((g)->f) { \
	case RK_GELU: fn(g, task, RK_GELU); break; \
	case RK_GELU_TANH: fn(g, task, RK_GELU_TANH); break; \
	case RK_QUICK_GELU: fn(g, task, RK_QUICK_GELU); break; \
	case RK_SILU: fn(g, task, RK_SILU); break; \
	default: fn(g, task, RK_RELU); break; \
	}

RK_INLINE void rk_activate_rows(const struct rk_activation *a, int64_t task, int f)
{
	struct rk_part p = rk_part_of(a->y, a->flat, a->block, task);
	for (int64_t r = 0; r < p.rows; r++) {
		float *y = rk_part_row(p, a->y, r);
		const float *x = rk_part_row(p, a->x, r);
		RK_EACH(p.cols, rk_put(y + i, rk_activation_value(f, rk_get(x + i, w)), w););
	}
}

RK_INLINE void rk_activate_backward_rows(const struct rk_activation *a, int64_t task, int f)
{
	struct rk_part p = rk_part_of(a->y, a->flat, a->block, task);
	for (int64_t r = 0; r < p.rows; r++) {
		float *dx = rk_part_row(p, a->y, r);
		const float *x = rk_part_row(p, a->x, r), *dy = rk_part_row(p, a->dy, r);
		RK_EACH(p.cols, rk_put(dx + i, rk_get(dy + i, w) * rk_activation_slope(f, rk_get(x + i, w)), w););
	}
}

RK_INLINE void rk_gate_rows(const struct rk_activation *a, int64_t task, int f)
{
	struct rk_part p = rk_part_of(a->y, a->flat, a->block, task);
	for (int64_t r = 0; r < p.rows; r++) {
		float *y = rk_part_row(p, a->y, r);
		const float *x = rk_part_row(p, a->x, r), *up = rk_part_row(p, a->up, r);
		RK_EACH(p.cols, rk_put(y + i, rk_activation_value(f, rk_get(x + i, w)) * rk_get(up + i, w), w););
	}
}

RK_INLINE void rk_gate_backward_rows(const struct rk_activation *a, int64_t task, int f)
{
	struct rk_part p = rk_part_of(a->y, a->flat, a->block, task);
	for (int64_t r = 0; r < p.rows; r++) {
		float *dgate = rk_part_row(p, a->y, r), *dup = rk_part_row(p, a->dup, r);
		const float *x = rk_part_row(p, a->x, r), *up = rk_part_row(p, a->up, r), *dy = rk_part_row(p, a->dy, r);
		RK_EACH(p.cols,
			vf gate = rk_get(x + i, w), d = rk_get(dy + i, w), u = rk_get(up + i, w);
			rk_put(dgate + i, d * u * rk_activation_slope(f, gate), w);
			rk_put(dup + i, d * rk_activation_value(f, gate), w););
	}
}

/* y ← f(x) */
static void K(activate)(const void *args, int64_t task, void *scratch)
{
	const struct rk_activation *a = args;
	(void)scratch;
	RK_BY_ACTIVATION(rk_activate_rows, a, task)
}

/* y ← dy·f'(x) */
static void K(activate_backward)(const void *args, int64_t task, void *scratch)
{
	const struct rk_activation *a = args;
	(void)scratch;
	RK_BY_ACTIVATION(rk_activate_backward_rows, a, task)
}

/* y ← f(x)·up */
static void K(gate)(const void *args, int64_t task, void *scratch)
{
	const struct rk_activation *a = args;
	(void)scratch;
	RK_BY_ACTIVATION(rk_gate_rows, a, task)
}

/* y ← dy·up·f'(x) and dup ← dy·f(x) */
static void K(gate_backward)(const void *args, int64_t task, void *scratch)
{
	const struct rk_activation *a = args;
	(void)scratch;
	RK_BY_ACTIVATION(rk_gate_backward_rows, a, task)
}
