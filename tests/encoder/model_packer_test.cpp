// The packer against plain loops over the same weights.
#include "runner/encoder/model_packer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "packing_fixture.hpp"
#include "runner/encoder/narrow.hpp"
#include "runner/encoder/widen.hpp"

namespace tidegate {
namespace {

using test::MemoryModel;

PackedImage pack(const EncoderModel& model, const PackingPlan& plan, const WeightRounder* rounder = nullptr) {
  auto image = pack_model(model, plan, rounder);
  if (!image) FAIL(image.error().text());
  return *std::move(image);
}

/// The stored number of weight [column][k], widened; what the strips say is zero too
/// where there is no weight.
double stored(const PackedLinear& linear, std::size_t column, std::size_t k) {
  const std::size_t bytes = bytes_of(linear.number);
  const std::size_t groups = groups_of(linear.number, linear.inner);
  const std::size_t group = k * bytes / 4;
  const std::byte* at =
      linear.strips + ((column / kStrip * groups + group) * kStrip + column % kStrip) * 4 + k * bytes % 4;
  if (linear.number == Number::u8) return static_cast<std::int8_t>(std::to_integer<std::uint8_t>(*at));
  float value = 0;
  widen(linear.number == Number::f32 ? DataType::f32 : DataType::bf16, at, {&value, 1});
  return value;
}

/// Nearest bf16, a tie to the even one, by arithmetic instead of bits.
double nearest_bf16(float value) {
  if (value == 0) return 0;
  int exponent = 0;
  std::frexp(value, &exponent);
  const double step = std::ldexp(1.0, exponent - 8);
  return std::nearbyint(static_cast<double>(value) / step) * step;
}

void check_linear(const PackedLinear& linear, const std::vector<float>& weights, const std::vector<float>& bias) {
  const std::size_t padded = round_up(linear.columns, kStrip);
  const std::size_t held = groups_of(linear.number, linear.inner) * 4 / bytes_of(linear.number);
  bool right = true;
  for (std::size_t column = 0; column < padded; ++column) {
    float largest = 0;
    for (std::size_t k = 0; column < linear.columns && k < linear.inner; ++k) {
      largest = std::max(largest, std::abs(weights[column * linear.inner + k]));
    }
    const float scale = largest / 127.0F;
    double sum = 0;
    for (std::size_t k = 0; k < held; ++k) {
      const bool real = column < linear.columns && k < linear.inner;
      const float weight = real ? weights[column * linear.inner + k] : 0.0F;
      const double value = stored(linear, column, k);
      sum += value;
      if (linear.number == Number::f32) right = right && value == weight;
      if (linear.number == Number::bf16) right = right && value == nearest_bf16(weight);
      if (linear.number == Number::u8) right = right && std::abs(value * scale - weight) <= scale * 0.5001;
    }
    right = right && linear.bias[column] == (column < linear.columns ? bias[column] : 0.0F);
    if (linear.number != Number::u8) continue;
    right = right && std::abs(linear.column_scale[column] - scale) <= scale * 1e-6;
    right = right && std::abs(linear.column_sum[column] - scale * sum) <= 1e-5 * (1 + std::abs(scale * sum));
  }
  CHECK(right);
}

}  // namespace

TEST_CASE("packer: strips, scales, sums and biases of odd sizes are those of plain loops") {
  for (const Number number : {Number::f32, Number::bf16, Number::u8}) {
    for (std::uint32_t hidden = 1; hidden <= 70; hidden += hidden < 10 ? 1 : 7) {
      for (std::uint32_t wide = 1; wide <= 100; wide += wide < 6 ? 1 : 13) {
        CAPTURE(hidden);
        CAPTURE(wide);
        MemoryModel source({.hidden = hidden, .intermediate = wide, .seed = hidden * 128 + wide});
        const PackedImage image = pack(source.model, uniform_plan(1, number));
        const PackedModel view = view_image(source.model, image.plan, image.bytes.data());
        const PackedLayer& layer = view.layers.front();
        REQUIRE(layer.intermediate.inner == hidden);
        REQUIRE(layer.intermediate.columns == wide);
        check_linear(layer.intermediate, source.values("0.intermediate"), source.values("0.intermediate.bias"));
        check_linear(layer.output, source.values("0.output"), source.values("0.output.bias"));
        std::vector<float> qkv;
        std::vector<float> bias;
        for (const char* name : {"0.query", "0.key", "0.value"}) {
          const auto& part = source.values(name);
          qkv.insert(qkv.end(), part.begin(), part.end());
          const auto& own = source.values(std::string(name) + ".bias");
          bias.insert(bias.end(), own.begin(), own.end());
        }
        check_linear(layer.qkv, qkv, bias);
      }
    }
  }
}

TEST_CASE("packer: every section starts on a cache line and lies inside the image") {
  MemoryModel source({.hidden = 13, .intermediate = 37, .layers = 2, .dense = 5});
  PackingPlan plan = uniform_plan(2, Number::u8);
  plan.words = DataType::f16;
  plan.layers[0].set(LinearKind::output, Number::bf16);
  plan.layers[1].qkv_factors.assign(13, 2.0F);
  plan.layers[0].intermediate_factors.assign(13, 0.5F);
  const PackedImage image = pack(source.model, plan);
  const PackedModel view = view_image(source.model, image.plan, image.bytes.data());
  CHECK(image.bytes.size() == image_size(source.model, plan));
  CHECK(image.bytes.size() % kImageAlignment == 0);
  const auto inside = [&image](const void* section) {
    const auto* at = static_cast<const std::byte*>(section);
    return at >= image.bytes.data() && at < image.bytes.data() + image.bytes.size() &&
           static_cast<std::size_t>(at - image.bytes.data()) % kImageAlignment == 0;
  };
  CHECK(inside(view.words));
  CHECK(inside(view.positions));
  CHECK(inside(view.token_type));
  for (const PackedLayer& layer : view.layers) {
    for (const PackedLinear* linear : {&layer.qkv, &layer.attention_output, &layer.intermediate, &layer.output}) {
      CHECK(inside(linear->strips));
      CHECK(inside(linear->bias));
      CHECK(inside(linear->column_scale) == (linear->number == Number::u8));
      CHECK(inside(linear->column_sum) == (linear->number == Number::u8));
    }
    for (const float* part : {layer.output_norm.gamma, layer.output_norm.next_beta, layer.attention_norm.next_gamma}) {
      CHECK(inside(part));
    }
  }
  REQUIRE(view.dense.size() == 1);
  CHECK(inside(view.dense[0].strips));
  CHECK(view.dense[0].columns == 5);
  check_linear(view.dense[0], source.values("dense"), std::vector<float>(5, 0.0F));
}

TEST_CASE("packer: embeddings and norms are those of the model") {
  MemoryModel source({.hidden = 9, .layers = 2});
  PackingPlan plan = uniform_plan(2, Number::bf16);
  const PackedImage in_place = pack(source.model, plan);
  CHECK(view_image(source.model, in_place.plan, in_place.bytes.data()).words ==
        source.model.word_embeddings.bytes.data());
  plan.words = DataType::f16;
  const PackedImage image = pack(source.model, plan);
  const PackedModel view = view_image(source.model, image.plan, image.bytes.data());
  CHECK(view.word_type == DataType::f16);
  std::vector<float> words(11 * 9);
  widen(DataType::f16, view.words, words);
  for (std::size_t i = 0; i < words.size(); ++i) {
    CHECK(std::abs(words[i] - source.values("words")[i]) <= std::abs(source.values("words")[i]) * 0x1p-11F);
  }
  CHECK(std::equal(view.positions, view.positions + 5 * 9, source.values("positions").begin()));
  CHECK(std::equal(view.token_type, view.token_type + 9, source.values("types").begin()));
  CHECK(std::equal(view.embedding_norm.gamma, view.embedding_norm.gamma + 9, source.values("norm.gamma").begin()));
  const PackedNorm& norm = view.layers[1].output_norm;
  CHECK(std::equal(norm.beta, norm.beta + 9, source.values("1.output_norm.beta").begin()));
  CHECK(norm.next_beta == norm.beta);
}

TEST_CASE("packer: words that f16 cannot hold stay f32") {
  for (const float extreme : {70000.0F, 1e-6F}) {
    CAPTURE(extreme);
    MemoryModel source({});
    for (std::size_t i = 0; i < 8; ++i) source.values("words")[i] = extreme;
    PackingPlan plan = uniform_plan(1, Number::bf16);
    plan.words = DataType::f16;
    const PackedImage image = pack(source.model, plan);
    CHECK(image.plan.words == DataType::f32);
    const PackedModel view = view_image(source.model, image.plan, image.bytes.data());
    CHECK(std::memcmp(view.words, source.values("words").data(), 11 * 8 * sizeof(float)) == 0);
  }
}

TEST_CASE("packer: smoothing changes no product in exact arithmetic") {
  MemoryModel source({.hidden = 24, .intermediate = 40, .layers = 2});
  PackingPlan plan = uniform_plan(2, Number::f32);
  const std::vector<float> powers = {0.25F, 0.5F, 1.0F, 2.0F, 8.0F};  // exact, so that the products are equal
  for (std::size_t i = 0; i < 24; ++i) {
    plan.layers[0].qkv_factors.push_back(powers[i % 5]);
    plan.layers[0].intermediate_factors.push_back(powers[(i + 1) % 5]);
    plan.layers[1].qkv_factors.push_back(powers[(i + 2) % 5]);
  }
  const PackedImage smoothed = pack(source.model, plan);
  const PackedImage direct = pack(source.model, uniform_plan(2, Number::f32));
  const PackedModel a = view_image(source.model, smoothed.plan, smoothed.bytes.data());
  const PackedModel b = view_image(source.model, direct.plan, direct.bytes.data());
  const auto same = [&](const PackedNorm& an, const PackedLinear& al, const PackedNorm& bn, const PackedLinear& bl) {
    bool equal = std::equal(an.gamma, an.gamma + 24, bn.gamma) && std::equal(an.beta, an.beta + 24, bn.beta);
    for (std::size_t column = 0; column < al.columns; ++column) {
      for (std::size_t k = 0; k < 24; ++k) {
        const double x = 0.3 * static_cast<double>(k) - 2;
        const double left = (x * an.next_gamma[k] + an.next_beta[k]) * stored(al, column, k);
        equal = equal && left == (x * bn.gamma[k] + bn.beta[k]) * stored(bl, column, k);
      }
    }
    return equal;
  };
  CHECK(same(a.embedding_norm, a.layers[0].qkv, b.embedding_norm, b.layers[0].qkv));
  CHECK(
      same(a.layers[0].attention_norm, a.layers[0].intermediate, b.layers[0].attention_norm, b.layers[0].intermediate));
  CHECK(same(a.layers[0].output_norm, a.layers[1].qkv, b.layers[0].output_norm, b.layers[1].qkv));
  CHECK(a.layers[1].attention_norm.next_gamma == a.layers[1].attention_norm.gamma);
  CHECK(a.layers[1].output_norm.next_gamma == a.layers[1].output_norm.gamma);
}

TEST_CASE("packer: a column of zeros, of vanishing and of equal weights") {
  MemoryModel source({.hidden = 4, .intermediate = 3});
  auto& weights = source.values("0.intermediate");
  for (std::size_t k = 0; k < 4; ++k) {
    weights[k] = 0.0F;
    weights[4 + k] = 1e-38F;
    weights[8 + k] = -3.0F;
  }
  const PackedImage image = pack(source.model, uniform_plan(1, Number::u8));
  const PackedLinear linear = view_image(source.model, image.plan, image.bytes.data()).layers[0].intermediate;
  CHECK(linear.column_scale[0] == 0.0F);
  CHECK(linear.column_sum[0] == 0.0F);
  CHECK(linear.column_scale[1] == 0.0F);
  CHECK(stored(linear, 1, 2) == 0);
  CHECK(stored(linear, 2, 3) == -127);
  CHECK(linear.column_sum[2] == doctest::Approx(-12.0));
}

TEST_CASE("packer: refuses plans that do not fit and weights that int8 cannot hold") {
  MemoryModel source({.hidden = 4, .layers = 2});
  CHECK(pack_model(source.model, uniform_plan(1, Number::f32)).error().code() == ErrorCode::invalid_argument);
  PackingPlan plan = uniform_plan(2, Number::u8);
  plan.layers[1].qkv_factors.assign(3, 1.0F);
  CHECK(pack_model(source.model, plan).error().code() == ErrorCode::invalid_argument);
  for (const float factor : {0.0F, -1.0F, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    plan.layers[1].qkv_factors.assign(4, factor);
    CHECK(pack_model(source.model, plan).error().code() == ErrorCode::invalid_argument);
  }
  plan = uniform_plan(2, Number::u8);
  plan.words = DataType::u8;
  CHECK(pack_model(source.model, plan).error().code() == ErrorCode::invalid_argument);
  for (const float weight : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    source.values("1.output")[5] = weight;
    const auto refused = pack_model(source.model, uniform_plan(2, Number::u8));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::corrupt_data);
    CHECK(refused.error().message().find("'1.output'") != std::string_view::npos);
    CHECK(pack_model(source.model, uniform_plan(2, Number::bf16)).has_value());
  }
}

TEST_CASE("packer: a rounder sees smoothed weights in units of their scale and decides the integers") {
  class Down final : public WeightRounder {
   public:
    void round(std::size_t layer, LinearKind kind, std::span<float> weights, std::size_t inner,
               std::span<std::int8_t> integers) const override {
      CHECK(layer == 0);
      CHECK(weights.size() % inner == 0);
      CHECK(inner == (kind == LinearKind::output ? 16 : 8));
      for (std::size_t i = 0; i < weights.size(); ++i) {
        CHECK(std::abs(weights[i]) <= 127.0001F);
        integers[i] = static_cast<std::int8_t>(std::max(-127.0F, std::floor(weights[i])));
      }
    }
  };
  MemoryModel source({});
  const Down down;
  const PackedImage image = pack(source.model, uniform_plan(1, Number::u8), &down);
  const PackedLinear linear = view_image(source.model, image.plan, image.bytes.data()).layers[0].intermediate;
  for (std::size_t column = 0; column < linear.columns; ++column) {
    double sum = 0;
    for (std::size_t k = 0; k < linear.inner; ++k) {
      const double exact = source.values("0.intermediate")[column * linear.inner + k] / linear.column_scale[column];
      CHECK(stored(linear, column, k) <= exact + 1e-3);
      CHECK(stored(linear, column, k) >= exact - 1.001);
      sum += stored(linear, column, k);
    }
    CHECK(linear.column_sum[column] == doctest::Approx(sum * linear.column_scale[column]));
  }
}

TEST_CASE("narrowing: halves and bf16 round to nearest even at every boundary") {
  CHECK(to_half(1.0F) == 0x3C00);
  CHECK(to_half(-2.0F) == 0xC000);
  CHECK(to_half(65504.0F) == 0x7BFF);
  CHECK(to_half(65519.996F) == 0x7BFF);
  CHECK(to_half(65520.0F) == 0x7C00);
  CHECK(to_half(1.00048828125F) == 0x3C00);
  CHECK(to_half(1.00146484375F) == 0x3C02);
  CHECK(to_half(0x1p-24F) == 0x0001);
  CHECK(to_half(0x1p-25F) == 0x0000);
  CHECK(to_half(0x1.8p-25F) == 0x0001);
  CHECK(to_half(0x1.FFCp-15F) == 0x0400);
  CHECK(to_half(-0.0F) == 0x8000);
  CHECK((to_half(std::nanf("")) & 0x7FFF) > 0x7C00);
  CHECK(to_half(-std::numeric_limits<float>::infinity()) == 0xFC00);
  CHECK(to_bf16(1.00390625F) == 0x3F80);
  CHECK(to_bf16(1.01171875F) == 0x3F82);
  CHECK(to_bf16(std::numeric_limits<float>::max()) == 0x7F80);
  CHECK((to_bf16(std::bit_cast<float>(0x7F800001U)) & 0x7FFF) > 0x7F80);
  // Every half survives the way to f32 and back.
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if ((half & 0x7C00U) == 0x7C00U && (half & 0x3FFU) != 0) continue;
    float value = 0;
    widen(DataType::f16, reinterpret_cast<const std::byte*>(&half), {&value, 1});
    if (to_half(value) != half) FAIL_CHECK(bits);
  }
}

}  // namespace tidegate
