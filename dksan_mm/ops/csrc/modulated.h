// What the modulated deformable convolution's CPU kernels are given. As
// kernels.h, this includes nothing of PyTorch's.
#pragma once

#include <cstdint>

namespace dksan_mm {

// Geometry, and tensors of one computing type R, float or double. A position
// is one of J = deform_groups * taps, of a pixel: deform group first.
struct Modulated {
  int64_t channels, height, width, out_height, out_width;
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  int64_t groups, deform_groups;
  const void* image;   // (H, W, C), of one sample
  const void* offset;  // (H_out * W_out, 2 * J): (dy, dx) of each position
  const void* mask;    // (H_out * W_out, J)
  const void* zeros;   // (C)

  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t positions() const { return deform_groups * taps(); }
};

struct ModulatedKernels {
  // Samples of pixels [begin, end), times the mask, to rows of
  // columns: (end - begin, groups, taps, C / groups).
  void (*gather[2])(const Modulated&, int64_t begin, int64_t end,
                    void* columns);
  // Gradients of pixels [begin, end) from those of their columns.
  //   grad_image: (H, W, C), added to
  //   grad_offset: (H_out * W_out, 2 * J), grad_mask: (H_out * W_out, J)
  void (*scatter[2])(const Modulated&, int64_t begin, int64_t end,
                     const void* grad_columns, void* grad_image,
                     void* grad_offset, void* grad_mask);
};

extern const ModulatedKernels modulated_default, modulated_avx2,
    modulated_avx512;

}  // namespace dksan_mm
