/* Activations and gates. A task is block elements of flat operands, or block
 * rows; absent operands have no data. */
struct rk_activation {
	struct rk_mat y, x, dy, up, dup;
	int64_t block;
	int32_t flat;
	int32_t f; /* kernels.Activation */
};

/* The values of kernels.Activation. */
enum { RK_GELU, RK_GELU_TANH, RK_QUICK_GELU, RK_SILU, RK_RELU };

#define RK_ACTIVATION_OPS(X) X(activate) X(activate_backward) X(gate) X(gate_backward)
