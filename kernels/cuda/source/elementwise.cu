/* Operations on single elements; each says what it writes. */
#include "grid.cuh"

struct fill_args {
	struct head head;
	struct view dst;
	float value;
	i32 pad;
};
KERNEL_BOUNDED(fill, fill_args, THREADS) /* dst ← value */
{
	each(a.dst, [&](i64 r, i64 c) { element(a.dst, r, c) = a.value; });
}

struct convert_args {
	struct head head;
	struct view dst, src;
};
template <typename T> DEVICE void copy_elements(const view &dst, const view &src)
{
	each(dst, [&](i64 r, i64 c) {
		*global((T *)dst.data + r * dst.stride + c) = *global((const T *)src.data + r * src.stride + c);
	});
}
/* dst ← src, rounded where it has to be; bits where the types are equal */
KERNEL_BOUNDED(convert, convert_args, THREADS)
{
	if (a.dst.dtype != a.src.dtype) each(a.dst, [&](i64 r, i64 c) { store(a.dst, r, c, load(a.src, r, c)); });
	else if (a.dst.dtype == BF16) copy_elements<u16>(a.dst, a.src);
	else if (a.dst.dtype == F32 || a.dst.dtype == I32) copy_elements<u32>(a.dst, a.src);
	else copy_elements<u64>(a.dst, a.src);
}

struct move_args {
	struct head head;
	struct view tensor; /* elements of 2, 4 or 8 bytes */
	void *packed;       /* elements one after the other */
	i64 first, count;   /* of the tensor's elements, row after row */
	i32 pack, pad;      /* from the tensor to packed, or back */
};
template <typename T> DEVICE void move_elements(const struct move_args &a)
{
	each_of(block_x(), 1, a.count, [&](i64, i64 i) {
		i64 e = a.first + i, row = a.tensor.rows > 1 ? e / a.tensor.cols : 0;
		T *t = global((T *)a.tensor.data + row * a.tensor.stride + (e - row * a.tensor.cols)), *p = global((T *)a.packed + i);
		if (a.pack) *p = *t;
		else *t = *p;
	});
}
KERNEL_BOUNDED(move, move_args, THREADS) /* between a tensor and the staging memory of a transfer */
{
	if (a.tensor.dtype == BF16) move_elements<u16>(a);
	else if (a.tensor.dtype == F32 || a.tensor.dtype == I32) move_elements<u32>(a);
	else move_elements<u64>(a);
}

struct add_args {
	struct head head;
	struct view dst, x, y;
	i32 round, pad;
};
KERNEL_BOUNDED(add, add_args, THREADS) /* dst ← round(x) + round(y) */
{
	each(a.dst, [&](i64 r, i64 c) {
		float x = element(a.x, r, c), y = element(a.y, r, c);
		if (a.round == BF16) x = from_bf16(to_bf16(x)), y = from_bf16(to_bf16(y));
		element(a.dst, r, c) = add_rn(x, y);
	});
}

struct add_rows_args {
	struct head head;
	struct view dst, x, p;
};
KERNEL_BOUNDED(add_rows, add_rows_args, THREADS) /* dst[i] ← x[i] + p[i mod p.rows] */
{
	each(a.dst, [&](i64 r, i64 c) { element(a.dst, r, c) = add_rn(element(a.x, r, c), load(a.p, r % a.p.rows, c)); });
}

struct rotate_args {
	struct head head;
	struct view x, cos, sin, positions;
	i32 half, inverse; /* half of a head's columns */
};
/* x ← x rotated, a pair of columns a thread */
KERNEL_BOUNDED(rotate, rotate_args, THREADS)
{
	each_of(block_x(), a.x.rows, a.x.cols / 2, [&](i64 r, i64 pair) {
		i64 p = row_at(a.head, a.positions, r, a.cos.rows, pair == 0);
		if (p < 0) return;
		i64 head = pair / a.half, j = pair - head * a.half, at = head * 2 * a.half + j;
		float lo = element(a.x, r, at), hi = element(a.x, r, at + a.half);
		float c = element(a.cos, p, j), s = element(a.sin, p, j);
		if (a.inverse) s = -s;
		element(a.x, r, at) = add_rn(mul_rn(lo, c), -mul_rn(hi, s));
		element(a.x, r, at + a.half) = add_rn(mul_rn(hi, c), mul_rn(lo, s));
	});
}
