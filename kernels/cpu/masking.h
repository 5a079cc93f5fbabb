/* n:m masks, and the elements that a mask keeps. */

/* task = block rows; scratch: RK_SELECT_SCRATCH bytes */
struct rk_select {
	struct rk_mat w, norms, mask, bad; /* norms.data may be NULL */
	int64_t keep, group;               /* keep of group */
	int64_t block;
};

/* Scores of as many groups as a vector has float64, of up to 64 columns, twice. */
enum { RK_SELECT_SCRATCH = 2 * 64 * 8 * 8 };

/* task = block rows of dense */
struct rk_kept {
	struct rk_mat dense, mask;
	float *packed;
	const int64_t *before; /* [tasks]: elements kept before the task's first row */
	int64_t block;
};

#define RK_MASKING_OPS(X) X(select_mask) X(pack_kept) X(unpack_kept)
