/* Operations on elements and rows that need no arithmetic beyond a sum. A task
 * is a block of rows; see rows_per_task in elementwise.go. */
struct rk_elementwise {
	struct rk_mat dst, a, b;
	int64_t block;      /* rows a task */
	float value;
	int32_t round;      /* dtype */
};

#define RK_ELEMENTWISE_OPS(X) X(fill) X(convert) X(add) X(gather_rows) X(scatter_rows)
