/* Matrix products and the linear layer with mask and adapter. M, N, K as in
 * kernels.GemmArgs; a panel is what one register tile reads of an operand:
 * k-major, mr rows of A or nr columns of B wide. */

/* W_eff of kernels.LinearWeight. Absent parts have data NULL. A plain operand is
 * one without mask and adapter, rounded to its own dtype. With offsets, w.data are
 * the packed values; w.rows and w.cols are always out and in. */
struct rk_weight {
	struct rk_mat w, offsets, mask, a, b;
	float scale;
	int32_t round;
};

/* C (m, n) = A·B in phases, one for each block of nc columns and, within it, of kc
 * of k. The tasks of a phase first pack B (a panel, or 64 columns, each), then multiply
 * (blocks of mc rows times groups of jg columns). Tasks are taken in ascending order,
 * and a task waits only for tasks before it: for those that packed what it reads, and
 * for those that read what it overwrites, two phases before. */
struct rk_gemm {
	struct rk_mat a, c, mask; /* mask zeroes elements of C at the end; data NULL: none */
	struct rk_weight b;
	int64_t m, n, k;
	int64_t nc, kc, mc, jg;
	int64_t packs, products; /* tasks of a phase; packs is 0 where B is read where it lies */
	int32_t a_by_k;      /* A is (k, m) */
	int32_t b_by_n;      /* B is (n, k) */
	int32_t direct;      /* A is read where it lies */
	int32_t accumulate;  /* C += */
	float *panels;       /* packed B of the even phases, then of the odd ones */
	int64_t *progress;   /* how many packs are done, then for each product of a phase in how many phases it is */
	const float *bias;   /* added at the end, or NULL; readable to a multiple of nr */
};

enum { RK_FEW = 8 }; /* rows of A up to which B (n, k) is not packed: few_rows */

/* G (out, in) = Aᵀ·B of A (t, out) and B (t, in), a tile of gm × gn at a time
 * and split into ranges of rows. A task is (split, tile row, tile column), the
 * last fastest. Each finished tile is scaled and masked and then either written
 * to c or partial, or folded into db and da. */
struct rk_outer {
	struct rk_mat a, b, mask, c;
	int64_t rows, out, in;
	int64_t gm, gn, kc;
	int64_t split_rows, splits;
	int32_t accumulate;          /* c += */
	int32_t fold;
	float scale;                 /* of G, with fold */
	struct rk_mat lora_a, lora_b;
	float *partial;              /* splits > 1, no fold: [split][out][in] */
	float *db, *da;              /* fold: [split·tile column][out][r], [split·tile row][r][in] */
};

/* dst (rows, cols) ← (+) Σ_p partial[p], p ascending; tasks: blocks of rows. */
struct rk_reduce {
	struct rk_mat dst;
	const float *partial;
	int64_t count, block;
	int32_t accumulate;
};

/* dst ← W_eff; tasks: blocks of 16 rows. */
struct rk_effective {
	struct rk_mat dst;
	struct rk_weight w;
};

#define RK_GEMM_OPS(X) X(multiply) X(few_rows) X(outer) X(reduce) X(effective_weight)
