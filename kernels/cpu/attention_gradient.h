/* The backward pass of attention: a task keeps a tile of keys, past which blocks of
 * queries move.
 *
 * P is formed again from Q, K and the saved log-sum, here with the keys in lanes, so that
 * what is turned, K and V, is turned once for all queries that read it. Every element of
 * dQ is a sum over ascending keys, every element of dK and dV a sum over ascending queries
 * of the group's heads in order, however queries are cut into blocks. */

/* A tile of keys of one sequence and key-value head. */
struct rk_key_tile {
	int64_t key, count, row, col; /* first key within the sequence, keys; where they lie in K */
	float *k_turned, *v_turned;   /* (D, RK_ATTENTION_KEYS) */
	float *p, *ds;                /* (queries, RK_ATTENTION_KEYS) */
};

/* Forms P and dS in the place of scores and dP. masked: some row does not see all keys. */
RK_INLINE void rk_score_gradients(const struct rk_attention *a, const struct rk_queries *q, const struct rk_key_tile *t, int64_t lanes, int masked)
{
	const float *dy = rk_query(q, a->d_o), *y = rk_query(q, a->o), *lse = (const float *)a->lse.data + q->lse;
	float *deltas = a->delta + q->head * a->batch_rows + q->row;
	for (int64_t r = 0; r < q->rows; r++, dy += a->d_o.stride, y += a->o.stride) {
		if (t->key == 0) { /* dO·O, which is Σ_j P_j·dP_j */
			struct rk_lanes dot = rk_lanes_of(0);
			RK_EACH(a->dim, dot.v[g] = vf_fma(rk_get(dy + i, w), rk_get(y + i, w), dot.v[g]););
			deltas[r] = rk_lanes_sum(&dot);
		}
		const vf top = vf_set1(lse[r]), delta = vf_set1(deltas[r]);
		const vi limit = vi_set1(q->limit[r] - (int32_t)t->key);
		float *p = t->p + r * RK_ATTENTION_KEYS, *ds = t->ds + r * RK_ATTENTION_KEYS;
		_Pragma("GCC unroll 4") for (int64_t c = 0; c < lanes; c += VL) {
			vf e = vf_exp_softmax(vf_fma(vf_load(p + c), vf_set1(a->scale), -top));
			if (masked) e = vi_less(vi_iota() + (int32_t)c, limit, e, vf_zero());
			vf_store(p + c, e);
			vf_store(ds + c, e * (vf_load(ds + c) - delta) * a->scale);
		}
	}
}

/* Adds what a block of queries gives dK and dV, and to dQ, which the first tile overwrites. */
RK_INLINE void rk_attend_backward(const struct rk_attention *a, const struct rk_queries *q, const struct rk_key_tile *t, int64_t count, int masked)
{
	const int64_t lanes = (count + VL - 1) / VL * VL;
	struct rk_product s = {.out = t->p, .out_stride = RK_ATTENTION_KEYS, .a = rk_query(q, a->q), .a_row = a->q.stride,
		.b = t->k_turned, .b_stride = RK_ATTENTION_KEYS, .m = q->rows, .n = lanes, .k = a->dim};
	struct rk_product dp = {.out = t->ds, .out_stride = RK_ATTENTION_KEYS, .a = rk_query(q, a->d_o), .a_row = a->d_o.stride,
		.b = t->v_turned, .b_stride = RK_ATTENTION_KEYS, .m = q->rows, .n = lanes, .k = a->dim};
	struct rk_product dv = {.out = rk_f32(a->dv, t->row) + t->col, .out_stride = a->dv.stride, .a = t->p, .a_k = RK_ATTENTION_KEYS,
		.b = dp.a, .b_stride = a->d_o.stride, .m = count, .n = a->dim, .k = q->rows, .mode = RK_ADD};
	struct rk_product dk = {.out = rk_f32(a->dk, t->row) + t->col, .out_stride = a->dk.stride, .a = t->ds, .a_k = RK_ATTENTION_KEYS,
		.b = s.a, .b_stride = a->q.stride, .m = count, .n = a->dim, .k = q->rows, .mode = RK_ADD};
	struct rk_product dq = {.out = rk_query(q, a->dq), .out_stride = a->dq.stride, .a = t->ds, .a_row = RK_ATTENTION_KEYS,
		.b = rk_f32(a->k, t->row) + t->col, .b_stride = a->k.stride, .m = q->rows, .n = a->dim, .k = count, .mode = t->key ? RK_ADD : RK_OVERWRITE};
	K(product_by_row)(&s);
	K(product_by_row)(&dp);
	if (masked)
		rk_score_gradients(a, q, t, lanes, 1);
	else
		rk_score_gradients(a, q, t, lanes, 0);
	K(product_by_k)(&dv);
	K(product_by_k)(&dk);
	K(product_by_row)(&dq);
}

/* All queries of a head, in blocks, smaller ones where the mask cuts the tile. A tile adds to
 * dQ of a block when the tile before it has; done is how many queries this one has behind it. */
RK_INLINE int64_t rk_head_gradients(const struct rk_attention *a, const struct rk_key_tile *t, int64_t sequence, int64_t head, int64_t done, int64_t *progress)
{
	for (int64_t from = 0; from < a->q_len;) {
		const int64_t left = a->q_len - from, most = RK_GRADIENT_QUERIES, few = RK_MASKED_QUERIES;
		struct rk_queries q = rk_queries_of(a, sequence, head, from, left < most ? left : most, 0);
		int64_t count = q.keys - t->key < t->count ? q.keys - t->key : t->count;
		const int masked = q.least < t->key + count;
		if (count > 0 && masked && q.rows > few) {
			q = rk_queries_of(a, sequence, head, from, few, 0);
			count = q.keys - t->key < t->count ? q.keys - t->key : t->count;
		}
		if (count > 0) {
			if (t->key) rk_wait(progress - 1, done + q.rows);
			rk_attend_backward(a, &q, t, count, masked);
		} else if (t->key == 0)
			for (int64_t r = 0; r < q.rows; r++) memset(rk_query(&q, a->dq) + r * a->dq.stride, 0, (size_t)a->dim * 4);
		from += q.rows;
		done += q.rows;
		__atomic_store_n(progress, done, __ATOMIC_RELEASE);
	}
	return done;
}

/* Task = ((sequence, key-value head), block of tiles of keys). */
static void K(attention_backward)(const void *args, int64_t task, void *scratch)
{
	const struct rk_attention *a = args;
	const int64_t head = task / a->blocks, b = head / a->kv_heads, h = head % a->kv_heads, group = a->heads / a->kv_heads;
	const int64_t tiles = (a->pitch + RK_ATTENTION_KEYS - 1) / RK_ATTENTION_KEYS, first = task % a->blocks * a->block;
	struct rk_key_tile t = {.col = h * a->dim, .k_turned = scratch};
	t.v_turned = t.k_turned + a->dim * RK_ATTENTION_KEYS;
	t.p = t.v_turned + a->dim * RK_ATTENTION_KEYS;
	t.ds = t.p + RK_GRADIENT_QUERIES * RK_ATTENTION_KEYS;
	for (int64_t tile = first; tile < first + a->block && tile < tiles; tile++) {
		t.key = tile * RK_ATTENTION_KEYS;
		t.count = a->pitch - t.key < RK_ATTENTION_KEYS ? a->pitch - t.key : RK_ATTENTION_KEYS;
		t.row = b * a->pitch + t.key;
		const int64_t lanes = (t.count + VL - 1) / VL * VL;
		K(turn)(t.k_turned, RK_ATTENTION_KEYS, rk_f32(a->k, t.row) + t.col, a->k.stride, t.count, lanes, a->dim);
		K(turn)(t.v_turned, RK_ATTENTION_KEYS, rk_f32(a->v, t.row) + t.col, a->v.stride, t.count, lanes, a->dim);
		for (int64_t r = t.row; r < t.row + t.count; r++) {
			memset(rk_f32(a->dk, r) + t.col, 0, (size_t)a->dim * 4);
			memset(rk_f32(a->dv, r) + t.col, 0, (size_t)a->dim * 4);
		}
		int64_t done = 0;
		for (int64_t i = h * group; i < (h + 1) * group; i++)
			done = rk_head_gradients(a, &t, b, i, done, a->progress + head * tiles + tile);
	}
}
