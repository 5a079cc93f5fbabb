/* Every kernel, for the variant that the including file defined. */
#include "variant.h"
#include "kernels.h"
#include "elementwise_body.h"
#include "gemm_body.h"
#include "activation_body.h"
#include "attention_body.h"
#include "loss_body.h"
#include "norm_body.h"
#include "optim_body.h"
#include "rowops_body.h"
#include "sparse_body.h"
#include "masking_body.h"

static const struct rk_table K(functions) = {
#define X(name) .name = K(name),
	RK_OPS(X)
#undef X
	.mr = RK_MR,
	.nr = RK_NR,
	.lanes = VL,
	.sparse_tokens = SP_TOKENS,
	.sparse_kept = sizeof(struct K(kept)),
};

const struct rk_table *K(table)(void) { return &K(functions); }
