/* The AVX512 variant. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f","avx512dq","avx512bw","avx512vl","avx2","fma")
#endif
#include <immintrin.h>
#define RK_AVX512
#define RK_VARIANT avx512
#include "body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "kernels.h"
const struct rk_table *rk_table_avx512(void) { return 0; }
#endif
