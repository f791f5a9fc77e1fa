// What runs between the products, of every set: against double precision and the plain
// kernels, over sizes with every kind of remainder.
#include "encoder/kernels_fixture.hpp"

namespace tidegate::test {
namespace {

constexpr Activation kActivations[] = {Activation::identity, Activation::gelu_erf, Activation::gelu_tanh,
                                       Activation::relu, Activation::tanh};

double exact(Activation activation, double x) {
  const double u = std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
  switch (activation) {
    case Activation::identity: return x;
    case Activation::gelu_erf: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh: return 0.5 * x * (1.0 + std::tanh(u));
    case Activation::relu: return x > 0 ? x : 0.0;
    case Activation::tanh: return std::tanh(x);
  }
  return x;
}

/// One row of sums, without bias, through `finish` to f32.
Buffer<float> activated(const Kernels& kernels, Number number, Activation activation, const Buffer<float>& x) {
  const Buffer<float> bias(x.size());
  Buffer<float> y(x.size());
  kernels.finish({x.data(),
                  x.size(),
                  {number, nullptr, nullptr, bias.data(), nullptr},
                  activation,
                  Number::f32,
                  y.data(),
                  y.size(),
                  1,
                  x.size()});
  return y;
}

/// Rows of sums with all that turns them into values.
struct Sums {
  Number number;
  std::size_t rows;
  std::size_t width;
  std::size_t stride;
  Buffer<std::uint32_t> sums;  // f32 or int32 patterns
  Buffer<float> column_scale, column_sum, bias;
  Buffer<RowScale> scales;

  [[nodiscard]] Dequantizer values(std::size_t row = 0) const {
    return {number, column_scale.data(), column_sum.data(), bias.data(), scales.data() + row};
  }
};

Sums make_sums(Number number, std::size_t rows, std::size_t width, float scale) {
  const std::size_t stride = round_up(width, kStrip);
  Sums s{number,
         rows,
         width,
         stride,
         {},
         random_floats(stride, 0.01F, 1),
         random_floats(stride, 0.5F, 2),
         random_floats(stride, scale, 3),
         {}};
  std::mt19937 generator(4);
  std::normal_distribution<float> normal(0.0F, scale);
  for (std::size_t i = 0; i < rows * stride; ++i) {
    const auto whole = static_cast<std::int32_t>(generator() % 200000U) - 100000;
    const float value = normal(generator);
    s.sums.push_back(number == Number::u8 ? static_cast<std::uint32_t>(whole) : std::bit_cast<std::uint32_t>(value));
  }
  for (std::size_t row = 0; row < rows; ++row) s.scales.push_back({0.001F * scale, normal(generator)});
  return s;
}

/// What a kernel wrote for the next product.
struct Next {
  Number number;
  std::size_t stride;
  Buffer<std::byte> bytes;
  Buffer<RowScale> scales;

  [[nodiscard]] double at(std::size_t row, std::size_t i) const {
    const double value = value_at(number, bytes.data(), row * stride + i);
    return number == Number::u8 ? scales[row].low + scales[row].step * value : value;
  }
};

Next make_next(Number number, std::size_t rows, std::size_t width) {
  const std::size_t stride = row_stride(width);
  return {number, stride, Buffer<std::byte>(rows * stride * bytes_of(number)), Buffer<RowScale>(rows)};
}

NextInput input_of(Next& next, const float* gamma, const float* beta) {
  return {next.number, next.bytes.data(), next.stride, next.scales.data(), gamma, beta};
}

NarrowCall narrow_call(const Buffer<float>& x, Next& next, std::size_t rows, std::size_t width) {
  return {x.data(),    row_stride(width),  reinterpret_cast<std::uint8_t*>(next.bytes.data()),
          next.stride, next.scales.data(), rows,
          width};
}

struct Norm {
  Buffer<float> x, gamma, beta, next_gamma, next_beta;
  std::size_t stride;
};

Norm make_norm(const Sums& s, float scale) {
  const std::size_t stride = row_stride(s.width);
  return {random_floats(s.rows * stride, scale, 5), random_floats(s.width, 1.0F, 6), random_floats(s.width, 1.0F, 7),
          random_floats(s.width, 1.0F, 8),          random_floats(s.width, 1.0F, 9), stride};
}

/// Normalizes rows [first, first + rows) of `norm.x` in place.
void run_norm(const Kernels& kernels, const Sums& s, Norm& norm, Next& next, bool own, std::size_t first,
              std::size_t rows) {
  const float* gamma = own ? norm.next_gamma.data() : norm.gamma.data();
  const float* beta = own ? norm.next_beta.data() : norm.beta.data();
  NextInput input = input_of(next, gamma, beta);
  input.target = next.bytes.data() + first * next.stride * bytes_of(next.number);
  input.scales += first;
  kernels.norm({norm.x.data() + first * norm.stride, norm.stride, s.sums.data() + first * s.stride, s.stride,
                s.values(first), norm.gamma.data(), norm.beta.data(), 1e-12F, input, rows, s.width});
}

/// Against the plain kernel: x closely, the rounded copy within a step of its format.
void check_norm(const Kernels& kernels, Number number, Number target, std::size_t width, bool own, float scale) {
  const Sums s = make_sums(number, 3, width, scale);
  Norm given = make_norm(s, scale);
  Norm expected = given;
  Next given_next = make_next(target, s.rows, width);
  Next expected_next = make_next(target, s.rows, width);
  run_norm(kernels, s, given, given_next, own, 0, s.rows);
  run_norm(kPlainKernels, s, expected, expected_next, own, 0, s.rows);
  double worst = 0;
  double worst_next = 0;
  for (std::size_t row = 0; row < s.rows; ++row) {
    const double step = target == Number::u8 ? 1.01 * static_cast<double>(expected_next.scales[row].step) : 0.0;
    for (std::size_t i = 0; i < given_next.stride; ++i) {
      const std::size_t place = row * given.stride + i;
      const bool padding = i >= width && target == Number::u8;
      const double value = padding ? 0.0 : expected_next.at(row, i);
      const double next = padding ? value_at(target, given_next.bytes.data(), place) : given_next.at(row, i);
      const double allowed = 3e-5 + step + (target == Number::bf16 ? std::abs(value) * 0.008 : 0.0);
      worst = std::max(worst, std::abs(static_cast<double>(given.x[place]) - expected.x[place]));
      worst_next = std::max(worst_next, std::abs(next - value) / allowed);
    }
  }
  INFO(name_of(kernels) << ", from " << static_cast<int>(number) << " to " << static_cast<int>(target) << ", width "
                        << width << ", scale " << scale);
  CHECK(worst <= 3e-5);
  CHECK(worst_next <= 1.0);
}

constexpr std::size_t kWidths[] = {2, 7, 8, 9, 15, 16, 17, 31, 35, 100, 384, 768, 1023};

}  // namespace

TEST_CASE("encoder kernels: activations of f32 sums stay within 4e-7 of double precision, relative above one") {
  Buffer<float> x;
  for (int step = -120000; step <= 120000; ++step) x.push_back(static_cast<float>(step) * 1e-4F);
  for (const Kernels* kernels : all_kernels()) {
    for (const Activation activation : kActivations) {
      const Buffer<float> y = activated(*kernels, Number::f32, activation, x);
      double worst = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = exact(activation, x[i]);
        worst = std::max(worst, std::abs(y[i] - expected) / std::max(1.0, std::abs(expected)));
      }
      INFO(name_of(*kernels) << ", activation " << static_cast<int>(activation) << ", worst error " << worst);
      CHECK(worst <= 4e-7);
    }
  }
}

TEST_CASE("encoder kernels: GELU of bf16 sums stays within 5e-6 of double precision") {
  Buffer<float> x;
  for (int step = -1200000; step <= 1200000; ++step) x.push_back(static_cast<float>(step) * 1e-5F);
  for (const float size : {1e-45F, 1e-39F, 1e-30F, 1e-3F, 20.0F, 1e3F}) {
    x.push_back(size);
    x.push_back(-size);
  }
  for (const Kernels* kernels : all_kernels()) {
    const Buffer<float> y = activated(*kernels, Number::bf16, Activation::gelu_erf, x);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      worst = std::max(worst, std::abs(y[i] - exact(Activation::gelu_erf, x[i])));
    }
    INFO(name_of(*kernels) << ", worst error " << worst);
    CHECK(worst <= 5e-6);
  }
}

TEST_CASE("encoder kernels: activations of huge numbers and of NaN") {
  const Buffer<float> x = {1e30F, -1e10F, std::nanf(""), -1e30F};
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : {Number::f32, Number::bf16}) {
      for (const Activation activation : {Activation::gelu_erf, Activation::gelu_tanh, Activation::relu}) {
        const Buffer<float> y = activated(*kernels, number, activation, x);
        CHECK(y[0] == 1e30F);
        CHECK(std::abs(y[1]) <= 5e-6F);
        CHECK(std::isnan(y[2]));
      }
      const Buffer<float> y = activated(*kernels, number, Activation::tanh, x);
      CHECK(y[0] == 1.0F);
      CHECK(y[3] == -1.0F);
      CHECK(std::isnan(y[2]));
    }
  }
}

TEST_CASE("encoder kernels: finished values agree with the plain ones for every format and width") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
      for (const std::size_t width : kWidths) {
        const Sums s = make_sums(number, 3, width, 1.0F);
        for (const Number target : {Number::f32, Number::bf16}) {
          Next given = make_next(target, s.rows, width);
          Next expected = make_next(target, s.rows, width);
          for (const auto& [run, next] : {std::pair(kernels, &given), std::pair(&kPlainKernels, &expected)}) {
            run->finish({s.sums.data(), s.stride, s.values(), Activation::gelu_erf, target, next->bytes.data(),
                         next->stride, s.rows, width});
          }
          double worst = 0;
          for (std::size_t row = 0; row < s.rows; ++row) {
            for (std::size_t i = 0; i < given.stride; ++i) {
              const double allowed = 6e-6 + std::abs(expected.at(row, i)) * (target == Number::f32 ? 1e-6 : 0.008);
              worst = std::max(worst, std::abs(given.at(row, i) - expected.at(row, i)) / allowed);
            }
          }
          INFO(name_of(*kernels) << ", number " << static_cast<int>(number) << ", width " << width);
          CHECK(worst <= 1.0);
        }
      }
    }
  }
}

TEST_CASE("encoder kernels: a finished number's bits depend neither on rows nor columns around it, nor on its place") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Activation activation : kActivations) {
      for (const Number number : {Number::f32, Number::u8}) {
        const Sums s = make_sums(number, 4, 96, 1.0F);
        Buffer<float> whole(s.rows * s.stride);
        kernels->finish(
            {s.sums.data(), s.stride, s.values(), activation, Number::f32, whole.data(), s.stride, s.rows, s.width});
        Buffer<float> parts(whole.size());
        for (std::size_t row = 0; row < s.rows; ++row) {
          for (std::size_t column = 0; column < s.width; column += 7) {
            Dequantizer values = s.values(row);
            values.column_scale += column;
            values.column_sum += column;
            values.bias += column;
            const std::size_t place = row * s.stride + column;
            kernels->finish({s.sums.data() + place, s.stride, values, activation, Number::f32, parts.data() + place,
                             s.stride, 1, std::min<std::size_t>(7, s.width - column)});
          }
        }
        INFO(name_of(*kernels) << ", activation " << static_cast<int>(activation));
        CHECK(std::memcmp(whole.data(), parts.data(), whole.size() * 4) == 0);
      }
    }
  }
}

TEST_CASE("encoder kernels: LayerNorm and what it writes for the next product agree with the plain ones") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
      for (const Number target : {Number::bf16, Number::u8}) {
        for (const std::size_t width : kWidths) {
          for (const bool own : {false, true}) {
            for (const float scale : {1e-6F, 1.0F, 1e6F}) check_norm(*kernels, number, target, width, own, scale);
          }
        }
      }
    }
  }
}

TEST_CASE("encoder kernels: LayerNorm of a row has the same bits alone and among others") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number target : {Number::bf16, Number::u8}) {
      for (const std::size_t width : {35U, 384U, 768U}) {
        const Sums s = make_sums(target, 9, width, 1.0F);
        Norm together = make_norm(s, 1.0F);
        Norm alone = together;
        Next together_next = make_next(target, s.rows, width);
        Next alone_next = make_next(target, s.rows, width);
        run_norm(*kernels, s, together, together_next, true, 0, s.rows);
        for (std::size_t row = 0; row < s.rows; ++row) run_norm(*kernels, s, alone, alone_next, true, row, 1);
        INFO(name_of(*kernels) << ", width " << width);
        CHECK(same_bytes(together.x.data(), alone.x.data(), alone.x.size()));
        CHECK(same_bytes(together_next.bytes.data(), alone_next.bytes.data(), alone_next.bytes.size()));
        CHECK(same_bytes(together_next.scales.data(), alone_next.scales.data(), alone_next.scales.size()));
      }
    }
  }
}

TEST_CASE("encoder kernels: LayerNorm without a next product writes x alone, with the same bits") {
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t width : {35U, 384U}) {
      const Sums s = make_sums(Number::f32, 2, width, 1.0F);
      Norm with = make_norm(s, 1.0F);
      Norm without = with;
      Next next = make_next(Number::bf16, s.rows, width);
      run_norm(*kernels, s, with, next, true, 0, s.rows);
      kernels->norm({without.x.data(),
                     without.stride,
                     s.sums.data(),
                     s.stride,
                     s.values(),
                     without.gamma.data(),
                     without.beta.data(),
                     1e-12F,
                     {Number::f32, nullptr, 0, nullptr, nullptr, nullptr},
                     s.rows,
                     width});
      CHECK(same_bytes(with.x.data(), without.x.data(), with.x.size()));
    }
  }
}

TEST_CASE("encoder kernels: rows rounded to u8 have the plain kernel's bits and keep their padding") {
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t width : {1U, 2U, 7U, 8U, 9U, 15U, 16U, 17U, 33U, 384U, 1023U}) {
      for (const float scale : {1e-30F, 1.0F, 1e30F}) {
        const Buffer<float> x = random_floats(4 * row_stride(width), scale, 10);
        Next given = make_next(Number::u8, 4, width);
        Next expected = make_next(Number::u8, 4, width);
        kernels->narrow(narrow_call(x, given, 4, width));
        kPlainKernels.narrow(narrow_call(x, expected, 4, width));
        INFO(name_of(*kernels) << ", width " << width << ", scale " << scale);
        CHECK(same_bytes(given.bytes.data(), expected.bytes.data(), given.bytes.size()));
        CHECK(same_bytes(given.scales.data(), expected.scales.data(), given.scales.size()));
      }
    }
  }
}

TEST_CASE("encoder kernels: numbers finished as bf16 have the plain kernel's bits and keep their padding") {
  for (const Kernels* kernels : all_kernels()) {
    for (const std::size_t width : {1U, 7U, 8U, 9U, 15U, 16U, 17U, 33U, 1023U}) {
      for (const float scale : {1e-30F, 1.0F, 1e30F}) {
        const Buffer<float> x = random_floats(width, scale, 10);
        const Buffer<float> bias(width);
        Next given = make_next(Number::bf16, 1, width);
        Next expected = make_next(Number::bf16, 1, width);
        for (const auto& [run, next] : {std::pair(kernels, &given), std::pair(&kPlainKernels, &expected)}) {
          const Dequantizer values{Number::f32, nullptr, nullptr, bias.data(), nullptr};
          run->finish({x.data(), width, values, Activation::identity, Number::bf16, next->bytes.data(), next->stride, 1,
                       width});
        }
        INFO(name_of(*kernels) << ", width " << width << ", scale " << scale);
        CHECK(same_bytes(given.bytes.data(), expected.bytes.data(), given.bytes.size()));
      }
    }
  }
}

TEST_CASE("encoder kernels: a row rounded to u8 comes back within half a step, a constant one exactly") {
  for (const Kernels* kernels : all_kernels()) {
    for (const float scale : {0.0F, 1e-42F, 1e-30F, 1.0F, 1e30F}) {
      Buffer<float> x = random_floats(row_stride(100), scale, 11);
      for (const float shift : {0.0F, 3.0F}) {
        for (float& value : x) value += shift;
        Next next = make_next(Number::u8, 1, 100);
        kernels->narrow(narrow_call(x, next, 1, 100));
        double worst = 0;
        for (std::size_t i = 0; i < 100; ++i) worst = std::max(worst, std::abs(next.at(0, i) - x[i]));
        const auto [low, high] = std::minmax_element(x.begin(), x.begin() + 100);
        INFO(name_of(*kernels) << ", scale " << scale);
        const double rounding =
            2e-7 * std::max(std::abs(static_cast<double>(*low)), std::abs(static_cast<double>(*high)));
        CHECK(worst <= 0.5001 * (static_cast<double>(*high) - *low) / 255.0 + rounding + 1e-36);
        if (*low == *high) CHECK((next.scales[0].step == 0.0F && next.scales[0].low == *low));
      }
    }
  }
}

}  // namespace tidegate::test
