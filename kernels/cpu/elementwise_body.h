/* Elementwise operations; struct rk_elementwise says what is in args. */

/* The rows [*lo, *hi) of a task. */
#define RK_TASK_ROWS(total) \
	int64_t lo = task * g->block, hi = lo + g->block < (total) ? lo + g->block : (total)

RK_INLINE float *rk_f32(struct rk_mat m, int64_t row) { return (float *)m.data + row * m.stride; }
RK_INLINE uint16_t *rk_bf16(struct rk_mat m, int64_t row) { return (uint16_t *)m.data + row * m.stride; }
RK_INLINE int64_t rk_size(int32_t dtype) { return dtype == RK_BF16 ? 2 : dtype == RK_F64 || dtype == RK_U64 ? 8 : 4; }
RK_INLINE char *rk_bytes(struct rk_mat m, int64_t row) { return (char *)m.data + row * m.stride * rk_size(m.dtype); }

/* dst ← value */
static void K(fill)(const void *args, int64_t task, void *scratch)
{
	const struct rk_elementwise *g = args;
	(void)scratch;
	RK_TASK_ROWS(g->dst.rows);
	int64_t n = g->dst.cols;
	vf v = vf_set1(g->value);
	uint16_t h = rk_to_bf16(g->value);
	for (int64_t r = lo; r < hi; r++) {
		int64_t i = 0;
		if (g->dst.dtype == RK_BF16) {
			uint16_t *d = rk_bf16(g->dst, r);
			for (; i < n; i++) d[i] = h;
			continue;
		}
		float *d = rk_f32(g->dst, r);
		for (; i + VL <= n; i += VL) vf_store(d + i, v);
		vf_storen(d + i, v, n - i);
	}
}

/* n floats from a row of F32 or BF16 */
RK_INLINE void rk_widen(float *d, const void *row, int32_t dtype, int64_t n)
{
	if (dtype == RK_F32) {
		memcpy(d, row, (size_t)n * 4);
		return;
	}
	const uint16_t *s = row;
	int64_t i = 0;
	for (; i + VL <= n; i += VL) vf_store(d + i, vf_load_bf16(s + i));
	for (; i < n; i++) d[i] = rk_of_bf16(s[i]);
}

RK_INLINE void rk_narrow(uint16_t *d, const float *s, int64_t n)
{
	int64_t i = 0;
	for (; i + VL <= n; i += VL) vf_store_bf16(d + i, vf_load(s + i));
	for (; i < n; i++) d[i] = rk_to_bf16(s[i]);
}

/* dst ← a, F32 or BF16 to either, or a copy of equal dtypes */
static void K(convert)(const void *args, int64_t task, void *scratch)
{
	const struct rk_elementwise *g = args;
	(void)scratch;
	RK_TASK_ROWS(g->dst.rows);
	int64_t n = g->dst.cols;
	for (int64_t r = lo; r < hi; r++) {
		if (g->dst.dtype == g->a.dtype)
			memcpy(rk_bytes(g->dst, r), rk_bytes(g->a, r), (size_t)(n * rk_size(g->dst.dtype)));
		else if (g->dst.dtype == RK_BF16)
			rk_narrow(rk_bf16(g->dst, r), rk_f32(g->a, r), n);
		else
			rk_widen(rk_f32(g->dst, r), rk_bf16(g->a, r), RK_BF16, n);
	}
}

/* dst ← round(a) + round(b), rounding to g->round and back */
static void K(add)(const void *args, int64_t task, void *scratch)
{
	const struct rk_elementwise *g = args;
	(void)scratch;
	RK_TASK_ROWS(g->dst.rows);
	int64_t n = g->dst.cols;
	for (int64_t r = lo; r < hi; r++) {
		float *d = rk_f32(g->dst, r);
		const float *a = rk_f32(g->a, r), *b = rk_f32(g->b, r);
		int64_t i = 0;
		if (g->round == RK_BF16) {
			for (; i + VL <= n; i += VL)
				vf_store(d + i, vf_round_bf16(vf_load(a + i)) + vf_round_bf16(vf_load(b + i)));
			vf_storen(d + i, vf_round_bf16(vf_loadn(a + i, n - i)) + vf_round_bf16(vf_loadn(b + i, n - i)), n - i);
			continue;
		}
		for (; i + VL <= n; i += VL) vf_store(d + i, vf_load(a + i) + vf_load(b + i));
		vf_storen(d + i, vf_loadn(a + i, n - i) + vf_loadn(b + i, n - i), n - i);
	}
}

/* dst[i] ← a[b[0][i]], a F32 or BF16, b I32 */
static void K(gather_rows)(const void *args, int64_t task, void *scratch)
{
	const struct rk_elementwise *g = args;
	(void)scratch;
	RK_TASK_ROWS(g->dst.rows);
	const int32_t *index = g->b.data;
	for (int64_t r = lo; r < hi; r++)
		rk_widen(rk_f32(g->dst, r), rk_bytes(g->a, index[r]), g->a.dtype, g->dst.cols);
}

/* dst[b[0][i]] ← a[i], the indices unique */
static void K(scatter_rows)(const void *args, int64_t task, void *scratch)
{
	const struct rk_elementwise *g = args;
	(void)scratch;
	RK_TASK_ROWS(g->a.rows);
	const int32_t *index = g->b.data;
	for (int64_t r = lo; r < hi; r++)
		memcpy(rk_f32(g->dst, index[r]), rk_f32(g->a, r), (size_t)g->dst.cols * 4);
}
