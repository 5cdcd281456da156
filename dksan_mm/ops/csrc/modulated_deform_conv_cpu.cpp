// dksan_mm::modulated_deform_conv2d on the CPU: layouts, threads and matrix
// products. Columns are gathered and scattered by modulated_impl.h, for some
// pixels at a time, so that they stay in the cache. The schema and the checks
// that a user sees are in modulated_deform_conv.py.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.h"
#include "modulated.h"

namespace dksan_mm {

const char* cpu_capability();  // deform_kernel_cpu.cpp

namespace {

using at::IntArrayRef;
using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

constexpr auto kLast = at::MemoryFormat::ChannelsLast;
constexpr int64_t kColumnBytes = 1 << 18;  // of the columns at a time

const ModulatedKernels& kernels() {
#ifdef DKSAN_MM_X86
  static const std::string name = cpu_capability();
  if (name == "avx512") return modulated_avx512;
  if (name == "avx2") return modulated_avx2;
#endif
  return modulated_default;
}

struct Settings {
  IntArrayRef stride, padding, dilation;
  int64_t groups, deform_groups;
};

void check_shape(const Tensor& tensor, const char* name, IntArrayRef shape) {
  TORCH_CHECK_VALUE(tensor.device().is_cpu(), name,
                    " must be on the device of x, cpu, got ", tensor.device());
  TORCH_CHECK_TYPE(at::isFloatingType(tensor.scalar_type()), name,
                   " must have a floating dtype, got ", tensor.scalar_type());
  TORCH_CHECK_VALUE(tensor.sizes() == shape, name, " must have shape ", shape,
                    ", got ", tensor.sizes());
}

// Checks all that the kernels read and write by.
Modulated check(const Tensor& x, const Tensor& offset, const Tensor& mask,
                const Tensor& weight, const OptionalTensor& bias,
                const Settings& settings) {
  Modulated p{};
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) > 0 && x.size(2) > 0 &&
                        x.size(3) > 0,
                    "x must have shape (N, C, H, W) with C, H and W of at "
                    "least 1, got ", x.sizes());
  p.channels = x.size(1);
  p.height = x.size(2);
  p.width = x.size(3);
  p.groups = settings.groups;
  p.deform_groups = settings.deform_groups;
  TORCH_CHECK_VALUE(p.height * p.width < (int64_t(1) << 31) - 1,
                    "x must have fewer than 2**31 - 1 pixels a sample, got ",
                    x.sizes());
  TORCH_CHECK_VALUE(p.groups > 0 && p.channels % p.groups == 0,
                    "groups must be a divisor of C = ", p.channels, ", got ",
                    p.groups);
  TORCH_CHECK_VALUE(p.deform_groups > 0 && p.channels % p.deform_groups == 0,
                    "deform_groups must be a divisor of C = ", p.channels,
                    ", got ", p.deform_groups);
  TORCH_CHECK_VALUE(
      weight.dim() == 4 && weight.numel() > 0 &&
          weight.size(1) == p.channels / p.groups &&
          weight.size(0) % p.groups == 0,
      "weight must have shape (C_out, C / groups, k_h, k_w) with groups a "
      "divisor of C_out, got ", weight.sizes());
  TORCH_CHECK_VALUE(settings.stride.size() == 2 &&
                        settings.padding.size() == 2 &&
                        settings.dilation.size() == 2,
                    "stride, padding and dilation must be two integers each");
  int64_t size[2], in[2] = {p.height, p.width};
  for (int axis = 0; axis < 2; axis++) {
    p.kernel[axis] = weight.size(2 + axis);
    p.stride[axis] = settings.stride[axis];
    p.padding[axis] = settings.padding[axis];
    p.dilation[axis] = settings.dilation[axis];
    TORCH_CHECK_VALUE(p.stride[axis] > 0 && p.padding[axis] >= 0 &&
                          p.dilation[axis] > 0,
                      "stride and dilation must be at least 1, padding at "
                      "least 0");
    const int64_t room = in[axis] + 2 * p.padding[axis] -
                         p.dilation[axis] * (p.kernel[axis] - 1);
    TORCH_CHECK_VALUE(room > 0,
                      "x must be at least as large as the dilated kernel, got ",
                      x.sizes());
    size[axis] = (room - 1) / p.stride[axis] + 1;
  }
  p.out_height = size[0];
  p.out_width = size[1];
  check_shape(x, "x", x.sizes());
  check_shape(weight, "weight", weight.sizes());
  check_shape(offset, "offset",
              {x.size(0), 2 * p.positions(), size[0], size[1]});
  check_shape(mask, "mask", {x.size(0), p.positions(), size[0], size[1]});
  if (bias) check_shape(*bias, "bias", {weight.size(0)});
  return p;
}

at::ScalarType computing_type(std::initializer_list<at::ScalarType> types) {
  for (auto type : types)
    if (type == at::kDouble) return at::kDouble;
  return at::kFloat;
}

at::MemoryFormat format_of(const Tensor& x) {
  bool last = x.size(1) > 1 && x.stride(1) == 1 && x.size(2) * x.size(3) > 1;
  return last ? kLast : at::MemoryFormat::Contiguous;
}

Tensor rows_of(const Tensor& x, at::ScalarType type) {
  return x.to(type).contiguous(kLast);
}

// What both passes work on: all tensors in the computing type, pixel by pixel.
struct Work {
  Modulated problem;
  at::ScalarType type;
  int64_t batch, pixels, columns, outputs, block, blocks;
  Tensor x, offset, mask, zeros;
  Tensor weight;  // (groups, taps * C / groups, C_out / groups)

  Work(const Modulated& p, at::ScalarType type, const Tensor& given_x,
       const Tensor& given_offset, const Tensor& given_mask,
       const Tensor& given_weight)
      : problem(p),
        type(type),
        batch(given_x.size(0)),
        pixels(p.out_height * p.out_width),
        columns(p.taps() * p.channels),
        outputs(given_weight.size(0)),
        block(std::clamp<int64_t>(
            kColumnBytes / (columns * (type == at::kDouble ? 8 : 4)), 16,
            1024)),
        blocks((pixels + block - 1) / block),
        x(rows_of(given_x, type)),
        offset(rows_of(given_offset, type)),
        mask(rows_of(given_mask, type)),
        zeros(at::zeros({p.channels}, x.options())),
        weight(given_weight.to(type)
                   .reshape({p.groups, outputs / p.groups,
                             p.channels / p.groups, p.taps()})
                   .permute({0, 3, 2, 1})
                   .reshape({p.groups, columns / p.groups,
                             outputs / p.groups})
                   .contiguous()) {
    problem.zeros = zeros.const_data_ptr();
  }

  int which() const { return type == at::kDouble ? kDouble : kFloat; }

  // The problem of one sample.
  Modulated at_sample(int64_t sample) const {
    Modulated p = problem;
    p.image = x[sample].const_data_ptr();
    p.offset = offset[sample].const_data_ptr();
    p.mask = mask[sample].const_data_ptr();
    return p;
  }

  // Call with each block of all samples, (sample, first pixel, end), those of
  // a range in one thread.
  template <class Body>
  void in_order(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t at = begin; at < end; at++) {
      const int64_t first = at % blocks * block;
      body(at / blocks, first, std::min(first + block, pixels));
    }
  }
};

// Rows of pixels of one sample, (count, C), of a channels-last tensor.
Tensor pixel_rows(const Tensor& x, int64_t sample, int64_t begin, int64_t end) {
  return x[sample].permute({1, 2, 0}).view({-1, x.size(1)}).slice(0, begin, end);
}

// The columns of a group, (count, taps * C / groups).
Tensor group_of(const Tensor& rows, int64_t group, int64_t groups) {
  const int64_t size = rows.size(1) / groups;
  return rows.slice(1, group * size, (group + 1) * size);
}

Tensor forward(const Tensor& x, const Tensor& offset, const Tensor& mask,
               const Tensor& weight, const OptionalTensor& bias,
               IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation,
               int64_t groups, int64_t deform_groups) {
  const Modulated p = check(x, offset, mask, weight, bias,
                            {stride, padding, dilation, groups, deform_groups});
  const auto type = computing_type(
      {x.scalar_type(), offset.scalar_type(), mask.scalar_type(),
       weight.scalar_type(), bias ? bias->scalar_type() : at::kFloat});
  at::AutoDispatchBelowADInplaceOrView guard;
  const Work work(p, type, x, offset, mask, weight);
  Tensor out = at::empty({work.batch, work.outputs, p.out_height, p.out_width},
                         work.x.options(), kLast);
  const Tensor start = bias ? bias->to(type) : Tensor();
  at::parallel_for(
      0, work.batch * work.blocks, 1, [&](int64_t begin, int64_t end) {
        at::AutoDispatchBelowADInplaceOrView guard;
        Tensor columns =
            at::empty({work.block, work.columns}, work.x.options());
        work.in_order(begin, end, [&](int64_t sample, int64_t first,
                                      int64_t last) {
          const Modulated part = work.at_sample(sample);
          kernels().gather[work.which()](part, first, last,
                                         columns.mutable_data_ptr());
          const Tensor used = columns.slice(0, 0, last - first);
          Tensor rows = pixel_rows(out, sample, first, last);
          if (bias)
            rows.copy_(start.expand_as(rows));
          else
            rows.zero_();
          for (int64_t g = 0; g < groups; g++)
            group_of(rows, g, groups)
                .addmm_(group_of(used, g, groups), work.weight[g]);
        });
      });
  return at::empty_like(out, x.options(), format_of(x)).copy_(out);
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Gradients backward(const Tensor& grad_out, const Tensor& x,
                   const Tensor& offset, const Tensor& mask,
                   const Tensor& weight, IntArrayRef stride,
                   IntArrayRef padding, IntArrayRef dilation, int64_t groups,
                   int64_t deform_groups) {
  const Modulated p =
      check(x, offset, mask, weight, std::nullopt,
            {stride, padding, dilation, groups, deform_groups});
  check_shape(grad_out, "grad_out",
              {x.size(0), weight.size(0), p.out_height, p.out_width});
  const auto type = computing_type(
      {x.scalar_type(), offset.scalar_type(), mask.scalar_type(),
       weight.scalar_type(), grad_out.scalar_type()});
  at::AutoDispatchBelowADInplaceOrView guard;
  const Work work(p, type, x, offset, mask, weight);
  const Tensor grad = rows_of(grad_out, type);
  Tensor grad_x = at::empty_like(work.x).zero_();
  Tensor grad_offset = at::empty_like(work.offset);
  Tensor grad_mask = at::empty_like(work.mask);

  // A part is a range of blocks, done by one thread. Of samples that it shares
  // with parts before it, there is one at most, it keeps sums of its own.
  const int64_t total = work.batch * work.blocks;
  const int64_t parts =
      std::clamp<int64_t>(total, 1, std::max(at::get_num_threads(), 1));
  std::vector<Tensor> own(parts);
  Tensor grad_weight = at::zeros(
      {parts, groups, work.columns / groups, work.outputs / groups},
      work.x.options());
  at::parallel_for(0, parts, 1, [&](int64_t first_part, int64_t last_part) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Tensor columns = at::empty({work.block, work.columns}, work.x.options());
    Tensor grads = at::empty_like(columns);
    for (int64_t part = first_part; part < last_part; part++) {
      const int64_t begin = total * part / parts;
      const int64_t end = total * (part + 1) / parts;
      const int64_t shared = begin % work.blocks ? begin / work.blocks : -1;
      if (shared >= 0) own[part] = at::zeros_like(grad_x[shared]);
      work.in_order(begin, end, [&](int64_t sample, int64_t first,
                                    int64_t last) {
        const Modulated one = work.at_sample(sample);
        kernels().gather[work.which()](one, first, last,
                                       columns.mutable_data_ptr());
        const Tensor used = columns.slice(0, 0, last - first);
        Tensor wanted = grads.slice(0, 0, last - first);
        const Tensor rows = pixel_rows(grad, sample, first, last);
        for (int64_t g = 0; g < groups; g++) {
          const Tensor from = group_of(rows, g, groups);
          grad_weight[part][g].addmm_(group_of(used, g, groups).t(), from);
          group_of(wanted, g, groups)
              .zero_()
              .addmm_(from, work.weight[g].t());
        }
        Tensor sums = sample == shared ? own[part] : grad_x[sample];
        kernels().scatter[work.which()](
            one, first, last, grads.const_data_ptr(), sums.mutable_data_ptr(),
            grad_offset[sample].mutable_data_ptr(),
            grad_mask[sample].mutable_data_ptr());
      });
    }
  });
  for (int64_t part = 0; part < parts; part++)
    if (own[part].defined())
      grad_x[total * part / parts / work.blocks].add_(own[part]);

  Tensor weights = grad_weight.sum(0)
                       .reshape({groups, p.taps(), p.channels / groups,
                                 work.outputs / groups})
                       .permute({0, 3, 2, 1})
                       .reshape(weight.sizes());
  auto like = [](const Tensor& from, const Tensor& given) {
    return at::empty_like(given, given.options(), format_of(given))
        .copy_(from);
  };
  return {like(grad_x, x), like(grad_offset, offset), like(grad_mask, mask),
          like(weights, weight)};
}

TORCH_LIBRARY_IMPL(dksan_mm, CPU, m) {
  m.impl("modulated_deform_conv2d", &forward);
  m.impl("modulated_deform_conv2d_backward", &backward);
}

}  // namespace
}  // namespace dksan_mm
