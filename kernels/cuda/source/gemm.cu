//compile: hot=gemm_*
/* Matrix products, and the sum of what blocks have computed of one. */
#include "product.cuh"

struct gemm_args {
	struct head head;
	struct view a, b;
	struct target to;
	float *parts; /* [splits][rows][cols], where the depth is divided; otherwise null */
	i64 depth, length; /* of all; of one split, which is the grid's z */
};
template <bool ta, int pa, bool tb, int pb> DEVICE void gemm(const gemm_args &a)
{
	SHARED_DYNAMIC(u16, planes);
	const i64 m = (i64)block_y() * SIDE, n = (i64)block_x() * SIDE, rows = a.to.dst.rows, cols = a.to.dst.cols;
	const i64 from = block_z() * a.length, to = from + a.length < a.depth ? from + a.length : a.depth;
	sums sum = {};
	multiply_tile<ta, pa, tb, pb>(sum, planes, a.a, a.b, m, n, rows, cols, from, to);
	each_sum(sum, [&](i32 r, i32 c, float v) {
		const i64 row = m + r, col = n + c;
		if (row >= rows || col >= cols) return;
		if (a.parts) *global(a.parts + (block_z() * rows + row) * cols + col) = v;
		else finish(a.to, row, col, v);
	});
}
/* C = A·Bᵀ, A·B, Aᵀ·B; w is float32, h is bfloat16. */
#define GEMM(name, ta, pa, tb, pb) \
	KERNEL_BOUNDED(name, gemm_args, PRODUCT_THREADS) { gemm<ta, pa, tb, pb>(a); }
GEMM(gemm_nt_ww, false, 3, false, 3)
GEMM(gemm_nt_wh, false, 3, false, 1)
GEMM(gemm_nt_hw, false, 1, false, 3)
GEMM(gemm_nt_hh, false, 1, false, 1)
GEMM(gemm_nn_ww, false, 3, true, 3)
GEMM(gemm_nn_wh, false, 3, true, 1)
GEMM(gemm_nn_hw, false, 1, true, 3)
GEMM(gemm_nn_hh, false, 1, true, 1)
GEMM(gemm_tn_ww, true, 3, true, 3)
GEMM(gemm_tn_wh, true, 3, true, 1)
GEMM(gemm_tn_hw, true, 1, true, 3)
GEMM(gemm_tn_hh, true, 1, true, 1)

/* The parts of each element in their order; a block has 256 columns of a row. */
struct add_parts_args {
	struct head head;
	struct target to;
	const float *parts; /* [count][rows][cols] */
	i64 count;
};
KERNEL_BOUNDED(add_parts, add_parts_args, PRODUCT_THREADS)
{
	const i64 rows = a.to.dst.rows, cols = a.to.dst.cols;
	const u32 across = (u32)((cols + PRODUCT_THREADS - 1) / PRODUCT_THREADS);
	const i64 row = block_x() / across, col = (i64)(block_x() % across) * PRODUCT_THREADS + thread_x();
	if (col >= cols) return;
	float sum = 0;
	for (i64 p = 0; p < a.count; p++) sum = add_rn(sum, *global(a.parts + (p * rows + row) * cols + col));
	finish(a.to, row, col, sum);
}
