//compile: hot=*
#include "weight.cuh"

/* The part of the effective weight that starts at (row, col), multiples of 64, and has
 * dst's shape. A block has one tile. */
struct effective_weight_args {
	struct head head;
	struct view dst;
	struct weight weight;
	i64 row, col;
};
KERNEL_BOUNDED(effective_weight, effective_weight_args, WEIGHT_THREADS)
{
	effective_tile(a.weight, a.row + (i64)block_y() * WEIGHT_TILE, a.col + (i64)block_x() * WEIGHT_TILE, [&](i64 o, i64 i, float v) {
		if (o - a.row < a.dst.rows && i - a.col < a.dst.cols) store(a.dst, o - a.row, i - a.col, v);
	});
}
