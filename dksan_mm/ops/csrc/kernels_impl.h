// The CPU kernels, for the instruction set that the including file names.
//
// All lanes run along channels, of which a pixel's lie side by side. A block
// of output pixels is set up first: for each tap the addresses and weights of
// four image cells and four scope cells. Cells outside have the address of a
// row of zeros, so that nothing below asks whether a tap is inside.

#define DKSAN_MM_INLINE inline __attribute__((always_inline))

namespace dksan_mm {
namespace DKSAN_MM_ISA {
namespace {

template <class R, int Bytes>
struct Lanes {
  static constexpr int width = Bytes / sizeof(R);
  typedef R Vector __attribute__((vector_size(Bytes)));
};
template <int Bytes>
struct Words {
  typedef uint32_t Vector __attribute__((vector_size(Bytes)));
};

template <class V, class T>
DKSAN_MM_INLINE V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
DKSAN_MM_INLINE void store(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}
// Subtracting zeros changes nothing and is left out by the compiler; adding
// them is not, as it would change a negative zero.
template <class V, class R>
DKSAN_MM_INLINE V splat(R value) {
  return value - V{};
}
template <class V, class T>
DKSAN_MM_INLINE void add_to(T* p, V v) {
  store(p, load<V>(p) + v);
}

// Storage types: how two vectors of channels are read and written at a time,
// and one value. In two-byte types the first vector has the even channels of
// the pair and the second the odd ones: words are split by shifts and masks,
// no lane is moved. Tables and gradients have their channels in that order.

template <class R>
struct Plain {
  using Real = R;
  using Stored = R;
  static constexpr bool kEvenOdd = false;
  template <int B, class V = typename Lanes<R, B>::Vector>
  static DKSAN_MM_INLINE void load2(const R* p, V& first, V& second) {
    first = load<V>(p);
    second = load<V>(p + Lanes<R, B>::width);
  }
  template <int B, class V = typename Lanes<R, B>::Vector>
  static DKSAN_MM_INLINE void store2(R* p, V first, V second) {
    store(p, first);
    store(p + Lanes<R, B>::width, second);
  }
  static DKSAN_MM_INLINE R load1(const R* p) { return *p; }
  static DKSAN_MM_INLINE void store1(R* p, R v) { *p = v; }
};

// Converters of 32-bit words, scalars or vectors of them.
struct BFloat16Bits {
  template <class F, class U>
  static DKSAN_MM_INLINE F low(U word) {
    return reinterpret<F>(word << 16);
  }
  template <class F, class U>
  static DKSAN_MM_INLINE F high(U word) {
    return reinterpret<F>(word & 0xffff0000u);
  }
  // to nearest, ties to even; in the low half
  template <class U, class F>
  static DKSAN_MM_INLINE U round(F value) {
    U bits = reinterpret<U>(value);
    U nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
    return (value == value ? nearest : (bits | 0x400000u)) >> 16;
  }
  template <class To, class From>
  static DKSAN_MM_INLINE To reinterpret(From value) {
    To to;
    std::memcpy(&to, &value, sizeof to);
    return to;
  }
};

struct HalfBits {
  template <class F, class U>
  static DKSAN_MM_INLINE F widen(U half) {
    // the exponent is corrected by a product, which makes subnormals right
    U magnitude = (half & 0x7fffu) << 13;
    F value = BFloat16Bits::reinterpret<F>(magnitude) * 0x1p112f;
    U bits = BFloat16Bits::reinterpret<U>(value);
    bits |= (half & 0x7fffu) >= 0x7c00u ? U{} + 0x7f800000u : U{};
    return BFloat16Bits::reinterpret<F>(bits | ((half & 0x8000u) << 16));
  }
  template <class F, class U>
  static DKSAN_MM_INLINE F low(U word) {
    return widen<F>(word & 0xffffu);
  }
  template <class F, class U>
  static DKSAN_MM_INLINE F high(U word) {
    return widen<F>(word >> 16);
  }
  template <class U, class F>
  static DKSAN_MM_INLINE U round(F value) {
    U bits = BFloat16Bits::reinterpret<U>(value);
    U sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    U normal = (bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13;
    // adding a half leaves the subnormal's bits, rounded, at the low end
    U small = BFloat16Bits::reinterpret<U>(
                  BFloat16Bits::reinterpret<F>(bits) + 0.5f) - 0x3f000000u;
    U infinite = bits > 0x7f800000u ? U{} + 0x7e00u : U{} + 0x7c00u;
    U half = bits < 0x38800000u ? small : normal;
    return sign | (bits >= 0x477ff000u ? infinite : half);
  }
};

template <class Bits>
struct TwoBytes {
  using Real = float;
  using Stored = uint16_t;
  static constexpr bool kEvenOdd = true;
  template <int B, class V = typename Lanes<float, B>::Vector>
  static DKSAN_MM_INLINE void load2(const uint16_t* p, V& first, V& second) {
    auto word = load<typename Words<B>::Vector>(p);
    first = Bits::template low<V>(word);
    second = Bits::template high<V>(word);
  }
  template <int B, class V = typename Lanes<float, B>::Vector>
  static DKSAN_MM_INLINE void store2(uint16_t* p, V first, V second) {
    using U = typename Words<B>::Vector;
    store(p, Bits::template round<U>(first) |
                 Bits::template round<U>(second) << 16);
  }
  static DKSAN_MM_INLINE float load1(const uint16_t* p) {
    return Bits::template low<float>(uint32_t(*p));
  }
  static DKSAN_MM_INLINE void store1(uint16_t* p, float v) {
    *p = uint16_t(Bits::template round<uint32_t>(v));
  }
};

// Transposition: L vectors of L lanes, in log2(L) rounds of interleaving.

template <class V, size_t... I>
DKSAN_MM_INLINE V interleave(V a, V b, bool high, std::index_sequence<I...>) {
  constexpr int lanes = sizeof...(I);
#if defined(__clang__) || __GNUC__ >= 12
  return high ? __builtin_shufflevector(
                    a, b, (lanes / 2 + I / 2 + I % 2 * lanes)...)
              : __builtin_shufflevector(a, b, (I / 2 + I % 2 * lanes)...);
#else
  using Mask = decltype(a == b);
  return high ? __builtin_shuffle(
                    a, b, Mask{(lanes / 2 + I / 2 + I % 2 * lanes)...})
              : __builtin_shuffle(a, b, Mask{(I / 2 + I % 2 * lanes)...});
#endif
}

// (L, L) of values at from[row * from_stride] to to[column * to_stride].
template <class T, int L>
DKSAN_MM_INLINE void transpose_square(const T* from, int64_t from_stride,
                                      T* to, int64_t to_stride) {
  typedef T V __attribute__((vector_size(L * sizeof(T))));
  using Index = std::make_index_sequence<L>;
  V a[L], b[L];
  for (int i = 0; i < L; i++) a[i] = load<V>(from + i * from_stride);
#pragma GCC unroll 4
  for (int round = 1; round < L; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; i++) {
      b[2 * i] = interleave(a[i], a[i + L / 2], false, Index{});
      b[2 * i + 1] = interleave(a[i], a[i + L / 2], true, Index{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) a[i] = b[i];
  }
  for (int i = 0; i < L; i++) store(to + i * to_stride, a[i]);
}

// (rows, columns) to (columns, to_stride >= rows), squares first. Rows lie at
// from_stride, side by side if that is 0.
template <class T>
void transpose(const T* from, int64_t rows, int64_t columns, T* to,
               int64_t to_stride, int64_t from_stride = 0) {
  constexpr int fit = (DKSAN_MM_VECTOR == 64 ? 64 : 16) / sizeof(T);
  constexpr int lanes = fit < kBlock ? fit : kBlock;
  const int64_t whole_rows = rows / lanes * lanes;
  const int64_t whole_columns = columns / lanes * lanes;
  if (from_stride == 0) from_stride = columns;
  for (int64_t c = 0; c < whole_columns; c += lanes)
    for (int64_t r = 0; r < whole_rows; r += lanes)
      transpose_square<T, lanes>(from + r * from_stride + c, from_stride,
                                 to + c * to_stride + r, to_stride);
  for (int64_t c = 0; c < columns; c++)
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; r++)
      to[c * to_stride + r] = from[r * from_stride + c];
}

// Calls body.run<Bytes, Pairs>(first channel) for pieces of [begin, end):
// pairs of vectors as wide and as many at a time as fit, then body.rest.
constexpr int kPairs = DKSAN_MM_VECTOR == 64 ? 4 : 2;

template <class R, int Bytes, int Pairs, class Body>
DKSAN_MM_INLINE void pieces(int64_t begin, int64_t end, Body&& body) {
  constexpr int64_t step = Pairs * 2 * Lanes<R, Bytes>::width;
  for (; begin + step <= end; begin += step)
    body.template run<Bytes, Pairs>(begin);
  if constexpr (Pairs > 1) {
    pieces<R, Bytes, Pairs / 2>(begin, end, body);
  } else if constexpr (Bytes > 16) {
    pieces<R, Bytes / 2, 1>(begin, end, body);
  } else if (begin < end) {
    body.rest(begin, end);
  }
}

struct OrderBody {
  int32_t* order;
  template <int Bytes, int Pairs>
  void run(int64_t c) {
    for (int i = 0; i < Bytes / 2; i++)
      order[c + i] = c + 2 * (i % (Bytes / 4)) + i / (Bytes / 4);
  }
  void rest(int64_t c, int64_t end) {
    for (; c < end; c++) order[c] = c;
  }
};

void channel_order(int storage, int64_t channels, int32_t* order) {
  if (storage == kBFloat16 || storage == kHalf) {
    pieces<float, DKSAN_MM_VECTOR, 1>(0, channels, OrderBody{order});
  } else {
    for (int64_t c = 0; c < channels; c++) order[c] = c;
  }
}

// The set-up of a block of output pixels. Arrays are [tap][...][kBlock].
template <class S>
struct Block {
  using R = typename S::Real;
  using Row = R[kBlock];

  const Problem& problem;
  const int64_t taps, groups;
  uintptr_t (*address)[4][kBlock];  // image cells
  R (*weight)[4][kBlock];
  R (*fraction)[2][kBlock];
  int32_t (*cell)[4][kBlock];  // [group * taps + tap]: rows of the table
  R (*cell_weight)[4][kBlock];
  R (*cell_fraction)[2][kBlock];
  R (*moves)[kBlock];   // offsets as they were read
  R* pixel_moves;       // the same, a pixel's side by side
  R* kernel;            // [tap][C], the resampled kernel where groups > 1
  R* spare;             // [C], where gradients sent outside go
  R* product;           // [C], grad_out times the image
  R* table_sum;         // [S_h * S_w + 1][C]
  typename S::Stored* tile;  // [kBlock][C]

  static size_t bytes(const Problem& p) {
    int64_t taps = p.taps(), all = p.groups * taps;
    return sizeof(R) * kBlock * (taps * 6 + all * 6 + 2 * (taps + 2 * all)) +
           8 * kBlock * 4 * taps + 4 * kBlock * 4 * all +
           sizeof(R) * p.channels *
               (taps + kBlock + 3 + p.scope[0] * p.scope[1]) +
           64 * 13;
  }

  Block(const Problem& p, void* scratch)
      : problem(p), taps(p.taps()), groups(p.groups) {
    char* next = static_cast<char*>(scratch);
    auto take = [&next](auto*& array, int64_t count) {
      next += -reinterpret_cast<uintptr_t>(next) % 64;
      array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(next);
      next += count * sizeof(*array);
    };
    take(address, taps);
    take(weight, taps);
    take(fraction, taps);
    take(cell, groups * taps);
    take(cell_weight, groups * taps);
    take(cell_fraction, groups * taps);
    take(moves, 2 * (groups + 1) * taps);
    take(pixel_moves, 2 * groups * taps * kBlock);
    take(kernel, taps * p.channels);
    take(spare, p.channels);
    take(product, p.channels);
    take(table_sum, (p.scope[0] * p.scope[1] + 1) * p.channels);
    take(tile, kBlock * p.channels);
  }

  void set_up(int64_t sample, int64_t first, int count) {
    R top[kBlock], left[kBlock];
    int64_t y = first / problem.out_width, x = first % problem.out_width;
    for (int p = 0; p < kBlock; p++) {
      top[p] = R(y * problem.stride[0] - problem.padding[0]);
      left[p] = R(x * problem.stride[1] - problem.padding[1]);
      if (++x == problem.out_width) x = 0, y++;
    }
    R(*scope_moves)[kBlock] = moves + 2 * taps;
    read(problem.offset, 2 * taps, sample, first, count, moves);
    read(problem.kernel_offset, 2 * taps * groups, sample, first, count,
         scope_moves);
    const char* image = static_cast<const char*>(problem.image) +
                        sample * problem.height * problem.width *
                            problem.channels * sizeof(typename S::Stored);
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t i = tap / problem.kernel[1], j = tap % problem.kernel[1];
      image_tap(tap, top, left, R(i * problem.dilation[0]),
                R(j * problem.dilation[1]), image);
      for (int64_t g = 0; g < groups; g++)
        scope_tap(g * taps + tap, i, j, scope_moves + 2 * (g * taps + tap));
    }
  }

  // Offsets of all channels at the block's pixels, zeros past the last one.
  void read(const Offsets& o, int64_t channels, int64_t sample, int64_t first,
            int count, Row* out) {
    if (!o.data) {
      std::memset(out, 0, channels * sizeof(Row));
      return;
    }
    int64_t start = sample * o.sample + first * o.pixel;
    switch (o.storage) {
      case kFloat: return read_as<Plain<float>>(o, channels, start, count, out);
      case kDouble:
        return read_as<Plain<double>>(o, channels, start, count, out);
      case kBFloat16:
        return read_as<TwoBytes<BFloat16Bits>>(o, channels, start, count, out);
      default:
        return read_as<TwoBytes<HalfBits>>(o, channels, start, count, out);
    }
  }
  template <class O>
  void read_as(const Offsets& o, int64_t channels, int64_t start, int count,
               Row* out) {
    auto data = static_cast<const typename O::Stored*>(o.data) + start;
    if (o.pixel == 1 && count == kBlock) {
      for (int64_t c = 0; c < channels; c++)
        for (int p = 0; p < kBlock; p++)
          out[c][p] = R(O::load1(data + c * o.channel + p));
    } else if (o.channel == 1 && count == kBlock) {
      for (int p = 0; p < kBlock; p++)
        for (int64_t c = 0; c < channels; c++)
          pixel_moves[p * channels + c] = R(O::load1(data + p * o.pixel + c));
      transpose<R>(pixel_moves, kBlock, channels, out[0], kBlock);
    } else {
      std::memset(out, 0, channels * sizeof(Row));
      for (int p = 0; p < count; p++)
        for (int64_t c = 0; c < channels; c++)
          out[c][p] = R(O::load1(data + c * o.channel + p * o.pixel));
    }
  }

  // Split positions into cells and the fractions in them. A position outside
  // (-1, size) on either axis, or not a number, becomes -2: its cells are all
  // outside.
  static DKSAN_MM_INLINE void split(R y, R x, R height, R width, int32_t& row,
                                    int32_t& column, R& down, R& right) {
    bool inside = (y > R(-1)) & (y < height) & (x > R(-1)) & (x < width);
    y = inside ? y : R(-2);
    x = inside ? x : R(-2);
    R floor_y = std::floor(y), floor_x = std::floor(x);
    row = int32_t(floor_y);
    column = int32_t(floor_x);
    down = y - floor_y;
    right = x - floor_x;
  }

  static DKSAN_MM_INLINE void corners(R down, R right, R (*weights)[kBlock],
                                      int p) {
    weights[0][p] = (1 - down) * (1 - right);
    weights[1][p] = (1 - down) * right;
    weights[2][p] = down * (1 - right);
    weights[3][p] = down * right;
  }

  void image_tap(int64_t tap, const R* top, const R* left, R i, R j,
                 const char* image) {
    const int32_t height = problem.height, width = problem.width;
    const uint64_t row_bytes =
        problem.channels * sizeof(typename S::Stored);
    const uint64_t base = reinterpret_cast<uintptr_t>(image);
    const uint64_t zeros = reinterpret_cast<uintptr_t>(problem.zeros);
    R(*move)[kBlock] = moves + 2 * tap;
    int32_t rows[kBlock], columns[kBlock];
    for (int p = 0; p < kBlock; p++) {
      split(top[p] + i + move[0][p], left[p] + j + move[1][p], R(height),
            R(width), rows[p], columns[p], fraction[tap][0][p],
            fraction[tap][1][p]);
      corners(fraction[tap][0][p], fraction[tap][1][p], weight[tap], p);
    }
    for (int corner = 0; corner < 4; corner++)
      for (int p = 0; p < kBlock; p++) {
        int32_t y = rows[p] + corner / 2, x = columns[p] + corner % 2;
        bool inside = (y >= 0) & (y < height) & (x >= 0) & (x < width);
        uint64_t pixel = uint32_t(y) * uint32_t(width) + uint32_t(x);
        address[tap][corner][p] = inside ? base + pixel * row_bytes : zeros;
      }
  }

  void scope_tap(int64_t at, int64_t i, int64_t j, const Row* move) {
    const int32_t height = problem.scope[0], width = problem.scope[1];
    const R row = i + R(height - problem.kernel[0]) / 2;
    const R column = j + R(width - problem.kernel[1]) / 2;
    int32_t rows[kBlock], columns[kBlock];
    for (int p = 0; p < kBlock; p++) {
      split(row + move[0][p], column + move[1][p], R(height), R(width),
            rows[p], columns[p], cell_fraction[at][0][p],
            cell_fraction[at][1][p]);
      corners(cell_fraction[at][0][p], cell_fraction[at][1][p],
              cell_weight[at], p);
    }
    for (int corner = 0; corner < 4; corner++)
      for (int p = 0; p < kBlock; p++) {
        int32_t y = rows[p] + corner / 2, x = columns[p] + corner % 2;
        bool inside = (y >= 0) & (y < height) & (x >= 0) & (x < width);
        cell[at][corner][p] = inside ? y * width + x : height * width;
      }
  }

  const typename S::Stored* image_row(int64_t tap, int corner, int p) const {
    return reinterpret_cast<const typename S::Stored*>(
        address[tap][corner][p]);
  }
  const R* table_row(int64_t at, int corner, int p) const {
    return static_cast<const R*>(problem.table) +
           int64_t(cell[at][corner][p]) * problem.channels;
  }

  // The kernel at one pixel, for channels that do not share one.
  void resample(int p, int64_t begin, int64_t end) {
    const R* table = static_cast<const R*>(problem.table);
    for (int64_t tap = 0; tap < taps; tap++)
      for (int64_t c = begin; c < end; c++) {
        int64_t at = problem.group[c] * taps + tap;
        R total = 0;
        for (int k = 0; k < 4; k++)
          total += cell_weight[at][k][p] *
                   table[int64_t(cell[at][k][p]) * problem.channels + c];
        kernel[tap * problem.channels + c] = total;
      }
  }
};

// One output pixel.
template <class S, bool Grouped>
struct ForwardBody {
  using R = typename S::Real;
  const Block<S>& block;
  const R* bias;
  int p;
  typename S::Stored* out;

  template <int Bytes, int Pairs>
  DKSAN_MM_INLINE void run(int64_t c) {
    using V = typename Lanes<R, Bytes>::Vector;
    constexpr int width = Lanes<R, Bytes>::width;
    V total[Pairs][2];
    for (int i = 0; i < 2 * Pairs; i++)
      total[i / 2][i % 2] = load<V>(bias + c + i * width);
    for (int64_t tap = 0; tap < block.taps; tap++) {
      const typename S::Stored* image[4];
      const R* scope[4];
      V a[4], b[4];
      for (int k = 0; k < 4; k++) {
        image[k] = block.image_row(tap, k, p) + c;
        a[k] = splat<V>(block.weight[tap][k][p]);
        if (!Grouped) {
          scope[k] = block.table_row(tap, k, p) + c;
          b[k] = splat<V>(block.cell_weight[tap][k][p]);
        }
      }
      const R* kernel = block.kernel + tap * block.problem.channels + c;
#pragma GCC unroll 4
      for (int i = 0; i < Pairs; i++) {
        V read[2], by[2];
        S::template load2<Bytes>(image[0] + 2 * i * width, read[0], read[1]);
        read[0] *= a[0];
        read[1] *= a[0];
#pragma GCC unroll 3
        for (int k = 1; k < 4; k++) {
          V first, second;
          S::template load2<Bytes>(image[k] + 2 * i * width, first, second);
          read[0] += first * a[k];
          read[1] += second * a[k];
        }
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
          int64_t at = (2 * i + h) * width;
          if (Grouped) {
            by[h] = load<V>(kernel + at);
          } else {
            by[h] = load<V>(scope[0] + at) * b[0];
#pragma GCC unroll 3
            for (int k = 1; k < 4; k++)
              by[h] += load<V>(scope[k] + at) * b[k];
          }
          total[i][h] += read[h] * by[h];
        }
      }
    }
    for (int i = 0; i < Pairs; i++)
      S::template store2<Bytes>(out + c + 2 * i * width, total[i][0],
                                total[i][1]);
  }

  void rest(int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) {
      R total = bias[c];
      for (int64_t tap = 0; tap < block.taps; tap++) {
        R read = 0, by = 0;
        for (int k = 0; k < 4; k++) {
          read += S::load1(block.image_row(tap, k, p) + c) *
                  block.weight[tap][k][p];
          if (!Grouped)
            by += block.table_row(tap, k, p)[c] * block.cell_weight[tap][k][p];
        }
        if (Grouped) by = block.kernel[tap * block.problem.channels + c];
        total += read * by;
      }
      S::store1(out + c, total);
    }
  }
};

template <class S, bool Grouped>
void forward_blocks(const Problem& problem, const Forward& to, int64_t begin,
                    int64_t end, void* scratch) {
  using T = typename S::Stored;
  using R = typename S::Real;
  const int64_t channels = problem.channels, pixels = problem.pixels();
  Block<S> block(problem, scratch);
  for (int64_t at = begin; at < end; at++) {
    int64_t sample = at / problem.blocks();
    int64_t first = at % problem.blocks() * kBlock;
    int count = pixels - first < kBlock ? pixels - first : kBlock;
    block.set_up(sample, first, count);
    T* base = static_cast<T*>(to.out) + sample * pixels * channels;
    T* rows = to.channels_last ? base + first * channels : block.tile;
    for (int p = 0; p < count; p++) {
      if (Grouped) block.resample(p, 0, channels);
      pieces<R, DKSAN_MM_VECTOR, kPairs>(
          0, channels,
          ForwardBody<S, Grouped>{block, static_cast<const R*>(to.bias), p,
                                  rows + p * channels});
    }
    if (!to.channels_last)
      transpose(rows, count, channels, base + first, pixels);
  }
}

template <class S>
void forward(const Problem& problem, const Forward& to, int64_t begin,
             int64_t end, void* scratch) {
  if (problem.groups > 1)
    forward_blocks<S, true>(problem, to, begin, end, scratch);
  else
    forward_blocks<S, false>(problem, to, begin, end, scratch);
}

// Sums over the lanes of four vectors.
template <class R, int Bytes>
DKSAN_MM_INLINE void lane_sums(const typename Lanes<R, Bytes>::Vector* v,
                               R* sums) {
  if constexpr (Bytes > 16) {
    using H = typename Lanes<R, Bytes / 2>::Vector;
    H halves[4];
    for (int i = 0; i < 4; i++) {
      H parts[2];
      std::memcpy(parts, &v[i], sizeof parts);
      halves[i] = parts[0] + parts[1];
    }
    lane_sums<R, Bytes / 2>(halves, sums);
  } else {
    for (int i = 0; i < 4; i++) {
      sums[i] = v[i][0] + v[i][1];
      if constexpr (sizeof(R) == 4) sums[i] += v[i][2] + v[i][3];
    }
  }
}

// One output pixel, a slice of channels.
template <class S, bool Grouped, bool WantImage>
struct BackwardBody {
  using R = typename S::Real;
  using T = typename S::Stored;
  const Block<S>& block;
  const Backward& to;
  int p;
  const T* grad_out;  // the pixel's row
  R* sums;            // [taps * (2 + 2 G)][kBlock], at the pixel

  R* grad_image_row(int64_t tap, int corner) const {
    uintptr_t address = block.address[tap][corner][p];
    uintptr_t image = reinterpret_cast<uintptr_t>(block.problem.image);
    if (address == reinterpret_cast<uintptr_t>(block.problem.zeros))
      return block.spare;
    return static_cast<R*>(to.grad_image) + (address - image) / sizeof(T);
  }
  R* grad_table_row(int64_t at, int corner) const {
    return block.table_sum +
           int64_t(block.cell[at][corner][p]) * block.problem.channels;
  }
  // Slopes of a bilinear reading, from sums at its four corners.
  template <class V>
  static DKSAN_MM_INLINE void slopes(const V* corner, R down, R right, V& y,
                                     V& x) {
    V left = corner[2] - corner[0], top = corner[1] - corner[0];
    y = left + right * (corner[3] - corner[1] - left);
    x = top + down * (corner[3] - corner[2] - top);
  }

  template <int Bytes, int Pairs>
  DKSAN_MM_INLINE void run(int64_t c) {
    using V = typename Lanes<R, Bytes>::Vector;
    constexpr int width = Lanes<R, Bytes>::width;
    for (int64_t tap = 0; tap < block.taps; tap++) {
      const T* image[4];
      const R* scope[4];
      R *grad_image[4], *grad_table[4];
      V a[4], b[4], by_image[4] = {}, by_scope[4] = {};
      for (int k = 0; k < 4; k++) {
        image[k] = block.image_row(tap, k, p) + c;
        a[k] = splat<V>(block.weight[tap][k][p]);
        if (WantImage) grad_image[k] = grad_image_row(tap, k) + c;
        if (!Grouped) {
          scope[k] = block.table_row(tap, k, p) + c;
          b[k] = splat<V>(block.cell_weight[tap][k][p]);
          grad_table[k] = grad_table_row(tap, k) + c;
        }
      }
      const R* kernel = block.kernel + tap * block.problem.channels + c;
#pragma GCC unroll 4
      for (int i = 0; i < Pairs; i++) {
        V grad[2], corner[4][2];
        S::template load2<Bytes>(grad_out + c + 2 * i * width, grad[0],
                                 grad[1]);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
          S::template load2<Bytes>(image[k] + 2 * i * width, corner[k][0],
                                   corner[k][1]);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
          const int64_t at = (2 * i + h) * width;
          V read = corner[0][h] * a[0];
          V by = Grouped ? load<V>(kernel + at) : load<V>(scope[0] + at) * b[0];
#pragma GCC unroll 3
          for (int k = 1; k < 4; k++) {
            read += corner[k][h] * a[k];
            if (!Grouped) by += load<V>(scope[k] + at) * b[k];
          }
          V to_scope = grad[h] * read, to_image = grad[h] * by;
          if (Grouped) store(block.product + c + at, to_scope);
#pragma GCC unroll 4
          for (int k = 0; k < 4; k++) {
            by_image[k] += to_image * corner[k][h];
            if (WantImage) add_to(grad_image[k] + at, to_image * a[k]);
            if (!Grouped) {
              by_scope[k] += to_scope * load<V>(scope[k] + at);
              add_to(grad_table[k] + at, to_scope * b[k]);
            }
          }
        }
      }
      V moved[4] = {};
      slopes(by_image, block.fraction[tap][0][p], block.fraction[tap][1][p],
             moved[0], moved[1]);
      if (!Grouped)
        slopes(by_scope, block.cell_fraction[tap][0][p],
               block.cell_fraction[tap][1][p], moved[2], moved[3]);
      R total[4];
      lane_sums<R, Bytes>(moved, total);
      add(tap, total);
      if (Grouped) scope_groups(tap, c, c + Pairs * 2 * width);
    }
  }

  void add(int64_t tap, const R* total) {
    for (int axis = 0; axis < 2; axis++) {
      sums[(2 * tap + axis) * kBlock] += total[axis];
      if (!Grouped)
        sums[(2 * (block.taps + tap) + axis) * kBlock] += total[2 + axis];
    }
  }

  // What the products of channels [begin, end) send to scope and offsets.
  void scope_groups(int64_t tap, int64_t begin, int64_t end) {
    const int64_t channels = block.problem.channels;
    for (int64_t c = begin; c < end; c++) {
      int64_t at = block.problem.group[c] * block.taps + tap;
      R value[4], y, x;
      for (int k = 0; k < 4; k++) {
        int64_t place = int64_t(block.cell[at][k][p]) * channels + c;
        value[k] = block.product[c] *
                   static_cast<const R*>(block.problem.table)[place];
        block.table_sum[place] += block.product[c] * block.cell_weight[at][k][p];
      }
      slopes(value, block.cell_fraction[at][0][p],
             block.cell_fraction[at][1][p], y, x);
      sums[2 * (block.taps + at) * kBlock] += y;
      sums[(2 * (block.taps + at) + 1) * kBlock] += x;
    }
  }

  void rest(int64_t begin, int64_t end) {
    for (int64_t tap = 0; tap < block.taps; tap++) {
      R total[4] = {};
      for (int64_t c = begin; c < end; c++) {
        R value[4], read = 0, by = 0, y, x;
        for (int k = 0; k < 4; k++) {
          value[k] = S::load1(block.image_row(tap, k, p) + c);
          read += value[k] * block.weight[tap][k][p];
          if (!Grouped)
            by += block.table_row(tap, k, p)[c] * block.cell_weight[tap][k][p];
        }
        if (Grouped) by = block.kernel[tap * block.problem.channels + c];
        R grad = S::load1(grad_out + c), to_image = grad * by;
        block.product[c] = grad * read;
        slopes(value, block.fraction[tap][0][p], block.fraction[tap][1][p], y,
               x);
        total[0] += to_image * y;
        total[1] += to_image * x;
        for (int k = 0; WantImage && k < 4; k++)
          grad_image_row(tap, k)[c] += to_image * block.weight[tap][k][p];
      }
      if (!Grouped)
        for (int64_t c = begin; c < end; c++) {
          R value[4], y, x;
          for (int k = 0; k < 4; k++) {
            value[k] = block.table_row(tap, k, p)[c];
            grad_table_row(tap, k)[c] +=
                block.product[c] * block.cell_weight[tap][k][p];
          }
          slopes(value, block.cell_fraction[tap][0][p],
                 block.cell_fraction[tap][1][p], y, x);
          total[2] += block.product[c] * y;
          total[3] += block.product[c] * x;
        }
      add(tap, total);
      if (Grouped) scope_groups(tap, begin, end);
    }
  }
};

// Blocks between which sums over pixels are kept apart from the total: long
// sums of small terms would lose digits.
constexpr int64_t kFlush = 16;

template <class S, bool Grouped, bool WantImage>
void backward_slice(const Problem& problem, const Backward& to, int64_t slice,
                    int64_t sample, int64_t begin, int64_t end,
                    void* scratch) {
  using R = typename S::Real;
  const int64_t channels = problem.channels, pixels = problem.pixels();
  const int64_t cells = problem.scope[0] * problem.scope[1] + 1;
  const int64_t rows = 2 * problem.taps() * (1 + problem.groups);
  Block<S> block(problem, scratch);
  std::memset(block.table_sum, 0, cells * channels * sizeof(R));
  R* total = static_cast<R*>(to.grad_table) + sample * cells * channels;
  for (int64_t at = 0; at < problem.blocks(); at++) {
    int64_t first = at * kBlock;
    int count = pixels - first < kBlock ? pixels - first : kBlock;
    block.set_up(sample, first, count);
    R* sums = static_cast<R*>(to.grad_offsets) +
              ((slice * problem.batch + sample) * problem.blocks() + at) *
                  rows * kBlock;
    std::memset(sums, 0, rows * kBlock * sizeof(R));
    for (int p = 0; p < count; p++) {
      if (Grouped) block.resample(p, begin, end);
      auto row = static_cast<const typename S::Stored*>(to.grad_out) +
                 (sample * pixels + first + p) * channels;
      pieces<R, DKSAN_MM_VECTOR, kPairs>(
          begin, end, BackwardBody<S, Grouped, WantImage>{block, to, p, row,
                                                          sums + p});
    }
    if (at % kFlush == kFlush - 1 || at + 1 == problem.blocks())
      for (int64_t cell = 0; cell < cells; cell++)
        for (int64_t c = begin; c < end; c++) {
          total[cell * channels + c] += block.table_sum[cell * channels + c];
          block.table_sum[cell * channels + c] = 0;
        }
  }
}

template <class S>
void backward(const Problem& problem, const Backward& to, int64_t slice,
              int64_t sample, int64_t begin, int64_t end, void* scratch) {
  auto run = problem.groups > 1
                 ? (to.grad_image ? backward_slice<S, true, true>
                                  : backward_slice<S, true, false>)
                 : (to.grad_image ? backward_slice<S, false, true>
                                  : backward_slice<S, false, false>);
  run(problem, to, slice, sample, begin, end, scratch);
}

template <class S>
struct RoundBody {
  using R = typename S::Real;
  const R* from;
  typename S::Stored* to;
  template <int Bytes, int Pairs>
  DKSAN_MM_INLINE void run(int64_t c) {
    using V = typename Lanes<R, Bytes>::Vector;
    constexpr int width = Lanes<R, Bytes>::width;
    for (int i = 0; i < 2 * Pairs; i += 2)
      S::template store2<Bytes>(to + c + i * width,
                                load<V>(from + c + i * width),
                                load<V>(from + c + (i + 1) * width));
  }
  void rest(int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) S::store1(to + c, from[c]);
  }
};

template <class S>
void round_rows(const void* rows, int64_t begin, int64_t end,
                int64_t channels, void* out) {
  using R = typename S::Real;
  for (int64_t row = begin; row < end; row++)
    pieces<R, DKSAN_MM_VECTOR, kPairs>(
        0, channels,
        RoundBody<S>{static_cast<const R*>(rows) + row * channels,
                     static_cast<typename S::Stored*>(out) + row * channels});
}

template <class S>
void transpose_rows(const void* rows, int64_t count, int64_t channels,
                    void* out, int64_t stride) {
  using T = typename S::Stored;
  transpose(static_cast<const T*>(rows), count, channels,
            static_cast<T*>(out), stride);
}

size_t scratch_bytes(int storage, const Problem& problem) {
  return storage == kDouble ? Block<Plain<double>>::bytes(problem)
                            : Block<Plain<float>>::bytes(problem);
}

using BFloat16 = TwoBytes<BFloat16Bits>;
using Half = TwoBytes<HalfBits>;

}  // namespace
}  // namespace DKSAN_MM_ISA
}  // namespace dksan_mm

#include "modulated_impl.h"

namespace dksan_mm {

const Kernels DKSAN_MM_KERNELS = {
    DKSAN_MM_NAME,
    DKSAN_MM_VECTOR / 2,
    DKSAN_MM_ISA::channel_order,
    DKSAN_MM_ISA::scratch_bytes,
    {DKSAN_MM_ISA::forward<DKSAN_MM_ISA::Plain<float>>,
     DKSAN_MM_ISA::forward<DKSAN_MM_ISA::Plain<double>>,
     DKSAN_MM_ISA::forward<DKSAN_MM_ISA::BFloat16>,
     DKSAN_MM_ISA::forward<DKSAN_MM_ISA::Half>},
    {DKSAN_MM_ISA::backward<DKSAN_MM_ISA::Plain<float>>,
     DKSAN_MM_ISA::backward<DKSAN_MM_ISA::Plain<double>>,
     DKSAN_MM_ISA::backward<DKSAN_MM_ISA::BFloat16>,
     DKSAN_MM_ISA::backward<DKSAN_MM_ISA::Half>},
    {DKSAN_MM_ISA::round_rows<DKSAN_MM_ISA::Plain<float>>,
     DKSAN_MM_ISA::round_rows<DKSAN_MM_ISA::Plain<double>>,
     DKSAN_MM_ISA::round_rows<DKSAN_MM_ISA::BFloat16>,
     DKSAN_MM_ISA::round_rows<DKSAN_MM_ISA::Half>},
    {DKSAN_MM_ISA::transpose_rows<DKSAN_MM_ISA::Plain<float>>,
     DKSAN_MM_ISA::transpose_rows<DKSAN_MM_ISA::Plain<double>>,
     DKSAN_MM_ISA::transpose_rows<DKSAN_MM_ISA::BFloat16>,
     DKSAN_MM_ISA::transpose_rows<DKSAN_MM_ISA::Half>},
    {DKSAN_MM_MODULATED(float), DKSAN_MM_MODULATED(double)},
};

}  // namespace dksan_mm
