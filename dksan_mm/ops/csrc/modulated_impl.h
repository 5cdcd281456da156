// The CPU kernels of the modulated deformable convolution, for the instruction
// set that the including file names.
//
// The image is copied once with a frame of zeros around it, channels last, in
// the computing type: a tap that reads past the border reads zeros, one that
// lies outside reads four of them, and nothing below asks whether a tap is
// inside. For a strip of output pixels the taps' places and weights are found
// (lanes are pixels), then the columns (lanes are channels), which for a few
// taps at a time are multiplied by the weights.

namespace dksan_mm {
namespace DKSAN_MM_ISA {
namespace {

// Matrices of any layout and type to rows in the computing type, and back.

template <class O, class R>
void load_as(const typename O::Stored* from, int64_t row_stride,
             int64_t column_stride, int64_t rows, int64_t columns, R* to,
             int64_t to_stride) {
  if (column_stride == 1) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < columns; c++)
        to[r * to_stride + c] = R(O::load1(from + r * row_stride + c));
    return;
  }
  if constexpr (std::is_same_v<typename O::Stored, R>) {
    if (row_stride == 1) {
      transpose<R>(from, columns, rows, to, to_stride, column_stride);
      return;
    }
  }
  for (int64_t c = 0; c < columns; c++)
    for (int64_t r = 0; r < rows; r++)
      to[r * to_stride + c] =
          R(O::load1(from + r * row_stride + c * column_stride));
}

template <class O, class R>
void store_as(const R* from, int64_t from_stride, int64_t rows,
              int64_t columns, typename O::Stored* to, int64_t row_stride,
              int64_t column_stride) {
  using Real = typename O::Real;
  if (column_stride == 1) {
    for (int64_t r = 0; r < rows; r++)
      for (int64_t c = 0; c < columns; c++)
        O::store1(to + r * row_stride + c, Real(from[r * from_stride + c]));
    return;
  }
  if constexpr (std::is_same_v<typename O::Stored, R>) {
    if (row_stride == 1) {
      transpose<R>(from, rows, columns, to, column_stride, from_stride);
      return;
    }
  }
  for (int64_t c = 0; c < columns; c++)
    for (int64_t r = 0; r < rows; r++)
      O::store1(to + r * row_stride + c * column_stride,
                Real(from[r * from_stride + c]));
}

// Calls run(O, data) with the storage type O and typed data.
template <class Run>
DKSAN_MM_INLINE void with_storage(int storage, const void* data, Run&& run) {
  auto call = [&](auto type) {
    using O = decltype(type);
    run(type, static_cast<typename O::Stored*>(const_cast<void*>(data)));
  };
  switch (storage) {
    case kFloat: return call(Plain<float>{});
    case kDouble: return call(Plain<double>{});
    case kBFloat16: return call(TwoBytes<BFloat16Bits>{});
    default: return call(TwoBytes<HalfBits>{});
  }
}

// Pixels [start, start + count) of `view`, channels from `channel` on.
template <class R>
void load_pixels(const View& view, int64_t start, int64_t count,
                 int64_t channel, int64_t channels, R* to, int64_t stride) {
  with_storage(view.storage, view.data, [&](auto type, auto data) {
    load_as<decltype(type), R>(data + start + channel * view.channel,
                               view.pixel, view.channel, count, channels, to,
                               stride);
  });
}
template <class R>
void store_pixels(const R* from, int64_t stride, int64_t count,
                  int64_t channels, const View& view, int64_t start,
                  int64_t channel) {
  with_storage(view.storage, view.data, [&](auto type, auto data) {
    store_as<decltype(type), R>(from, stride, count, channels,
                                data + start + channel * view.channel,
                                view.pixel, view.channel);
  });
}

// The same with the channels as rows: to[channel * stride + pixel].
template <class R>
void load_channels(const View& view, int64_t start, int64_t count,
                   int64_t channels, R* to, int64_t stride) {
  with_storage(view.storage, view.data, [&](auto type, auto data) {
    load_as<decltype(type), R>(data + start, view.channel, view.pixel,
                               channels, count, to, stride);
  });
}
template <class R>
void store_channels(const R* from, int64_t stride, int64_t count,
                    int64_t channels, const View& view, int64_t start) {
  with_storage(view.storage, view.data, [&](auto type, auto data) {
    store_as<decltype(type), R>(from, stride, channels, count, data + start,
                                view.channel, view.pixel);
  });
}

// Matrix products

// Rows of a tile of sums held in registers.
constexpr int kTileRows = DKSAN_MM_VECTOR == 64 ? 12 : 6;

// out[Rows][Vectors] = or += a[Rows][depth] * b[depth][Vectors], a at strides
// (lead, 1) or, Across, (1, lead).
template <class R, int Rows, int Vectors, bool Across>
void multiply_tile(int64_t depth, const R* a, int64_t lead, const R* b,
                   int64_t b_stride, R* out, int64_t out_stride, bool add) {
  using V = typename Lanes<R, DKSAN_MM_VECTOR>::Vector;
  constexpr int width = Lanes<R, DKSAN_MM_VECTOR>::width;
  constexpr int bases = (Rows + 2) / 3;  // addresses of every third row
  const R* base[bases];
  for (int i = 0; i < bases; i++) base[i] = a + (Across ? 0 : 3 * i * lead);
  V sum[Rows][Vectors] = {};
  for (int64_t k = 0; k < depth; k++) {
    V factor[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; j++) factor[j] = load<V>(b + j * width);
#pragma GCC unroll 12
    for (int i = 0; i < Rows; i++) {
      V value = splat<V>(Across ? base[0][i] : base[i / 3][i % 3 * lead]);
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; j++) sum[i][j] += value * factor[j];
    }
    b += b_stride;
#pragma GCC unroll 4
    for (int i = 0; i < bases; i++) base[i] += Across ? lead : 1;
  }
#pragma GCC unroll 12
  for (int i = 0; i < Rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; j++) {
      R* to = out + i * out_stride + j * width;
      store(to, add ? load<V>(to) + sum[i][j] : sum[i][j]);
    }
}

template <class R, int Vectors, bool Across>
void multiply_panel(int64_t rows, int64_t depth, const R* a, int64_t lead,
                    const R* b, int64_t b_stride, R* out, int64_t out_stride,
                    bool add) {
  const int64_t step = Across ? 1 : lead;
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows)
    multiply_tile<R, kTileRows, Vectors, Across>(depth, a + i * step, lead, b,
                                                 b_stride, out + i * out_stride,
                                                 out_stride, add);
  for (; i + 3 <= rows; i += 3)
    multiply_tile<R, 3, Vectors, Across>(depth, a + i * step, lead, b, b_stride,
                                         out + i * out_stride, out_stride, add);
  for (; i < rows; i++)
    multiply_tile<R, 1, Vectors, Across>(depth, a + i * step, lead, b, b_stride,
                                         out + i * out_stride, out_stride, add);
}

// out[rows][columns] (+)= a * b; columns are a multiple of the vectors' width.
// b lies in panels of two vectors, (panel, depth, width), if `packed`, else in
// rows at b_stride.
template <class R, bool Across>
void multiply(int64_t rows, int64_t columns, int64_t depth, const R* a,
              int64_t lead, const R* b, bool packed, int64_t b_stride, R* out,
              int64_t out_stride, bool add) {
  constexpr int width = Lanes<R, DKSAN_MM_VECTOR>::width;
  for (int64_t j = 0; j < columns; j += 2 * width) {
    const bool two = columns - j > width;
    const R* panel = b + (packed ? j * depth : j);
    const int64_t stride = packed ? (two ? 2 : 1) * width : b_stride;
    (two ? multiply_panel<R, 2, Across> : multiply_panel<R, 1, Across>)(
        rows, depth, a, lead, panel, stride, out + j, out_stride, add);
  }
}

// A strip of output pixels

template <class R>
DKSAN_MM_INLINE void four_sums(const typename Lanes<R, 16>::Vector* v, R* to) {
  using V = typename Lanes<R, 16>::Vector;
  using I = std::make_index_sequence<16 / sizeof(R)>;
  V first = interleave(v[0], v[1], false, I{}) +
            interleave(v[0], v[1], true, I{});
  V second = interleave(v[2], v[3], false, I{}) +
             interleave(v[2], v[3], true, I{});
  if constexpr (sizeof(R) == 4) {
    using D = Lanes<double, 16>::Vector;
    D low = reinterpret_cast<D>(first), high = reinterpret_cast<D>(second);
    using J = std::make_index_sequence<2>;
    first = reinterpret_cast<V>(interleave(low, high, false, J{}));
    second = reinterpret_cast<V>(interleave(low, high, true, J{}));
    add_to(to, first + second);
  } else {
    add_to(to, first);
    add_to(to + 2, second);
  }
}

// to[i] += the sum over the lanes of v[i], of four.
template <class R, int Bytes>
DKSAN_MM_INLINE void add_lanes(const typename Lanes<R, Bytes>::Vector* v,
                               R* to) {
  if constexpr (Bytes > 16) {
    using H = typename Lanes<R, Bytes / 2>::Vector;
    H halves[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      H parts[2];
      std::memcpy(parts, &v[i], sizeof parts);
      halves[i] = parts[0] + parts[1];
    }
    add_lanes<R, Bytes / 2>(halves, to);
  } else {
    four_sums<R>(v, to);
  }
}

template <class R>
struct Strip {
  using Row = R[kStrip];
  using Index = std::conditional_t<sizeof(R) == 4, int32_t, int64_t>;
  const Modulated& problem;
  const int64_t taps, line;  // line: elements of a row of the framed image
  // [deform group * taps + tap], as they lie in memory, in place of which
  // their gradients come
  Row* moves;  // (dy, dx)
  Row* masks;
  // of one tap, [deform group]
  Index (*place)[kStrip];    // pixels from the framed image's start
  R (*weight)[4][kStrip];    // of the four cells, mask included
  R (*fraction)[2][kStrip];
  R (*sums)[kStrip][4];      // of gradient times cell
  R *top, *left;
  R* columns;  // [kStrip][problem.columns]
  R* rows;     // [kStrip][pieces * out_padded]: results or their gradients
  int count;

  static int64_t maps(const Modulated& p) {
    return p.deform_groups * p.kernel[0] * p.kernel[1];
  }
  static size_t bytes(const Modulated& p) {
    return sizeof(R) * kStrip *
               (3 * maps(p) + 11 * p.deform_groups + 2 + p.columns +
                p.num_pieces * p.out_padded) +
           64 * 12;
  }

  Strip(const Modulated& p, void* scratch)
      : problem(p), taps(p.kernel[0] * p.kernel[1]),
        line((p.width + 2) * p.channels) {
    char* next = static_cast<char*>(scratch);
    auto take = [&next](auto*& array, int64_t size) {
      next += -reinterpret_cast<uintptr_t>(next) % 64;
      array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(next);
      next += size * sizeof(*array);
    };
    take(moves, 2 * maps(p));
    take(masks, maps(p));
    take(place, p.deform_groups);
    take(weight, p.deform_groups);
    take(fraction, p.deform_groups);
    take(sums, p.deform_groups);
    take(top, kStrip);
    take(left, kStrip);
    take(columns, kStrip * p.columns);
    take(rows, kStrip * p.num_pieces * p.out_padded);
    std::memset(moves, 0, 3 * maps(p) * sizeof(Row) + 64);
  }

  int64_t row_size() const { return problem.num_pieces * problem.out_padded; }

  void start(int64_t sample, int64_t first) {
    const int64_t left_over =
        problem.out_height * problem.out_width - first;
    count = left_over < kStrip ? left_over : kStrip;
    load_channels<R>(problem.offset,
                     sample * problem.offset.sample +
                         first * problem.offset.pixel,
                     count, 2 * maps(problem), moves[0], kStrip);
    load_channels<R>(problem.mask,
                     sample * problem.mask.sample + first * problem.mask.pixel,
                     count, maps(problem), masks[0], kStrip);
    int64_t y = first / problem.out_width, x = first % problem.out_width;
    for (int p = 0; p < kStrip; p++) {
      top[p] = R(y * problem.stride[0] - problem.padding[0]);
      left[p] = R(x * problem.stride[1] - problem.padding[1]);
      if (++x == problem.out_width) x = 0, y++;
    }
  }

  // A position outside (-1, size) on either axis, or not a number, gets four
  // cells below the frame.
  void set_up(int64_t tap) {
    const R down = R(tap / problem.kernel[1] * problem.dilation[0]);
    const R right = R(tap % problem.kernel[1] * problem.dilation[1]);
    using V = typename Lanes<R, DKSAN_MM_VECTOR>::Vector;
    for (int64_t d = 0; d < problem.deform_groups; d++)
      for (int p = 0; p < kStrip; p += Lanes<R, DKSAN_MM_VECTOR>::width)
        set_up_pixels<V>(d, d * taps + tap, p, down, right);
  }

  // Splits v, of a size that integers can have, into floor and fraction.
  template <class V, class I>
  static DKSAN_MM_INLINE void split(V& v, I& floor) {
    floor = __builtin_convertvector(v, I);
    floor += __builtin_convertvector(floor, V) > v;  // -1 where it is
    v -= __builtin_convertvector(floor, V);
  }

  template <class V>
  DKSAN_MM_INLINE void set_up_pixels(int64_t d, int64_t map, int p, R down,
                                     R right) {
    using I = decltype(V{} > V{});
    const R height = R(problem.height), width = R(problem.width);
    V y = load<V>(top + p) + down + load<V>(moves[2 * map] + p);
    V x = load<V>(left + p) + right + load<V>(moves[2 * map + 1] + p);
    const I inside = (y > R(-1)) & (y < height) & (x > R(-1)) & (x < width);
    y = inside ? y : splat<V>(height);
    x = inside ? x : splat<V>(R(-1));
    I row, column;
    split(y, row);
    split(x, column);
    store(fraction[d][0] + p, y);
    store(fraction[d][1] + p, x);
    const V mask = load<V>(masks[map] + p);
    const V lower = y * mask, upper = (1 - y) * mask;
    store(weight[d][0] + p, upper * (1 - x));
    store(weight[d][1] + p, upper * x);
    store(weight[d][2] + p, lower * (1 - x));
    store(weight[d][3] + p, lower * x);
    store(place[d] + p,
          (row + 1) * Index(problem.width + 2) + (column + 1));
  }

  // Calls run<Bytes, Count>(deform group, channel, column) for the columns of
  // a tap, the chunk's `tap`th.
  template <class Body>
  void each(int64_t tap, Body& body) {
    for (int64_t i = 0; i < problem.num_segments; i++) {
      const Segment& s = problem.segments[i];
      const Piece& piece = problem.pieces[s.piece];
      const int64_t column = piece.column + tap * piece.channels + s.channel -
                             piece.channel;
      int64_t c = 0;
      if constexpr (DKSAN_MM_VECTOR == 64) cut<64, 4>(body, s, column, c);
      cut<DKSAN_MM_VECTOR, 1>(body, s, column, c);
      if constexpr (DKSAN_MM_VECTOR > 32) cut<32, 1>(body, s, column, c);
      if constexpr (DKSAN_MM_VECTOR > 16) cut<16, 1>(body, s, column, c);
      if (c < s.channels)
        body.rest(s.deform_group, s.channel + c, s.channels - c, column + c);
    }
  }
  template <int Bytes, int Count, class Body>
  DKSAN_MM_INLINE void cut(Body& body, const Segment& s, int64_t column,
                           int64_t& c) {
    constexpr int64_t step = Count * Lanes<R, Bytes>::width;
    for (; c + step <= s.channels; c += step)
      body.template run<Bytes, Count>(s.deform_group, s.channel + c,
                                      column + c);
  }
};

template <class R>
struct GatherBody {
  Strip<R>& strip;
  const R* image;

  template <int Bytes, int Count>
  void run(int64_t d, int64_t channel, int64_t column) {
    using V = typename Lanes<R, Bytes>::Vector;
    constexpr int width = Lanes<R, Bytes>::width;
    const int64_t channels = strip.problem.channels, line = strip.line;
    const int64_t stride = strip.problem.columns;
    const auto* place = strip.place[d];
    const R(*weight)[kStrip] = strip.weight[d];
    const R* base = image + channel;
    R* to = strip.columns + column;
    const int count = strip.count;
    for (int p = 0; p < count; p++, to += stride) {
      const R* upper = base + place[p] * channels;
      const R* lower = upper + line;
#pragma GCC unroll 4
      for (int i = 0; i < Count; i++) {
        V sum = load<V>(upper + i * width) * splat<V>(weight[0][p]);
        sum += load<V>(upper + channels + i * width) * splat<V>(weight[1][p]);
        sum += load<V>(lower + i * width) * splat<V>(weight[2][p]);
        sum += load<V>(lower + channels + i * width) * splat<V>(weight[3][p]);
        store(to + i * width, sum);
      }
    }
  }

  void rest(int64_t d, int64_t channel, int64_t count, int64_t column) {
    for (int p = 0; p < strip.count; p++) {
      const int64_t next = strip.problem.channels;
      const R* upper = image + channel + strip.place[d][p] * next;
      const R* lower = upper + strip.line;
      for (int64_t c = 0; c < count; c++)
        strip.columns[p * strip.problem.columns + column + c] =
            upper[c] * strip.weight[d][0][p] +
            upper[next + c] * strip.weight[d][1][p] +
            lower[c] * strip.weight[d][2][p] +
            lower[next + c] * strip.weight[d][3][p];
    }
  }
};

// Puts columns in place of their gradients, which it sends on to the image
// and, as sums over channels, to offsets and mask.
template <class R>
struct ScatterBody {
  Strip<R>& strip;
  const R* image;
  R* grad_image;

  template <int Bytes, int Count>
  void run(int64_t d, int64_t channel, int64_t column) {
    using V = typename Lanes<R, Bytes>::Vector;
    constexpr int width = Lanes<R, Bytes>::width;
    const int64_t corner[4] = {0, strip.problem.channels, strip.line,
                               strip.line + strip.problem.channels};
    const int64_t stride = strip.problem.columns;
    R* both = strip.columns + column;
    const int count = strip.count;
    for (int p = 0; p < count; p++, both += stride) {
      const int64_t from = strip.place[d][p] * corner[1] + channel;
      V total[4] = {};
#pragma GCC unroll 4
      for (int i = 0; i < Count; i++) {
        const V grad = load<V>(both + i * width);
        V sum = {};
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
          const V by = splat<V>(strip.weight[d][k][p]);
          const int64_t cell = from + corner[k] + i * width;
          const V value = load<V>(image + cell);
          sum += value * by;
          total[k] += value * grad;
          add_to(grad_image + cell, grad * by);
        }
        store(both + i * width, sum);
      }
      add_lanes<R, Bytes>(total, strip.sums[d][p]);
    }
  }

  void rest(int64_t d, int64_t channel, int64_t count, int64_t column) {
    const int64_t corner[4] = {0, strip.problem.channels, strip.line,
                               strip.line + strip.problem.channels};
    for (int p = 0; p < strip.count; p++)
      for (int64_t c = 0; c < count; c++) {
        R& both = strip.columns[p * strip.problem.columns + column + c];
        R sum = 0;
        for (int k = 0; k < 4; k++) {
          const int64_t cell =
              strip.place[d][p] * corner[1] + channel + c + corner[k];
          sum += image[cell] * strip.weight[d][k][p];
          strip.sums[d][p][k] += image[cell] * both;
          grad_image[cell] += both * strip.weight[d][k][p];
        }
        both = sum;
      }
  }
};

// Samples

template <class R>
void frame_image(const Modulated& p, const View& x, int64_t sample,
                 int64_t channel, int64_t begin, int64_t end, void* framed) {
  const int64_t line = (p.width + 2) * p.channels;
  for (int64_t y = begin; y < end; y++) {  // of height + 3
    R* row = static_cast<R*>(framed) + y * line;
    if (y == 0 || y > p.height) {
      std::memset(row, 0, line * sizeof(R));
      continue;
    }
    std::memset(row, 0, p.channels * sizeof(R));
    load_pixels<R>(x, sample * x.sample + (y - 1) * x.row, p.width, channel,
                   p.channels, row + p.channels, p.channels);
    std::memset(row + line - p.channels, 0, p.channels * sizeof(R));
  }
}

template <class R>
void modulated_forward(const Modulated& p, const void* framed,
                       const void* bias, int64_t sample, int64_t begin,
                       int64_t end, const View& out, void* scratch) {
  Strip<R> strip(p, scratch);
  const R* weights = static_cast<const R*>(p.weight);
  const R* added = static_cast<const R*>(bias);
  const int64_t row = strip.row_size();
  GatherBody<R> body{strip, static_cast<const R*>(framed)};
  for (int64_t at = begin; at < end; at++) {
    strip.start(sample, at * kStrip);
    for (int i = 0; i < strip.count; i++)
      std::memcpy(strip.rows + i * row, added, row * sizeof(R));
    for (int64_t tap = 0; tap < strip.taps; tap += p.chunk) {
      const int64_t taps =
          strip.taps - tap < p.chunk ? strip.taps - tap : p.chunk;
      for (int64_t i = 0; i < taps; i++) {
        strip.set_up(tap + i);
        strip.each(i, body);
      }
      for (int64_t i = 0; i < p.num_pieces; i++) {
        const Piece& piece = p.pieces[i];
        const int64_t first = tap * p.channels + taps * piece.channel;
        multiply<R, false>(strip.count, p.out_padded, taps * piece.channels,
                           strip.columns + piece.column, p.columns,
                           weights + first * p.out_padded, true, 0,
                           strip.rows + i * p.out_padded, row, true);
      }
    }
    for (int64_t i = 0; i < p.num_pieces; i++)
      store_pixels<R>(strip.rows + i * p.out_padded, row, strip.count,
                      p.out_channels, out,
                      sample * out.sample + at * kStrip * out.pixel,
                      p.pieces[i].group * p.out_channels);
  }
}

// What the sums of a tap send to offsets and masks.
template <class R>
void finish_tap(Strip<R>& strip, int64_t tap) {
  for (int64_t d = 0; d < strip.problem.deform_groups; d++) {
    const R(*sums)[4] = strip.sums[d];
    const R(*fraction)[kStrip] = strip.fraction[d];
    R* mask = strip.masks[d * strip.taps + tap];
    R* down = strip.moves[2 * (d * strip.taps + tap)];
    R* right = down + kStrip;
    for (int p = 0; p < kStrip; p++) {
      const R* s = sums[p];
      const R y = fraction[0][p], x = fraction[1][p];
      const R left = s[2] - s[0], upper = s[1] - s[0];
      const R twist = s[3] - s[1] - left, slope = left + x * twist;
      down[p] = mask[p] * slope;
      right[p] = mask[p] * (upper + y * twist);
      mask[p] = s[0] + x * upper + y * slope;
    }
  }
}

template <class R>
void modulated_backward(const Modulated& p, const void* framed,
                        void* grad_framed, int64_t sample,
                        const View& grad_out, void* grad_weight,
                        const View& grad_offset, const View& grad_mask,
                        void* scratch) {
  constexpr int64_t width = Lanes<R, DKSAN_MM_VECTOR>::width;
  Strip<R> strip(p, scratch);
  const R* weights = static_cast<const R*>(p.weight);
  const int64_t row = strip.row_size(), maps = Strip<R>::maps(p);
  const int64_t pixels = p.out_height * p.out_width;
  std::memset(strip.rows, 0, kStrip * row * sizeof(R));
  ScatterBody<R> body{strip, static_cast<const R*>(framed),
                      static_cast<R*>(grad_framed)};
  for (int64_t first = 0; first < pixels; first += kStrip) {
    strip.start(sample, first);
    for (int64_t i = 0; i < p.num_pieces; i++)
      load_pixels<R>(grad_out,
                     sample * grad_out.sample + first * grad_out.pixel,
                     strip.count, p.pieces[i].group * p.out_channels,
                     p.out_channels, strip.rows + i * p.out_padded, row);
    for (int64_t tap = 0, chunk = 0; tap < strip.taps; tap += p.chunk, chunk++) {
      const int64_t taps =
          strip.taps - tap < p.chunk ? strip.taps - tap : p.chunk;
      for (int64_t i = 0; i < p.num_pieces; i++) {
        const Piece& piece = p.pieces[i];
        const int64_t size = taps * piece.channels;
        const int64_t place = tap * p.channels + taps * piece.channel +
                              width * (chunk * p.num_pieces + i);
        multiply<R, false>(strip.count, (size + width - 1) / width * width,
                           p.out_channels, strip.rows + i * p.out_padded, row,
                           weights + place * p.out_channels, true, 0,
                           strip.columns + piece.column, p.columns, false);
      }
      for (int64_t i = 0; i < taps; i++) {
        strip.set_up(tap + i);
        std::memset(strip.sums, 0, p.deform_groups * sizeof(*strip.sums));
        strip.each(i, body);
        finish_tap(strip, tap + i);
      }
      for (int64_t i = 0; i < p.num_pieces; i++) {
        const Piece& piece = p.pieces[i];
        const int64_t place = tap * p.channels + taps * piece.channel;
        multiply<R, true>(taps * piece.channels, p.out_padded, strip.count,
                          strip.columns + piece.column, p.columns,
                          strip.rows + i * p.out_padded, false, row,
                          static_cast<R*>(grad_weight) + place * p.out_padded,
                          p.out_padded, true);
      }
    }
    store_channels<R>(strip.moves[0], kStrip, strip.count, 2 * maps,
                      grad_offset,
                      sample * grad_offset.sample + first * grad_offset.pixel);
    store_channels<R>(strip.masks[0], kStrip, strip.count, maps, grad_mask,
                      sample * grad_mask.sample + first * grad_mask.pixel);
  }
}

template <class R>
void unframe_image(const Modulated& p, const void* framed, int64_t sample,
                   int64_t channel, const View& x) {
  const int64_t line = (p.width + 2) * p.channels;
  for (int64_t y = 0; y < p.height; y++)
    store_pixels<R>(static_cast<const R*>(framed) + (y + 1) * line +
                        p.channels,
                    p.channels, p.width, p.channels, x,
                    sample * x.sample + y * x.row, channel);
}

template <class R>
size_t modulated_scratch(const Modulated& p) {
  return Strip<R>::bytes(p);
}

}  // namespace
}  // namespace DKSAN_MM_ISA

#define DKSAN_MM_MODULATED(R)                                            \
  {                                                                      \
    DKSAN_MM_VECTOR / sizeof(R), DKSAN_MM_ISA::modulated_scratch<R>,     \
        DKSAN_MM_ISA::frame_image<R>, DKSAN_MM_ISA::modulated_forward<R>, \
        DKSAN_MM_ISA::modulated_backward<R>,                             \
        DKSAN_MM_ISA::unframe_image<R>                                   \
  }

}  // namespace dksan_mm
