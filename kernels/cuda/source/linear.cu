//compile: hot=*
/* The adapter's gradients: G = M ⊙ (dyᵀ·x) in tiles of 128 × 128 that never leave the
 * multiprocessor, dB = Scale·G·Aᵀ, dA = Scale·Bᵀ·G. */
#include "product.cuh"

enum { G_PITCH = SIDE + 1, FOLD_RANKS = 16 };

/* out[i][k] ← Σ_j G(i, j)·factor[j][k] over one tile, j ascending: 8 ranks a thread. */
template <bool turned, typename L, typename S> DEVICE void fold(const float *g, float *factors, i64 rank, L factor, S put)
{
	const i32 t = thread_x(), i = t % SIDE, half = t / SIDE * 8;
	for (i64 k0 = 0; k0 < rank; k0 += FOLD_RANKS) {
		barrier(); /* factors have been read, and G is there */
		for (i32 e = t; e < SIDE * FOLD_RANKS; e += PRODUCT_THREADS) {
			/* Neighbours read along the rows of A and of B. */
			const i32 k = turned ? e % FOLD_RANKS : e / SIDE, j = turned ? e / FOLD_RANKS : e % SIDE;
			factors[j * FOLD_RANKS + k] = k0 + k < rank ? factor(j, k0 + k) : 0.0f;
		}
		barrier();
		float sum[8] = {};
		for (i32 j = 0; j < SIDE; j++) {
			const float v = turned ? g[j * G_PITCH + i] : g[i * G_PITCH + j];
			const four *f = (const four *)&factors[j * FOLD_RANKS + half];
			UNROLL
			for (i32 k = 0; k < 8; k++) sum[k] = fma_rn(v, f[k / 4].at[k % 4], sum[k]);
		}
		UNROLL
		for (i32 k = 0; k < 8; k++)
			if (k0 + half + k < rank) put(i, k0 + half + k, sum[k]);
	}
}

struct fold_args {
	struct head head;
	struct view dy, x, mask, a, b; /* mask, b and dy are those of the rows of G that are computed */
	float *da; /* [tiles down][splits][rank][in] */
	float *db; /* [tiles across][splits][out][rank] */
	i64 length, splits; /* tokens of one split, which is the grid's z */
};
template <typename T> DEVICE void sddmm_fold_of(const fold_args &a)
{
	SHARED_DYNAMIC(float, shared);
	float *factors = shared + SIDE * G_PITCH;
	const i64 o = (i64)block_y() * SIDE, i = (i64)block_x() * SIDE, out = a.dy.cols, in = a.x.cols, rank = a.a.rows;
	const i64 from = block_z() * a.length, to = from + a.length < a.x.rows ? from + a.length : a.x.rows;
	sums sum = {};
	multiply_tile<true, T, true, T>(sum, (u16 *)shared, a.dy, a.x, o, i, out, in, from, to);
	barrier(); /* the operands have been read */
	each_sum(sum, [&](i32 r, i32 c, float v) {
		shared[r * G_PITCH + c] = o + r < out && i + c < in && kept(a.mask, o + r, i + c) ? v : 0.0f;
	});
	float *db = a.db + ((i64)block_x() * a.splits + block_z()) * out * rank;
	fold<false>(shared, factors, rank,
		[&](i32 j, i64 k) { return i + j < in ? load(a.a, k, i + j) : 0.0f; },
		[&](i32 r, i64 k, float v) { if (o + r < out) *global(db + (o + r) * rank + k) = v; });
	float *da = a.da + ((i64)block_y() * a.splits + block_z()) * rank * in;
	fold<true>(shared, factors, rank,
		[&](i32 j, i64 k) { return o + j < out ? load(a.b, o + j, k) : 0.0f; },
		[&](i32 c, i64 k, float v) { if (i + c < in) *global(da + k * in + i + c) = v; });
}
KERNEL_BOUNDED(sddmm_fold, fold_args, PRODUCT_THREADS) { sddmm_fold_of<whole>(a); }
KERNEL_BOUNDED(sddmm_fold_rounded, fold_args, PRODUCT_THREADS) { sddmm_fold_of<rounded>(a); }
