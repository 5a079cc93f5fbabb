/* The effective weight, a tile of 64 × 64 at a time, for blocks of 256 threads: the one
 * place where its bits are made. o counts rows (out), i columns (in). */
#pragma once
#include "device.cuh"

enum { WEIGHT_TILE = 64, WEIGHT_THREADS = 256, RANKS = 16, B_PITCH = 68 };

struct weight {
	struct view w; /* (out, in), or (1, kept) where `starts` is present */
	struct view starts, mask, a, b; /* may be absent */
	i64 out, in;
	float scale;
	i32 round; /* F32 or BF16 */
};

/* Calls f(r, c, values, kept) for each row r and each group of four columns, from c on, of
 * the tile at (o0, i0), multiples of 64; a bit of kept stands for each. Values are +0
 * where nothing is kept and outside the matrix. Every product and sum is rounded, the
 * rank ascending. A barrier must come before the next tile. */
template <typename F> DEVICE void effective_groups(const weight &w, i64 o0, i64 i0, F f)
{
	SHARED(u64, words, WEIGHT_TILE); /* of the mask */
	SHARED(i32, before, WEIGHT_TILE); /* kept in rows above, where packed */
	SHARED(float, as, RANKS *WEIGHT_TILE);
	SHARED(float, bs, RANKS *B_PITCH);
	const i32 t = thread_x(), row = t / 16 * 4, col = t % 16 * 4;
	if (t < WEIGHT_TILE) {
		u64 word = o0 + t < w.out ? ~0ull : 0;
		if (w.mask.data && o0 + t < w.out) word = *global((const u64 *)w.mask.data + (o0 + t) * w.mask.stride + i0 / 64);
		words[t] = w.in - i0 < 64 ? word & ((1ull << (w.in - i0)) - 1) : word;
	}
	barrier();
	const bool packed = w.starts.data && o0 < w.out;
	i64 start = 0;
	if (packed) {
		if (t < WEIGHT_TILE) {
			i32 n = 0;
			for (i32 r = 0; r < t; r++) n += ones(words[r]);
			before[t] = n;
		}
		start = *global((const i32 *)w.starts.data + o0 / 64 * w.starts.stride + i0 / 64);
		barrier();
	}
	/* W is on its way while the product of the factors is made. */
	float v[4][4];
	u32 kept[4];
	UNROLL
	for (i32 r = 0; r < 4; r++) {
		const u64 word = words[row + r];
		kept[r] = (u32)(word >> col) & 15;
		if (packed) {
			i64 at = start + before[row + r] + ones(word & ((1ull << col) - 1));
			UNROLL
			for (i32 c = 0; c < 4; c++) v[r][c] = kept[r] >> c & 1 ? load(w.w, 0, at++) : 0.0f;
		} else load_four(v[r], w.w, o0 + row + r, i0 + col, kept[r]);
	}
	const i64 rank = w.a.data ? w.a.rows : 0;
	float sum[4][4] = {};
	for (i64 k0 = 0; k0 < rank; k0 += RANKS) {
		const i32 n = rank - k0 < RANKS ? (i32)(rank - k0) : (i32)RANKS;
		barrier(); /* as and bs have been read */
		for (i32 e = t; e < RANKS * WEIGHT_TILE; e += WEIGHT_THREADS) {
			const i32 ka = e / WEIGHT_TILE, i = e % WEIGHT_TILE, kb = e % RANKS, o = e / RANKS;
			as[e] = ka < n && i0 + i < w.in ? load(w.a, k0 + ka, i0 + i) : 0.0f;
			bs[kb * B_PITCH + o] = kb < n && o0 + o < w.out ? load(w.b, o0 + o, k0 + kb) : 0.0f;
		}
		barrier();
		for (i32 k = 0; k < n; k++) {
			const four x = *(const four *)&as[k * WEIGHT_TILE + col], y = *(const four *)&bs[k * B_PITCH + row];
			UNROLL
			for (i32 r = 0; r < 4; r++)
				UNROLL
				for (i32 c = 0; c < 4; c++) sum[r][c] = add_rn(sum[r][c], mul_rn(y.at[r], x.at[c]));
		}
	}
	UNROLL
	for (i32 r = 0; r < 4; r++) {
		UNROLL
		for (i32 c = 0; c < 4; c++) {
			if (!(kept[r] >> c & 1)) continue;
			if (rank > 0) v[r][c] = add_rn(v[r][c], mul_rn(w.scale, sum[r][c]));
			if (w.round == BF16) v[r][c] = from_bf16(to_bf16(v[r][c]));
		}
		f(row + r, col, v[r], kept[r]);
	}
}
/* Calls f(o, i, value) for the elements of such a tile. */
template <typename F> DEVICE void effective_tile(const weight &w, i64 o0, i64 i0, F f)
{
	effective_groups(w, o0, i0, [&](i32 r, i32 c, const float (&v)[4], u32) {
		UNROLL
		for (i32 e = 0; e < 4; e++)
			if (o0 + r < w.out && i0 + c + e < w.in) f(o0 + r, i0 + c + e, v[e]);
	});
}
