/* The boundary between Go and C. One operation is a function of (args, task,
 * scratch): args is the operation's own struct, task one of a number of pieces
 * that depends on the shape alone, scratch the running thread's memory. Tasks are
 * taken in ascending order and wait for earlier ones at most. No file here keeps
 * state. */
#ifndef RK_KERNELS_H
#define RK_KERNELS_H
#include <stdint.h>

/* rk_mat is a kernels.Tensor: data points at the first element, stride counts
 * elements. data is NULL where the tensor is absent. Reading up to 256 bytes
 * past the end of a buffer is safe (device memory is padded); writing is not. */
struct rk_mat {
	void *data;
	int64_t rows, cols, stride;
	int32_t dtype;
};

/* The values of kernels.DType. */
enum { RK_F32, RK_BF16, RK_F64, RK_I32, RK_U64 };

typedef void (*rk_task)(const void *args, int64_t task, void *scratch);

/* Every operation of the table, one line in the file that holds its struct. */
#include "gemm.h"
#include "elementwise.h"
#include "activation.h"
#include "attention.h"
#include "loss.h"
#include "norm.h"
#include "optim.h"
#include "rowops.h"
#include "sparse.h"
#include "masking.h"

#define RK_OPS(X) \
	RK_GEMM_OPS(X) RK_ELEMENTWISE_OPS(X) RK_ACTIVATION_OPS(X) RK_ATTENTION_OPS(X) \
	RK_LOSS_OPS(X) RK_NORM_OPS(X) RK_OPTIM_OPS(X) RK_ROWOPS_OPS(X) \
	RK_SPARSE_OPS(X) RK_MASKING_OPS(X)

/* rk_table holds one variant's functions. */
struct rk_table {
#define X(name) rk_task name;
	RK_OPS(X)
#undef X
	int64_t mr, nr; /* the register tile of matrix products: rows, columns */
	int64_t lanes;  /* floats of a vector */
	int64_t sparse_tokens; /* of a tile of the products over kept weights */
	int64_t sparse_kept; /* bytes of a task's list of kept elements */
};

/* The variants; NULL where the platform has not got one. */
const struct rk_table *rk_table_avx512(void);
const struct rk_table *rk_table_avx2(void);
const struct rk_table *rk_table_generic(void);

/* rk_run runs tasks 0 … n−1. */
void rk_run(rk_task fn, const void *args, int64_t n, void *scratch);
/* rk_run_shared runs tasks from *next on until n; several threads may share next. */
void rk_run_shared(rk_task fn, const void *args, int64_t n, int64_t *next, void *scratch);

/* rk_wait waits until *at, which other tasks of the operation raise, is at least value. */
void rk_wait(const int64_t *at, int64_t value);

/* rk_alloc returns bytes zeroed bytes aligned to 64 with padding behind, or NULL. */
void *rk_alloc(int64_t bytes);
void rk_free(void *p);

/* rk_compiler names the compiler, as "gcc12.2". */
const char *rk_compiler(void);
#endif
