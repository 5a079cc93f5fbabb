/* Matrix products: packed panels, a register tile, and tasks over blocks of C
 * (after Goto & van de Geijn, "Anatomy of high-performance matrix multiplication",
 * 2008). kc is fixed by the shape, so an element's bits do not depend on how rows
 * and columns are divided. */
#include "gemm_tile.h"
#include "gemm_weight.h"
#include "gemm_pack.h"

RK_INLINE int64_t rk_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* All tiles of rows × cols: o describes A's first element and C's; panel p of B starts at
 * b + p·pitch. by_rows: A lies by rows (ai), else by k; A's row block r starts at a + r·astep. */
RK_INLINE void K(tiles_of)(struct K(operands) o, int by_rows, int64_t rows, int64_t cols, int64_t astep, int64_t pitch)
{
	const float *a = o.a, *bias = o.bias;
	float *c = o.c;
	for (int64_t j = 0; j < cols; j += RK_NR, o.b += pitch) {
		o.n = rk_least(cols - j, RK_NR);
		o.bias = bias ? bias + j : 0;
		o.a = a;
		int nv = o.n > VL;
		for (int64_t i = 0; i < rows; i += RK_MR, o.a += astep) {
			o.c = c + i * o.ldc + j;
			K(tiles)[by_rows][rk_least(rows - i, RK_MR) - 1][nv](&o);
		}
	}
}

static void K(multiply)(const void *args, int64_t task, void *scratch)
{
	const struct rk_gemm *g = args;
	int64_t groups = (g->nc + g->jg - 1) / g->jg;
	int64_t i0 = task / groups * g->mc, j0 = task % groups * g->jg;
	int64_t rows = rk_least(g->m - i0, g->mc), cols = rk_least(g->nc - j0, g->jg);
	struct K(operands) o = {
		.b = g->panels + j0 * g->kc, .bk = RK_NR, .kc = g->kc, .accumulate = g->accumulate,
		.c = rk_f32(g->c, i0) + g->j0 + j0, .ldc = g->c.stride,
		.bias = g->bias ? g->bias + g->j0 + j0 : 0,
	};
	if (g->direct) {
		o.a = (const float *)g->a.data + i0 * g->a.stride + g->k0;
		o.ai = g->a.stride;
		K(tiles_of)(o, 1, rows, cols, RK_MR * g->a.stride, RK_NR * g->kc);
		return;
	}
	K(pack_rows)(g->a, i0, rows, g->k0, g->kc, scratch);
	o.a = scratch;
	o.ak = RK_MR;
	K(tiles_of)(o, 0, rows, cols, RK_MR * g->kc, RK_NR * g->kc);
}

/* Scales the tile and zeroes what the mask does not keep. */
RK_INLINE void K(mask_tile)(const struct rk_outer *g, float *t, int64_t i0, int64_t rows, int64_t j0, int64_t cols)
{
	vf s = vf_set1(g->scale);
	for (int64_t i = 0; i < rows; i++) {
		const uint64_t *m = g->mask.data ? (const uint64_t *)g->mask.data + (i0 + i) * g->mask.stride + (j0 >> 6) : 0;
		for (int64_t j = 0; j < cols; j += VL) {
			vf v = vf_load(t + i * g->gn + j);
			if (g->fold) v = s * v;
			if (m) v = vf_keep(v, (uint32_t)(m[j >> 6] >> (j & 63) & ((1u << VL) - 1)));
			vf_store(t + i * g->gn + j, v);
		}
	}
}

/* dB partial (rows, r) = G·Aᵀ and dA partial (r, cols) = Bᵀ·G of one tile. */
RK_INLINE void K(fold_tile)(const struct rk_outer *g, const float *t, int64_t i0, int64_t rows, int64_t j0, int64_t cols,
                            int64_t row_part, int64_t col_part, float *panels)
{
	int64_t r = g->lora_a.rows;
	struct rk_gemm pack = {.b = {.w = g->lora_a}, .kc = cols, .k0 = j0, .nc = r, .panels = panels};
	for (int64_t p = 0; p * RK_NR < r; p++) K(pack_by_n)(&pack, p, 0);
	struct K(operands) db = {
		.a = t, .ai = g->gn, .b = panels, .bk = RK_NR, .kc = cols,
		.c = g->db + (col_part * g->out + i0) * r, .ldc = r,
	};
	K(tiles_of)(db, 1, rows, r, RK_MR * g->gn, RK_NR * cols);
	struct K(operands) da = {
		.a = (const float *)g->lora_b.data + i0 * g->lora_b.stride, .ak = g->lora_b.stride,
		.b = t, .bk = g->gn, .kc = rows,
		.c = g->da + row_part * r * g->in + j0, .ldc = g->in,
	};
	K(tiles_of)(da, 0, r, cols, RK_MR, RK_NR);
}

static void K(outer)(const void *args, int64_t task, void *scratch)
{
	const struct rk_outer *g = args;
	int64_t across = (g->in + g->gn - 1) / g->gn, down = (g->out + g->gm - 1) / g->gm;
	int64_t tj = task % across, ti = task / across % down, split = task / across / down;
	int64_t i0 = ti * g->gm, j0 = tj * g->gn;
	int64_t rows = rk_least(g->out - i0, g->gm), cols = rk_least(g->in - j0, g->gn);
	int64_t first = split * g->split_rows, last = rk_least(first + g->split_rows, g->rows);
	float *t = scratch;                        /* gm × gn, and VL floats more */
	float *a = t + g->gm * g->gn + 64;         /* gm × kc */
	float *b = a + (g->gm + RK_MR) * g->kc + 64; /* gn × kc, later the packed A */
	for (int64_t k = first; k < last; k += g->kc) {
		int64_t kc = rk_least(last - k, g->kc);
		K(pack_columns)(RK_MR, g->a, i0, rows, k, kc, a);
		K(pack_columns)(RK_NR, g->b, j0, cols, k, kc, b);
		struct K(operands) o = {.a = a, .ak = RK_MR, .b = b, .bk = RK_NR, .kc = kc, .accumulate = k > first, .c = t, .ldc = g->gn};
		K(tiles_of)(o, 0, rows, cols, RK_MR * kc, RK_NR * kc);
	}
	K(mask_tile)(g, t, i0, rows, j0, cols);
	if (g->fold) {
		K(fold_tile)(g, t, i0, rows, j0, cols, split * down + ti, split * across + tj, b);
		return;
	}
	for (int64_t i = 0; i < rows; i++) {
		float *d = g->partial ? g->partial + (split * g->out + i0 + i) * g->in + j0 : rk_f32(g->c, i0 + i) + j0;
		const float *s = t + i * g->gn;
		if (!g->accumulate || g->partial) memcpy(d, s, (size_t)cols * 4);
		else
			for (int64_t j = 0; j < cols; j++) d[j] += s[j];
	}
}

static void K(reduce)(const void *args, int64_t task, void *scratch)
{
	const struct rk_reduce *g = args;
	(void)scratch;
	int64_t hi = rk_least((task + 1) * g->block, g->dst.rows), n = g->dst.cols;
	for (int64_t r = task * g->block; r < hi; r++) {
		float *d = rk_f32(g->dst, r);
		const float *s = g->partial + r * n;
		for (int64_t i = 0; i < n; i += VL) {
			int64_t left = n - i;
			vf v = vf_zero();
			for (int64_t p = 0; p < g->count; p++) {
				const float *at = s + p * g->dst.rows * n + i;
				vf x = left >= VL ? vf_load(at) : vf_loadn(at, left);
				v = p ? v + x : x;
			}
			if (left >= VL) vf_store(d + i, g->accumulate ? vf_load(d + i) + v : v);
			else vf_storen(d + i, g->accumulate ? vf_loadn(d + i, left) + v : v, left);
		}
	}
}
