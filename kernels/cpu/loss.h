/* The fused loss. A task is block rows; scratch holds the statistics of the
 * teachers' rows, four floats a teacher. */
enum { RK_LOSS_TEACHERS = 64, RK_LOSS_SCRATCH = 16 * RK_LOSS_TEACHERS };

struct rk_loss {
	struct rk_mat logits, labels, gradient, losses;
	const float *teacher[RK_LOSS_TEACHERS];
	int64_t teacher_stride[RK_LOSS_TEACHERS];
	float weight[RK_LOSS_TEACHERS];
	int64_t teachers, block;
	float temperature, ce_scale, kl_scale;
};

#define RK_LOSS_OPS(X) X(cross_entropy_kl)
