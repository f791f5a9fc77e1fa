// The product kernels of every set: against double precision and 64-bit integers, and
// bit for bit against themselves with other rows and columns around.
#include "encoder/kernels_fixture.hpp"

namespace tidegate::test {
namespace {

constexpr Number kAllNumbers[] = {Number::f32, Number::bf16, Number::u8};

enum class Fill : std::uint8_t { random, extreme, zero };

/// A product's operands: x is [rows, inner] with padding, weights [columns, inner].
struct Operands {
  Number number = Number::f32;
  std::size_t rows = 0;
  std::size_t inner = 0;
  std::size_t columns = 0;
  std::size_t x_stride = 0;
  std::size_t groups = 0;
  std::size_t padded_columns = 0;
  Buffer<std::byte> x;
  Buffer<std::byte> strips;

  [[nodiscard]] const std::byte* row(std::size_t i) const { return x.data() + i * x_stride * bytes_of(number); }
  /// Where the weight of `column` and `k` lies, in bytes.
  [[nodiscard]] std::size_t place(std::size_t column, std::size_t k) const {
    const std::size_t bytes = bytes_of(number);
    const std::size_t group = k * bytes / 4;
    return (column / kStrip * groups * kStrip + group * kStrip + column % kStrip) * 4 + k * bytes % 4;
  }
};

void put(Number number, std::byte* target, Fill fill, bool weight, std::mt19937& generator) {
  if (number == Number::u8) {
    const std::uint32_t any = generator() & 255U;
    const std::uint32_t extreme = !weight ? 255U : any < 128 ? 128U : 127U;
    *target = static_cast<std::byte>(fill == Fill::zero ? 0U : fill == Fill::extreme ? extreme : any);
    return;
  }
  std::normal_distribution<float> normal;
  static constexpr float kExtremes[] = {1e15F, -1e15F, 1e-38F, 3e-41F, -1.0F, 0.0F};
  const float extreme = kExtremes[generator() % 6];
  const float value = fill == Fill::zero ? 0.0F : fill == Fill::extreme ? extreme : normal(generator);
  const std::uint16_t narrow = rounded(value);
  if (number == Number::bf16) std::memcpy(target, &narrow, sizeof narrow);
  if (number == Number::f32) std::memcpy(target, &value, sizeof value);
}

Operands make(Number number, std::size_t rows, std::size_t inner, std::size_t columns, Fill fill = Fill::random) {
  Operands o{number, rows, inner, columns, row_stride(inner), groups_of(number, inner), round_up(columns, kStrip),
             {},     {}};
  o.x.resize(rows * o.x_stride * bytes_of(number));
  o.strips.resize(o.padded_columns * o.groups * 4);
  std::mt19937 generator(static_cast<std::uint32_t>(inner * 1000 + columns));
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t k = 0; k < inner; ++k) {
      put(number, o.x.data() + (row * o.x_stride + k) * bytes_of(number), fill, false, generator);
    }
  }
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t k = 0; k < inner; ++k) put(number, o.strips.data() + o.place(column, k), fill, true, generator);
  }
  return o;
}

/// Sums of rows [first, first + rows); 32-bit patterns, padded_columns a row.
Buffer<std::uint32_t> multiply(const Kernels& kernels, const Operands& o, std::size_t first, std::size_t rows) {
  Buffer<std::uint32_t> sums(rows * o.padded_columns, 0xFFFFFFFFU);
  kernels.product[static_cast<std::size_t>(o.number)](
      {o.row(first), o.x_stride, o.strips.data(), sums.data(), o.padded_columns, rows, o.groups, o.padded_columns});
  return sums;
}

double weight_at(const Operands& o, std::size_t column, std::size_t k) {
  const std::byte* p = o.strips.data() + o.place(column, k);
  if (o.number == Number::u8) return static_cast<std::int8_t>(*p);
  return value_at(o.number, p, 0);
}

/// The worst difference from double precision, beside the sum of absolute products.
double worst_error(const Operands& o, const Buffer<std::uint32_t>& sums) {
  double worst = 0;
  for (std::size_t row = 0; row < o.rows; ++row) {
    for (std::size_t column = 0; column < o.columns; ++column) {
      double sum = 0;
      double size = 1e-30;
      for (std::size_t k = 0; k < o.inner; ++k) {
        const double product = value_at(o.number, o.row(row), k) * weight_at(o, column, k);
        sum += product;
        size += std::abs(product);
      }
      const std::uint32_t bits = sums[row * o.padded_columns + column];
      const double given = o.number == Number::u8 ? static_cast<double>(static_cast<std::int32_t>(bits))
                                                  : static_cast<double>(std::bit_cast<float>(bits));
      worst = std::max(worst, o.number == Number::u8 ? std::abs(sum - given) : std::abs(sum - given) / size);
    }
  }
  return worst;
}

std::string label(const Kernels& kernels, const Operands& o) {
  return name_of(kernels) + ", number " + std::to_string(static_cast<int>(o.number)) + ", " + std::to_string(o.rows) +
         " x " + std::to_string(o.inner) + " x " + std::to_string(o.columns);
}

struct Inner {
  std::size_t inner;
  std::size_t columns;
};
constexpr Inner kShapes[] = {{1, 1},   {2, 33},  {3, 32},    {4, 64},    {5, 105},   {35, 105},
                             {77, 35}, {300, 8}, {384, 160}, {1536, 96}, {2000, 40}, {1027, 70}};

}  // namespace

TEST_CASE("encoder kernels: products agree with double precision, those of u8 exactly") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : kAllNumbers) {
      for (const Inner shape : kShapes) {
        for (const std::size_t rows : {1U, 5U, 29U}) {
          const Operands o = make(number, rows, shape.inner, shape.columns);
          INFO(label(*kernels, o));
          // A chain of n additions errs by less than n / 2 units in the last place of what it adds up.
          const double allowed = number == Number::u8 ? 0.0 : 6e-8 * static_cast<double>(shape.inner + 2);
          CHECK(worst_error(o, multiply(*kernels, o, 0, rows)) <= allowed);
        }
      }
    }
  }
}

TEST_CASE("encoder kernels: products of the largest bytes, of huge and subnormal numbers, and of zeros") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : kAllNumbers) {
      for (const Fill fill : {Fill::extreme, Fill::zero}) {
        const Operands o = make(number, 7, 1536, 64, fill);
        INFO(label(*kernels, o));
        const auto sums = multiply(*kernels, o, 0, 7);
        CHECK(worst_error(o, sums) <= (number == Number::u8 ? 0.0 : 1e-4));
        if (fill == Fill::zero)
          CHECK(std::all_of(sums.begin(), sums.end(), [](std::uint32_t bits) { return bits == 0; }));
      }
    }
  }
}

TEST_CASE("encoder kernels: a product without inner groups is zero") {
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t rows : {1U, 40U}) {
      const Operands o = make(Number::f32, rows, 0, 32);
      const auto sums = multiply(*kernels, o, 0, rows);
      CHECK(std::all_of(sums.begin(), sums.end(), [](std::uint32_t bits) { return bits == 0; }));
    }
  }
}

TEST_CASE("encoder kernels: a product's row has the same bits alone and among any number of rows") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : kAllNumbers) {
      for (const Inner shape : {Inner{384, 160}, Inner{1536, 96}, Inner{77, 35}, Inner{3, 224}}) {
        const Operands o = make(number, 100, shape.inner, shape.columns);
        Buffer<std::uint32_t> alone;
        for (std::size_t row = 0; row < o.rows; ++row) {
          const auto sums = multiply(*kernels, o, row, 1);
          alone.insert(alone.end(), sums.begin(), sums.end());
        }
        std::size_t different = 0;
        for (std::size_t rows = 1; rows <= o.rows; ++rows) {
          const std::size_t first = rows * 7 % (o.rows - rows + 1);
          const auto sums = multiply(*kernels, o, first, rows);
          different += same_bytes(sums.data(), alone.data() + first * o.padded_columns, sums.size()) ? 0 : 1;
        }
        INFO(label(*kernels, o));
        CHECK(different == 0);
      }
    }
  }
}

TEST_CASE("encoder kernels: a product's columns have the same bits alone and among others") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : kAllNumbers) {
      for (const std::size_t rows : {1U, 2U, 5U, 12U, 31U}) {
        const Operands o = make(number, rows, 300, 7 * kStrip);
        const auto whole = multiply(*kernels, o, 0, rows);
        Buffer<std::uint32_t> parts(whole.size());
        for (std::size_t strip = 0; strip < 7;) {
          const std::size_t strips = strip == 0 ? 1 : 3;
          kernels->product[static_cast<std::size_t>(number)](
              {o.x.data(), o.x_stride, o.strips.data() + strip * o.groups * kStrip * 4, parts.data() + strip * kStrip,
               o.padded_columns, rows, o.groups, strips * kStrip});
          strip += strips;
        }
        INFO(label(*kernels, o));
        CHECK(same_bytes(whole.data(), parts.data(), whole.size()));
      }
    }
  }
}

TEST_CASE("encoder kernels: f32 products have the same bits in every vector set") {
  const Operands o = make(Number::f32, 17, 1536, 64);
  const Kernels* first = nullptr;
  for (const Kernels* kernels : all_kernels()) {
    if (kernels->set == KernelSet::plain) continue;
    if (first == nullptr) first = kernels;
    const auto expected = multiply(*first, o, 0, o.rows);
    CHECK(same_bytes(multiply(*kernels, o, 0, o.rows).data(), expected.data(), expected.size()));
  }
}

TEST_CASE("encoder kernels: sets are found by their names, and the best one runs here") {
  for (const KernelSet set : kKernelSets) {
    CHECK(kernel_set_of(to_string(set)) == set);
    CHECK(kernels_of(set).set == set);
  }
  CHECK(!kernel_set_of("avx1024"));
  CHECK(!kernel_set_of(""));
  CHECK(supports(cpu_features(), best_kernel_set(cpu_features())));
  CHECK(why_not_faster(cpu_features()).empty() == (best_kernel_set(cpu_features()) == kKernelSets.back()));
  CpuFeatures none;
  CHECK(best_kernel_set(none) == KernelSet::plain);
  CHECK(why_not_faster(none).find("AVX2") != std::string::npos);
}

}  // namespace tidegate::test
