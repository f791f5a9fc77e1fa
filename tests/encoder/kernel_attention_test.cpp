// Attention of every set and number against double precision.
#include "encoder/kernels_fixture.hpp"

namespace tidegate::test {
namespace {

/// One sequence of several heads, in f32 or bf16; the row after the last and the floats
/// behind it are NaN.
struct Sequence {
  Number number;
  std::size_t length;
  std::size_t heads;
  std::size_t head_size;
  std::size_t stride;
  Buffer<float> wide;
  Buffer<std::uint16_t> narrow;

  [[nodiscard]] const void* data() const {
    return number == Number::f32 ? static_cast<const void*>(wide.data()) : narrow.data();
  }
  [[nodiscard]] double at(std::size_t row, std::size_t part, std::size_t head, std::size_t i) const {
    return value_at(number, data(), row * stride + (part * heads + head) * head_size + i);
  }
};

Sequence make(Number number, std::size_t length, std::size_t heads, std::size_t head_size, float scale) {
  Sequence s{number, length, heads, head_size, row_stride(3 * heads * head_size), {}, {}};
  s.wide = random_floats((length + 1) * s.stride, scale, static_cast<std::uint32_t>(length));
  for (std::size_t i = length * s.stride; i < s.wide.size(); ++i) s.wide[i] = std::nanf("");
  s.narrow.resize(s.wide.size());
  for (std::size_t i = 0; i < length * s.stride; ++i) s.narrow[i] = rounded(s.wide[i]);
  for (std::size_t i = length * s.stride; i < s.wide.size(); ++i) s.narrow[i] = 0x7FC0;
  return s;
}

std::vector<double> expected_context(const Sequence& s, std::size_t head, std::size_t row) {
  std::vector<double> powers(s.length);
  double highest = -1e300;
  for (std::size_t key = 0; key < s.length; ++key) {
    double sum = 0;
    for (std::size_t i = 0; i < s.head_size; ++i) sum += s.at(row, 0, head, i) * s.at(key, 1, head, i);
    powers[key] = sum / std::sqrt(static_cast<double>(s.head_size));
    highest = std::max(highest, powers[key]);
  }
  double total = 0;
  for (double& power : powers) total += power = std::exp(power - highest);
  std::vector<double> context(s.head_size);
  for (std::size_t i = 0; i < s.head_size; ++i) {
    for (std::size_t key = 0; key < s.length; ++key) context[i] += powers[key] / total * s.at(key, 2, head, i);
  }
  return context;
}

/// Context rows of all heads in `target_number`; what lies beside them must stay as it is.
struct Context {
  std::size_t stride;
  Buffer<float> wide;
  Buffer<std::uint16_t> narrow;
};

Context attend(const Kernels& kernels, const Sequence& s, Number target_number) {
  Context context{row_stride(s.heads * s.head_size), {}, {}};
  context.wide.resize(s.length * context.stride);
  context.narrow.resize(s.length * context.stride);
  Buffer<float> scratch(attention_scratch(s.length, s.head_size) + 64, 7.0F);
  void* target = target_number == Number::f32 ? static_cast<void*>(context.wide.data()) : context.narrow.data();
  for (std::size_t head = 0; head < s.heads; ++head) {
    kernels.attention({s.number, s.data(), s.stride, target_number, target, context.stride, s.length, head, s.heads,
                       s.head_size, scratch.data()});
  }
  CHECK(std::all_of(scratch.end() - 64, scratch.end(), [](float value) { return value == 7.0F; }));
  return context;
}

/// The worst difference from double precision, over some rows of every head.
double worst_error(const Sequence& s, const Context& context, Number target_number) {
  double worst = 0;
  const void* data =
      target_number == Number::f32 ? static_cast<const void*>(context.wide.data()) : context.narrow.data();
  for (std::size_t head = 0; head < s.heads; ++head) {
    for (std::size_t row = 0; row < s.length; row += 1 + s.length / 40) {
      const auto expected = expected_context(s, head, row);
      for (std::size_t i = 0; i < s.head_size; ++i) {
        const double given = value_at(target_number, data, row * context.stride + head * s.head_size + i);
        const double difference = std::abs(given - expected[i]);
        if (!(difference <= worst)) worst = difference;  // NaN counts as a difference
      }
    }
  }
  return worst;
}

std::vector<Number> numbers_of(const Kernels& kernels) {
  if (kernels.attention_number == Number::f32) return {Number::f32};
  return {Number::f32, kernels.attention_number};
}

}  // namespace

TEST_CASE("encoder kernels: attention agrees with double precision for every length and head size") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : numbers_of(*kernels)) {
      for (const std::size_t head_size : {1U, 2U, 5U, 8U, 12U, 31U, 32U, 33U, 64U, 100U}) {
        for (const std::size_t length : {1U, 2U, 7U, 8U, 9U, 15U, 16U, 17U, 23U, 24U, 25U, 33U, 48U, 64U, 130U, 600U}) {
          const Sequence s = make(number, length, 2, head_size, 1.0F);
          INFO(name_of(*kernels) << ", number " << static_cast<int>(number) << ", head size " << head_size
                                 << ", length " << length);
          // bf16 probabilities err by 2^-9 of themselves, the coarse power by 8e-5.
          const double allowed = number == Number::f32 ? 1e-5 : 0.012;
          CHECK(worst_error(s, attend(*kernels, s, Number::f32), Number::f32) <= allowed);
        }
      }
    }
  }
}

TEST_CASE("encoder kernels: attention writes bf16 as the rounded f32") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : numbers_of(*kernels)) {
      for (const std::size_t head_size : {5U, 32U, 64U}) {
        const Sequence s = make(number, 21, 3, head_size, 1.0F);
        const Context wide = attend(*kernels, s, Number::f32);
        const Context narrow = attend(*kernels, s, Number::bf16);
        std::size_t different = 0;
        for (std::size_t i = 0; i < wide.wide.size(); ++i)
          different += rounded(wide.wide[i]) == narrow.narrow[i] ? 0 : 1;
        INFO(name_of(*kernels) << ", head size " << head_size);
        CHECK(different == 0);
      }
    }
  }
}

TEST_CASE("encoder kernels: attention to scores far apart picks the highest, without overflow") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : numbers_of(*kernels)) {
      Sequence s = make(number, 20, 1, 8, 1.0F);
      for (std::size_t row = 0; row < s.length; ++row) {
        for (std::size_t i = 0; i < 24; ++i) {
          const float part[] = {1e15F, static_cast<float>(row) * 1e15F, static_cast<float>(row)};
          s.wide[row * s.stride + i] = part[i / 8];
          s.narrow[row * s.stride + i] = rounded(part[i / 8]);
        }
      }
      const Context context = attend(*kernels, s, Number::f32);
      for (std::size_t row = 0; row < s.length; ++row) {
        CHECK(context.wide[row * context.stride] == doctest::Approx(static_cast<float>(s.length - 1)));
      }
    }
  }
}

TEST_CASE("encoder kernels: attention over equal keys is the mean of the values") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Number number : numbers_of(*kernels)) {
      for (const std::size_t length : {3U, 16U, 37U}) {
        Sequence s = make(number, length, 1, 16, 0.0F);
        for (std::size_t row = 0; row < length; ++row) {
          const float value = static_cast<float>(row % 3);
          for (std::size_t i = 32; i < 48; ++i) s.wide[row * s.stride + i] = value;
          for (std::size_t i = 32; i < 48; ++i) s.narrow[row * s.stride + i] = rounded(value);
        }
        INFO(name_of(*kernels) << ", length " << length);
        CHECK(worst_error(s, attend(*kernels, s, Number::f32), Number::f32) <= 1e-6);
      }
    }
  }
}

}  // namespace tidegate::test
