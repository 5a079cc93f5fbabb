/* Matrix products; see gemm_body.h. */
#define RK_GEMM_OPS(X)
