// Vector kernels against the plain ones, over sizes with every kind of remainder.
#include <cmath>
#include <random>

#include "encoder/encoder_fixture.hpp"
#include "runner/encoder/group_plan.hpp"
#include "runner/encoder/widen.hpp"

namespace tidegate::test {
namespace {

std::vector<const Kernels*> vector_kernels() {
  std::vector<const Kernels*> list;
  for (const KernelSet set : {KernelSet::avx2, KernelSet::avx512}) {
    if (supports(cpu_features(), set)) {
      list.push_back(&kernels_of(set));
    } else {
      MESSAGE("not checked on this processor: " << std::string(to_string(set)));
    }
  }
  return list;
}

AlignedBuffer random_buffer(std::size_t size, float scale, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  AlignedBuffer buffer(size);
  for (float& value : buffer.span()) value = normal(generator);
  return buffer;
}

AlignedBuffer copy_of(const AlignedBuffer& source) {
  AlignedBuffer copy(source.size());
  std::copy_n(source.data(), source.size(), copy.data());
  return copy;
}

double largest_difference(const AlignedBuffer& a, const AlignedBuffer& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a.data()[i]) - b.data()[i]);
    if (!(difference <= largest)) largest = difference;  // NaN counts as a difference
  }
  return largest;
}

float activated(const Kernels& kernels, Activation activation, float x) {
  const float bias = 0.0F;
  kernels.bias_activation({&x, 1, &bias, activation, 1, 1});
  return x;
}

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

}  // namespace

TEST_CASE("encoder kernels: activations stay within 4e-7 of double precision, relative above one") {
  for (const Kernels* kernels : vector_kernels()) {
    for (const Activation activation :
         {Activation::identity, Activation::gelu_erf, Activation::gelu_tanh, Activation::relu, Activation::tanh}) {
      double worst = 0;
      for (int step = -120000; step <= 120000; ++step) {
        const float x = static_cast<float>(step) * 1e-4F;
        const double expected = exact(activation, x);
        const double error = std::abs(activated(*kernels, activation, x) - expected);
        worst = std::max(worst, error / std::max(1.0, std::abs(expected)));
      }
      INFO("activation " << static_cast<int>(activation) << ", worst error " << worst);
      CHECK(worst <= 4e-7);
    }
  }
}

TEST_CASE("encoder kernels: activations of huge numbers and of NaN") {
  const float nan = std::nanf("");
  for (const Kernels* kernels : vector_kernels()) {
    for (const Activation activation : {Activation::gelu_erf, Activation::gelu_tanh, Activation::relu}) {
      CHECK(activated(*kernels, activation, 1e30F) == 1e30F);
      CHECK(std::abs(activated(*kernels, activation, -1e10F)) <= 1e-6F);
      CHECK(std::isnan(activated(*kernels, activation, nan)));
    }
    CHECK(activated(*kernels, Activation::tanh, 1e30F) == 1.0F);
    CHECK(activated(*kernels, Activation::tanh, -1e30F) == -1.0F);
    CHECK(std::isnan(activated(*kernels, Activation::tanh, nan)));
  }
}

TEST_CASE("encoder kernels: residual LayerNorm agrees with the plain one for every width") {
  for (const Kernels* kernels : vector_kernels()) {
    for (const float scale : {1e-6F, 1.0F, 1e6F}) {
      for (const std::size_t width : {1U, 2U, 7U, 8U, 9U, 15U, 16U, 17U, 31U, 35U, 100U, 384U, 1023U}) {
        const std::size_t rows = 5;
        const std::size_t stride = row_stride(width);
        const AlignedBuffer addend = random_buffer(rows * stride, scale, 2);
        const AlignedBuffer bias = random_buffer(width, scale, 3);
        const AlignedBuffer gamma = random_buffer(width, 1.0F, 4);
        const AlignedBuffer beta = random_buffer(width, 1.0F, 5);
        AlignedBuffer x = random_buffer(rows * stride, scale, 1);
        AlignedBuffer expected = copy_of(x);
        kernels->residual_norm(
            {x.data(), stride, addend.data(), stride, bias.data(), gamma.data(), beta.data(), 1e-12F, rows, width});
        kPlainKernels.residual_norm({expected.data(), stride, addend.data(), stride, bias.data(), gamma.data(),
                                     beta.data(), 1e-12F, rows, width});
        INFO("width " << width << ", scale " << scale);
        // One number has no variance: rounding noise is all that is normalized.
        if (width > 1) CHECK(largest_difference(x, expected) <= 2e-5);
      }
    }
  }
}

TEST_CASE("encoder kernels: attention agrees with the plain one for every length and head size") {
  for (const Kernels* kernels : vector_kernels()) {
    for (const std::size_t head_size : {1U, 5U, 8U, 12U, 32U, 33U, 64U, 100U}) {
      for (const std::size_t length : {1U, 2U, 7U, 16U, 23U, 24U, 25U, 64U, 130U, 512U}) {
        const std::size_t heads = 2;
        const std::size_t hidden = heads * head_size;
        const std::size_t qkv_stride = row_stride(3 * hidden);
        const AlignedBuffer qkv = random_buffer(length * qkv_stride, 2.0F, 6);
        const AlignedBuffer bias = random_buffer(3 * hidden, 1.0F, 7);
        AlignedBuffer scratch(attention_scratch(length, head_size));
        AlignedBuffer context(length * row_stride(hidden));
        AlignedBuffer expected(length * row_stride(hidden));
        kernels->attention({qkv.data(), qkv_stride, bias.data(), context.data(), row_stride(hidden), length, heads,
                            head_size, scratch.data()});
        kPlainKernels.attention({qkv.data(), qkv_stride, bias.data(), expected.data(), row_stride(hidden), length,
                                 heads, head_size, scratch.data()});
        INFO("head size " << head_size << ", length " << length);
        CHECK(largest_difference(context, expected) <= 5e-5);
      }
    }
  }
}

TEST_CASE("encoder kernels: attention to scores far apart picks the highest, without overflow") {
  for (const Kernels* kernels : vector_kernels()) {
    const std::size_t length = 20;
    const std::size_t size = 8;
    AlignedBuffer qkv(length * row_stride(3 * size));
    for (std::size_t row = 0; row < length; ++row) {
      float* values = qkv.data() + row * row_stride(3 * size);
      for (std::size_t i = 0; i < size; ++i) {
        values[i] = 1e4F;
        values[size + i] = static_cast<float>(row) * 1e4F;
        values[2 * size + i] = static_cast<float>(row);
      }
    }
    const AlignedBuffer bias(3 * size);
    AlignedBuffer scratch(attention_scratch(length, size));
    AlignedBuffer context(length * row_stride(size));
    kernels->attention({qkv.data(), row_stride(3 * size), bias.data(), context.data(), row_stride(size), length, 1,
                        size, scratch.data()});
    for (std::size_t row = 0; row < length; ++row) {
      CHECK(context.data()[row * row_stride(size)] == doctest::Approx(static_cast<float>(length - 1)));
    }
  }
}

TEST_CASE("encoder kernels: every half number and bfloat16 widens exactly") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    float half = 0;
    float brain = 0;
    widen(DataType::f16, reinterpret_cast<const std::byte*>(&stored), {&half, 1});
    widen(DataType::bf16, reinterpret_cast<const std::byte*>(&stored), {&brain, 1});
    const int exponent = static_cast<int>(bits >> 10 & 31U);
    const double mantissa = static_cast<double>(bits & 1023U) / 1024.0;
    const double sign = bits >= 32768 ? -1.0 : 1.0;
    if (exponent < 31) {
      const double expected = exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1.0 + mantissa, exponent - 15);
      REQUIRE(static_cast<double>(half) == sign * expected);
      REQUIRE(std::signbit(half) == (bits >= 32768));
    } else {
      REQUIRE((mantissa == 0.0 ? std::isinf(half) : std::isnan(half)));
    }
    std::uint32_t raw = 0;
    std::memcpy(&raw, &brain, sizeof raw);
    REQUIRE(raw == bits << 16);
  }
}

TEST_CASE("encoder kernels: groups hold every sequence once, within the limit, one a worker where possible") {
  std::mt19937 generator(11);
  for (int round = 0; round < 300; ++round) {
    const std::size_t count = 1 + generator() % 200;
    const std::size_t workers = 1 + generator() % 8;
    std::vector<std::vector<std::int32_t>> tokens(count);
    std::vector<Sequence> sequences;
    for (std::size_t i = 0; i < count; ++i) {
      tokens[i].resize(1 + generator() % (round % 3 == 0 ? 512 : 40));
      sequences.push_back({tokens[i], i});
    }
    const std::vector<std::size_t> begins = plan_groups(sequences, workers);
    REQUIRE(begins.front() == 0);
    REQUIRE(begins.back() == count);
    REQUIRE(begins.size() - 1 >= std::min(workers, count) / 2);
    std::vector<int> seen(count);
    for (const Sequence& sequence : sequences) ++seen[sequence.item];
    CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
    for (std::size_t group = 0; group + 1 < begins.size(); ++group) {
      REQUIRE(begins[group] < begins[group + 1]);
      std::size_t total = 0;
      for (std::size_t i = begins[group]; i < begins[group + 1]; ++i) total += sequences[i].tokens.size();
      CHECK((total <= kGroupTokens || begins[group + 1] == begins[group] + 1));
    }
  }
}

}  // namespace tidegate::test
