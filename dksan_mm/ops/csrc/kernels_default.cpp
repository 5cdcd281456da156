// Any machine: vectors of 16 bytes, which every x86-64 and ARMv8 core has.
#include "kernels.h"
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#define DKSAN_MM_ISA default_isa
#define DKSAN_MM_NAME "default"
#define DKSAN_MM_VECTOR 16
#define DKSAN_MM_KERNELS kernels_default
#include "kernels_impl.h"
