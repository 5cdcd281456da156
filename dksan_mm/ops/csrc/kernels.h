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

// The modulated deformable convolution.

// Output pixels that go through it together.
constexpr int kStrip = 48;

// (N, channels, rows, pixels) in any of the types.
struct View {
  const void* data;
  int storage;
  int64_t sample, channel, row, pixel;  // strides in elements; where rows are
                                        // not named, pixels lie at one stride
};

// Channels of one group of the convolution. For t taps, the columns of a
// pixel are (pieces, t, channels of the piece), a piece's at `column`.
struct Piece {
  int64_t group, channel, channels, column;
};

// Channels of one piece that share their offsets.
struct Segment {
  int64_t piece, deform_group, channel, channels;
};

// A part of the channels, whole deform groups, numbered from its own first.
struct Modulated {
  int64_t channels, height, width, out_height, out_width;
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  int64_t deform_groups;
  int64_t out_channels, out_padded;  // of a group; to whole vectors
  int64_t chunk;                     // taps at a time
  int64_t columns;                   // of a pixel and a chunk of taps, padded
  const Piece* pieces;
  const Segment* segments;
  int64_t num_pieces, num_segments;
  View offset, mask;  // from the part's first channel on
  // Computing type. Forward: for each chunk and piece, (t, channels,
  // out_padded); backward: (out_channels, t * channels padded), from
  // one vector times the number of chunks and pieces before further on. Both
  // in panels of two vectors' columns: (panel, rows, columns).
  const void* weight;
};

// For one computing type. Images are framed: (H + 3, W + 2, channels) with
// zeros around, two rows of them below.
struct ModulatedKernels {
  int64_t width;  // of a vector, in elements
  size_t (*scratch)(const Modulated&);
  // Rows [begin, end) of a framed image, channels from `channel` on.
  void (*frame)(const Modulated&, const View& x, int64_t sample,
                int64_t channel, int64_t begin, int64_t end, void* framed);
  // Strips [begin, end) of a sample; bias: (pieces, out_padded).
  void (*forward)(const Modulated&, const void* framed, const void* bias,
                  int64_t sample, int64_t begin, int64_t end, const View& out,
                  void* scratch);
  // A sample; adds to grad_framed and grad_weight, which lies as the weights
  // of the forward pass, but in one panel.
  void (*backward)(const Modulated&, const void* framed, void* grad_framed,
                   int64_t sample, const View& grad_out, void* grad_weight,
                   const View& grad_offset, const View& grad_mask,
                   void* scratch);
  void (*unframe)(const Modulated&, const void* framed, int64_t sample,
                  int64_t channel, const View& x);
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
  ModulatedKernels modulated[2];  // float, double
};

// Those for the instruction set of this machine.
const Kernels& kernels();

extern const Kernels kernels_default;
#if defined(__x86_64__) && defined(__GNUC__)
#define DKSAN_MM_X86 1
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace dksan_mm
