// What the operator's CPU kernels are given, and how they are found.
//
// The kernels are compiled once for each instruction set (kernels_*.cpp), and
// chosen when they are called. This header and kernels_impl.h include nothing
// of PyTorch's: an inline function compiled for one instruction set must not
// become the one that the linker picks for the whole library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dksan_mm {

// How values lie in memory. Computing is done in float, for Double in double.
enum Storage { kFloat, kDouble, kBFloat16, kHalf, kNumStorages };

// Output pixels that share one set-up of their taps.
constexpr int kBlock = 16;

// Offsets, (N, channels, pixels), in any of the types.
struct Offsets {
  const void* data;  // nullptr: all zero
  int storage;
  int64_t sample, channel, pixel;  // strides in elements
};

struct Problem {
  int64_t batch, channels, height, width, out_height, out_width;
  int64_t kernel[2], stride[2], padding[2], dilation[2], scope[2];
  int64_t groups;
  const void* image;       // (N, H, W, C)
  const void* zeros;       // (C), as the image
  const void* table;       // (S_h * S_w + 1, C): the scope and a row of
                           // zeros, computing type, channels in `order`
  const int32_t* group;    // (C): group of the channel at each place
  Offsets kernel_offset, offset;

  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t pixels() const { return out_height * out_width; }
  int64_t blocks() const { return (pixels() + kBlock - 1) / kBlock; }
};

struct Forward {
  const void* bias;  // (C), computing type, channels in `order`
  void* out;         // (N, H_out, W_out, C) or (N, C, H_out, W_out)
  bool channels_last;
};

struct Backward {
  const void* grad_out;  // (N, H_out, W_out, C)
  void* grad_image;      // (N, H, W, C), zeros, computing type, channels in
                         // `order`; nullptr: not wanted
  void* grad_table;      // (N, S_h * S_w + 1, C), zeros
  void* grad_offsets;    // (slices, N, blocks, taps * (2 + 2 * G), kBlock):
                         // for each tap the image's (y, x), then for each
                         // group and tap the scope's
};

struct Kernels {
  const char* name;
  // Channels are cut into slices at multiples of this.
  int64_t slice;
  // order[i] is the channel at place i inside tables and gradients.
  void (*order)(int storage, int64_t channels, int32_t* order);
  // Bytes of scratch memory for the calls below.
  size_t (*scratch)(int storage, const Problem&);
  // Blocks [begin, end) of all samples.
  void (*forward[kNumStorages])(const Problem&, const Forward&, int64_t begin,
                                int64_t end, void* scratch);
  // Channels [begin, end) of one sample, all of its pixels.
  void (*backward[kNumStorages])(const Problem&, const Backward&,
                                 int64_t slice, int64_t sample, int64_t begin,
                                 int64_t end, void* scratch);
  // Rows of channels in `order`, computing type, to rows in storage type.
  void (*round_rows[kNumStorages])(const void* rows, int64_t begin,
                                   int64_t end, int64_t channels, void* out);
  // (count, C) to (C, stride), stride >= count.
  void (*transpose_rows[kNumStorages])(const void* rows, int64_t count,
                                       int64_t channels, void* out,
                                       int64_t stride);
};

extern const Kernels kernels_default;
#if defined(__x86_64__) && defined(__GNUC__)
#define DKSAN_MM_X86 1
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace dksan_mm
