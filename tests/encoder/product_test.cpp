// Matrix products by oneDNN: against the kernels, and row by row against themselves
// with other rows around.
#include <bit>
#include <random>

#include "encoder/encoder_fixture.hpp"
#include "runner/encoder/kernels.hpp"

namespace tidegate::test {
namespace {

struct Shape2 {
  std::size_t inner;
  std::size_t columns;
};
constexpr Shape2 kShapes[] = {{384, 1152}, {384, 384}, {1536, 384}, {35, 105}, {1, 1}, {77, 35}, {300, 8}};
constexpr Number kAllNumbers[] = {Number::f32, Number::bf16, Number::u8};

/// A matrix of random strips, and the memory it lies in.
struct Matrix {
  PackedLinear linear;
  AlignedArray<std::byte> strips;
};

/// `count` random values of a format's own: normal numbers, or any byte.
void fill_random(std::byte* target, Number number, std::size_t count, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < count; ++i) {
    const float value = normal(generator);
    const auto whole = static_cast<std::uint8_t>(generator());
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    if (number == Number::u8) bytes = reinterpret_cast<const std::byte*>(&whole);
    if (number == Number::bf16) bytes += 2;
    std::memcpy(target + i * bytes_of(number), bytes, bytes_of(number));
  }
}

Matrix random_matrix(Number number, Shape2 shape) {
  std::mt19937 generator(11);
  const std::size_t groups = groups_of(number, shape.inner);
  const std::size_t per_group = 4 / bytes_of(number);
  Matrix matrix;
  matrix.strips = AlignedArray<std::byte>(round_up(shape.columns, kStrip) * groups * 4);
  for (std::size_t column = 0; column < shape.columns; ++column) {
    for (std::size_t k = 0; k < shape.inner; ++k) {
      const std::size_t group = (column / kStrip * groups + k / per_group) * kStrip + column % kStrip;
      fill_random(matrix.strips.data() + group * 4 + k % per_group * bytes_of(number), number, 1, generator);
    }
  }
  matrix.linear.number = number;
  matrix.linear.inner = shape.inner;
  matrix.linear.columns = shape.columns;
  matrix.linear.strips = matrix.strips.data();
  return matrix;
}

using Row = std::vector<std::uint32_t>;  // the bits of sums

/// Rows of [count, inner] random values at row_stride.
AlignedArray<std::byte> random_rows(Number number, std::size_t inner, std::size_t count) {
  std::mt19937 generator(12);
  const std::size_t stride = row_stride(inner) * bytes_of(number);
  AlignedArray<std::byte> rows(count * stride);
  for (std::size_t row = 0; row < count; ++row) fill_random(rows.data() + row * stride, number, inner, generator);
  return rows;
}

/// The product of the named rows.
std::vector<Row> multiply(const OnednnProduct& product, const PackedLinear& linear, const AlignedArray<std::byte>& x,
                          const std::vector<std::size_t>& rows) {
  const std::size_t padded = round_up(rows.size(), kPanelRows);
  const std::size_t stride = row_stride(linear.inner) * bytes_of(linear.number);
  AlignedArray<std::byte> source(padded * stride);
  AlignedArray<std::uint32_t> target(padded * row_stride(linear.columns));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(source.data() + i * stride, x.data() + rows[i] * stride, stride);
  }
  AlignedArray<std::byte> scratch(product.scratch_bytes());
  const auto done = product.run({source.data(), target.data(), rows.size()}, scratch.data());
  if (!done) FAIL(done.error().text());
  std::vector<Row> result;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint32_t* row = target.data() + i * row_stride(linear.columns);
    result.emplace_back(row, row + linear.columns);
  }
  return result;
}

std::unique_ptr<OnednnProduct> pack(const PackedLinear& linear) {
  auto method = make_onednn_method();
  if (!method) FAIL(method.error().text());
  auto product = (*method)->pack(linear);
  if (!product) FAIL(product.error().text());
  return *std::move(product);
}

std::vector<std::size_t> first_rows(std::size_t count) {
  std::vector<std::size_t> rows(count);
  for (std::size_t i = 0; i < count; ++i) rows[i] = i;
  return rows;
}

}  // namespace

TEST_CASE("encoder products: every kernel set agrees with oneDNN, to the bit for 8-bit integers") {
  constexpr std::size_t kRows = 29;
  for (const Number number : kAllNumbers) {
    for (const Shape2 shape : kShapes) {
      const Matrix matrix = random_matrix(number, shape);
      const AlignedArray<std::byte> x = random_rows(number, shape.inner, kRows);
      const auto expected = multiply(*pack(matrix.linear), matrix.linear, x, first_rows(kRows));
      for (const std::string& isa : machine_isas()) {
        const std::size_t stride = row_stride(shape.columns);
        AlignedArray<std::uint32_t> sums(kRows * stride);
        kernels_of(*kernel_set_of(isa))
            .product[static_cast<std::size_t>(number)]({x.data(), row_stride(shape.inner), matrix.linear.strips,
                                                        sums.data(), stride, kRows, groups_of(number, shape.inner),
                                                        round_up(shape.columns, kStrip)});
        double worst = 0;
        for (std::size_t row = 0; row < kRows; ++row) {
          for (std::size_t column = 0; column < shape.columns; ++column) {
            const std::uint32_t given = sums.data()[row * stride + column];
            const std::uint32_t wanted = expected[row][column];
            if (number == Number::u8) {
              worst = std::max(worst, given == wanted ? 0.0 : 1e9);
            } else {
              worst = std::max(worst, std::abs(double{std::bit_cast<float>(given)} - std::bit_cast<float>(wanted)));
            }
          }
        }
        INFO(isa << ", " << bytes_of(number) << " bytes, " << shape.inner << " x " << shape.columns << ": " << worst);
        CHECK(worst <= 4e-7 * static_cast<double>(shape.inner) + 1e-5);
      }
    }
  }
}

TEST_CASE("encoder products: the bits of oneDNN's row depend neither on its place nor on the number of rows") {
  constexpr std::size_t kRows = 100;
  for (const Number number : kAllNumbers) {
    for (const Shape2 shape : kShapes) {
      const Matrix matrix = random_matrix(number, shape);
      const AlignedArray<std::byte> x = random_rows(number, shape.inner, kRows);
      const auto product = pack(matrix.linear);
      std::vector<Row> alone;
      for (std::size_t row = 0; row < kRows; ++row) alone.push_back(multiply(*product, matrix.linear, x, {row})[0]);
      std::mt19937 generator(5);
      std::size_t different = 0;
      for (std::size_t size = 1; size <= kPanelRows; ++size) {
        std::vector<std::size_t> rows(size);
        for (std::size_t& row : rows) row = generator() % kRows;
        const auto together = multiply(*product, matrix.linear, x, rows);
        for (std::size_t i = 0; i < size; ++i) different += together[i] == alone[rows[i]] ? 0 : 1;
      }
      INFO(bytes_of(number) << " bytes, " << shape.inner << " x " << shape.columns);
      CHECK(different == 0);
    }
  }
}

}  // namespace tidegate::test
