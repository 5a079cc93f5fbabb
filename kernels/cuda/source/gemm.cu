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
template <bool ta, typename A, bool tb, typename B> DEVICE void gemm(const gemm_args &a)
{
	SHARED_DYNAMIC(u16, planes);
	const i64 m = (i64)block_y() * SIDE, n = (i64)block_x() * SIDE, rows = a.to.dst.rows, cols = a.to.dst.cols;
	const i64 from = block_z() * a.length, to = from + a.length < a.depth ? from + a.length : a.depth;
	sums sum = {};
	multiply_tile<ta, A, tb, B>(sum, planes, a.a, a.b, m, n, rows, cols, from, to);
	each_sum(sum, [&](i32 r, i32 c, float v) {
		const i64 row = m + r, col = n + c;
		if (row >= rows || col >= cols) return;
		if (a.parts) *global(a.parts + (block_z() * rows + row) * cols + col) = v;
		else finish(a.to, row, col, v);
	});
}
/* C = A·Bᵀ, A·B, Aᵀ·B; w is float32, whole, r is rounded, h is bfloat16. */
#define GEMM(name, ta, A, tb, B) \
	KERNEL_RESIDENT(name, gemm_args, PRODUCT_THREADS, A::parts + B::parts == 2 ? 2 : 1) { gemm<ta, A, tb, B>(a); }
GEMM(gemm_nt_ww, false, whole, false, whole)
GEMM(gemm_nt_wh, false, whole, false, half)
GEMM(gemm_nt_hw, false, half, false, whole)
GEMM(gemm_nt_hh, false, half, false, half)
GEMM(gemm_nt_rr, false, rounded, false, rounded)
GEMM(gemm_nt_rh, false, rounded, false, half)
GEMM(gemm_nt_hr, false, half, false, rounded)
GEMM(gemm_nn_ww, false, whole, true, whole)
GEMM(gemm_nn_wh, false, whole, true, half)
GEMM(gemm_nn_hw, false, half, true, whole)
GEMM(gemm_nn_hh, false, half, true, half)
GEMM(gemm_nn_rr, false, rounded, true, rounded)
GEMM(gemm_nn_rh, false, rounded, true, half)
GEMM(gemm_nn_hr, false, half, true, rounded)
GEMM(gemm_tn_ww, true, whole, true, whole)
GEMM(gemm_tn_wh, true, whole, true, half)
GEMM(gemm_tn_hw, true, half, true, whole)
GEMM(gemm_tn_hh, true, half, true, half)
GEMM(gemm_tn_rr, true, rounded, true, rounded)
GEMM(gemm_tn_rh, true, rounded, true, half)
GEMM(gemm_tn_hr, true, half, true, rounded)

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
