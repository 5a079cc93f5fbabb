/* Activations and gates. */
#include "grid.cuh"
#include "math.cuh"

/* kernels.Activation */
enum { GELU, GELU_TANH, QUICK_GELU, SILU, RELU };

#define TWICE_SQRT_2_PI 1.595769122f /* 2·√(2/π) */
#define TANH_CUBE 0.044715f

/* f(x). ½(1 + tanh u) is formed as σ(2u). */
DEVICE float value_of(i32 f, float x)
{
	switch (f) {
	case GELU: return x * normal_cdf(x);
	case GELU_TANH: return x * sigmoid(x * TWICE_SQRT_2_PI * fma_rn(x * x, TANH_CUBE, 1.0f));
	case QUICK_GELU: return x * sigmoid(x * 1.702f);
	case SILU: return x * sigmoid(x);
	default: return x > 0 ? x : 0;
	}
}

/* f'(x) */
DEVICE float slope_of(i32 f, float x)
{
	float s, slope;
	switch (f) {
	case GELU: return fma_rn(x * 0.398942280f, exp_of(x * x * -0.5f), normal_cdf(x)); /* Φ + x·φ */
	case GELU_TANH:
		slope = sigmoid_slope(x * (fma_rn(x * x, TANH_CUBE, 1.0f) * TWICE_SQRT_2_PI), s);
		return fma_rn(x * slope, fma_rn(x * x, 3 * TANH_CUBE, 1.0f) * TWICE_SQRT_2_PI, s);
	case QUICK_GELU:
		slope = sigmoid_slope(x * 1.702f, s);
		return fma_rn(x * 1.702f, slope, s);
	case SILU:
		slope = sigmoid_slope(x, s);
		return fma_rn(x, slope, s);
	default: return x > 0 ? 1 : 0;
	}
}

struct activation_args {
	struct head head;
	struct view y, dy, x; /* dy is absent in the forward pass */
	i32 f, pad;
};
KERNEL_BOUNDED(activate, activation_args, THREADS) /* y ← f(x) */
{
	each(a.y, [&](i64 r, i64 c) { element(a.y, r, c) = value_of(a.f, element(a.x, r, c)); });
}
KERNEL_BOUNDED(activate_backward, activation_args, THREADS) /* y ← dy·f'(x) */
{
	each(a.y, [&](i64 r, i64 c) { element(a.y, r, c) = element(a.dy, r, c) * slope_of(a.f, element(a.x, r, c)); });
}

struct gate_args {
	struct head head;
	struct view y, dup, dy, gate, up; /* dup and dy are absent in the forward pass */
	i32 f, pad;
};
KERNEL_BOUNDED(gate, gate_args, THREADS) /* y ← f(gate)·up */
{
	each(a.y, [&](i64 r, i64 c) { element(a.y, r, c) = value_of(a.f, element(a.gate, r, c)) * element(a.up, r, c); });
}
KERNEL_BOUNDED(gate_backward, gate_args, THREADS) /* y ← dy·up·f'(gate) and dup ← dy·f(gate); dup may be dy */
{
	each(a.y, [&](i64 r, i64 c) {
		float gate = element(a.gate, r, c), dy = element(a.dy, r, c);
		element(a.y, r, c) = dy * element(a.up, r, c) * slope_of(a.f, gate);
		element(a.dup, r, c) = dy * value_of(a.f, gate);
	});
}
