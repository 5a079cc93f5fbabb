/* Operations on whole rows. */
#include "grid.cuh"

struct index_args {
	struct head head;
	struct view dst, src, index;
};
KERNEL_BOUNDED(gather_rows, index_args, THREADS) /* dst[i] ← src[index[i]] */
{
	each(a.dst, [&](i64 r, i64 c) {
		i64 from = row_at(a.head, a.index, r, a.src.rows, c == 0);
		if (from >= 0) element(a.dst, r, c) = load(a.src, from, c);
	});
}
KERNEL_BOUNDED(scatter_rows, index_args, THREADS) /* dst[index[i]] ← src[i] */
{
	each(a.src, [&](i64 r, i64 c) {
		i64 to = row_at(a.head, a.index, r, a.dst.rows, c == 0);
		if (to >= 0) element(a.dst, to, c) = element(a.src, r, c);
	});
}

/* dst[v] ← Σ src[i] with index[i] = v, i ascending, in rows that are zero. A block has
 * a row i of src and TILE columns; the one with the first i of its v adds them all. */
KERNEL_BOUNDED(scatter_add_rows, index_args, THREADS)
{
	SHARED(u32, found, THREADS / 32);
	u32 across = (u32)((a.src.cols + TILE - 1) / TILE);
	i64 i = block_x() / across, from = (i64)(block_x() % across) * TILE;
	const i32 *index = (const i32 *)a.index.data;
	i64 v = row_at(a.head, a.index, i, a.dst.rows, thread_x() == 0 && from == 0);
	if (v < 0) return; /* the whole block */
	bool earlier = false;
	for (i64 j = thread_x(); j < i; j += THREADS) earlier |= *global(index + j) == v;
	u32 any = ballot(earlier);
	if (thread_x() % 32 == 0) found[thread_x() / 32] = any;
	barrier();
	any = 0;
	for (u32 w = 0; w < THREADS / 32; w++) any |= found[w];
	if (any) return;
	float sum[TILE / THREADS] = {};
	for (i64 at = i; at < a.src.rows; at += THREADS) {
		i64 j = at + thread_x();
		u32 same = ballot(j < a.src.rows && *global(index + j) == v);
		barrier(); /* found has been read */
		if (thread_x() % 32 == 0) found[thread_x() / 32] = same;
		barrier();
		for (u32 w = 0; w < THREADS / 32; w++)
			for (u32 left = found[w]; left; left &= left - 1) {
				i64 row = at + w * 32 + first_one(left);
				UNROLL
				for (u32 k = 0; k < TILE / THREADS; k++) {
					i64 col = from + k * THREADS + thread_x();
					if (col < a.src.cols) sum[k] = add_rn(sum[k], element(a.src, row, col));
				}
			}
	}
	UNROLL
	for (u32 k = 0; k < TILE / THREADS; k++) {
		i64 col = from + k * THREADS + thread_x();
		if (col < a.src.cols) element(a.dst, v, col) = sum[k];
	}
}

struct sum_rows_args {
	struct head head;
	struct view dst, x;
	i64 groups, length; /* group g is the rows g, g + groups, … of x, length of them a chunk */
};
/* dst[c·groups + g] ← sum of chunk c of group g, ascending: rows of the same group
 * again, which a second launch adds */
KERNEL_BOUNDED(sum_rows, sum_rows_args, THREADS)
{
	each(a.dst, [&](i64 r, i64 col) {
		i64 chunk = r / a.groups, group = r - chunk * a.groups;
		float sum = 0;
		for (i64 k = 0; k < a.length; k++) {
			i64 row = (chunk * a.length + k) * a.groups + group;
			if (row >= a.x.rows) break;
			sum = add_rn(sum, element(a.x, row, col));
		}
		element(a.dst, r, col) = sum;
	});
}

struct argmax_args {
	struct head head;
	struct view dst, x;
};
DEVICE void take_greater(float &v, i32 &at, float other, i32 other_at)
{
	if (other > v || (other == v && other_at < at)) v = other, at = other_at;
}
/* dst[row] ← column of the greatest element, the lowest of equal ones; a block a row.
 * As in a loop from column 0 on that looks for greater ones, a NaN is never chosen,
 * but in column 0, where it stays. */
KERNEL_BOUNDED(argmax_rows, argmax_args, THREADS)
{
	SHARED(float, values, THREADS / 32);
	SHARED(i32, columns, THREADS / 32);
	i64 row = block_x();
	float v = float_of(0xff800000);
	i32 at = 0x7fffffff;
	for (i64 c = thread_x(); c < a.x.cols; c += THREADS) take_greater(v, at, element(a.x, row, c), (i32)c);
	UNROLL
	for (i32 lanes = 16; lanes; lanes >>= 1) {
		float other = shuffle_xor(v, lanes);
		take_greater(v, at, other, shuffle_xor(at, lanes));
	}
	if (thread_x() % 32 == 0) values[thread_x() / 32] = v, columns[thread_x() / 32] = at;
	barrier();
	if (thread_x()) return;
	for (u32 w = 1; w < THREADS / 32; w++) take_greater(v, at, values[w], columns[w]);
	float first = element(a.x, row, 0);
	*global((i32 *)a.dst.data + row) = first != first || at == 0x7fffffff ? 0 : at;
}
