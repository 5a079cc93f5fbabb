/* The backward pass of attention, over tiles of keys and blocks of queries.
 *
 * P is formed again from Q, K and the saved log-sum. Every element of dQ is a
 * sum over ascending keys, every element of dK and dV a sum over ascending
 * queries of the group's heads in order, whichever loop is outside and however
 * the work is divided. */

/* What of one (key tile, query block) is written. */
struct rk_gradient_tile {
	int64_t key, count;   /* first key of the tile within the sequence, and their number */
	int dq, first, dkv;   /* write dQ (overwriting it at first), add to dK and dV */
};

RK_INLINE void rk_attend_backward(const struct rk_attention *a, const struct rk_queries *q, struct rk_gradient_tile t,
	struct rk_attention_scratch s)
{
	const int64_t row = q->sequence * a->pitch + t.key, col = q->kv_head * a->dim;
	const float *k = rk_f32(a->k, row) + col, *v = rk_f32(a->v, row) + col, *lse = a->lse.data;
	const float *dy = rk_query(q, a->d_o), *y = rk_query(q, a->o);
	const int64_t dy_stride = rk_query_stride(q, a->d_o), y_stride = rk_query_stride(q, a->o);
	const int64_t count = q->keys - t.key < t.count ? q->keys - t.key : t.count;
	const int masked = q->least < t.key + count;

	rk_scores(a, q, s.p, s.turned, a->q, k, a->k.stride, count, 0);
	rk_scores(a, q, s.ds, s.turned, a->d_o, v, a->v.stride, count, 0);
	for (int64_t r = 0; r < q->vectors * VL; r++) s.sum[r] = s.delta[r] = 0;
	for (int64_t r = 0; r < q->rows; r++) { /* delta = dO·O, which is Σ_j P_j·dP_j */
		struct rk_lanes dot = rk_lanes_of(0);
		RK_EACH(a->dim, dot.v[g] = vf_fma(rk_get(dy + r * dy_stride + i, w), rk_get(y + r * y_stride + i, w), dot.v[g]););
		s.delta[r] = rk_lanes_sum(&dot);
		s.sum[r] = lse[q->lse + r * q->lse_step];
	}
	for (int64_t c = 0; c < q->vectors * VL; c += VL) {
		vf top = vf_load(s.sum + c), delta = vf_load(s.delta + c);
		vi limit = vi_load(q->limit + c) - (int32_t)t.key;
		_Pragma("GCC unroll 4") for (int64_t j = 0; j < count; j++) {
			float *p = s.p + j * QB + c, *ds = s.ds + j * QB + c;
			vf e = vf_exp_softmax(vf_fma(vf_load(p), vf_set1(a->scale), -top));
			vf d = vf_load(ds) - delta;
			if (masked) e = vi_less(vi_set1((int32_t)j), limit, e, vf_zero());
			vf_store(p, e);
			vf_store(ds, e * d * a->scale);
		}
	}
	if (t.dkv) {
		struct rk_product dv = {.out = rk_f32(a->dv, row) + col, .out_stride = a->dv.stride, .a = s.p, .a_row = QB, .a_k = 1,
			.b = dy, .b_stride = dy_stride, .m = count, .n = a->dim, .k = q->rows, .mode = RK_ADD};
		struct rk_product dk = dv;
		dk.out = rk_f32(a->dk, row) + col;
		dk.out_stride = a->dk.stride;
		dk.a = s.ds;
		dk.b = rk_query(q, a->q);
		dk.b_stride = rk_query_stride(q, a->q);
		K(product_by_row)(&dv);
		K(product_by_row)(&dk);
	}
	if (t.dq) {
		struct rk_product dq = {.out = rk_query(q, a->dq), .out_stride = rk_query_stride(q, a->dq), .a = s.ds, .a_row = 1, .a_k = QB,
			.b = k, .b_stride = a->k.stride, .m = q->rows, .n = a->dim, .k = count, .mode = t.first ? RK_OVERWRITE : RK_ADD};
		K(product_by_k)(&dq);
	}
}

/* dQ of the queries from…end−1 of the heads head…heads_end−1 and dK, dV of the keys
 * key…key_end−1 that they read, as asked. dK and dV of a tile are cleared first. */
RK_INLINE void rk_attention_gradients(const struct rk_attention *a, int64_t b, int64_t head, int64_t heads_end,
	int64_t from, int64_t end, int64_t key, int64_t key_end, int want_dq, int want_dkv, void *scratch)
{
	const int64_t col = head / (a->heads / a->kv_heads) * a->dim;
	for (; key < key_end; key += RK_ATTENTION_KEYS) {
		struct rk_gradient_tile t = {.key = key, .dq = want_dq, .first = key == 0, .dkv = want_dkv};
		t.count = key_end - key < RK_ATTENTION_KEYS ? key_end - key : RK_ATTENTION_KEYS;
		if (want_dkv)
			for (int64_t r = b * a->pitch + key; r < b * a->pitch + key + t.count; r++) {
				memset(rk_f32(a->dk, r) + col, 0, (size_t)a->dim * 4);
				memset(rk_f32(a->dv, r) + col, 0, (size_t)a->dim * 4);
			}
		for (int64_t h = head; h < heads_end; h++)
			for (int64_t i = from; i < end; i += QB) {
				struct rk_queries q = rk_queries_of(a, b, h, i, end - i < QB ? end - i : QB, 0);
				if (q.keys > key)
					rk_attend_backward(a, &q, t, rk_attention_scratch_of(scratch));
				else if (t.dq && t.first)
					for (int64_t r = 0; r < q.rows; r++)
						memset(rk_query(&q, a->dq) + r * rk_query_stride(&q, a->dq), 0, (size_t)a->dim * 4);
			}
	}
}

/* Everything at once, task = (sequence, key-value head): five products a tile. */
static void K(attention_backward)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	int64_t group = a->heads / a->kv_heads, b = task / a->kv_heads, h = task % a->kv_heads * group;
	rk_attention_gradients(a, b, h, h + group, 0, a->q_len, 0, a->pitch, 1, 1, scratch);
}

/* dQ alone, task = ((sequence, head), block of queries). */
static void K(attention_backward_queries)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	int64_t b = task / a->blocks / a->heads, h = task / a->blocks % a->heads, from = task % a->blocks * a->block;
	int64_t end = from + a->block < a->q_len ? from + a->block : a->q_len;
	rk_attention_gradients(a, b, h, h + 1, from, end, 0, a->k_len, 1, 0, scratch);
}

/* dK and dV alone, task = ((sequence, key-value head), block of keys). */
static void K(attention_backward_keys)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	int64_t group = a->heads / a->kv_heads, from = task % a->blocks * a->block;
	int64_t b = task / a->blocks / a->kv_heads, h = task / a->blocks % a->kv_heads * group;
	int64_t end = from + a->block < a->pitch ? from + a->block : a->pitch;
	rk_attention_gradients(a, b, h, h + group, 0, a->q_len, from, end, 0, 1, scratch);
}
