/* Layer and RMS norm over rows of C columns; mean is absent for RMS norm. A task
 * is block rows; its sums for dgamma and dbeta go to partial (tasks, 2, C). */
struct rk_norm {
	struct rk_mat y, x, gamma, beta, mean, rstd; /* y is dx going backward */
	struct rk_mat a, b;                          /* where present, x = a + b is written before it is read */
	struct rk_mat dy, dgamma, dbeta;
	float *partial;
	int64_t block;
	float eps;
	int32_t accumulate;
};

#define RK_NORM_OPS(X) X(norm) X(norm_backward)
