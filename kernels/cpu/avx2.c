/* The AVX2 variant. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2","fma")
#endif
#include <immintrin.h>
#define RK_AVX2
#define RK_VARIANT avx2
#include "body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "kernels.h"
const struct rk_table *rk_table_avx2(void) { return 0; }
#endif
