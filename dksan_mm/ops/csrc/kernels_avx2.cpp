// x86-64 with AVX2 and FMA.
#include "kernels.h"
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#ifdef DKSAN_MM_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define DKSAN_MM_ISA avx2_isa
#define DKSAN_MM_NAME "avx2"
#define DKSAN_MM_VECTOR 32
#define DKSAN_MM_KERNELS kernels_avx2
#include "kernels_impl.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
