//compile: hot=*
/* n:m masks, and the elements that a mask keeps. */
#include "grid.cuh"

struct select_mask_args {
	struct head head;
	struct view mask, bad, w, norms; /* norms.data may be null */
	i32 keep, group; /* keep of group */
};

/* A score whose order as an integer is that of the number; what is above GREATEST has none. */
#define GREATEST 0x7fefffffffffffffull
DEVICE u64 score_at(const struct select_mask_args &a, i64 row, i64 col)
{
	const float w = load(a.w, row, col);
	double score = w < 0 ? -w : w;
	if (a.norms.data) score *= *global((const double *)a.norms.data + col);
	const u64 bits = bits_of(score);
	return bits << 1 ? bits : 0; /* −0 is 0 */
}

/* The kept columns of the group at col as bits: those that at least `drop` others go before;
 * none where a score has no order, whose column then goes to bad. A pair of columns is
 * compared once: where the lower one goes before, else the higher one does. */
template <int group> DEVICE u64 select_group(const struct select_mask_args &a, i64 row, i64 col, i32 drop, i32 &bad)
{
	u64 score[group];
	i32 before[group];
	i32 first = -1;
	UNROLL
	for (int i = 0; i < group; i++) {
		score[i] = score_at(a, row, col + i);
		if (score[i] > GREATEST && first < 0) first = i;
		before[i] = 0;
	}
	UNROLL
	for (int i = 1; i < group; i++) {
		UNROLL
		for (int j = 0; j < i; j++) {
			const bool lower = score[j] <= score[i];
			before[i] += lower;
			before[j] += !lower;
		}
	}
	if (first >= 0) {
		bad = (i32)(col + first);
		return 0;
	}
	u64 kept = 0;
	UNROLL
	for (int i = 0; i < group; i++) kept |= (u64)(before[i] >= drop) << i;
	return kept;
}
/* The same of any size, from memory again and again: a group lies in the first cache. */
DEVICE u64 select_any(const struct select_mask_args &a, i64 row, i64 col, i32 drop, i32 &bad)
{
	u64 kept = 0;
	for (i32 i = 0; i < a.group; i++) {
		const u64 score = score_at(a, row, col + i);
		if (score > GREATEST) {
			bad = (i32)(col + i);
			return 0;
		}
		i32 before = 0;
		for (i32 j = 0; j < a.group; j++) {
			const u64 other = score_at(a, row, col + j);
			before += j < i ? other <= score : other < score;
		}
		kept |= (u64)(before >= drop) << i;
	}
	return kept;
}

/* mask[row], bad[row] ← those of row block_x, a group a thread. The groups of a tile fill
 * whole words of the mask, whatever their size: 256 of m columns are 4·m words. */
KERNEL_BOUNDED(select_mask, select_mask_args, THREADS)
{
	SHARED(u64, groups, THREADS);
	SHARED(i32, worst, THREADS / 32);
	const i64 row = block_x();
	const i32 t = (i32)thread_x(), m = a.group, drop = m - a.keep;
	u64 *words = (u64 *)a.mask.data + row * a.mask.stride;
	i32 first = 0x7fffffff;
	for (i64 lo = 0; lo < a.w.cols; lo += (i64)THREADS * m) {
		const i64 col = lo + (i64)t * m;
		u64 kept = 0;
		i32 bad = 0x7fffffff;
		if (col < a.w.cols) {
			if (m == 4) kept = select_group<4>(a, row, col, drop, bad);
			else if (m == 8) kept = select_group<8>(a, row, col, drop, bad);
			else kept = select_any(a, row, col, drop, bad);
		}
		if (bad < first) first = bad;
		barrier(); /* the words before have been read */
		groups[t] = kept;
		barrier();
		const i64 word = lo / 64 + t;
		if (t < 4 * m && word < a.mask.cols) {
			u64 bits = 0;
			for (i32 g = 64 * t / m; g < THREADS && g * m < 64 * t + 64; g++) {
				const i32 at = g * m - 64 * t; /* below 0 where the group begins in the word before */
				bits |= at < 0 ? groups[g] >> -at : groups[g] << at;
			}
			*global(words + word) = bits;
		}
	}
	UNROLL
	for (i32 lanes = 16; lanes; lanes >>= 1) {
		const i32 other = shuffle_xor(first, lanes);
		if (other < first) first = other;
	}
	if (t % 32 == 0) worst[t / 32] = first;
	barrier();
	if (t) return;
	for (i32 i = 1; i < THREADS / 32; i++)
		if (worst[i] < first) first = worst[i];
	*global((i32 *)a.bad.data + row) = first == 0x7fffffff ? -1 : first;
}

/* Packing goes by pieces of KEPT_COLUMNS columns of a row, a warp each: their kept elements
 * are counted, the counts are added up in order, and then each piece knows where its
 * elements lie. masking.go has the same number. */
enum { KEPT_COLUMNS = 1024, KEPT_WORDS = KEPT_COLUMNS / 64 };

struct kept_args {
	struct head head;
	struct view dense, packed, mask;
	i64 *before; /* [pieces]: kept elements of each, then of all before it */
	i64 pieces;
};
struct piece {
	i64 row, col;
};
/* Of this warp; beyond the last one, a row that there is not. */
DEVICE i64 piece_number() { return (i64)block_x() * (THREADS / 32) + thread_x() / 32; }
DEVICE piece piece_of(const struct kept_args &a, i64 number)
{
	const i64 across = (a.dense.cols + KEPT_COLUMNS - 1) / KEPT_COLUMNS, row = number / across;
	return {row, (number - row * across) * KEPT_COLUMNS};
}
/* The word of the mask at a column, a multiple of 64, without what lies beyond the row. */
DEVICE u64 word_at(const struct kept_args &a, i64 row, i64 col)
{
	const i64 rest = a.dense.cols - col;
	if (rest <= 0) return 0;
	const u64 word = *global((const u64 *)a.mask.data + row * a.mask.stride + (col >> 6));
	return rest < 64 ? word & ((1ull << rest) - 1) : word;
}

KERNEL_BOUNDED(count_kept, kept_args, THREADS)
{
	const i64 number = piece_number();
	if (number >= a.pieces) return; /* the whole warp */
	const piece p = piece_of(a, number);
	const i32 lane = (i32)thread_x() % 32;
	i32 n = lane < KEPT_WORDS ? ones(word_at(a, p.row, p.col + 64 * lane)) : 0;
	UNROLL
	for (i32 lanes = 16; lanes; lanes >>= 1) n += shuffle_xor(n, lanes);
	if (lane == 0) *global(a.before + number) = n;
}

/* before ← the sum of what comes before, in one block. A mask that keeps another number of
 * elements than are packed is a fault. */
KERNEL_BOUNDED(sum_kept, kept_args, THREADS)
{
	SHARED(i64, sums, THREADS);
	const i64 each = (a.pieces + THREADS - 1) / THREADS, lo = thread_x() * each;
	const i64 hi = lo + each < a.pieces ? lo + each : a.pieces;
	i64 sum = 0;
	for (i64 i = lo; i < hi; i++) sum += *global(a.before + i);
	sums[thread_x()] = sum;
	barrier();
	if (thread_x() == 0) {
		sum = 0;
		for (u32 i = 0; i < THREADS; i++) {
			const i64 own = sums[i];
			sums[i] = sum;
			sum += own;
		}
		if (sum != a.packed.cols) refuse(a.head, sum >> 32, (i32)sum);
	}
	barrier();
	sum = sums[thread_x()];
	for (i64 i = lo; i < hi; i++) {
		i64 *at = global(a.before + i);
		const i64 own = *at;
		*at = sum;
		sum += own;
	}
}

/* Calls f(column, kept, where in packed) for the columns of the warp's piece, 32 at a time. */
template <typename F> DEVICE void each_kept(const struct kept_args &a, i64 number, const piece &p, F f)
{
	const i32 lane = (i32)thread_x() % 32;
	i64 at = *global(a.before + number);
	for (i64 col = p.col; col < p.col + KEPT_COLUMNS && col < a.dense.cols; col += 32) {
		const u32 bits = (u32)(word_at(a, p.row, col & ~63ll) >> (col & 32));
		if (col + lane < a.dense.cols) f(col + lane, bits >> lane & 1, at + ones(bits & ((1u << lane) - 1)));
		at += ones(bits);
	}
}
KERNEL_BOUNDED(pack_kept, kept_args, THREADS) /* packed ← what is kept of dense */
{
	const i64 number = piece_number();
	if (number >= a.pieces) return;
	const piece p = piece_of(a, number);
	each_kept(a, number, p, [&](i64 col, bool kept, i64 at) {
		if (kept) element(a.packed, 0, at) = element(a.dense, p.row, col);
	});
}
KERNEL_BOUNDED(unpack_kept, kept_args, THREADS) /* dense ← packed where it is kept, else +0 */
{
	const i64 number = piece_number();
	if (number >= a.pieces) return;
	const piece p = piece_of(a, number);
	each_kept(a, number, p, [&](i64 col, bool kept, i64 at) {
		element(a.dense, p.row, col) = kept ? element(a.packed, 0, at) : 0.0f;
	});
}
