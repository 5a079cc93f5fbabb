/* The linear layer over the weights that its mask keeps, for layers that
 * sparse.go chooses. A list is what rows of a sparse matrix have in a tile of
 * 64 columns: byte offsets into a tile of the dense operand that lies column by
 * column with tokens in lanes, and values. */

/* Y (m, n) = X·Sᵀ for S (n, k) = W_eff, or W_effᵀ with twin, one block of S's rows
 * after the other, in three phases: count (tasks: tiles of k), pack (tasks: tile
 * of k × slot of 64 rows), multiply (tasks: block of tokens × part of the rows).
 * The lists of 64 rows lie in slot tile·groups + row/64. Two rows share a list of
 * the columns that both keep, so that each of those is read once; then come the
 * columns of the first row alone and those of the second. The values of a row
 * follow each other, those of the second behind those of the first. */
struct rk_sparse {
	struct rk_mat x, y;
	struct rk_weight w;
	int32_t twin, accumulate;    /* accumulate: Y += */
	const float *bias;           /* n floats, or NULL */
	int64_t m, n, k;
	int64_t n0, nb;              /* the block's rows */
	int64_t kc;                  /* of k: the length of a chain of sums */
	int64_t tiles, groups;       /* of 64 columns; of 64 rows */
	int64_t part;                /* rows of a task */
	int64_t room;                /* entries of a slot */
	int64_t *most;               /* count: the fullest slot of each tile */
	float *values;
	uint16_t *offsets;
	uint16_t *counts;            /* 96 a slot: of both, the first, and the second row of a pair */
};

/* dB and dA of G = scale·M ⊙ (dyᵀ·x) for dy (t, out), x (t, in), at the kept elements
 * alone: one range of tokens and of columns after the other, in two phases. turn
 * (tasks: tiles of 32 columns) lays x out column by column; outer (tasks: block of rows
 * × part of the columns) writes parts of dB and dA. Tokens go in blocks of 12, 8, 4, 2
 * or 1 vectors, as many as fit. */
struct rk_sparse_outer {
	struct rk_mat dy, x, mask, lora_a, lora_b;
	float scale;
	int64_t out, in;
	int64_t t0, tokens;          /* the range of tokens */
	int64_t j0, nj;              /* the range of columns */
	int64_t rows, cols;          /* of a task: at most 256; multiples of 64 */
	float *turned;               /* tile c of x at c·tokens, tokens rounded up to VL; a block's columns follow each other */
	float *db, *da;              /* [part of the columns][out][r], [row block][r][in]: of this range of tokens */
	int64_t part0;               /* of the columns: the range's first */
};

#define RK_SPARSE_OPS(X) X(sparse_count) X(sparse_pack) X(sparse_multiply) X(sparse_turn) X(sparse_outer)
