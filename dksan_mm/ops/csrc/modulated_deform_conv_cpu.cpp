// dksan_mm::modulated_deform_conv2d on the CPU: layouts, threads. The
// arithmetic is in modulated_impl.h; schema and checks with words are in
// modulated_deform_conv.py.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels.h"

namespace dksan_mm {
namespace {

using at::IntArrayRef;
using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Checks: the kernels read and write by these shapes.

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
  storage_of(tensor, name);
}

struct Settings {
  IntArrayRef stride, padding, dilation;
  int64_t groups, deform_groups;
};

void set_pair(int64_t* pair, IntArrayRef value, const char* name,
              int64_t least) {
  TORCH_CHECK_VALUE(value.size() == 2 && value[0] >= least && value[1] >= least,
                    name, " must be two integers of at least ", least,
                    ", got ", value);
  std::copy(value.begin(), value.end(), pair);
}

// What all parts of the channels share.
Modulated check(const Tensor& x, const Tensor& offset, const Tensor& mask,
                const Tensor& weight, const OptionalTensor& bias,
                const Settings& s) {
  Modulated p{};
  set_pair(p.stride, s.stride, "stride", 1);
  set_pair(p.padding, s.padding, "padding", 0);
  set_pair(p.dilation, s.dilation, "dilation", 1);
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) > 0 && x.size(2) > 0 &&
                        x.size(3) > 0,
                    "x must have shape (N, C, H, W) with C, H and W of at "
                    "least 1, got ", x.sizes());
  const int64_t channels = x.size(1);
  for (int64_t value : {s.groups, s.deform_groups})
    TORCH_CHECK_VALUE(value > 0 && channels % value == 0,
                      "groups and deform_groups must be divisors of C = ",
                      channels, ", got ", s.groups, " and ", s.deform_groups);
  TORCH_CHECK_VALUE(weight.dim() == 4 && weight.size(0) > 0 &&
                        weight.size(0) % s.groups == 0 &&
                        weight.size(1) == channels / s.groups &&
                        weight.size(2) > 0 && weight.size(3) > 0,
                    "weight must have shape (C_out, C / groups, k_h, k_w), "
                    "got ", weight.sizes());
  check_shape(x, "x", x.sizes());
  check_shape(weight, "weight", weight.sizes());
  p.height = x.size(2);
  p.width = x.size(3);
  TORCH_CHECK_VALUE((p.height + 3) * (p.width + 2) < int64_t(1) << 31,
                    "x must have fewer than 2**31 pixels a sample, got ",
                    x.sizes());
  int64_t size[2];
  for (int axis = 0; axis < 2; axis++) {
    p.kernel[axis] = weight.size(2 + axis);
    const int64_t room = x.size(2 + axis) + 2 * p.padding[axis] -
                         p.dilation[axis] * (p.kernel[axis] - 1) - 1;
    TORCH_CHECK_VALUE(room >= 0, "x must be at least as large as the dilated "
                      "kernel, got ", x.sizes());
    size[axis] = room / p.stride[axis] + 1;
  }
  p.out_height = size[0];
  p.out_width = size[1];
  p.out_channels = weight.size(0) / s.groups;
  const int64_t maps = s.deform_groups * p.kernel[0] * p.kernel[1];
  check_shape(offset, "offset", {x.size(0), 2 * maps, size[0], size[1]});
  check_shape(mask, "mask", {x.size(0), maps, size[0], size[1]});
  if (bias) check_shape(*bias, "bias", {weight.size(0)});
  return p;
}

// Layouts

// As memory_format() in _library.py.
at::MemoryFormat format_of(const Tensor& x) {
  bool last = x.size(1) > 1 && x.stride(1) == 1 && x.size(2) * x.size(3) > 1;
  return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

View image_view(const Tensor& x) {
  return {x.const_data_ptr(), storage_of(x, "x"), x.stride(0), x.stride(1),
          x.stride(2), x.stride(3)};
}

// Maps whose pixels lie at one stride; a dimension of one has any stride.
Tensor flat_pixels(const Tensor& maps) {
  bool flat = maps.size(2) == 1 || maps.size(3) == 1 ||
              maps.stride(2) == maps.size(3) * maps.stride(3);
  return flat ? maps : maps.contiguous();
}

View flat_view(const Tensor& maps) {
  View view = image_view(maps);
  if (maps.size(3) == 1) view.pixel = view.row;
  return view;
}

View from_channel(View view, int64_t channel) {
  const int64_t size = view.storage == kDouble ? 8 : view.storage == kFloat ? 4
                                                                            : 2;
  view.data = static_cast<const char*>(view.data) + channel * view.channel * size;
  return view;
}

// A part of the channels and its lists, which the kernels' description
// points to.
struct Part {
  Modulated p;
  int64_t channel;  // the first
  std::vector<Piece> pieces;
  std::vector<Segment> segments;

  int64_t taps() const { return p.kernel[0] * p.kernel[1]; }
  int64_t chunks() const { return (taps() + p.chunk - 1) / p.chunk; }
  int64_t weights() const { return taps() * p.channels; }
};

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Columns of a chunk of taps: enough for the products to be efficient, few
// enough to stay in the caches beside the weights.
constexpr int64_t kChunk = 192;

Part make_part(const Modulated& shared, const Settings& s, int64_t channels,
               int64_t first_group, int64_t deform_groups, int64_t width) {
  Part part{shared};
  const int64_t size = channels / s.deform_groups;
  const int64_t group_size = channels / s.groups;
  part.channel = first_group * size;
  Modulated& p = part.p;
  p.channels = deform_groups * size;
  p.deform_groups = deform_groups;
  p.out_padded = round_up(p.out_channels, width);
  p.chunk = std::clamp<int64_t>(kChunk / p.channels, 1, part.taps());
  const int64_t end = part.channel + p.channels;
  for (int64_t c = part.channel; c < end;) {
    const int64_t group = c / group_size, index = part.pieces.size();
    const int64_t next = std::min((group + 1) * group_size, end);
    const int64_t first = c - part.channel;
    part.pieces.push_back({group, first, next - c,
                           round_up(first * p.chunk, width) + index * width});
    while (c < next) {
      const int64_t deform = c / size;
      const int64_t stop = std::min((deform + 1) * size, next);
      part.segments.push_back(
          {index, deform - first_group, c - part.channel, stop - c});
      c = stop;
    }
  }
  const Piece& last = part.pieces.back();
  p.columns = last.column + round_up(last.channels * p.chunk, width) + width;
  return part;
}

void point(Part& part) {
  part.p.pieces = part.pieces.data();
  part.p.segments = part.segments.data();
  part.p.num_pieces = part.pieces.size();
  part.p.num_segments = part.segments.size();
}

// Calls run(chunk, piece, first, taps, tap) for each chunk of taps and each
// piece: `first` is the row of the weights where it begins.
template <class Run>
void each_piece(const Part& part, Run&& run) {
  for (int64_t chunk = 0; chunk < part.chunks(); chunk++) {
    const int64_t tap = chunk * part.p.chunk;
    const int64_t taps = std::min(part.p.chunk, part.taps() - tap);
    for (size_t i = 0; i < part.pieces.size(); i++)
      run(chunk * part.pieces.size() + i, part.pieces[i],
          tap * part.p.channels + taps * part.pieces[i].channel, taps, tap);
  }
}

// Calls run(output channel, row of the piece, element) for a piece's weights.
template <class Run>
void each_weight(const Part& part, const Piece& piece, const Tensor& weight,
                 int64_t taps, int64_t tap, Run&& run) {
  const int64_t inner = weight.size(1), all = part.taps();
  const int64_t first = (part.channel + piece.channel) % inner;
  for (int64_t o = 0; o < part.p.out_channels; o++)
    for (int64_t c = 0; c < piece.channels; c++)
      for (int64_t t = 0; t < taps; t++)
        run(o, t * piece.channels + c,
            ((piece.group * part.p.out_channels + o) * inner + first + c) *
                    all + tap + t);
}

// Where (row, column) of a matrix in panels of two vectors lies.
int64_t in_panels(int64_t row, int64_t column, int64_t rows, int64_t columns,
                  int64_t width) {
  const int64_t panel = column / (2 * width) * 2 * width;
  const int64_t size = std::min(2 * width, columns - panel);
  return panel * rows + row * size + column - panel;
}

Tensor forward_weights(const Part& part, const Tensor& weight, int64_t width) {
  const int64_t columns = part.p.out_padded;
  Tensor packed = at::zeros({part.weights() * columns}, weight.options());
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "forward_weights", [&] {
    const scalar_t* from = weight.const_data_ptr<scalar_t>();
    scalar_t* to = packed.mutable_data_ptr<scalar_t>();
    each_piece(part, [&](int64_t, const Piece& piece, int64_t first,
                         int64_t taps, int64_t tap) {
      each_weight(part, piece, weight, taps, tap,
                  [&](int64_t o, int64_t row, int64_t element) {
                    to[first * columns + in_panels(row, o,
                                                   taps * piece.channels,
                                                   columns, width)] =
                        from[element];
                  });
    });
  });
  return packed;
}

Tensor backward_weights(const Part& part, const Tensor& weight,
                        int64_t width) {
  const int64_t rows = part.p.out_channels;
  const int64_t pieces = part.chunks() * part.pieces.size();
  Tensor packed =
      at::zeros({(part.weights() + width * pieces) * rows}, weight.options());
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "backward_weights", [&] {
    const scalar_t* from = weight.const_data_ptr<scalar_t>();
    scalar_t* to = packed.mutable_data_ptr<scalar_t>();
    each_piece(part, [&](int64_t index, const Piece& piece, int64_t first,
                         int64_t taps, int64_t tap) {
      const int64_t columns = round_up(taps * piece.channels, width);
      each_weight(part, piece, weight, taps, tap,
                  [&](int64_t o, int64_t row, int64_t element) {
                    to[(first + width * index) * rows +
                       in_panels(o, row, rows, columns, width)] = from[element];
                  });
    });
  });
  return packed;
}

at::ScalarType computing_type(std::initializer_list<Tensor> tensors) {
  for (const Tensor& tensor : tensors)
    if (tensor.defined() && tensor.scalar_type() == at::kDouble)
      return at::kDouble;
  return at::kFloat;
}

const ModulatedKernels& kernels_for(at::ScalarType type) {
  return kernels().modulated[type == at::kDouble];
}

// Forward

Tensor padded_bias(const Part& part, const OptionalTensor& bias,
                   at::ScalarType type, const Tensor& like) {
  const int64_t groups = part.pieces.size();
  Tensor rows = at::zeros({groups, part.p.out_padded},
                          like.options().dtype(type));
  if (bias)
    rows.narrow(1, 0, part.p.out_channels)
        .copy_(bias->reshape({groups, part.p.out_channels}));
  return rows;
}

// Bytes of framed images that are worked on at a time.
constexpr int64_t kImages = int64_t(8) << 20;

Tensor forward(const Tensor& x, const Tensor& offset, const Tensor& mask,
               const Tensor& weight, const OptionalTensor& bias,
               IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation,
               int64_t groups, int64_t deform_groups) {
  const Settings s{stride, padding, dilation, groups, deform_groups};
  const Modulated shared = check(x, offset, mask, weight, bias, s);
  const auto type = computing_type(
      {x, offset, mask, weight, bias ? *bias : Tensor()});
  const ModulatedKernels& run = kernels_for(type);
  Part part =
      make_part(shared, s, x.size(1), 0, deform_groups, run.width);
  point(part);
  Modulated& p = part.p;
  const Tensor moves = flat_pixels(offset), masks = flat_pixels(mask);
  const Tensor packed = forward_weights(
      part, weight.to(type).contiguous(), run.width);
  const Tensor added = padded_bias(part, bias, type, weight);
  p.offset = flat_view(moves);
  p.mask = flat_view(masks);
  p.weight = packed.const_data_ptr();

  Tensor out = at::empty({x.size(0), weight.size(0), p.out_height, p.out_width},
                         x.options(), format_of(x));
  const View from = image_view(x), to = flat_view(out);
  const int64_t rows = p.height + 3, batch = x.size(0);
  const int64_t image = rows * (p.width + 2) * p.channels;
  const int64_t bytes = image * (type == at::kDouble ? 8 : 4);
  const int64_t at_a_time =
      std::clamp<int64_t>(kImages / bytes, 1, std::max<int64_t>(batch, 1));
  const int64_t strips =
      (p.out_height * p.out_width + kStrip - 1) / kStrip;
  Tensor framed = at::empty({at_a_time * image}, weight.options().dtype(type));
  auto data = static_cast<char*>(framed.mutable_data_ptr());
  for (int64_t first = 0; first < batch; first += at_a_time) {
    const int64_t count = std::min(at_a_time, batch - first);
    at::parallel_for(0, count * rows, 8, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t i = begin / rows, y = begin % rows;
        const int64_t stop = std::min(rows, y + end - begin);
        run.frame(p, from, first + i, 0, y, stop, data + i * bytes);
        begin += stop - y;
      }
    });
    at::parallel_for(0, count * strips, 1, [&](int64_t begin, int64_t end) {
      std::vector<char> scratch(run.scratch(p));
      while (begin < end) {
        const int64_t i = begin / strips, strip = begin % strips;
        const int64_t stop = std::min(strips, strip + end - begin);
        run.forward(p, data + i * bytes, added.const_data_ptr(), first + i,
                    strip, stop, to, scratch.data());
        begin += stop - strip;
      }
    });
  }
  return out;
}

// Backward: each thread has whole deform groups of some samples, of which all
// gradients but the weights' are its own; the weights' are summed in the order
// of the samples.

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

std::vector<Part> cut(const Modulated& shared, const Settings& s,
                      int64_t channels, int64_t width) {
  const int64_t count =
      std::min<int64_t>(at::get_num_threads(), s.deform_groups);
  std::vector<Part> parts;
  for (int64_t i = 0; i < count; i++) {
    const int64_t begin = i * s.deform_groups / count;
    const int64_t end = (i + 1) * s.deform_groups / count;
    parts.push_back(make_part(shared, s, channels, begin, end - begin, width));
  }
  for (Part& part : parts) point(part);
  return parts;
}

void add_weight_gradient(const Part& part, const Tensor& rows, Tensor& grad) {
  AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "weight_gradient", [&] {
    const scalar_t* from = rows.const_data_ptr<scalar_t>();
    scalar_t* to = grad.mutable_data_ptr<scalar_t>();
    each_piece(part, [&](int64_t, const Piece& piece, int64_t first,
                         int64_t taps, int64_t tap) {
      each_weight(part, piece, grad, taps, tap,
                  [&](int64_t o, int64_t row, int64_t element) {
                    to[element] += from[(first + row) * part.p.out_padded + o];
                  });
    });
  });
}

Gradients backward(const Tensor& given_grad, const Tensor& x,
                   const Tensor& offset, const Tensor& mask,
                   const Tensor& weight, IntArrayRef stride,
                   IntArrayRef padding, IntArrayRef dilation, int64_t groups,
                   int64_t deform_groups) {
  const Settings s{stride, padding, dilation, groups, deform_groups};
  const Modulated shared = check(x, offset, mask, weight, std::nullopt, s);
  check_shape(given_grad, "grad_out", {x.size(0), weight.size(0),
                                       shared.out_height, shared.out_width});
  const auto type = computing_type({given_grad, x, offset, mask, weight});
  const ModulatedKernels& run = kernels_for(type);
  const auto options = weight.options().dtype(type);
  const Tensor grad_out = flat_pixels(given_grad);
  const Tensor moves = flat_pixels(offset), masks = flat_pixels(mask);
  const Tensor values = weight.to(type).contiguous();
  auto empty = [](const Tensor& t) {
    return at::empty_like(t, t.options(), format_of(t));
  };
  Tensor grad_x = empty(x), grad_offset = empty(offset);
  Tensor grad_mask = empty(mask);

  std::vector<Part> parts = cut(shared, s, x.size(1), run.width);
  std::vector<Tensor> packed, grad_weights;
  const int64_t count = parts.size(), batch = x.size(0);
  const int64_t threads = at::get_num_threads();
  const int64_t cuts = std::clamp<int64_t>((threads + count - 1) / count, 1,
                                           std::max<int64_t>(batch, 1));
  for (Part& part : parts) {
    const int64_t first = part.channel / (x.size(1) / deform_groups) *
                          part.taps();
    packed.push_back(backward_weights(part, values, run.width));
    part.p.weight = packed.back().const_data_ptr();
    part.p.offset = from_channel(flat_view(moves), 2 * first);
    part.p.mask = from_channel(flat_view(masks), first);
    grad_weights.push_back(
        at::zeros({cuts, part.weights() * part.p.out_padded}, options));
  }
  at::parallel_for(0, count * cuts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; task++) {
      const Part& part = parts[task % count];
      const Modulated& p = part.p;
      const int64_t first = part.channel / (x.size(1) / deform_groups) *
                            part.taps(), cut = task / count;
      const int64_t image = (p.height + 3) * (p.width + 2) * p.channels;
      const size_t bytes = image * (type == at::kDouble ? 8 : 4);
      Tensor framed = at::empty({2 * image}, options);
      auto data = static_cast<char*>(framed.mutable_data_ptr());
      std::vector<char> scratch(run.scratch(p));
      const View to_offset = from_channel(flat_view(grad_offset), 2 * first);
      const View to_mask = from_channel(flat_view(grad_mask), first);
      Tensor sums = grad_weights[task % count].select(0, cut);
      for (int64_t sample = cut * batch / cuts;
           sample < (cut + 1) * batch / cuts; sample++) {
        run.frame(p, image_view(x), sample, part.channel, 0, p.height + 3,
                  data);
        std::memset(data + bytes, 0, bytes);
        run.backward(p, data, data + bytes, sample, flat_view(grad_out),
                     sums.mutable_data_ptr(), to_offset, to_mask,
                     scratch.data());
        run.unframe(p, data + bytes, sample, part.channel,
                    image_view(grad_x));
      }
    }
  });
  Tensor grad_weight = at::zeros(weight.sizes(), options);
  for (int64_t i = 0; i < count; i++)
    add_weight_gradient(parts[i], grad_weights[i].sum(0), grad_weight);
  return {grad_x, grad_offset, grad_mask, empty(weight).copy_(grad_weight)};
}

TORCH_LIBRARY_IMPL(dksan_mm, CPU, m) {
  m.impl("modulated_deform_conv2d", &forward);
  m.impl("modulated_deform_conv2d_backward", &backward);
}

}  // namespace
}  // namespace dksan_mm
