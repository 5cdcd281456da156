// dksan_mm::deform_kernel_conv2d on the CPU: checks, layouts, threads. The
// arithmetic is in kernels_impl.h; the schema is in _library.py.
#include <Python.h>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.h"

namespace dksan_mm {
namespace {

using at::IntArrayRef;
using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Instruction sets

const Kernels& choose_kernels() {
  std::vector<const Kernels*> usable{&kernels_default};
#ifdef DKSAN_MM_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    usable.insert(usable.begin(), &kernels_avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    usable.insert(usable.begin(), &kernels_avx512);
#endif
  const char* name = std::getenv("DKSAN_MM_CPU_CAPABILITY");
  if (name == nullptr) return *usable.front();
  std::string names;
  for (const Kernels* kernels : usable) {
    if (kernels->name == std::string(name)) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  TORCH_CHECK(false, "DKSAN_MM_CPU_CAPABILITY must be one of ", names,
              ", which this machine has, got ", name);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose_kernels();
  return chosen;
}

namespace {

// Checks: the kernels read and write by these shapes. What a Python caller
// sees is checked, in more words, in _validation.py before.

Storage storage_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return kFloat;
    case at::kDouble: return kDouble;
    case at::kBFloat16: return kBFloat16;
    case at::kHalf: return kHalf;
    default:
      TORCH_CHECK_TYPE(false, name, " must have a floating dtype, got ",
                       tensor.scalar_type());
  }
}

void check_shape(const Tensor& tensor, const char* name, IntArrayRef shape) {
  TORCH_CHECK_VALUE(tensor.device().is_cpu(), name,
                    " must be on the device of x, cpu, got ", tensor.device());
  TORCH_CHECK_VALUE(tensor.sizes() == shape, name, " must have shape ", shape,
                    ", got ", tensor.sizes());
}

void set_pair(int64_t* pair, IntArrayRef value, const char* name,
              int64_t least) {
  TORCH_CHECK_VALUE(value.size() == 2 && value[0] >= least && value[1] >= least,
                    name, " must be two integers of at least ", least,
                    ", got ", value);
  std::copy(value.begin(), value.end(), pair);
}

struct Geometry {
  IntArrayRef kernel_size, stride, padding, dilation;
};

Problem check(const Tensor& x, const Tensor& weight,
              const Tensor& kernel_offset, const OptionalTensor& offset,
              const OptionalTensor& bias, const Geometry& geometry) {
  Problem p{};
  set_pair(p.kernel, geometry.kernel_size, "kernel_size", 1);
  set_pair(p.stride, geometry.stride, "stride", 1);
  set_pair(p.padding, geometry.padding, "padding", 0);
  set_pair(p.dilation, geometry.dilation, "dilation", 1);
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) > 0 && x.size(2) > 0 &&
                        x.size(3) > 0,
                    "x must have shape (N, C, H, W) with C, H and W of at "
                    "least 1, got ", x.sizes());
  p.batch = x.size(0);
  p.channels = x.size(1);
  p.height = x.size(2);
  p.width = x.size(3);
  TORCH_CHECK_VALUE(p.height * p.width < (int64_t(1) << 31) - 1,
                    "x must have fewer than 2**31 - 1 pixels a sample, got ",
                    x.sizes());
  int64_t size[2], in[2] = {p.height, p.width};
  for (int axis = 0; axis < 2; axis++)
    size[axis] = (in[axis] + 2 * p.padding[axis] -
                  p.dilation[axis] * (p.kernel[axis] - 1) - 1) /
                     p.stride[axis] + 1;
  for (int axis = 0; axis < 2; axis++)
    TORCH_CHECK_VALUE(in[axis] + 2 * p.padding[axis] >
                          p.dilation[axis] * (p.kernel[axis] - 1),
                      "x must be at least as large as the dilated kernel, got ",
                      x.sizes());
  p.out_height = size[0];
  p.out_width = size[1];
  TORCH_CHECK_VALUE(weight.dim() == 4 && weight.size(2) > 0 &&
                        weight.size(3) > 0,
                    "weight must have shape (C, 1, S_h, S_w), got ",
                    weight.sizes());
  p.scope[0] = weight.size(2);
  p.scope[1] = weight.size(3);
  TORCH_CHECK_VALUE(p.scope[0] * p.scope[1] * p.channels < int64_t(1) << 31,
                    "weight must have fewer than 2**31 elements, got ",
                    weight.sizes());
  check_shape(weight, "weight", {p.channels, 1, p.scope[0], p.scope[1]});
  const int64_t per_group = 2 * p.taps();
  p.groups = kernel_offset.dim() == 4 ? kernel_offset.size(1) / per_group : 0;
  TORCH_CHECK_VALUE(p.groups > 0 && p.channels % p.groups == 0,
                    "kernel_offset must have shape (N, G*2*K, H_out, W_out) "
                    "with 2*K = ", per_group, " and G >= 1 a divisor of C = ",
                    p.channels, ", got ", kernel_offset.sizes());
  check_shape(kernel_offset, "kernel_offset",
              {p.batch, p.groups * per_group, size[0], size[1]});
  if (offset)
    check_shape(*offset, "offset", {p.batch, per_group, size[0], size[1]});
  if (bias) check_shape(*bias, "bias", {p.channels});
  return p;
}

// Layouts

// As memory_format() in _library.py.
at::MemoryFormat format_of(const Tensor& x) {
  bool last = x.size(1) > 1 && x.stride(1) == 1 && x.size(2) * x.size(3) > 1;
  return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

at::ScalarType computing_type(const Tensor& x, const Tensor& weight,
                              const Tensor& kernel_offset,
                              const OptionalTensor& offset,
                              const OptionalTensor& bias) {
  bool wide = x.scalar_type() == at::kDouble ||
              weight.scalar_type() == at::kDouble ||
              kernel_offset.scalar_type() == at::kDouble ||
              (offset && offset->scalar_type() == at::kDouble) ||
              (bias && bias->scalar_type() == at::kDouble);
  return wide ? at::kDouble : at::kFloat;
}

// Channels-last data of x, a copy only where it has another layout.
Tensor channels_last(const Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

// Offsets whose pixels lie at one stride, and what that is: a dimension of
// one has any stride.
Tensor flat_pixels(const Tensor& offset) {
  bool flat = offset.size(2) == 1 || offset.size(3) == 1 ||
              offset.stride(2) == offset.size(3) * offset.stride(3);
  return flat ? offset : offset.contiguous();
}

int64_t pixel_stride(const Tensor& offset) {
  return offset.size(3) > 1 ? offset.stride(3) : offset.stride(2);
}

Offsets describe(const Tensor& offset) {
  return {offset.const_data_ptr(), storage_of(offset, "offset"),
          offset.stride(0), offset.stride(1), pixel_stride(offset)};
}

// Small things in the kernels' order of channels.
struct Tables {
  std::vector<int32_t> order, group;
  Tensor scope, bias, zeros;

  template <class R>
  void fill(const Tensor& weight, const OptionalTensor& given_bias) {
    const int64_t channels = order.size(), cells = weight.numel() / channels;
    const R* from = weight.const_data_ptr<R>();
    R* to = scope.mutable_data_ptr<R>();
    for (int64_t cell = 0; cell < cells; cell++)
      for (int64_t c = 0; c < channels; c++)
        to[cell * channels + c] = from[order[c] * cells + cell];
    std::fill(to + cells * channels, to + (cells + 1) * channels, R(0));
    const R* values = given_bias ? given_bias->const_data_ptr<R>() : nullptr;
    for (int64_t c = 0; c < channels; c++)
      bias.mutable_data_ptr<R>()[c] = values ? values[order[c]] : R(0);
  }
};

Tables make_tables(Problem& p, Storage storage, at::ScalarType type,
                   const Tensor& weight, const OptionalTensor& bias) {
  Tables t;
  t.order.resize(p.channels);
  t.group.resize(p.channels);
  kernels().order(storage, p.channels, t.order.data());
  for (int64_t c = 0; c < p.channels; c++) t.group[c] = t.order[c] % p.groups;
  auto options = weight.options().dtype(type);
  t.scope = at::empty({p.scope[0] * p.scope[1] + 1, p.channels}, options);
  t.bias = at::empty({p.channels}, options);
  t.zeros = at::zeros({p.channels}, options);
  Tensor values = weight.to(type).contiguous();
  OptionalTensor added;
  if (bias) added = bias->to(type).contiguous();
  if (type == at::kDouble)
    t.fill<double>(values, added);
  else
    t.fill<float>(values, added);
  p.table = t.scope.const_data_ptr();
  p.zeros = t.zeros.const_data_ptr();
  p.group = t.group.data();
  return t;
}

struct Scratch {
  std::vector<char> bytes;
  Scratch(Storage storage, const Problem& p)
      : bytes(kernels().scratch(storage, p)) {}
  void* data() { return bytes.data(); }
};

Tensor forward(const Tensor& x, const Tensor& weight,
               const Tensor& kernel_offset, const OptionalTensor& offset,
               const OptionalTensor& bias, IntArrayRef kernel_size,
               IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation) {
  Problem p = check(x, weight, kernel_offset, offset, bias,
                    {kernel_size, stride, padding, dilation});
  const auto type = computing_type(x, weight, kernel_offset, offset, bias);
  // float64 beside a narrower x: computed in float64, returned as x is
  const bool widen = type == at::kDouble && x.scalar_type() != at::kDouble;
  const Tensor image = channels_last(widen ? x.to(type) : x);
  const Storage storage = storage_of(image, "x");
  const Tables tables = make_tables(p, storage, type, weight, bias);
  const Tensor scope_moves = flat_pixels(kernel_offset);
  const Tensor moves = offset ? flat_pixels(*offset) : Tensor();
  p.image = image.const_data_ptr();
  p.kernel_offset = describe(scope_moves);
  if (offset) p.offset = describe(moves);

  Tensor out = at::empty({p.batch, p.channels, p.out_height, p.out_width},
                         image.options(), format_of(x));
  const Forward to{tables.bias.const_data_ptr(), out.mutable_data_ptr(),
                   format_of(x) == at::MemoryFormat::ChannelsLast};
  at::parallel_for(0, p.batch * p.blocks(), 4, [&](int64_t begin, int64_t end) {
    kernels().forward[storage](p, to, begin, end, Scratch(storage, p).data());
  });
  return widen ? out.to(x.scalar_type()) : out;
}

// Gradients

// Channels are cut so far that every thread has work.
int64_t slice_size(const Problem& p) {
  const int64_t unit = kernels().slice;
  const int64_t units = (p.channels + unit - 1) / unit;
  const int64_t batch = std::max<int64_t>(p.batch, 1);
  const int64_t slices = std::clamp<int64_t>(
      (at::get_num_threads() + batch - 1) / batch, 1, units);
  return (units + slices - 1) / slices * unit;
}

// Sum the slices' parts and write them as the offsets lie in memory.
template <class R, class T>
void write_offsets(const Problem& p, const R* parts, int64_t slices,
                   int64_t rows, int64_t first_row, Tensor& grad) {
  T* to = grad.mutable_data_ptr<T>();
  const int64_t channels = grad.size(1), blocks = p.blocks();
  const int64_t pixel = pixel_stride(grad), channel = grad.stride(1);
  const int64_t all = p.batch * blocks * rows * kBlock;
  at::parallel_for(0, p.batch * blocks, 64, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at++) {
      const int64_t first = at % blocks * kBlock;
      const int64_t count = std::min<int64_t>(kBlock, p.pixels() - first);
      const R* part = parts + (at * rows + first_row) * kBlock;
      T* start = to + at / blocks * grad.stride(0) + first * pixel;
      for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++) {
          R total = 0;
          for (int64_t slice = 0; slice < slices; slice++)
            total += part[slice * all + c * kBlock + i];
          start[c * channel + i * pixel] = static_cast<T>(total);
        }
    }
  });
}

Tensor offset_gradient(const Problem& p, const Tensor& parts, int64_t first,
                       const Tensor& offset) {
  Tensor grad = at::empty_like(offset, offset.options(), format_of(offset));
  const int64_t slices = parts.size(0), rows = parts.size(3);
  AT_DISPATCH_FLOATING_TYPES(parts.scalar_type(), "offset_gradient", [&] {
    using R = scalar_t;
    const R* from = parts.const_data_ptr<R>();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kBFloat16, at::kHalf, grad.scalar_type(), "offset_gradient", [&] {
          write_offsets<R, scalar_t>(p, from, slices, rows, first, grad);
        });
  });
  return grad;
}

Tensor scope_gradient(const Problem& p, const Tables& tables,
                      const Tensor& parts, const Tensor& weight) {
  const int64_t cells = p.scope[0] * p.scope[1];
  Tensor grad = at::empty_like(weight, parts.options(),
                               at::MemoryFormat::Contiguous);
  Tensor total = parts.sum(0);
  AT_DISPATCH_FLOATING_TYPES(parts.scalar_type(), "scope_gradient", [&] {
    const scalar_t* from = total.const_data_ptr<scalar_t>();
    scalar_t* to = grad.mutable_data_ptr<scalar_t>();
    for (int64_t c = 0; c < p.channels; c++)
      for (int64_t cell = 0; cell < cells; cell++)
        to[tables.order[c] * cells + cell] = from[cell * p.channels + c];
  });
  return at::empty_like(weight, weight.options(), format_of(weight))
      .copy_(grad);
}

// Channels-last to contiguous, a tile of pixels at a time.
Tensor contiguous(const Tensor& rows) {
  constexpr int64_t kTile = 64;
  Tensor out = at::empty(rows.sizes(), rows.options());
  const Storage storage = storage_of(rows, "rows");
  const int64_t channels = rows.size(1), pixels = rows.size(2) * rows.size(3);
  const int64_t tiles = (pixels + kTile - 1) / kTile, size = rows.element_size();
  auto from = static_cast<const char*>(rows.const_data_ptr());
  auto to = static_cast<char*>(out.mutable_data_ptr());
  at::parallel_for(0, rows.size(0) * tiles, 8, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at++) {
      const int64_t start = at / tiles * channels * pixels;
      const int64_t first = at % tiles * kTile;
      kernels().transpose_rows[storage](
          from + (start + first * channels) * size,
          std::min(kTile, pixels - first), channels,
          to + (start + first) * size, pixels);
    }
  });
  return out;
}

// From channels-last sums in the computing type.
Tensor image_gradient(const Problem& p, Storage storage, const Tensor& sums,
                      const Tensor& x) {
  Tensor grad = sums;
  if (storage == kBFloat16 || storage == kHalf) {
    grad = at::empty(x.sizes(), x.options(), at::MemoryFormat::ChannelsLast);
    const int64_t pixels = p.batch * p.height * p.width;
    at::parallel_for(0, pixels, 256, [&](int64_t begin, int64_t end) {
      kernels().round_rows[storage](sums.const_data_ptr(), begin, end,
                                    p.channels, grad.mutable_data_ptr());
    });
  }
  if (format_of(x) != at::MemoryFormat::ChannelsLast) grad = contiguous(grad);
  return grad.to(x.scalar_type());
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Gradients backward(const Tensor& given_grad, const Tensor& x,
                   const Tensor& weight, const Tensor& kernel_offset,
                   const OptionalTensor& offset, IntArrayRef kernel_size,
                   IntArrayRef stride, IntArrayRef padding,
                   IntArrayRef dilation, std::array<bool, 4> wanted) {
  Problem p = check(x, weight, kernel_offset, offset, std::nullopt,
                    {kernel_size, stride, padding, dilation});
  check_shape(given_grad, "grad_out",
              {p.batch, p.channels, p.out_height, p.out_width});
  storage_of(given_grad, "grad_out");
  const auto type =
      computing_type(x, weight, kernel_offset, offset, given_grad);
  // x and its output have one type, unless float64 is beside them
  const bool widen = type == at::kDouble ||
                     given_grad.scalar_type() != x.scalar_type();
  const Tensor image = channels_last(widen ? x.to(type) : x);
  const Tensor grad_out =
      channels_last(widen ? given_grad.to(type) : given_grad);
  const Storage storage = storage_of(image, "x");
  const Tables tables =
      make_tables(p, storage, type, weight, std::nullopt);
  const Tensor scope_moves = flat_pixels(kernel_offset);
  const Tensor moves = offset ? flat_pixels(*offset) : Tensor();
  p.image = image.const_data_ptr();
  p.kernel_offset = describe(scope_moves);
  if (offset) p.offset = describe(moves);

  const int64_t size = slice_size(p);
  const int64_t slices = (p.channels + size - 1) / size;
  const auto options = x.options().dtype(type);
  Tensor grad_image, grad_table = at::zeros(
      {p.batch, p.scope[0] * p.scope[1] + 1, p.channels}, options);
  if (wanted[0])
    grad_image =
        at::empty(x.sizes(), options, at::MemoryFormat::ChannelsLast).zero_();
  Tensor parts = at::empty(
      {slices, p.batch, p.blocks(), 2 * p.taps() * (1 + p.groups), kBlock},
      options);
  const Backward to{grad_out.const_data_ptr(),
                    wanted[0] ? grad_image.mutable_data_ptr() : nullptr,
                    grad_table.mutable_data_ptr(), parts.mutable_data_ptr()};
  at::parallel_for(0, p.batch * slices, 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(storage, p);
    for (int64_t task = begin; task < end; task++) {
      const int64_t first = task % slices * size;
      kernels().backward[storage](p, to, task % slices, task / slices, first,
                                  std::min(first + size, p.channels),
                                  scratch.data());
    }
  });

  auto none = [&x] { return at::empty({0}, x.options()); };
  return {wanted[0] ? image_gradient(p, storage, grad_image, x) : none(),
          wanted[1] ? scope_gradient(p, tables, grad_table, weight) : none(),
          wanted[2] ? offset_gradient(p, parts, 2 * p.taps(), kernel_offset)
                    : none(),
          wanted[3] && offset ? offset_gradient(p, parts, 0, *offset)
                              : none()};
}

TORCH_LIBRARY_IMPL(dksan_mm, CPU, m) {
  m.impl("deform_kernel_conv2d", &forward);
  m.impl("deform_kernel_conv2d_backward", &backward);
}

PyObject* capability(PyObject*, PyObject*) {
  return PyUnicode_FromString(kernels().name);
}

PyMethodDef methods[] = {
    {"cpu_capability", capability, METH_NOARGS,
     "Return the name of the instruction set that the kernels use."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C",
                      "The operator's C++ kernels for CPUs.", -1, methods,
                      nullptr, nullptr, nullptr, nullptr};

}  // namespace
}  // namespace dksan_mm

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&dksan_mm::module); }
