//compile: hot=*
/* The linear layer on few tokens: a block builds its tiles of the effective weight in shared
 * memory, where it multiplies them, so that W is read once and nothing of W_eff is written. */
#include "product.cuh"
#include "weight.cuh"

enum { FEW = 32 }; /* tokens of a block; fused.go has the same number */

struct linear_fused_args {
	struct head head;
	struct view x;
	struct weight weight;
	struct target to; /* y */
	float *parts; /* [splits][tokens][out], where the depth is divided; otherwise null */
	i64 length; /* of the inputs that one split has, a multiple of 64; the split is the grid's z */
};

/* Planes of a tile: its rows have 64 inputs. */
enum { FUSED_PITCH = WEIGHT_TILE + 8, W_PLANE = WEIGHT_TILE * FUSED_PITCH, X_PLANE = FEW * FUSED_PITCH };

/* The parts of four consecutive values, one plane after the other. */
template <i32 parts> DEVICE void put_four(u16 *plane, i32 size, const float (&values)[4])
{
	float v[4] = {values[0], values[1], values[2], values[3]};
	UNROLL
	for (i32 p = 0; p < parts; p++) {
		u32 *to = (u32 *)(plane + p * size);
		UNROLL
		for (i32 e = 0; e < 4; e += 2) {
			const u32 both = two_bf16(v[e], v[e + 1]);
			to[e / 2] = both;
			v[e] = add_rn(v[e], -float_of(both << 16)), v[e + 1] = add_rn(v[e + 1], -float_of(both & 0xffff0000u));
		}
	}
}

/* W is whole or half, as products take W_eff; X is whole or rounded. */
template <typename W, typename X> DEVICE void linear_fused(const linear_fused_args &a)
{
	SHARED_DYNAMIC(u16, ws);
	u16 *xs = ws + W::parts * W_PLANE;
	const i64 o0 = (i64)block_x() * WEIGHT_TILE, in = a.weight.in, out = a.weight.out, tokens = a.x.rows;
	const i64 from = block_z() * a.length, to = from + a.length < in ? from + a.length : in;
	/* A warp has 16 outputs of 16 tokens, in fragments of 16 × 8. */
	const i32 t = thread_x(), l = t % 32, m = t / 32 % 4 * 16, n = t / 128 * 16;
	const i32 token = t / 8, col = t % 8 * 4; /* of x, and 32 behind */
	float sum[2][4] = {};
	for (i64 i0 = from; i0 < to; i0 += WEIGHT_TILE) {
		UNROLL
		for (i32 h = 0; h < 2; h++) {
			float x[4];
			load_four(x, a.x, token, i0 + col + 32 * h, token < tokens ? 15 : 0);
			put_four<X::parts>(xs + token * FUSED_PITCH + col + 32 * h, X_PLANE, x);
		}
		effective_groups(a.weight, o0, i0, [&](i32 r, i32 c, const float (&v)[4], u32) {
			put_four<W::parts>(ws + r * FUSED_PITCH + c, W_PLANE, v);
		});
		barrier();
		UNROLL
		for (i32 k = 0; k < WEIGHT_TILE; k += 16) {
			if (n >= tokens) continue; /* the whole warp */
			u32 left[W::parts][4], right[X::parts][4];
			UNROLL
			for (i32 p = 0; p < W::parts; p++) load_matrix(left[p], ws + p * W_PLANE + (m + l % 16) * FUSED_PITCH + k + l / 16 * 8);
			UNROLL
			for (i32 p = 0; p < X::parts; p++) load_matrix(right[p], xs + p * X_PLANE + (n + l / 16 * 8 + l % 8) * FUSED_PITCH + k + l / 8 % 2 * 8);
			enum { last = W::parts + X::parts - 2 < 2 ? W::parts + X::parts - 2 : 2 };
			UNROLL
			for (i32 j = 0; j < 2; j++) {
				float part[4] = {};
				UNROLL
				for (i32 order = last; order >= 0; order--)
					UNROLL
					for (i32 p = 0; p < W::parts; p++) {
						if (order - p < 0 || order - p >= X::parts) continue;
						const u32 b[2] = {right[order - p][2 * j], right[order - p][2 * j + 1]};
						if constexpr (last == 0) multiply_bf16(sum[j], left[p], b);
						else multiply_bf16(part, left[p], b);
					}
				if constexpr (last > 0)
					UNROLL
					for (i32 e = 0; e < 4; e++) sum[j][e] = add_rn(sum[j][e], part[e]);
			}
		}
		barrier(); /* the planes have been read */
	}
	UNROLL
	for (i32 j = 0; j < 2; j++)
		UNROLL
		for (i32 e = 0; e < 4; e++) {
			const i64 o = o0 + m + l / 4 + e / 2 * 8, row = n + 8 * j + l % 4 * 2 + e % 2;
			if (o >= out || row >= tokens) continue;
			if (a.parts) *global(a.parts + (block_z() * tokens + row) * out + o) = sum[j][e];
			else finish(a.to, row, o, sum[j][e]);
		}
}
KERNEL_RESIDENT(linear_fused_ww, linear_fused_args, WEIGHT_THREADS, 3) { linear_fused<whole, whole>(a); }
KERNEL_RESIDENT(linear_fused_hw, linear_fused_args, WEIGHT_THREADS, 3) { linear_fused<half, whole>(a); }
KERNEL_RESIDENT(linear_fused_hr, linear_fused_args, WEIGHT_THREADS, 3) { linear_fused<half, rounded>(a); }
