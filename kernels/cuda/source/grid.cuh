/* How elementwise kernels divide a matrix: a block takes TILE columns of one row, so
 * that which thread has an element follows from the shape alone. launch.go has the
 * same numbers. */
#pragma once
#include "device.cuh"

#define THREADS 256
#define TILE 1024

/* Calls f(row, col) for this thread's elements of the block's tile; tile counts
 * from 0, row by row. */
template <typename F> DEVICE void each_of(u32 tile, i64 rows, i64 cols, F f)
{
	u32 across = (u32)((cols + TILE - 1) / TILE);
	i64 row = tile / across, from = (i64)(tile % across) * TILE;
	if (row >= rows) return;
	UNROLL
	for (i64 k = 0; k < TILE; k += THREADS) {
		i64 col = from + k + thread_x();
		if (col < cols) f(row, col);
	}
}
template <typename F> DEVICE void each(const view &v, F f) { each_of(block_x(), v.rows, v.cols, f); }

/* Row index[i], or −1 where that is no row of n: the first thread of row i then
 * reports it. */
DEVICE i64 row_at(const struct head &h, const view &index, i64 i, i64 n, bool first)
{
	i32 v = *global((const i32 *)index.data + i);
	if (v >= 0 && v < n) return v;
	if (first) refuse(h, i, v);
	return -1;
}
