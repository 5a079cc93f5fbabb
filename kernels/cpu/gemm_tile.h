/* The register tile: RK_MR rows of A times RK_NV vectors of columns of B. */
#if defined(RK_AVX512)
#define RK_MR 12
#elif defined(RK_AVX2)
#define RK_MR 6
#else
#define RK_MR 4
#endif
#define RK_NV 2
#define RK_NR (RK_NV * VL)

/* What one tile reads and writes. Element (i, k) of A is a[i·ai + k·ak]; B's row
 * k starts at b + k·bk; n columns of C are valid. */
struct K(operands) {
	const float *a, *b, *bias;
	float *c;
	int64_t ai, ak, bk, ldc, kc, n;
	int32_t accumulate;
};

/* C = (C +) Σ_k A·B (+ bias): one chain of fused (generic: separate) products and sums
 * per element, k ascending, so that an element's bits depend on neither mr nor nv. */
RK_INLINE void K(tile)(const int mr, const int nv, const struct K(operands) *o, const int64_t ai, const int64_t ak)
{
	vf acc[RK_MR][RK_NV];
	const float *a = o->a, *b = o->b;
	const int64_t bk = o->bk;
	/* C arrives while the products are formed. */
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++) __builtin_prefetch(o->c + i * o->ldc + j * VL, 1);
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++) acc[i][j] = vf_zero();
	for (int64_t k = o->kc; k > 0; k--) {
		vf bv[RK_NV];
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++) bv[j] = vf_load(b + j * VL);
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			vf av = vf_set1(a[i * ai]);
#pragma GCC unroll 2
			for (int j = 0; j < nv; j++) acc[i][j] = vf_fma(av, bv[j], acc[i][j]);
		}
		a += ak;
		b += bk;
	}
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++) {
		float *c = o->c + i * o->ldc;
#pragma GCC unroll 2
		for (int j = 0; j < nv; j++) {
			int64_t left = o->n - j * VL;
			vf v = acc[i][j];
			if (left >= VL) {
				if (o->accumulate) v = vf_load(c + j * VL) + v;
				if (o->bias) v = v + vf_load(o->bias + j * VL);
				vf_store(c + j * VL, v);
			} else if (left > 0) {
				if (o->accumulate) v = vf_loadn(c + j * VL, left) + v;
				if (o->bias) v = v + vf_loadn(o->bias + j * VL, left);
				vf_storen(c + j * VL, v, left);
			}
		}
	}
}

/* k varies fastest in A (rows), or i does (panels, and A by k). */
#define RK_TILE(mr) \
	static __attribute__((noinline)) void K(rows_##mr##_1)(const struct K(operands) *o) { K(tile)(mr, 1, o, o->ai, 1); } \
	static __attribute__((noinline)) void K(rows_##mr##_2)(const struct K(operands) *o) { K(tile)(mr, 2, o, o->ai, 1); } \
	static __attribute__((noinline)) void K(cols_##mr##_1)(const struct K(operands) *o) { K(tile)(mr, 1, o, 1, o->ak); } \
	static __attribute__((noinline)) void K(cols_##mr##_2)(const struct K(operands) *o) { K(tile)(mr, 2, o, 1, o->ak); }

#define RK_TILES_4(X) X(1) X(2) X(3) X(4)
#define RK_TILES_6(X) RK_TILES_4(X) X(5) X(6)
#define RK_TILES_12(X) RK_TILES_6(X) X(7) X(8) X(9) X(10) X(11) X(12)
#define RK_TILES(X) RK_CAT(RK_TILES, RK_MR)(X)

RK_TILES(RK_TILE)

typedef void (*K(tile_function))(const struct K(operands) *);

/* [whether A lies by rows][rows − 1][vectors − 1] */
static const K(tile_function) K(tiles)[2][RK_MR][RK_NV] = {
#define X(mr) {K(cols_##mr##_1), K(cols_##mr##_2)},
	{RK_TILES(X)},
#undef X
#define X(mr) {K(rows_##mr##_1), K(rows_##mr##_2)},
	{RK_TILES(X)},
#undef X
};
