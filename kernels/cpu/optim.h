/* The optimiser step and sums of squares. */
struct rk_adamw {
	struct rk_mat param, grad, m, v, mask;
	int64_t block; /* elements, or rows with a mask, of one task */
	int32_t flat;
	float grad_scale, decay, beta1, beta2, rest1, rest2, step, root, eps;
};

/* One piece of a sum of squares: n elements from x on, the sum going to to. */
struct rk_squares_piece {
	const float *x;
	int64_t n;
	double *to;
};

struct rk_squares {
	const struct rk_squares_piece *pieces; /* segment_squares: one a task */
	struct rk_mat x, dst;                  /* column_squares */
};

enum { RK_SQUARES_COLUMNS = 32 }; /* columns of a task */

#define RK_OPTIM_OPS(X) X(adamw) X(segment_squares) X(column_squares)
