/* Scaled dot-product attention over tiles of keys.
 *
 * B = sequences, H = query heads, G = key-value heads, D = head dim,
 * QL = queries and KL = keys of a sequence. q, o, d_o, dq are (B·QL, H·D),
 * k, v, dk, dv (B·pitch, G·D), lse (B·H, QL), lengths (1, B) or absent. */
struct rk_attention {
	struct rk_mat q, k, v, o, lse, lengths, d_o, dq, dk, dv;
	int64_t heads, kv_heads, dim, q_len, k_len, pitch;
	int64_t blocks;     /* tasks of one sequence and head (attention_backward: key-value head) */
	int64_t block;      /* queries of one task, or tiles of keys in attention_backward */
	int64_t batch_rows; /* B·QL */
	int64_t *progress;  /* for attention_backward: of each tile, how many queries it has behind it */
	float *delta;       /* (H, B·QL) dO·O of each query and head */
	float scale;
	int32_t causal;
};

/* One thread's scratch: forward, a transposed block of 256 columns and two score tiles of
 * 64 keys, each for at most 32 queries, and some numbers per query; backward, two transposed
 * tiles of keys of all D columns and two score tiles. */
enum {
	RK_ATTENTION_KEYS = 64,
	RK_ATTENTION_DIMS = 256,
	RK_ATTENTION_QUERIES = 32,
	RK_ATTENTION_SCRATCH = 4 * RK_ATTENTION_QUERIES * (RK_ATTENTION_DIMS + 2 * RK_ATTENTION_KEYS + 8),
	RK_GRADIENT_QUERIES = 64, /* of a block of the backward pass */
	RK_MASKED_QUERIES = 16,   /* of a block where the mask cuts much of it */
};

#define RK_ATTENTION_OPS(X) X(attention_queries) X(attention_group) X(attention_rows) X(attention_backward)
