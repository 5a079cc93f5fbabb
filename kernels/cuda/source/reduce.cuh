/* Sums and maxima over a block of THREADS threads, in a fixed order: a butterfly in each
 * warp, then the warps ascending. */
#pragma once
#include "grid.cuh"

#define WARPS (THREADS / 32)
#define LOWEST -3.402823466e38f /* below all logits and scores, but finite: LOWEST − LOWEST is 0 */

DEVICE float greater(float a, float b) { return b > a ? b : a; }

/* The sum for every thread. Each call in a kernel has slots of its own (SHARED, WARPS of
 * them), or a barrier before it. */
DEVICE float block_sum(float v, float *slots)
{
	UNROLL
	for (i32 lanes = 16; lanes; lanes >>= 1) v = add_rn(v, shuffle_xor(v, lanes));
	if (thread_x() % 32 == 0) slots[thread_x() / 32] = v;
	barrier();
	v = 0;
	UNROLL
	for (u32 w = 0; w < WARPS; w++) v = add_rn(v, slots[w]);
	return v;
}
DEVICE float block_max(float v, float *slots)
{
	UNROLL
	for (i32 lanes = 16; lanes; lanes >>= 1) v = greater(v, shuffle_xor(v, lanes));
	if (thread_x() % 32 == 0) slots[thread_x() / 32] = v;
	barrier();
	v = slots[0];
	UNROLL
	for (u32 w = 1; w < WARPS; w++) v = greater(v, slots[w]);
	return v;
}
