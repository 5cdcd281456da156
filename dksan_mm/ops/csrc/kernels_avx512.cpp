// x86-64 with AVX-512 (F, BW, DQ, VL).
#include "kernels.h"
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#ifdef DKSAN_MM_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,fma,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,fma,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif

#define DKSAN_MM_ISA avx512_isa
#define DKSAN_MM_NAME "avx512"
#define DKSAN_MM_VECTOR 64
#define DKSAN_MM_KERNELS kernels_avx512
#include "kernels_impl.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
