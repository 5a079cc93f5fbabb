/* Matrix products: packed panels, a register tile, and tasks over blocks of C
 * (after Goto & van de Geijn, "Anatomy of high-performance matrix multiplication",
 * 2008). kc is fixed by the shape, so an element's bits do not depend on how rows
 * and columns are divided. */
#include "gemm_tile.h"
#include "gemm_weight.h"

RK_INLINE int64_t rk_least(int64_t a, int64_t b) { return a < b ? a : b; }

#include "gemm_pack.h"
#include "gemm_rows.h"

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

/* Packs one panel, or 64 columns, of the block of a phase. */
RK_INLINE void K(pack_task)(const struct rk_gemm *g, const struct K(block) *b, int64_t phase, int64_t task, float *t)
{
	rk_wait(g->progress, phase * g->packs);
	for (int64_t i = 0; phase > 1 && i < g->products; i++) rk_wait(g->progress + 1 + i, phase - 1);
	if (g->b_by_n && task * RK_NR < b->nc) K(pack_by_n)(b, task, t);
	if (!g->b_by_n && task * 64 < b->nc) K(pack_by_k)(b, task, t);
	__atomic_fetch_add(g->progress, 1, __ATOMIC_RELEASE);
}

/* Rows of C of which all columns of the last block are done: zeroes what the mask does not keep. */
RK_INLINE void K(mask_rows)(const struct rk_gemm *g, int64_t i0, int64_t rows, int64_t j0, int64_t cols)
{
	for (int64_t i = i0; i < i0 + rows; i++) {
		const uint64_t *m = (const uint64_t *)g->mask.data + i * g->mask.stride + (j0 >> 6);
		float *c = rk_f32(g->c, i) + j0;
		for (int64_t j = 0; j < cols; j += VL) {
			uint32_t bits = (uint32_t)(m[j >> 6] >> (j & 63) & ((1u << VL) - 1));
			if (cols - j >= VL) vf_store(c + j, vf_keep(vf_load(c + j), bits));
			else vf_storen(c + j, vf_keep(vf_loadn(c + j, cols - j), bits), cols - j);
		}
	}
}

/* Multiplies a block of rows with a group of columns of the block. */
RK_INLINE void K(product_task)(const struct rk_gemm *g, const struct K(block) *b, int64_t i0, int64_t j0, float *packed)
{
	int64_t rows = rk_least(g->m - i0, g->mc), cols = rk_least(b->nc - j0, g->jg), c0 = b->j0 + j0;
	int last = b->k0 + b->kc == g->k;
	if (cols <= 0) return;
	struct K(operands) o = {
		.b = b->panels + j0 * b->kc, .bk = RK_NR, .kc = b->kc, .accumulate = g->accumulate || b->k0 > 0,
		.c = rk_f32(g->c, i0) + c0, .ldc = g->c.stride,
		.bias = g->bias && last ? g->bias + c0 : 0,
	};
	int64_t pitch = RK_NR * b->kc;
	if (!g->packs) {
		o.b = (const float *)g->b.w.data + b->k0 * g->b.w.stride + c0;
		o.bk = g->b.w.stride;
		pitch = RK_NR;
	}
	if (g->direct && g->a_by_k) {
		o.a = (const float *)g->a.data + b->k0 * g->a.stride + i0;
		o.ak = g->a.stride;
		K(tiles_of)(o, 0, rows, cols, RK_MR, pitch);
	} else if (g->direct) {
		o.a = (const float *)g->a.data + i0 * g->a.stride + b->k0;
		o.ai = g->a.stride;
		K(tiles_of)(o, 1, rows, cols, RK_MR * g->a.stride, pitch);
	} else {
		if (g->a_by_k) K(pack_columns)(RK_MR, g->a, i0, rows, b->k0, b->kc, packed);
		else K(pack_rows)(g->a, i0, rows, b->k0, b->kc, packed);
		o.a = packed;
		o.ak = RK_MR;
		K(tiles_of)(o, 0, rows, cols, RK_MR * b->kc, pitch);
	}
	if (g->mask.data && last) K(mask_rows)(g, i0, rows, c0, cols);
}

static void K(multiply)(const void *args, int64_t task, void *scratch)
{
	const struct rk_gemm *g = args;
	int64_t blocks = (g->k + g->kc - 1) / g->kc, groups = (g->nc + g->jg - 1) / g->jg;
	int64_t phase = task / (g->packs + g->products), step = task % (g->packs + g->products);
	struct K(block) b = {.w = &g->b, .j0 = phase / blocks * g->nc, .k0 = phase % blocks * g->kc};
	b.nc = rk_least(g->n - b.j0, g->nc);
	b.kc = rk_least(g->k - b.k0, g->kc);
	b.panels = g->panels + (phase & 1) * g->nc * g->kc;
	if (step < g->packs) {
		K(pack_task)(g, &b, phase, step, scratch);
		return;
	}
	step -= g->packs;
	rk_wait(g->progress, (phase + 1) * g->packs);
	rk_wait(g->progress + 1 + step, phase);
	K(product_task)(g, &b, step / groups * g->mc, step % groups * g->jg, scratch);
	__atomic_store_n(g->progress + 1 + step, phase + 1, __ATOMIC_RELEASE);
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
	const struct rk_weight w = {.w = g->lora_a};
	struct K(block) pack = {.w = &w, .kc = cols, .k0 = j0, .nc = r, .panels = panels};
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

/* A matrix of so short rows that a panel of it, where it lies, shares few cache sets. */
RK_INLINE int K(read_in_place)(struct rk_mat m) { return m.dtype == RK_F32 && m.stride <= 256; }

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
	const int a_direct = K(read_in_place)(g->a), b_direct = K(read_in_place)(g->b);
	for (int64_t k = first; k < last; k += g->kc) {
		int64_t kc = rk_least(last - k, g->kc);
		struct K(operands) o = {.a = a, .ak = RK_MR, .b = b, .bk = RK_NR, .kc = kc, .accumulate = k > first, .c = t, .ldc = g->gn};
		if (a_direct) {
			o.a = K(element)(g->a, k, i0);
			o.ak = g->a.stride;
		} else {
			K(pack_columns)(RK_MR, g->a, i0, rows, k, kc, a);
		}
		if (b_direct) {
			o.b = K(element)(g->b, k, j0);
			o.bk = g->b.stride;
		} else {
			K(pack_columns)(RK_NR, g->b, j0, cols, k, kc, b);
		}
		K(tiles_of)(o, 0, rows, cols, a_direct ? RK_MR : RK_MR * kc, b_direct ? RK_NR : RK_NR * kc);
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
