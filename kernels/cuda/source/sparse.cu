//compile: hot=*
/* The linear layer under a mask that keeps at most two of each four consecutive inputs:
 * y = x·W_effᵀ on sparse tensor cores. The sparse operand stands first, so a tile is of yᵀ. */
#include "product.cuh"
#include "weight.cuh"

/* The kept half of the effective weight, two values of each group of four inputs, and
 * where they stand in it: two bits each, so that a row's 16 inputs have 16 bits. Those of
 * rows r and r + 8 of 16 are the halves of one word, as mma.sp wants it. */
struct halved_weight_args {
	struct head head;
	u16 *values; /* bf16 [rows][chunks][16]: chunk of 32 inputs, kept half of it */
	u16 *places; /* [rows / 16][chunks][8][2][2]: chunk, row % 8, half of the chunk, row / 8 % 2 */
	struct weight weight;
	i64 row, chunks; /* the first row, a multiple of 64 */
};
KERNEL_BOUNDED(halved_weight, halved_weight_args, WEIGHT_THREADS)
{
	const i64 o0 = (i64)block_y() * WEIGHT_TILE, i0 = (i64)block_x() * WEIGHT_TILE;
	effective_groups(a.weight, a.row + o0, i0, [&](i32 r, i32 c, const float (&v)[4], u32 kept) {
		i32 first = kept ? first_one(kept) : 0, second = kept & (kept - 1) ? first_one(kept & (kept - 1)) : first + 1;
		if (ones(kept) > 2) refuse(a.head, (a.row + o0 + r) * ((a.weight.in + 3) / 4) + (i0 + c) / 4, ones(kept));
		if (second > 3) first = 2, second = 3; /* the other is not kept, and zero */
		float pair[2] = {v[0], v[1]};
		UNROLL
		for (i32 e = 1; e < 4; e++) {
			if (e == first) pair[0] = v[e];
			if (e == second) pair[1] = v[e];
		}
		const i64 o = o0 + r, group = (i0 + c) / 4;
		*global((u32 *)a.values + o * a.chunks * 8 + group) = to_bf16(pair[0]) | (u32)to_bf16(pair[1]) << 16;
		i32 places = (first | second << 2) << group % 4 * 4; /* neighbours have the other groups of 16 inputs */
		places |= shuffle_xor(places, 1);
		places |= shuffle_xor(places, 2);
		if (group % 4 == 0) *global(a.places + (((o / 16 * a.chunks + group / 8) * 8 + o % 8) * 2 + group / 4 % 2) * 2 + o / 8 % 2) = (u16)places;
	});
}

/* What a stage has of the inputs: 64, or 32 where x has three parts. */
template <typename T> struct sparse_stage {
	enum {
		depth = T::parts == 1 ? 64 : 32, pieces = T::parts == 1 ? 4 : 1, stages = 4, ahead = stages - 1,
		words = SIDE / 16 * depth / 32 * 16, /* of places */
		x_size = plane<depth>::size * T::parts, w_size = plane<depth / 2>::size,
	};
};

/* Adds the products of 32 inputs, from k on in the stage; calls meanwhile(i) behind those of
 * each 16 rows where x has one part. */
template <typename T, typename F> DEVICE void add_sparse_products(sums &sum, const u16 *w, const u32 *places, const u16 *x, i32 k, F meanwhile)
{
	typedef sparse_stage<T> S;
	u32 right[T::parts][4][4];
	UNROLL
	for (i32 p = 0; p < T::parts; p++)
		UNROLL
		for (i32 j = 0; j < 4; j += 2)
			UNROLL
			for (i32 h = 0; h < 2; h++) {
				u32 d[4];
				right_fragments<false, S::depth>(d, x + p * plane<S::depth>::size, warp_col() + 8 * j, k + 16 * h);
				right[p][j][2 * h] = d[0], right[p][j][2 * h + 1] = d[1], right[p][j + 1][2 * h] = d[2], right[p][j + 1][2 * h + 1] = d[3];
			}
	UNROLL
	for (i32 i = 0; i < 4; i++) {
		const i32 l = thread_x() % 32;
		const u32 at = places[((warp_row() / 16 + i) * (S::depth / 32) + k / 32) * 16 + l / 4 * 2 + l % 2];
		u32 left[4];
		left_fragment<false, S::depth / 2>(left, w, warp_row() + 16 * i, k / 2);
		if constexpr (T::parts == 1) {
			UNROLL
			for (i32 j = 0; j < 4; j++) multiply_sparse_bf16(sum[i][j], left, right[0][j], at);
			meanwhile(i);
			continue;
		}
		float part[4][4] = {};
		UNROLL
		for (i32 p = T::parts - 1; p >= 0; p--)
			UNROLL
			for (i32 j = 0; j < 4; j++) multiply_sparse_bf16(part[j], left, right[p][j], at);
		UNROLL
		for (i32 j = 0; j < 4; j++)
			UNROLL
			for (i32 e = 0; e < 4; e++) sum[i][j][e] = add_rn(sum[i][j][e], part[j][e]);
	}
}

struct sparse_forward_args {
	struct head head;
	struct view x;
	const u16 *values; /* of halved_weight, as is places */
	const u32 *places;
	struct target to; /* y, of the panel's rows */
	float *parts; /* [splits][tokens][out], where the depth is divided; otherwise null */
	i64 depth, length, chunks; /* as in gemm_args; chunks of 32 inputs */
};
template <typename T> DEVICE void sparse_forward(const sparse_forward_args &a)
{
	typedef sparse_stage<T> S;
	SHARED_DYNAMIC(u16, shared);
	u16 *ws = shared + 2 * S::x_size;
	u32 *ps = (u32 *)(ws + S::stages * S::w_size);
	const i64 m = (i64)block_x() * SIDE, n = (i64)block_y() * SIDE, out = a.to.dst.cols, tokens = a.to.dst.rows;
	const i64 from = block_z() * a.length, to = from + a.length < a.depth ? from + a.length : a.depth;
	operand<false, T, S::depth, S::pieces> x;
	begin(x, a.x, n, tokens, from);
	const bool busy = m + warp_row() < out && n + warp_col() < tokens; /* the whole warp */
	i32 there = bounded(to - from);
	/* A panel is of whole tiles and stages, so its copies need no bounds. One of places takes
	 * 16 rows and 8 inputs, one of values a row and 16. */
	enum { each = S::depth / 8, across = S::depth / 16, down = PRODUCT_THREADS / across };
	const i32 t = thread_x();
	const u32 *places = a.places + (m / 16 + t / each) * a.chunks * 16 + from / 2 + t % each * 4;
	const u16 *values = a.values + (m + t / across) * a.chunks * 16 + from / 2 + t % across * 8;
	auto copies = [&](i32 s) {
		if (t < SIDE / 16 * each) copy_async(ps + s * S::words + t * 4, places, 16);
		UNROLL
		for (i32 r = 0; r < SIDE; r += down)
			copy_async(ws + s * S::w_size + (t / across + r) * plane<S::depth / 2>::pitch + t % across * 8, values + r * a.chunks * 16, 16);
		places += S::depth / 2, values += S::depth / 2;
		copy_commit();
	};
	fetch<0>(x, there), put<0>(x, shared);
	if constexpr (S::pieces == 4) fetch<1>(x, there), put<1>(x, shared), fetch<2>(x, there), put<2>(x, shared), fetch<3>(x, there), put<3>(x, shared);
	sums sum = {};
	for (i32 s = 0; s < S::ahead; s++) {
		if (s * S::depth < there) copies(s);
		else copy_commit();
	}
	for (u32 i = 0; there > 0; i++, there -= S::depth) {
		const u16 *xs = shared + i % 2 * S::x_size, *wt = ws + i % S::stages * S::w_size;
		const u32 *pt = ps + i % S::stages * S::words;
		copy_wait<S::ahead - 1>();
		barrier(); /* as in multiply_tile */
		if (there > S::ahead * S::depth) copies((i + S::ahead) % S::stages);
		else copy_commit();
		u16 *next_x = shared + (i + 1) % 2 * S::x_size;
		fetch<0>(x, there - S::depth);
		auto piece = [&](i32 n) { /* one is held at a time */
			if constexpr (S::pieces == 4) {
				if (n == 1) put<0>(x, next_x), fetch<1>(x, there - S::depth);
				if (n == 2) put<1>(x, next_x), fetch<2>(x, there - S::depth);
				if (n == 3) put<2>(x, next_x), fetch<3>(x, there - S::depth);
			}
		};
		UNROLL
		for (i32 k = 0; k < S::depth; k += 32)
			if (busy) add_sparse_products<T>(sum, wt, pt, xs, k, [&](i32 i) { if (i % 2) piece(k / 16 + i / 2 + 1); });
			else piece(k / 16 + 1), piece(k / 16 + 2);
		put<S::pieces - 1>(x, next_x);
	}
	each_sum(sum, [&](i32 r, i32 c, float v) {
		const i64 o = m + r, token = n + c;
		if (o >= out || token >= tokens) return;
		if (a.parts) *global(a.parts + (block_z() * tokens + token) * out + o) = v;
		else finish(a.to, token, o, v);
	});
}
KERNEL_BOUNDED(sparse_forward_w, sparse_forward_args, PRODUCT_THREADS) { sparse_forward<whole>(a); }
KERNEL_RESIDENT(sparse_forward_r, sparse_forward_args, PRODUCT_THREADS, 2) { sparse_forward<rounded>(a); }
