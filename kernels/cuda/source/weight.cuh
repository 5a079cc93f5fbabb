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
 * rank ascending. */
template <typename F> DEVICE void effective_groups(const weight &w, i64 o0, i64 i0, F f)
{
	SHARED(u64, words, WEIGHT_TILE); /* of the mask */
	SHARED(i32, before, WEIGHT_TILE); /* kept in rows above, where packed */
	SHARED(float, as, RANKS *WEIGHT_TILE);
	SHARED(float, bs, RANKS *B_PITCH);
	const i32 t = thread_x(), row = t / 16 * 4, col = t % 16 * 4;
	if (t < WEIGHT_TILE) {
		u64 word = w.mask.data ? 0 : ~0ull;
		if (w.mask.data && o0 + t < w.out) word = *global((const u64 *)w.mask.data + (o0 + t) * w.mask.stride + i0 / 64);
		words[t] = w.in - i0 < 64 ? word & ((1ull << (w.in - i0)) - 1) : word;
	}
	barrier();
	if (w.starts.data && t < WEIGHT_TILE) {
		i32 n = 0;
		for (i32 r = 0; r < t; r++) n += ones(words[r]);
		before[t] = n;
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
	barrier(); /* before is there; a next tile may begin */
	const i64 start = w.starts.data && o0 < w.out ? *global((const i32 *)w.starts.data + o0 / 64 * w.starts.stride + i0 / 64) : 0;
	UNROLL
	for (i32 r = 0; r < 4; r++) {
		float v[4] = {};
		const u64 word = o0 + row + r < w.out ? words[row + r] : 0;
		UNROLL
		for (i32 c = 0; c < 4; c++) {
			if (!(word >> (col + c) & 1)) continue;
			v[c] = w.starts.data ? load(w.w, 0, start + before[row + r] + ones(word & ((1ull << (col + c)) - 1))) : load(w.w, o0 + row + r, i0 + col + c);
			if (rank > 0) v[c] = add_rn(v[c], mul_rn(w.scale, sum[r][c]));
			if (w.round == BF16) v[c] = from_bf16(to_bf16(v[c]));
		}
		f(row + r, col, v, (u32)(word >> col) & 15);
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
