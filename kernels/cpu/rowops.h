/* Operations on whole rows. Which operands an operation has is said there. */
struct rk_rowops {
	struct rk_mat dst, x, p, sin, index;
	float *partial;
	int64_t block;      /* rows, or columns, of one task */
	int64_t pitch;      /* elements from one partial to the next */
	int64_t parts;      /* number of partials */
	int64_t head_dim;
	int32_t inverse;
};

#define RK_ROWOPS_OPS(X) X(add_rows) X(sum_row_groups) X(sum_partials) X(scatter_add_rows) X(rotate) X(argmax_rows)
