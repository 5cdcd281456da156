// Modulated deformable convolution (DCNv2) on the CPU, for one instruction
// set: the columns of its matrix product, and their gradients. Channels of a
// pixel lie side by side, so that a position reads vectors.

namespace dksan_mm {
namespace DKSAN_MM_ISA {
namespace {

// Memory of plain values; std::vector's functions would be shared with files
// for other instruction sets.
template <class T>
struct Buffer {
  T* values;
  explicit Buffer(int64_t count)
      : values(static_cast<T*>(::operator new(count * sizeof(T)))) {}
  ~Buffer() { ::operator delete(values); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T& operator[](int64_t i) { return values[i]; }
  const T& operator[](int64_t i) const { return values[i]; }
};

// Vectors of a computing type, and of integers as wide.
template <class R>
struct PositionLanes;
template <>
struct PositionLanes<float> {
  using Index = int32_t;
  typedef float Real __attribute__((vector_size(DKSAN_MM_VECTOR)));
  typedef int32_t Int __attribute__((vector_size(DKSAN_MM_VECTOR)));
};
template <>
struct PositionLanes<double> {
  using Index = int64_t;
  typedef double Real __attribute__((vector_size(DKSAN_MM_VECTOR)));
  typedef int64_t Int __attribute__((vector_size(DKSAN_MM_VECTOR)));
};

// Where a pixel's positions read. Corners are upper left, upper right, lower
// left, lower right.
template <class R>
class Reader {
 public:
  using Index = typename PositionLanes<R>::Index;
  using Real = typename PositionLanes<R>::Real;
  using Int = typename PositionLanes<R>::Int;
  static constexpr int64_t kLanes = sizeof(Real) / sizeof(R);

  explicit Reader(const Modulated& problem)
      : p(problem),
        image(static_cast<const R*>(p.image)),
        zeros(static_cast<const R*>(p.zeros)),
        positions(p.positions()),
        padded((positions + kLanes - 1) / kLanes * kLanes),
        reals(13 * padded),
        pixels(4 * padded) {
    for (int64_t i = 0; i < 13 * padded; i++) reals[i] = 0;
    for (int64_t j = 0; j < positions; j++) {
      const int64_t tap = j % p.taps();
      row(kBaseY)[j] = R(tap / p.kernel[1] * p.dilation[0] - p.padding[0]);
      row(kBaseX)[j] = R(tap % p.kernel[1] * p.dilation[1] - p.padding[1]);
    }
  }

  // Find the corners of a pixel's positions.
  void look(int64_t at) {
    const R* move = static_cast<const R*>(p.offset) + at * 2 * positions;
    const R* factor = static_cast<const R*>(p.mask) + at * positions;
    R *move_y = row(kY), *move_x = row(kX), *mask = row(kMask);
    for (int64_t j = 0; j < positions; j++) {
      move_y[j] = move[2 * j];
      move_x[j] = move[2 * j + 1];
      mask[j] = factor[j];
    }
    const R top = R(at / p.out_width * p.stride[0]);
    const R left = R(at % p.out_width * p.stride[1]);
    for (int64_t j = 0; j < padded; j += kLanes) look_at(j, top, left);
  }

  // The channels of a corner; zeros outside the image.
  const R* corner(int i, int64_t j) const {
    const Index pixel = pixels[i * padded + j];
    return pixel < 0 ? zeros : image + int64_t(pixel) * p.channels;
  }
  Index pixel(int i, int64_t j) const { return pixels[i * padded + j]; }
  // Bilinear, and times the mask.
  R weight(int i, int64_t j) const { return reals[(kWeight + i) * padded + j]; }
  R scaled(int i, int64_t j) const { return reals[(kScaled + i) * padded + j]; }
  R mask(int64_t j) const { return reals[kMask * padded + j]; }
  // How far below and right of the first corner.
  R below(int64_t j) const { return reals[kY * padded + j]; }
  R right(int64_t j) const { return reals[kX * padded + j]; }

  const Modulated& p;
  const R *image, *zeros;
  const int64_t positions, padded;

 private:
  enum { kBaseY, kBaseX, kY, kX, kMask, kWeight, kScaled = kWeight + 4 };

  R* row(int64_t i) { return reals.values + i * padded; }
  Real load(int64_t i, int64_t j) {
    Real value;
    std::memcpy(&value, row(i) + j, sizeof value);
    return value;
  }
  void store(int64_t i, int64_t j, Real value) {
    std::memcpy(row(i) + j, &value, sizeof value);
  }
  void keep(int64_t i, int64_t j, Int inside, Int pixel) {
    pixel = inside & pixel | ~inside;  // all bits: -1
    std::memcpy(pixels.values + i * padded + j, &pixel, sizeof pixel);
  }

  // floor() of values that fit into an integer.
  static Real floor(Real x) {
    const Real whole =
        __builtin_convertvector(__builtin_convertvector(x, Int), Real);
    return whole > x ? whole - R(1) : whole;
  }

  void look_at(int64_t j, R top, R left) {
    const Real none = {};
    Real y = load(kBaseY, j) + load(kY, j) + top;
    Real x = load(kBaseX, j) + load(kX, j) + left;
    // false for NaN as well
    const Int inside = (y > R(-1)) & (x > R(-1)) & (y < R(p.height)) &
                       (x < R(p.width));
    y = inside ? y : none;
    x = inside ? x : none;
    const Real fy = floor(y), fx = floor(x);
    const Int y0 = __builtin_convertvector(fy, Int);
    const Int x0 = __builtin_convertvector(fx, Int);
    const Real dy = y - fy, dx = x - fx, mask = load(kMask, j);
    const Index width = Index(p.width);
    const Int up = inside & (y0 >= 0);
    const Int down = inside & (y0 < Index(p.height - 1));
    const Int west = x0 >= 0, east = x0 < width - 1;
    const Int at = y0 * width + x0;
    keep(0, j, up & west, at);
    keep(1, j, up & east, at + 1);
    keep(2, j, down & west, at + width);
    keep(3, j, down & east, at + width + 1);
    store(kY, j, dy);
    store(kX, j, dx);
    const Real weights[4] = {(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx),
                             dy * dx};
    for (int i = 0; i < 4; i++) {
      store(kWeight + i, j, weights[i]);
      store(kScaled + i, j, weights[i] * mask);
    }
  }

  Buffer<R> reals;
  Buffer<Index> pixels;
};

// Channels that share a deform group and a group: they lie side by side in the
// image and in the columns.
struct Run {
  int64_t channel, count, deform_group, column;
};

struct Runs {
  Buffer<Run> runs;
  int64_t count = 0;

  explicit Runs(const Modulated& p) : runs(p.groups + p.deform_groups) {
    const int64_t per_group = p.channels / p.groups;
    const int64_t per_deform = p.channels / p.deform_groups;
    for (int64_t c = 0; c < p.channels;) {
      const int64_t group = c / per_group, deform = c / per_deform;
      const int64_t group_end = (group + 1) * per_group;
      const int64_t deform_end = (deform + 1) * per_deform;
      const int64_t end = group_end < deform_end ? group_end : deform_end;
      runs[count++] = {c, end - c, deform,
                       group * p.taps() * per_group + c - group * per_group};
      c = end;
    }
  }
  const Run* begin() const { return runs.values; }
  const Run* end() const { return runs.values + count; }
};

// Lengths known to the compiler become vectors; others are cut into these.
template <int Length, class Body>
inline void in_pieces(int64_t count, Body& body) {
  if constexpr (Length > 0) {
    body.template piece<Length>(0);
  } else {
    int64_t c = 0;
    for (; c + 16 <= count; c += 16) body.template piece<16>(c);
    if (c + 8 <= count) body.template piece<8>(c), c += 8;
    if (c + 4 <= count) body.template piece<4>(c), c += 4;
    for (; c < count; c++) body.template piece<1>(c);
  }
}

template <class R>
struct GatherBody {
  const R *a, *b, *c, *d;
  R wa, wb, wc, wd;
  R* to;
  template <int L>
  void piece(int64_t at) {
    R out[L];
    for (int i = 0; i < L; i++)
      out[i] = wa * a[at + i] + wb * b[at + i] + wc * c[at + i] + wd * d[at + i];
    for (int i = 0; i < L; i++) to[at + i] = out[i];
  }
};

template <class R, int Length>
void gather_runs(const Modulated& p, int64_t begin, int64_t end,
                 void* columns) {
  Reader<R> reader(p);
  const Runs runs(p);
  const int64_t taps = p.taps(), per_group = p.channels / p.groups;
  R* row = static_cast<R*>(columns);
  for (int64_t at = begin; at < end; at++, row += taps * p.channels) {
    reader.look(at);
    for (const Run& run : runs)
      for (int64_t tap = 0; tap < taps; tap++) {
        const int64_t j = run.deform_group * taps + tap;
        GatherBody<R> body{reader.corner(0, j) + run.channel,
                           reader.corner(1, j) + run.channel,
                           reader.corner(2, j) + run.channel,
                           reader.corner(3, j) + run.channel,
                           reader.scaled(0, j),
                           reader.scaled(1, j),
                           reader.scaled(2, j),
                           reader.scaled(3, j),
                           row + run.column + tap * per_group};
        in_pieces<Length>(run.count, body);
      }
  }
}

// Dot products of a gradient with the four corners.
template <class R>
struct DotBody {
  const R *g, *a, *b, *c, *d;
  R sum[4];
  template <int L>
  void piece(int64_t at) {
    R s[4] = {0, 0, 0, 0};
    for (int i = 0; i < L; i++) {
      const R v = g[at + i];
      s[0] += v * a[at + i];
      s[1] += v * b[at + i];
      s[2] += v * c[at + i];
      s[3] += v * d[at + i];
    }
    for (int i = 0; i < 4; i++) sum[i] += s[i];
  }
};

template <class R>
struct AddBody {
  const R* g;
  R weight;
  R* to;
  template <int L>
  void piece(int64_t at) {
    for (int i = 0; i < L; i++) to[at + i] += weight * g[at + i];
  }
};

template <class R, int Length>
void scatter_runs(const Modulated& p, int64_t begin, int64_t end,
                  const void* grad_columns, void* grad_image,
                  void* grad_offset, void* grad_mask) {
  Reader<R> reader(p);
  const Runs runs(p);
  const int64_t taps = p.taps(), per_group = p.channels / p.groups;
  const int64_t positions = reader.positions;
  const R* row = static_cast<const R*>(grad_columns);
  R* sums = static_cast<R*>(grad_image);
  for (int64_t at = begin; at < end; at++, row += taps * p.channels) {
    reader.look(at);
    R* to_offset = static_cast<R*>(grad_offset) + at * 2 * positions;
    R* to_mask = static_cast<R*>(grad_mask) + at * positions;
    for (int64_t j = 0; j < 2 * positions; j++) to_offset[j] = 0;
    for (int64_t j = 0; j < positions; j++) to_mask[j] = 0;
    for (const Run& run : runs)
      for (int64_t tap = 0; tap < taps; tap++) {
        const int64_t j = run.deform_group * taps + tap;
        const R* from = row + run.column + tap * per_group;
        DotBody<R> dot{from,
                       reader.corner(0, j) + run.channel,
                       reader.corner(1, j) + run.channel,
                       reader.corner(2, j) + run.channel,
                       reader.corner(3, j) + run.channel,
                       {0, 0, 0, 0}};
        in_pieces<Length>(run.count, dot);
        const R m = reader.mask(j), dy = reader.below(j), dx = reader.right(j);
        const R* s = dot.sum;
        R value = 0;
        for (int i = 0; i < 4; i++) value += reader.weight(i, j) * s[i];
        to_mask[j] += value;
        to_offset[2 * j] += m * ((1 - dx) * (s[2] - s[0]) + dx * (s[3] - s[1]));
        to_offset[2 * j + 1] +=
            m * ((1 - dy) * (s[1] - s[0]) + dy * (s[3] - s[2]));
        for (int i = 0; i < 4; i++) {
          const int64_t pixel = reader.pixel(i, j);
          if (pixel < 0) continue;
          AddBody<R> add{from, reader.scaled(i, j),
                         sums + pixel * p.channels + run.channel};
          in_pieces<Length>(run.count, add);
        }
      }
  }
}

// The length of all runs, if there is a kernel for it, else 0.
inline int64_t length_of(const Modulated& p) {
  return p.groups == 1 ? p.channels / p.deform_groups : 0;
}

template <class R>
void gather(const Modulated& p, int64_t begin, int64_t end, void* columns) {
  switch (length_of(p)) {
    case 4: return gather_runs<R, 4>(p, begin, end, columns);
    case 8: return gather_runs<R, 8>(p, begin, end, columns);
    case 16: return gather_runs<R, 16>(p, begin, end, columns);
    default: return gather_runs<R, 0>(p, begin, end, columns);
  }
}

template <class R>
void scatter(const Modulated& p, int64_t begin, int64_t end,
             const void* grad_columns, void* grad_image, void* grad_offset,
             void* grad_mask) {
  switch (length_of(p)) {
    case 4:
      return scatter_runs<R, 4>(p, begin, end, grad_columns, grad_image,
                                grad_offset, grad_mask);
    case 8:
      return scatter_runs<R, 8>(p, begin, end, grad_columns, grad_image,
                                grad_offset, grad_mask);
    case 16:
      return scatter_runs<R, 16>(p, begin, end, grad_columns, grad_image,
                                 grad_offset, grad_mask);
    default:
      return scatter_runs<R, 0>(p, begin, end, grad_columns, grad_image,
                                grad_offset, grad_mask);
  }
}

}  // namespace
}  // namespace DKSAN_MM_ISA

const ModulatedKernels DKSAN_MM_MODULATED = {
    {DKSAN_MM_ISA::gather<float>, DKSAN_MM_ISA::gather<double>},
    {DKSAN_MM_ISA::scatter<float>, DKSAN_MM_ISA::scatter<double>},
};

}  // namespace dksan_mm
