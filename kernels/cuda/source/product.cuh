/* The product of two matrices in tiles of 128 × 128, for blocks of 256 threads. Tensor
 * cores multiply bfloat16; a float32 is the sum of three (hi + mid + lo, exactly, but for
 * what lies below 2⁻¹³³), and of the nine products six count: the others are below 2⁻²⁴ of
 * the first. Each 16 of these are then added on their own, the smallest parts first, and
 * to the sum in float32, so that what a tensor core cuts off does not grow with the depth.
 * Infinities of three parts give NaN. Operands that are bfloat16, or rounded to it, have
 * one part each; tensor cores add the products of two such to the sum. */
#pragma once
#include "device.cuh"

enum { SIDE = 128, PRODUCT_THREADS = 256 };

/* What an operand is in memory, in how many parts it is multiplied, and for how many
 * chunks of it shared memory has room. */
struct whole { enum { dtype = F32, parts = 3, stages = 2 }; };
struct rounded { enum { dtype = F32, parts = 1, stages = 2 }; }; /* once, to bfloat16 */
struct half { enum { dtype = BF16, parts = 1, stages = 3 }; };

/* How much of the depth is a chunk: what goes to shared memory between two barriers. */
template <typename A, typename B> struct chunk { enum { depth = A::parts + B::parts == 2 ? 32 : 16 }; };

/* A chunk of one part, in u16, with rows along the depth or, turned, along the side; rows
 * that ldmatrix reads together lie in different banks. */
template <i32 depth> struct plane { enum { pitch = depth + 8, turned_pitch = SIDE + 8, size = SIDE * pitch }; };

/* One thread's part of an operand's chunks. A float32 goes through registers, where it is
 * split or rounded, a chunk in so many pieces; a bfloat16 is copied. Rows of the matrix run
 * along the depth, or, turned, along the side. */
template <bool turned, typename T, i32 depth_of_chunk, i32 pieces = 1> struct operand {
	enum {
		is_turned = turned, depth = depth_of_chunk, parts = T::parts,
		vector = T::dtype == F32 ? 2 : 8, /* elements of one access */
		across = (turned ? SIDE : depth) / vector, /* threads of a row */
		down = PRODUCT_THREADS / across, /* rows of one access of all threads */
		times = SIDE * depth / vector / PRODUCT_THREADS / pieces, /* accesses of a piece */
		size = T::dtype == F32 ? 4 : 2,
		pitch = turned ? plane<depth>::turned_pitch : plane<depth>::pitch,
		last = pieces - 1,
	};
	const char *at; /* the thread's first element of the next chunk */
	i64 stride; /* in bytes */
	i32 side; /* of the matrix from there on */
	bool aligned; /* one access takes a whole vector */
	u32 held[T::dtype == F32 ? times : 1][2];
};
DEVICE i32 bounded(i64 n) { return n < 0x7fffffff ? (i32)n : 0x7fffffff; }

/* x becomes the depth from `from` on of the tile that starts at `first` of a matrix's side. */
template <typename O> DEVICE void begin(O &x, const view &v, i64 first, i64 side, i64 from)
{
	const i64 row = (O::is_turned ? from : first) + thread_x() / O::across, col = (O::is_turned ? first : from) + thread_x() % O::across * O::vector;
	x.stride = v.stride * O::size;
	x.at = (const char *)v.data + row * x.stride + col * O::size;
	x.side = bounded(side - (O::is_turned ? col : row));
	x.aligned = !(((u64)v.data | x.stride) & (O::vector * O::size - 1));
}
template <typename O> DEVICE void advance(O &x) { x.at += O::is_turned ? O::depth * x.stride : (i64)(O::depth * O::size); }
/* Rows and columns of the matrix from x.at on, where so much of the depth is there. */
template <typename O> DEVICE i32 rows_of(const O &x, i32 there) { return O::is_turned ? there - (i32)(thread_x() / O::across) : x.side; }
template <typename O> DEVICE i32 cols_of(const O &x, i32 there) { return O::is_turned ? x.side : there - (i32)(thread_x() % O::across * O::vector); }
/* Where the thread's first element lies in a plane. */
template <typename O> DEVICE i32 place_of(const O &) { return thread_x() / O::across * O::pitch + thread_x() % O::across * O::vector; }

/* A piece of the next chunk of float32, on its way to registers. */
template <i32 piece = 0, typename O> DEVICE void fetch(O &x, i32 there)
{
	const i32 rows = rows_of(x, there), cols = cols_of(x, there);
	UNROLL
	for (i32 e = 0; e < O::times; e++) {
		const i32 row = (piece * O::times + e) * O::down, n = row < rows ? cols : 0;
		const float *p = (const float *)(x.at + row * x.stride);
		two w = {0, 0};
		if (n >= 2 && x.aligned) w = *global((const two *)p);
		else {
			if (n >= 1) w.x = *global(p);
			if (n >= 2) w.y = *global(p + 1);
		}
		x.held[e][0] = bits_of(w.x), x.held[e][1] = bits_of(w.y);
	}
	if (piece == O::last) advance(x);
}
/* What was fetched, to the planes of a stage, one for each part. */
template <i32 piece = 0, typename O> DEVICE void put(const O &x, u16 *planes)
{
	u32 *to = (u32 *)(planes + place_of(x));
	UNROLL
	for (i32 e = 0; e < O::times; e++) {
		float v = float_of(x.held[e][0]), w = float_of(x.held[e][1]);
		UNROLL
		for (i32 p = 0; p < O::parts; p++) {
			const u32 both = two_bf16(v, w);
			to[(p * plane<O::depth>::size + (piece * O::times + e) * O::down * O::pitch) / 2] = both;
			v = add_rn(v, -float_of(both << 16)), w = add_rn(w, -float_of(both & 0xffff0000u));
		}
	}
}
/* The next chunk of bfloat16, on its way to the plane of a stage. */
template <typename O> DEVICE void copy(O &x, i32 there, u16 *plane)
{
	u16 *to = plane + place_of(x);
	const i32 rows = rows_of(x, there), cols = cols_of(x, there);
	UNROLL
	for (i32 e = 0; e < O::times; e++) {
		const i32 n = e * O::down < rows ? cols : 0;
		const u16 *p = (const u16 *)(x.at + e * O::down * x.stride);
		if (x.aligned) copy_async(to + e * O::down * O::pitch, p, n >= O::vector ? 16 : n > 0 ? 2 * n : 0);
		else
			for (i32 i = 0; i < O::vector; i++) to[e * O::down * O::pitch + i] = i < n ? *global(p + i) : 0;
	}
	advance(x);
}

/* Rows m to m + 15 of one part, 16 of the depth from k on, as the left fragment of a product. */
template <bool turned, i32 depth> DEVICE void left_fragment(u32 (&d)[4], const u16 *part, i32 m, i32 k)
{
	const i32 l = thread_x() % 32;
	if (turned) load_matrix_turned(d, part + (k + l / 16 * 8 + l % 8) * plane<depth>::turned_pitch + m + l / 8 % 2 * 8);
	else load_matrix(d, part + (m + l % 16) * plane<depth>::pitch + k + l / 16 * 8);
}
/* Columns n to n + 7 as d[0] and d[1], the next 8 as d[2] and d[3]. */
template <bool turned, i32 depth> DEVICE void right_fragments(u32 (&d)[4], const u16 *part, i32 n, i32 k)
{
	const i32 l = thread_x() % 32;
	if (turned) load_matrix_turned(d, part + (k + l % 16) * plane<depth>::turned_pitch + n + l / 16 * 8);
	else load_matrix(d, part + (n + l / 16 * 8 + l % 8) * plane<depth>::pitch + k + l / 8 % 2 * 8);
}

/* A warp's part of the tile: 64 rows × 32 columns, in fragments of 16 × 8. */
typedef float sums[4][4][4];
DEVICE i32 warp_row() { return thread_x() / 128 * 64; }
DEVICE i32 warp_col() { return thread_x() / 32 % 4 * 32; }

/* Calls f(row, col, sum) for each element of this thread, counted from the tile's start. */
template <typename F> DEVICE void each_sum(const sums &sum, F f)
{
	const i32 l = thread_x() % 32, row = warp_row() + l / 4, col = warp_col() + l % 4 * 2;
	UNROLL
	for (i32 i = 0; i < 4; i++)
		UNROLL
		for (i32 j = 0; j < 4; j++)
			UNROLL
			for (i32 e = 0; e < 4; e++) f(row + 16 * i + e / 2 * 8, col + 8 * j + e % 2, sum[i][j][e]);
}

/* Adds 16 products, from k on in the chunk, to each sum of the first `fragments` · 16 rows. */
template <bool ta, typename A, bool tb, typename B> DEVICE void add_products(sums &sum, const u16 *a, const u16 *b, i32 k, i32 fragments)
{
	enum { depth = chunk<A, B>::depth, size = plane<depth>::size, pa = A::parts, pb = B::parts, last = pa + pb - 2 < 2 ? pa + pb - 2 : 2 };
	u32 right[pb][4][2];
	UNROLL
	for (i32 p = 0; p < pb; p++)
		UNROLL
		for (i32 j = 0; j < 4; j += 2) {
			u32 d[4];
			right_fragments<tb, depth>(d, b + p * size, warp_col() + 8 * j, k);
			right[p][j][0] = d[0], right[p][j][1] = d[1], right[p][j + 1][0] = d[2], right[p][j + 1][1] = d[3];
		}
	UNROLL
	for (i32 i = 0; i < 4; i++) {
		if (i >= fragments) continue; /* the whole warp */
		u32 left[pa][4];
		UNROLL
		for (i32 p = 0; p < pa; p++) left_fragment<ta, depth>(left[p], a + p * size, warp_row() + 16 * i, k);
		if constexpr (last == 0) {
			UNROLL
			for (i32 j = 0; j < 4; j++) multiply_bf16(sum[i][j], left[0], right[0][j]);
			continue;
		}
		float part[4][4] = {};
		UNROLL
		for (i32 order = last; order >= 0; order--)
			UNROLL
			for (i32 p = 0; p < pa; p++) {
				if (order - p < 0 || order - p >= pb) continue;
				UNROLL
				for (i32 j = 0; j < 4; j++) multiply_bf16(part[j], left[p], right[order - p][j]);
			}
		UNROLL
		for (i32 j = 0; j < 4; j++)
			UNROLL
			for (i32 e = 0; e < 4; e++) sum[i][j][e] = add_rn(sum[i][j][e], part[j][e]);
	}
}

/* sum ← rows m.. of op(A) times columns n.. of op(B), from `from` to `to` of the depth.
 * While one chunk is multiplied, the next float32 go through registers, and the next two
 * chunks of bfloat16 are on their way to shared memory. */
template <bool ta, typename A, bool tb, typename B>
DEVICE void multiply_tile(sums &sum, u16 *planes, const view &va, const view &vb, i64 m, i64 n, i64 rows, i64 cols, i64 from, i64 to)
{
	enum { depth = chunk<A, B>::depth, size = plane<depth>::size, ahead = half::stages - 1 };
	constexpr bool copy_a = A::dtype == BF16, copy_b = B::dtype == BF16, copies = copy_a || copy_b;
	constexpr bool in_turn = !copy_a && !copy_b && depth > 16; /* registers do not hold both at once */
	u16 *bs = planes + A::stages * A::parts * size;
	operand<ta, A, depth> a;
	operand<tb, B, depth> b;
	begin(a, va, m, rows, from), begin(b, vb, n, cols, from);
	i32 there = bounded(to - from); /* of the depth, from the chunk on that is next multiplied */
	const i64 left = rows - m - warp_row();
	const i32 fragments = cols - n <= warp_col() || left <= 0 ? 0 : left >= 64 ? 4 : (i32)(left + 15) / 16;
	if constexpr (!copy_a) fetch(a, there), put(a, planes);
	if constexpr (!copy_b) fetch(b, there), put(b, bs);
	if constexpr (copies)
		for (i32 i = 0; i < ahead; i++) {
			if constexpr (copy_a) copy(a, there - i * depth, planes + i * size);
			if constexpr (copy_b) copy(b, there - i * depth, bs + i * size);
			copy_commit();
		}
	i32 stage = 0, third = 0; /* of two, of three */
	for (; there > 0; there -= depth) {
		const u16 *pa = planes + (copy_a ? third : stage) * A::parts * size, *pb = bs + (copy_b ? third : stage) * B::parts * size;
		if constexpr (copies) copy_wait<ahead - 1>();
		barrier(); /* this chunk is there, and all have multiplied the one before it, whose stage is free */
		if constexpr (copies) {
			const i32 next = third == 0 ? ahead : third - 1;
			if constexpr (copy_a) copy(a, there - ahead * depth, planes + next * size);
			if constexpr (copy_b) copy(b, there - ahead * depth, bs + next * size);
			copy_commit();
			third = third == ahead ? 0 : third + 1;
		}
		stage ^= 1;
		u16 *next_a = planes + stage * A::parts * size, *next_b = bs + stage * B::parts * size;
		if constexpr (!copy_a) fetch(a, there - depth);
		if constexpr (!copy_b && !in_turn) fetch(b, there - depth);
		UNROLL
		for (i32 k = 0; k < depth; k += 16) {
			if (fragments > 0) add_products<ta, A, tb, B>(sum, pa, pb, k, fragments);
			if constexpr (in_turn)
				if (k == 0) put(a, next_a), fetch(b, there - depth);
		}
		if constexpr (!copy_a && !in_turn) put(a, next_a);
		if constexpr (!copy_b) put(b, next_b);
	}
	if constexpr (copies) copy_wait<0>(); /* also what lies behind the depth */
}

/* What becomes of a sum: dst ← scale·sum, + bias of its column, + dst; +0 where masked. */
struct target {
	struct view dst, bias, mask; /* bias and mask may be absent */
	float scale;
	i32 accumulate;
};
DEVICE void finish(const target &t, i64 row, i64 col, float sum)
{
	float v = mul_rn(t.scale, sum);
	if (t.bias.data) v = add_rn(v, load(t.bias, 0, col));
	if (t.accumulate) v = add_rn(v, load(t.dst, row, col));
	store(t.dst, row, col, kept(t.mask, row, col) ? v : 0.0f);
}
