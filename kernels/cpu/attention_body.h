/* Attention; struct rk_attention says what is in args.
 *
 * Scores are kept transposed, key by key with the queries in lanes, so that the
 * softmax of a block of queries needs no sum across lanes. */
#include "activation_math.h"
#include "attention_tile.h"

enum { QB = RK_ATTENTION_QUERIES }; /* queries of a block */

/* A block of at most QB queries (backward: RK_GRADIENT_QUERIES) of one sequence: rows of Q, O and dO with a
 * constant distance, and what belongs to them. */
struct rk_queries {
	int64_t sequence, head, kv_head; /* head: of the first row */
	int64_t rows, vectors;           /* vectors = ⌈rows/VL⌉ */
	int64_t keys;                    /* the greatest limit */
	int64_t least;                   /* the least limit */
	int64_t lse, lse_step;           /* first element and distance in lse */
	int64_t row, row_step, col, col_step;
	int32_t limit[RK_GRADIENT_QUERIES] __attribute__((aligned(64))); /* keys that each row sees; 0 beyond rows */
};

/* The number of valid keys of a sequence. */
RK_INLINE int64_t rk_valid_keys(const struct rk_attention *a, int64_t sequence)
{
	if (!a->lengths.data) return a->k_len;
	int64_t n = ((const int32_t *)a->lengths.data)[sequence];
	return n < 0 ? 0 : n < a->k_len ? n : a->k_len;
}

RK_INLINE float *rk_query(const struct rk_queries *q, struct rk_mat m)
{
	return (float *)m.data + q->row * m.stride + q->col;
}
RK_INLINE int64_t rk_query_stride(const struct rk_queries *q, struct rk_mat m)
{
	return q->row_step * m.stride + q->col_step;
}

/* Queries from…from+rows−1 of a head; with group, the single query of each of
 * the heads head+from…, which read the same keys. */
RK_INLINE struct rk_queries rk_queries_of(const struct rk_attention *a, int64_t sequence, int64_t head, int64_t from, int64_t rows, int group)
{
	struct rk_queries q = {.sequence = sequence, .rows = rows, .vectors = (rows + VL - 1) / VL};
	int64_t n = rk_valid_keys(a, sequence);
	q.head = group ? head + from : head;
	q.kv_head = q.head / (a->heads / a->kv_heads);
	q.row = sequence * a->q_len + (group ? 0 : from);
	q.row_step = group ? 0 : 1;
	q.col = q.head * a->dim;
	q.col_step = group ? a->dim : 0;
	q.lse = (sequence * a->heads + q.head) * a->lse.stride + (group ? 0 : from);
	q.lse_step = group ? a->lse.stride : 1;
	q.least = n;
	for (int64_t r = 0; r < rows; r++) {
		int64_t limit = n;
		if (a->causal) {
			limit = (group ? 0 : from + r) + n - a->q_len + 1;
			limit = limit < 0 ? 0 : limit < n ? limit : n;
		}
		q.limit[r] = (int32_t)limit;
		if (limit > q.keys) q.keys = limit;
		if (limit < q.least) q.least = limit;
	}
	return q;
}

/* A thread's scratch. */
struct rk_attention_scratch {
	float *turned;       /* (D, QB) Q or dO transposed */
	float *p, *ds;       /* (keys, QB) */
	float *max, *sum, *factor, *delta; /* (QB) */
};

RK_INLINE struct rk_attention_scratch rk_attention_scratch_of(void *scratch)
{
	float *f = scratch;
	struct rk_attention_scratch s = {.turned = f};
	s.p = f + RK_ATTENTION_DIMS * QB;
	s.ds = s.p + RK_ATTENTION_KEYS * QB;
	s.max = s.ds + RK_ATTENTION_KEYS * QB;
	s.sum = s.max + QB;
	s.factor = s.sum + QB;
	s.delta = s.factor + QB;
	return s;
}

/* out[j][r] ← Σ_d keys[j][d]·m's row r[d]. ready: turned already holds the only block of columns. */
RK_INLINE void rk_scores(const struct rk_attention *a, const struct rk_queries *q, float *out, float *turned,
	struct rk_mat m, const float *keys, int64_t stride, int64_t count, int ready)
{
	for (int64_t d = 0; d < a->dim; d += RK_ATTENTION_DIMS) {
		int64_t width = a->dim - d < RK_ATTENTION_DIMS ? a->dim - d : RK_ATTENTION_DIMS;
		if (!ready) K(turn)(turned, QB, rk_query(q, m) + d, rk_query_stride(q, m), q->rows, q->vectors * VL, width);
		struct rk_product p = {.out = out, .out_stride = QB, .a = keys + d, .a_row = stride, .a_k = 1,
			.b = turned, .b_stride = QB, .m = count, .n = q->vectors * VL, .k = width, .mode = d ? RK_ADD : RK_OVERWRITE};
		K(product_by_row)(&p);
	}
}

/* masked: some row does not see all keys of the tile. */
RK_INLINE void rk_softmax_lanes(float *tile, struct rk_attention_scratch s, const struct rk_queries *q, int64_t first, int64_t count, float scale, int masked)
{
	const vf low = vf_set1(-INFINITY), zero = vf_zero();
	for (int64_t c = 0; c < q->vectors * VL; c += VL) {
		float *x = tile + c;
		vi limit = vi_load(q->limit + c) - (int32_t)first;
		vf m[4] = {low, low, low, low}, total[4] = {zero, zero, zero, zero};
		for (int64_t j = 0; j < count; j += 4)
			_Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
				if (j + i >= count) break;
				vf y = vf_load(x + (j + i) * QB) * scale;
				if (masked) y = vi_less(vi_set1((int32_t)(j + i)), limit, y, low);
				m[i] = vf_max(y, m[i]);
			}
		vf old = vf_load(s.max + c), top = vf_max(vf_max(m[0], m[1]), vf_max(m[2], m[3]));
		top = vf_max(top, old);
		vf_store(s.max + c, top);
		top = vf_less(low, top, top, zero); /* a row that has not seen a key has the maximum −∞ */
		for (int64_t j = 0; j < count; j += 4)
			_Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
				if (j + i >= count) break;
				vf e = vf_exp_softmax(vf_fma(vf_load(x + (j + i) * QB), vf_set1(scale), -top));
				if (masked) e = vi_less(vi_set1((int32_t)(j + i)), limit, e, zero);
				total[i] += e;
				vf_store(x + (j + i) * QB, e);
			}
		vf factor = vf_less(low, old, vf_exp_softmax(old - top), zero);
		vf_store(s.factor + c, factor);
		vf_store(s.sum + c, vf_fma(vf_load(s.sum + c), factor, (total[0] + total[1]) + (total[2] + total[3])));
	}
}

/* Turns a tile of scores of the keys from first on into weights relative to the
 * running maximum, and updates the maximum and the sum of each lane; factor is
 * what earlier weights are multiplied by. */
RK_INLINE void rk_softmax_tile(float *tile, struct rk_attention_scratch s, const struct rk_queries *q, int64_t first, int64_t count, float scale)
{
	if (q->least < first + count)
		rk_softmax_lanes(tile, s, q, first, count, scale, 1);
	else
		rk_softmax_lanes(tile, s, q, first, count, scale, 0);
}

/* The forward pass of one block. */
RK_INLINE void rk_attend(const struct rk_attention *a, const struct rk_queries *q, struct rk_attention_scratch s)
{
	float *o = rk_query(q, a->o);
	const int64_t o_stride = rk_query_stride(q, a->o), col = q->kv_head * a->dim;
	const int ready = a->dim <= RK_ATTENTION_DIMS;
	for (int64_t c = 0; c < QB; c += VL) {
		vf_store(s.max + c, vf_set1(-INFINITY));
		vf_store(s.sum + c, vf_zero());
	}
	if (q->keys == 0)
		for (int64_t r = 0; r < q->rows; r++) memset(o + r * o_stride, 0, (size_t)a->dim * 4);
	if (ready) K(turn)(s.turned, QB, rk_query(q, a->q), rk_query_stride(q, a->q), q->rows, q->vectors * VL, a->dim);
	for (int64_t first = 0; first < q->keys; first += RK_ATTENTION_KEYS) {
		int64_t count = q->keys - first < RK_ATTENTION_KEYS ? q->keys - first : RK_ATTENTION_KEYS;
		int64_t key = q->sequence * a->pitch + first;
		rk_scores(a, q, s.p, s.turned, a->q, rk_f32(a->k, key) + col, a->k.stride, count, ready);
		rk_softmax_tile(s.p, s, q, first, count, a->scale);
		struct rk_product p = {.out = o, .out_stride = o_stride, .a = s.p, .a_row = 1, .a_k = QB,
			.b = rk_f32(a->v, key) + col, .b_stride = a->v.stride, .m = q->rows, .n = a->dim, .k = count,
			.mode = first ? RK_ADD_SCALED : RK_OVERWRITE, .in = s.factor};
		if (first + count == q->keys) {
			for (int64_t c = 0; c < q->vectors * VL; c += VL) {
				vf sum = vf_load(s.sum + c);
				vf_store(s.delta + c, vf_less(vf_zero(), sum, 1.0f / sum, sum));
			}
			p.after = s.delta;
		}
		K(product_by_k)(&p);
	}
	float *lse = a->lse.data;
	for (int64_t c = 0; c < q->vectors * VL; c += VL) {
		vf sum = vf_load(s.sum + c);
		vf value = vf_load(s.max + c) + vf_log(sum);
		vf_store(s.factor + c, vf_select(sum == 0.0f, vf_set1(-INFINITY), value));
	}
	for (int64_t r = 0; r < q->rows; r++) lse[q->lse + r * q->lse_step] = s.factor[r];
}

/* Forward, task = ((sequence, head), block of queries). */
static void K(attention_queries)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	int64_t b = task / a->blocks / a->heads, h = task / a->blocks % a->heads, from = task % a->blocks * a->block;
	int64_t end = from + a->block < a->q_len ? from + a->block : a->q_len;
	/* In a short sequence much of a block is masked. */
	const int64_t most = a->causal && a->q_len < 2 * RK_ATTENTION_KEYS ? RK_MASKED_QUERIES : QB;
	for (; from < end; from += most) {
		struct rk_queries q = rk_queries_of(a, b, h, from, end - from < most ? end - from : most, 0);
		rk_attend(a, &q, rk_attention_scratch_of(scratch));
	}
}

/* Forward where there is one query, task = (sequence, key-value head): the heads of a group are the rows. */
static void K(attention_group)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	int64_t group = a->heads / a->kv_heads, b = task / a->kv_heads, h = task % a->kv_heads * group;
	for (int64_t from = 0; from < group; from += QB) {
		struct rk_queries q = rk_queries_of(a, b, h, from, group - from < QB ? group - from : QB, 1);
		rk_attend(a, &q, rk_attention_scratch_of(scratch));
	}
}

/* The forward pass of one row: scores as dot products, the keys in lanes. */
RK_INLINE void rk_attend_row(const struct rk_attention *a, const struct rk_queries *row, float *weights)
{
	const float *q = rk_query(row, a->q);
	float *o = rk_query(row, a->o);
	const int64_t col = row->kv_head * a->dim, keys = row->limit[0];
	float top = -INFINITY, total = 0, one = 0, factor = 0;
	if (keys == 0) memset(o, 0, (size_t)a->dim * 4);
	for (int64_t first = 0; first < keys; first += RK_ATTENTION_KEYS) {
		int64_t count = keys - first < RK_ATTENTION_KEYS ? keys - first : RK_ATTENTION_KEYS;
		int64_t at = row->sequence * a->pitch + first;
		const float *k = rk_f32(a->k, at) + col;
		for (int64_t j = 0; j < count; j++, k += a->k.stride) {
			struct rk_lanes dot = rk_lanes_of(0);
			RK_EACH(a->dim, dot.v[g] = vf_fma(rk_get(q + i, w), rk_get(k + i, w), dot.v[g]););
			weights[j] = rk_lanes_sum(&dot) * a->scale;
		}
		struct rk_lanes m = rk_lanes_of(-INFINITY), sum = rk_lanes_of(0);
		RK_EACH(count, m.v[g] = vf_max(rk_get_or(weights + i, w, -INFINITY), m.v[g]););
		float old = top;
		top = rk_lanes_max(&m);
		top = old > top ? old : top;
		float by = top > -INFINITY ? top : 0;
		RK_EACH(count,
			vf e = rk_keep(vf_exp_softmax(rk_get(weights + i, w) - by), w);
			sum.v[g] += e;
			vf_store(weights + i, e););
		factor = old > -INFINITY ? vf_exp_softmax(vf_set1(old - by))[0] : 0;
		total = total * factor + rk_lanes_sum(&sum);
		struct rk_product p = {.out = o, .a = weights, .a_row = 0, .a_k = 1, .b = rk_f32(a->v, at) + col,
			.b_stride = a->v.stride, .m = 1, .n = a->dim, .k = count,
			.mode = first ? RK_ADD_SCALED : RK_OVERWRITE, .in = &factor};
		if (first + count == keys) {
			one = total > 0 ? 1 / total : total;
			p.after = &one;
		}
		K(product_by_row)(&p);
	}
	((float *)a->lse.data)[row->lse] = total == 0 ? -INFINITY : top + rk_log(total);
}

/* Forward for a few queries, task = (sequence, head). */
static void K(attention_rows)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	for (int64_t i = 0; i < a->q_len; i++) {
		struct rk_queries q = rk_queries_of(a, task / a->heads, task % a->heads, i, 1, 0);
		rk_attend_row(a, &q, scratch);
	}
}

#include "attention_gradient.h"
