//compile: hot=*
/* The forward pass of attention (FlashAttention-2, T. Dao, arXiv 2307.08691): a block has a
 * head's queries of a tile and walks over the tiles of keys, with the softmax of what it
 * has seen so far. */
#include "attention_forward.cuh"

template <int D, int ROWS, int KEYS> DEVICE void forward(const struct attention_args &a)
{
	constexpr int RI = ROWS / 16;
	SHARED_DYNAMIC(float, q);
	const auto [of, n, q0, rows, q_col, k_col, q_row, k_row] = tile_of_queries<ROWS>(a);
	if (n < 0) return; /* the whole block */
	load_tile<ROWS, D>(q, a.q, q_row, q_col, rows, a.dim);
	progress<RI, D> p;
	i32 seen[RI];
	UNROLL
	for (int i = 0; i < RI; i++) seen[i] = visible(a, n, q0 + down() * RI + i);
	attend<D, ROWS, KEYS, false>(p, a, q, seen, k_row, k_col, n, 0, visible(a, n, q0 + rows - 1));
	UNROLL
	for (int i = 0; i < RI; i++) {
		const i32 r = down() * RI + i;
		const float lse = finish(p, i);
		if (r < rows && across() == 0) element(a.lse, of, q0 + r) = lse;
	}
	store_rows<RI, D>(p.acc, a.o, q_row, q_col, rows, a.dim);
}

/* The tiles are those of attention.go. */
#define FORWARD(D, ROWS, KEYS) \
	KERNEL_RESIDENT(attention_forward_##D, attention_args, THREADS, 2) { forward<D, ROWS, KEYS>(a); }
FORWARD(32, 64, 64)
FORWARD(64, 64, 64)
FORWARD(96, 64, 64)
FORWARD(128, 64, 64)
FORWARD(256, 32, 32)
