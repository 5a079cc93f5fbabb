//compile: hot=*
/* Layer and RMS norm: x is (T, C), a block takes a row. A row of up to KEPT elements is
 * read once and stays in registers; a longer one is read again in each pass. */
#include "reduce.cuh"

#define EACH 16
#define KEPT (EACH * THREADS)

/* Columns base, base + THREADS, … of a row that this thread has, zero past the end. */
DEVICE void fetch(float (&v)[EACH], const float *x, i32 base, i32 cols)
{
	UNROLL
	for (int e = 0; e < EACH; e++) {
		i32 col = base + e * THREADS + (i32)thread_x();
		v[e] = col < cols ? *global(x + col) : 0;
	}
}
DEVICE float *row_of(const view &v, i64 row) { return (float *)v.data + row * v.stride; }
/* Calls f(col, v) for this thread's elements of a row, v a reference into kept. fetched:
 * the row is in kept, if it fits. */
template <typename F> DEVICE void along(const float *x, i32 cols, float (&kept)[EACH], bool fetched, F f)
{
	for (i32 base = 0; base < cols; base += KEPT) {
		if (!fetched || cols > KEPT) fetch(kept, x, base, cols);
		UNROLL
		for (int e = 0; e < EACH; e++) {
			i32 col = base + e * THREADS + (i32)thread_x();
			if (col < cols) f(col, kept[e]);
		}
	}
}

struct norm_args {
	struct head head;
	struct view y, x, p, q;               /* x ← p + q first, where p is present */
	struct view gamma, beta, mean, rstd;  /* beta and mean are absent for RMS norm */
	float eps;
	i32 pad;
};
/* y ← (x − mean)·rstd·gamma + beta, or x·rstd·gamma, and the statistics of each row */
KERNEL_BOUNDED(normalise, norm_args, THREADS)
{
	SHARED(float, sums, WARPS);
	SHARED(float, squares, WARPS);
	const i64 row = block_x();
	const i32 cols = (i32)a.x.cols;
	const bool layer = a.mean.data;
	float *x = row_of(a.x, row), *y = row_of(a.y, row);
	float kept[EACH], mean = 0, sum = 0;
	if (a.p.data) {
		const float *q = row_of(a.q, row);
		along(row_of(a.p, row), cols, kept, false, [&](i32 c, float &v) {
			v = add_rn(v, *global(q + c));
			*global(x + c) = v;
			sum = add_rn(sum, v);
		});
	} else along(x, cols, kept, false, [&](i32, float &v) { sum = add_rn(sum, v); });
	if (layer) mean = div_rn(block_sum(sum, sums), (float)cols);
	sum = 0;
	along(x, cols, kept, true, [&](i32, float &v) {
		float d = add_rn(v, -mean);
		sum = fma_rn(d, d, sum);
	});
	const float rstd = div_rn(1, sqrt_rn(add_rn(div_rn(block_sum(sum, squares), (float)cols), a.eps)));
	along(x, cols, kept, true, [&](i32 c, float &v) {
		float n = mul_rn(add_rn(v, -mean), rstd), gamma = load(a.gamma, 0, c);
		*global(y + c) = layer ? fma_rn(n, gamma, load(a.beta, 0, c)) : mul_rn(n, gamma);
	});
	if (thread_x()) return;
	if (layer) element(a.mean, 0, row) = mean;
	element(a.rstd, 0, row) = rstd;
}

struct norm_backward_args {
	struct head head;
	struct view dx, dy, x, gamma, mean, rstd; /* mean is absent for RMS norm */
	struct view dgamma, dbeta;                /* partial sums, a row each norm_rows rows of x; dbeta may be absent */
	i32 accumulate, pad;
};
/* With xhat the normalised row and e = dy·gamma:
 * dx ← (dx +) rstd·(e − mean(e) − xhat·mean(e·xhat)), without mean(e) for RMS norm */
KERNEL_BOUNDED(norm_backward, norm_backward_args, THREADS)
{
	SHARED(float, sums, WARPS);
	SHARED(float, products, WARPS);
	const i64 row = block_x();
	const i32 cols = (i32)a.x.cols;
	const bool layer = a.mean.data;
	const float *x = row_of(a.x, row), *dy = row_of(a.dy, row);
	float *dx = row_of(a.dx, row);
	const float rstd = element(a.rstd, 0, row), mean = layer ? element(a.mean, 0, row) : 0;
	float kept[EACH], e = 0, ex = 0;
	along(x, cols, kept, false, [&](i32 c, float &v) {
		float d = mul_rn(*global(dy + c), load(a.gamma, 0, c));
		e = add_rn(e, d);
		ex = fma_rn(d, mul_rn(add_rn(v, -mean), rstd), ex);
	});
	const float mean_e = layer ? div_rn(block_sum(e, sums), (float)cols) : 0;
	const float mean_ex = div_rn(block_sum(ex, products), (float)cols);
	along(x, cols, kept, true, [&](i32 c, float &v) {
		float xhat = mul_rn(add_rn(v, -mean), rstd);
		float d = fma_rn(*global(dy + c), load(a.gamma, 0, c), -mean_e);
		d = mul_rn(fma_rn(-xhat, mean_ex, d), rstd);
		*global(dx + c) = a.accumulate ? add_rn(*global(dx + c), d) : d;
	});
}

/* dgamma[k] ← Σ dy·xhat and dbeta[k] ← Σ dy over the NORM_ROWS rows from k·NORM_ROWS on, a
 * column a thread; sum_rows adds them up. */
#define NORM_ROWS 64
KERNEL_BOUNDED(norm_parameters, norm_backward_args, THREADS)
{
	const i64 across = (a.x.cols + THREADS - 1) / THREADS;
	const i64 k = block_x() / across, c = block_x() % across * THREADS + thread_x();
	if (c >= a.x.cols) return;
	const i64 end = (k + 1) * NORM_ROWS < a.x.rows ? (k + 1) * NORM_ROWS : a.x.rows;
	float gamma = 0, beta = 0;
	for (i64 row = k * NORM_ROWS; row < end; row++) {
		float mean = a.mean.data ? element(a.mean, 0, row) : 0, dy = element(a.dy, row, c);
		gamma = fma_rn(dy, mul_rn(add_rn(element(a.x, row, c), -mean), element(a.rstd, 0, row)), gamma);
		beta = add_rn(beta, dy);
	}
	if (a.dgamma.data) element(a.dgamma, k, c) = gamma;
	if (a.dbeta.data) element(a.dbeta, k, c) = beta;
}
