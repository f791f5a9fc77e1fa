// Matrix products: each method against double precision, and row by row against
// itself with other rows around.
#include <random>

#include "encoder/encoder_fixture.hpp"

namespace tidegate::test {
namespace {

struct Method {
  std::string name;
  std::unique_ptr<ProductMethod> method;
};

std::vector<Method> methods() {
  std::vector<Method> list;
  for (const KernelSet set : {KernelSet::plain, KernelSet::avx2, KernelSet::avx512}) {
    if (supports(cpu_features(), set)) {
      list.push_back({"strips " + std::string(to_string(set)), make_strip_method(kernels_of(set))});
    }
  }
  auto onednn = make_onednn_method();
  if (!onednn) FAIL(onednn.error().text());
  list.push_back({"onednn", *std::move(onednn)});
  return list;
}

struct Shape2 {
  std::size_t inner;
  std::size_t columns;
};
constexpr Shape2 kShapes[] = {{384, 1152}, {384, 384}, {1536, 384}, {35, 105}, {1, 1}, {77, 35}, {300, 8}};

std::vector<float> random_values(std::size_t size, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

/// The product of the named rows of `x` ([any, inner], without padding), as rows.
std::vector<Embedding> multiply(const Product& product, const std::vector<float>& x, Shape2 shape,
                                const std::vector<std::size_t>& rows) {
  const std::size_t padded = round_up(rows.size(), kRowUnit);
  AlignedBuffer source(padded * row_stride(shape.inner));
  AlignedBuffer target(padded * row_stride(shape.columns));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x.data() + rows[i] * shape.inner, shape.inner, source.data() + i * row_stride(shape.inner));
  }
  ProductScratch scratch;
  const auto done = product.run({source.data(), target.data(), rows.size()}, scratch);
  if (!done) FAIL(done.error().text());
  std::vector<Embedding> result;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float* row = target.data() + i * row_stride(shape.columns);
    result.emplace_back(row, row + shape.columns);
  }
  return result;
}

}  // namespace

TEST_CASE("encoder products: every method agrees with double precision") {
  for (const Method& method : methods()) {
    for (const Shape2 shape : kShapes) {
      const std::size_t rows = 29;
      const std::vector<float> x = random_values(rows * shape.inner, 1);
      const std::vector<float> w = random_values(shape.columns * shape.inner, 2);
      auto product = method.method->pack(w, shape.inner, shape.columns);
      if (!product) FAIL(product.error().text());
      std::vector<std::size_t> order(rows);
      for (std::size_t i = 0; i < rows; ++i) order[i] = i;
      const auto given = multiply(**product, x, shape, order);
      double worst = 0;
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t column = 0; column < shape.columns; ++column) {
          double sum = 0;
          for (std::size_t k = 0; k < shape.inner; ++k) {
            sum += static_cast<double>(x[row * shape.inner + k]) * w[column * shape.inner + k];
          }
          worst = std::max(worst, std::abs(sum - given[row][column]));
        }
      }
      INFO(method.name << ", " << shape.inner << " x " << shape.columns << ": " << worst);
      CHECK(worst <= 3e-7 * static_cast<double>(shape.inner) + 1e-6);
    }
  }
}

TEST_CASE("encoder products: a row's bits depend neither on its place nor on the number of rows") {
  constexpr std::size_t kRows = 200;
  for (const Method& method : methods()) {
    for (const Shape2 shape : kShapes) {
      if (method.name == "strips plain" && shape.inner > 100) continue;  // one row at a time by its loop
      const std::vector<float> x = random_values(kRows * shape.inner, 3);
      const std::vector<float> w = random_values(shape.columns * shape.inner, 4);
      auto product = method.method->pack(w, shape.inner, shape.columns);
      if (!product) FAIL(product.error().text());
      std::vector<Embedding> alone;
      for (std::size_t row = 0; row < kRows; ++row) alone.push_back(multiply(**product, x, shape, {row}).front());
      std::mt19937 generator(5);
      std::size_t different = 0;
      for (std::size_t size = 1; size <= kRows; size += size < 64 ? 1 : 17) {
        std::vector<std::size_t> rows(size);
        for (std::size_t& row : rows) row = generator() % kRows;
        const auto together = multiply(**product, x, shape, rows);
        for (std::size_t i = 0; i < size; ++i) different += same_bits(together[i], alone[rows[i]]) ? 0 : 1;
      }
      INFO(method.name << ", " << shape.inner << " x " << shape.columns);
      CHECK(different == 0);
    }
  }
}

}  // namespace tidegate::test
