//compile: hot=*
/* The optimiser step and the sums of squares that go with it. AdamW and the column sums
 * give the bits of package reference; segments are summed in blocks. */
#include "device.cuh"

/* 256 threads a block, 4 elements each: a block covers 1,024 elements of the flattened
 * matrix. The caller flattens what is dense and has no mask to one row. */
enum { ADAMW_THREADS = 256, ADAMW_EACH = 4 };

struct adamw_args {
	struct head head;
	struct view param, grad, m, v, mask; /* mask.data may be null */
	float grad_scale, decay, eps;
	float beta1, rest1, beta2, rest2; /* rest = 1 − beta */
	float step, root; /* LR / Bias1, √Bias2 */
	i32 pad;
};

KERNEL_BOUNDED(adamw, adamw_args, ADAMW_THREADS)
{
	const i64 cols = a.param.cols, n = a.param.rows * cols;
	UNROLL
	for (int e = 0; e < ADAMW_EACH; e++) {
		const i64 i = ((i64)block_x() * ADAMW_EACH + e) * ADAMW_THREADS + thread_x();
		if (i >= n) return;
		i64 row = 0, col = i;
		if (a.param.rows > 1) {
			/* A 64-bit division costs as much as the rest. */
			row = n >> 32 ? i / cols : (i64)((u32)i / (u32)cols);
			col = i - row * cols;
		}
		if (!kept(a.mask, row, col)) continue;
		float *pp = global((float *)a.param.data + row * a.param.stride + col);
		float *mp = global((float *)a.m.data + row * a.m.stride + col);
		float *vp = global((float *)a.v.data + row * a.v.stride + col);
		const float g = mul_rn(a.grad_scale, *global((const float *)a.grad.data + row * a.grad.stride + col));
		const float p = add_rn(*pp, -mul_rn(a.decay, *pp));
		const float m = add_rn(mul_rn(a.beta1, *mp), mul_rn(a.rest1, g));
		const float v = add_rn(mul_rn(a.beta2, *vp), mul_rn(a.rest2, mul_rn(g, g)));
		const float den = add_rn(div_rn(sqrt_rn(v), a.root), a.eps);
		*pp = add_rn(p, -mul_rn(a.step, div_rn(m, den)));
		*mp = m;
		*vp = v;
	}
}

/* Sums of squares over segments of a row, in float64: a block of 256 threads sums each
 * block of 16,384 elements, counted from the segment's start, in a fixed tree, and
 * segment_sums adds the blocks of a segment in their order. The square of a float32 is
 * exact in float64. */
enum { SQUARES_THREADS = 256, SQUARES_BLOCK = 16384 };

struct segment_squares_args {
	struct head head;
	const float *x;
	const i64 *offsets; /* [segments + 1] in elements of x */
	const i64 *first; /* [segments + 1] blocks before each segment */
	double *partial; /* [first[segments]] */
	i64 segments;
};

KERNEL_BOUNDED(segment_squares, segment_squares_args, SQUARES_THREADS)
{
	SHARED(double, sums, SQUARES_THREADS);
	const u32 t = thread_x();
	const i64 block = block_x();
	/* The last segment that begins at or before this block; empty ones lie before it. */
	i64 low = 0, high = a.segments;
	while (high - low > 1) {
		const i64 middle = (low + high) / 2;
		if (*global(a.first + middle) <= block) low = middle;
		else high = middle;
	}
	const i64 from = *global(a.offsets + low) + (block - *global(a.first + low)) * SQUARES_BLOCK;
	const i64 end = *global(a.offsets + low + 1);
	const i64 to = from + SQUARES_BLOCK < end ? from + SQUARES_BLOCK : end;

	double sum = 0;
	for (i64 i = from + t; i < to; i += SQUARES_THREADS) {
		const double x = *global(a.x + i);
		sum = fma_rn(x, x, sum);
	}
	sums[t] = sum;
	for (u32 half = SQUARES_THREADS / 2; half > 0; half /= 2) {
		barrier();
		if (t < half) sums[t] = add_rn(sums[t], sums[t + half]);
	}
	if (t == 0) *global(a.partial + block) = sums[0];
}

struct segment_sums_args {
	struct head head;
	double *dst;
	const i64 *first;
	const double *partial;
	i64 segments;
};

KERNEL(segment_sums, segment_sums_args)
{
	const i64 k = (i64)block_x() * threads_x() + thread_x();
	if (k >= a.segments) return;
	double sum = 0;
	const i64 end = *global(a.first + k + 1);
	for (i64 i = *global(a.first + k); i < end; i++) sum = add_rn(sum, *global(a.partial + i));
	*global(a.dst + k) = sum;
}

/* dst[c] = Σ x[row][c]², rows ascending. A block has 32 columns: its 8 warps fetch tiles of
 * 64 rows, and while the next one is on its way the first warp adds up this one. */
enum { COLUMNS = 32, COLUMN_THREADS = 256, COLUMN_ROWS = 64, COLUMN_EACH = COLUMN_ROWS * COLUMNS / COLUMN_THREADS };

struct column_squares_args {
	struct head head;
	struct view dst, x;
};

KERNEL_BOUNDED(column_squares, column_squares_args, COLUMN_THREADS)
{
	SHARED(float, tile, COLUMN_ROWS * COLUMNS);
	const u32 t = thread_x();
	const i64 col = (i64)block_x() * COLUMNS + t % COLUMNS;
	const bool inside = col < a.x.cols;
	float next[COLUMN_EACH];
	double sum = 0;
	for (i64 row = -COLUMN_ROWS; row < a.x.rows; row += COLUMN_ROWS) {
		UNROLL
		for (int e = 0; e < COLUMN_EACH; e++) {
			const i64 r = row + COLUMN_ROWS + e * (COLUMN_THREADS / COLUMNS) + t / COLUMNS;
			next[e] = inside && r < a.x.rows ? *global((const float *)a.x.data + r * a.x.stride + col) : 0.0f;
		}
		/* A row of zeros past the end adds +0 to a sum that is not negative. */
		if (row >= 0 && t < COLUMNS) {
			UNROLL
			for (int r = 0; r < COLUMN_ROWS; r++) {
				const double x = tile[r * COLUMNS + t];
				sum = fma_rn(x, x, sum);
			}
		}
		barrier();
		UNROLL
		for (int e = 0; e < COLUMN_EACH; e++) tile[e * COLUMN_THREADS + t] = next[e];
		barrier();
	}
	if (t < COLUMNS && inside) *global((double *)a.dst.data + col) = sum;
}
