/* Products over kept weights. Tokens lie in lanes: the dense operand is turned a
 * tile at a time, and each kept weight costs one product and sum for SP_TOKENS
 * tokens, whose operand comes from the first-level cache. */
#include "sparse_list.h"

#if defined(RK_AVX512)
#define SP_NV 8
#define SP_SLOTS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#else /* the sums of two rows and three more vectors in 16 registers */
#define SP_NV 6
#define SP_SLOTS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif
enum { SP_TOKENS = SP_NV * VL, SP_TILE = 64, SP_SLOT = 64, SP_COUNTS = 3 * SP_SLOT / 2 };

static void K(sparse_count)(const void *args, int64_t task, void *scratch)
{
	const struct rk_sparse *g = args;
	(void)scratch;
	int64_t most = 0;
	for (int64_t r = 0; r < g->nb; r += SP_SLOT) {
		int64_t n = 0, rows = rk_least(g->nb - r, SP_SLOT), depth = rk_least(g->k - task * SP_TILE, SP_TILE);
		if (g->twin)
			for (int64_t o = 0; o < depth; o++) n += __builtin_popcountll(K(mask_word)(g->w.mask, task * SP_TILE + o, (g->n0 + r) >> 6));
		else
			for (int64_t i = 0; i < rows; i++) n += __builtin_popcountll(K(mask_word)(g->w.mask, g->n0 + r + i, task));
		if (n > most) most = n;
	}
	g->most[task] = most;
}

static void K(sparse_pack)(const void *args, int64_t task, void *scratch)
{
	const struct rk_sparse *g = args;
	float *t = scratch, *turned = t + SP_TILE * SP_TILE + 64; /* 64 × 64 each */
	uint64_t words[SP_TILE];
	int64_t tile = task / g->groups, row = g->n0 + task % g->groups * SP_SLOT;
	int64_t rows = rk_least(g->n0 + g->nb - row, SP_SLOT), depth = rk_least(g->k - tile * SP_TILE, SP_TILE);
	if (g->twin) {
		K(weight_rows)(&g->w, tile * SP_TILE, depth, row, t, SP_TILE);
		for (int64_t o = 0; o < SP_TILE; o++) words[o] = o < depth ? K(mask_word)(g->w.mask, tile * SP_TILE + o, row >> 6) : 0;
		K(turn_tile)(t, turned);
		K(turn_words)(words);
		t = turned;
	} else {
		K(weight_rows)(&g->w, row, rows, tile * SP_TILE, t, SP_TILE);
		for (int64_t i = 0; i < rows; i++) words[i] = K(mask_word)(g->w.mask, row + i, tile);
	}
	float *values = g->values + task * g->room;
	uint16_t *offsets = g->offsets + task * g->room, *counts = g->counts + task * SP_COUNTS;
	for (int64_t i = 0; i < rows; i += 2, counts += 3) {
		const float *a = t + i * SP_TILE, *b = a + SP_TILE;
		uint64_t first = words[i], second = i + 1 < rows ? words[i + 1] : 0, both = first & second;
		int64_t n = K(list)(a, SP_TILE, both, SP_TOKENS * 4, values, offsets), alone = K(list)(a, SP_TILE, first & ~both, SP_TOKENS * 4, values + n, offsets + n);
		counts[0] = (uint16_t)n;
		counts[1] = (uint16_t)alone;
		values += n + alone;
		offsets += n + alone;
		K(list)(b, SP_TILE, both, 0, values, 0);
		alone = K(list)(b, SP_TILE, second & ~both, SP_TOKENS * 4, values + n, offsets);
		counts[2] = (uint16_t)alone;
		values += n + alone;
		offsets += alone;
	}
}

/* What a task multiplies a tile with and adds to. */
struct K(sparse_rows) {
	const float *x;            /* (64, SP_TOKENS): the tile, turned */
	const float *values;
	const uint16_t *offsets, *counts;
	float *chain, *sum;        /* (rows, SP_TOKENS): the sums of a chain, and of the chains before */
	const float *bias;         /* of these rows, at the very end, or NULL */
	int64_t rows;
	int32_t first, last, more; /* tile of a chain; more: sum holds something already */
};

RK_INLINE void K(sparse_begin)(const int nv, const struct K(sparse_rows) *s, int64_t row, vf *acc)
{
	const float *chain = s->chain + row * SP_TOKENS;
#pragma GCC unroll 8
	for (int v = 0; v < nv; v++) acc[v] = s->first ? vf_zero() : vf_load(chain + v * VL);
}

RK_INLINE void K(sparse_end)(const int nv, const struct K(sparse_rows) *s, int64_t row, vf *acc)
{
	float *dst = (s->last ? s->sum : s->chain) + row * SP_TOKENS;
#pragma GCC unroll 8
	for (int v = 0; v < nv; v++) {
		if (s->last && s->more) acc[v] = vf_load(dst + v * VL) + acc[v];
		if (s->last && s->bias) acc[v] = acc[v] + vf_set1(s->bias[row]);
		vf_store(dst + v * VL, acc[v]);
	}
}

/* acc += the products of n columns. */
RK_INLINE void K(sparse_alone)(const int nv, const float *tile, const uint16_t *at, const float *value, int64_t n, vf *acc)
{
	for (const uint16_t *end = at + n; at < end; at++, value++) {
		const float *x = (const float *)((const char *)tile + *at);
		vf w = vf_set1(*value);
#pragma GCC unroll 8
		for (int v = 0; v < nv; v++) acc[v] = vf_fma(w, vf_load(x + v * VL), acc[v]);
	}
}

/* One slot. In a tile each element adds up the columns that its row shares with the
 * other of the pair, then those of its own, both in ascending order. */
RK_INLINE void K(sparse_slot)(const int nv, const struct K(sparse_rows) *s)
{
	const float *value = s->values;
	const uint16_t *at = s->offsets, *counts = s->counts;
	for (int64_t r = 0; r < s->rows; r += 2, counts += 3) {
		vf a[SP_NV], b[SP_NV];
		K(sparse_begin)(nv, s, r, a);
		K(sparse_begin)(nv, s, r + 1 < s->rows ? r + 1 : r, b);
		const float *other = value + counts[0] + counts[1];
		for (const uint16_t *end = at + counts[0]; at < end; at++, value++, other++) {
			const float *x = (const float *)((const char *)s->x + *at);
			vf w = vf_set1(*value), u = vf_set1(*other);
#pragma GCC unroll 8
			for (int v = 0; v < nv; v++) {
				vf xv = vf_hold(vf_load(x + v * VL));
				a[v] = vf_fma(w, xv, a[v]);
				b[v] = vf_fma(u, xv, b[v]);
			}
		}
		K(sparse_alone)(nv, s->x, at, value, counts[1], a);
		K(sparse_end)(nv, s, r, a);
		at += counts[1];
		value = other + counts[2];
		if (r + 1 == s->rows) return;
		K(sparse_alone)(nv, s->x, at, other, counts[2], b);
		K(sparse_end)(nv, s, r + 1, b);
		at += counts[2];
	}
}

#define SP_SLOT_FUNCTION(nv) \
	static __attribute__((noinline)) void K(sparse_slot_##nv)(const struct K(sparse_rows) *s) { K(sparse_slot)(nv, s); }
SP_SLOTS(SP_SLOT_FUNCTION)
static void (*const K(sparse_slots)[SP_NV])(const struct K(sparse_rows) *) = {
#define X(nv) K(sparse_slot_##nv),
	SP_SLOTS(X)
#undef X
};

/* sum[row][token] ← Y, and back. */
RK_INLINE void K(sparse_fetch)(const struct rk_sparse *g, int64_t t0, int64_t tokens, int64_t r0, int64_t rows, float *sum)
{
	for (int64_t v = 0; v < tokens; v += VL) {
		const float *src[VL];
		for (int64_t i = 0; i < VL; i++) src[i] = v + i < tokens ? rk_f32(g->y, t0 + v + i) + g->n0 + r0 : 0;
		for (int64_t r = 0; r < rows; r += VL) {
			const float *from[VL];
			for (int64_t i = 0; i < VL; i++) from[i] = src[i] ? src[i] + r : K(zeros);
			K(transpose_block)(from, 0, sum + r * SP_TOKENS + v, SP_TOKENS, rows - r);
		}
	}
}

RK_INLINE void K(sparse_store)(const struct rk_sparse *g, int64_t t0, int64_t tokens, int64_t r0, int64_t rows, const float *sum)
{
	float t[VL * VL];
	for (int64_t v = 0; v < tokens; v += VL) {
		int64_t n = rk_least(tokens - v, VL);
		for (int64_t r = 0; r < rows; r += VL) {
			const float *src[VL];
			for (int64_t i = 0; i < VL; i++) src[i] = sum + (r + i) * SP_TOKENS;
			K(transpose_block)(src, v, t, VL, VL);
			for (int64_t i = 0; i < n; i++) {
				float *y = rk_f32(g->y, t0 + v + i) + g->n0 + r0 + r;
				__builtin_prefetch(y + 64, 1);
				if (rows - r >= VL) vf_store(y, vf_load(t + i * VL));
				else vf_storen(y, vf_load(t + i * VL), rows - r);
			}
		}
	}
}

static void K(sparse_multiply)(const void *args, int64_t task, void *scratch)
{
	const struct rk_sparse *g = args;
	int64_t parts = (g->nb + g->part - 1) / g->part;
	int64_t t0 = task / parts * SP_TOKENS, r0 = task % parts * g->part;
	int64_t tokens = rk_least(g->m - t0, SP_TOKENS), rows = rk_least(g->nb - r0, g->part);
	float *x = scratch, *chain = x + SP_TILE * SP_TOKENS + 64, *sum = chain + g->part * SP_TOKENS;
	int64_t nv = (tokens + VL - 1) / VL;
	struct K(sparse_rows) s = {.x = x, .more = g->accumulate};
	if (g->accumulate) K(sparse_fetch)(g, t0, tokens, r0, rows, sum);
	for (int64_t tile = 0; tile < g->tiles; tile++) {
		int64_t k = tile * SP_TILE;
		K(turn_tokens)(g->x, t0, tokens, k, rk_least(g->k - k, SP_TILE), x, SP_TOKENS, SP_TILE);
		s.first = k % g->kc == 0;
		s.last = tile + 1 == g->tiles || (k + SP_TILE) % g->kc == 0;
		for (int64_t r = 0; r < rows; r += SP_SLOT) {
			int64_t slot = tile * g->groups + (r0 + r) / SP_SLOT;
			s.values = g->values + slot * g->room;
			s.offsets = g->offsets + slot * g->room;
			s.counts = g->counts + slot * SP_COUNTS;
			s.chain = chain + r * SP_TOKENS;
			s.sum = sum + r * SP_TOKENS;
			s.rows = rk_least(rows - r, SP_SLOT);
			s.bias = g->bias && tile + 1 == g->tiles ? g->bias + g->n0 + r0 + r : 0;
			K(sparse_slots)[nv - 1](&s);
		}
		if (s.last) s.more = 1;
	}
	K(sparse_store)(g, t0, tokens, r0, rows, sum);
}

#include "sparse_outer.h"
