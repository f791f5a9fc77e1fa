// The search for a plan, on a workbench that only pretends to embed; smoothing, rounding
// and reports on numbers that can be followed.
#include "runner/encoder/quantizer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/team.hpp"
#include "packing_fixture.hpp"
#include "runner/encoder/gptq.hpp"
#include "runner/encoder/image_layout.hpp"
#include "runner/encoder/probe_texts.hpp"
#include "runner/encoder/smoothing.hpp"

namespace tidegate {
namespace {

using test::MemoryModel;

/// Products by plain loops; the other entries are never called here.
const Kernels& loop_kernels() {
  static const Kernels kernels = [] {
    Kernels own{};
    own.product[static_cast<std::size_t>(Number::f32)] = [](const ProductCall& call) {
      for (std::size_t row = 0; row < call.rows; ++row) {
        const auto* x = static_cast<const float*>(call.x) + row * call.x_stride;
        auto* sums = static_cast<float*>(call.sums) + row * call.sums_stride;
        for (std::size_t column = 0; column < call.columns; ++column) {
          const auto* strip =
              static_cast<const float*>(call.strips) + column / kStrip * call.groups * kStrip + column % kStrip;
          float sum = 0;
          for (std::size_t k = 0; k < call.groups; ++k) sum += x[k] * strip[k * kStrip];
          sums[column] = sum;
        }
      }
    };
    return own;
  }();
  return kernels;
}

/// Each product that runs in u8 turns every embedding by its own angle, bf16 by none.
class FakeBench final : public Workbench {
 public:
  explicit FakeBench(std::vector<double> angles) : angles_(std::move(angles)) {}

  Result<std::vector<float>> embed(const PackedImage& image, std::span<const std::string> texts) override {
    double squares = 0;
    for (std::size_t i = 0; i < angles_.size(); ++i) {
      if (image.plan.layers[i / kLinearKinds].numbers[i % kLinearKinds] == Number::u8) {
        squares += angles_[i] * angles_[i];
      }
    }
    if (smallest_.empty() || texts.size() < smallest_.size()) smallest_.assign(texts.begin(), texts.end());
    std::vector<float> rows;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      rows.push_back(static_cast<float>(std::cos(std::sqrt(squares))));
      rows.push_back(static_cast<float>(std::sin(std::sqrt(squares))));
    }
    return rows;
  }
  Result<void> observe(const PackedImage& image, std::span<const std::string> texts,
                       ActivationObserver& observer) override {
    CHECK(image.plan == uniform_plan(image.plan.layers.size(), Number::f32));
    observed_ = texts.size();
    ++observations_;
    std::vector<float> x(16);
    for (std::size_t row = 0; row < 40; ++row) {
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(row * 17 + i * i));
      for (std::size_t layer = 0; layer < image.plan.layers.size(); ++layer) {
        for (std::size_t kind = 0; kind < kLinearKinds; ++kind) {
          const bool wide = static_cast<LinearKind>(kind) == LinearKind::output;
          observer.observe(layer, static_cast<LinearKind>(kind), x.data(), 16, 1, wide ? 16 : 8);
        }
      }
    }
    return {};
  }
  Result<double> tokens_per_second(const PackedImage& image) override {
    return image.plan.layers[0].numbers[0] == Number::f32 ? 100.0 : 250.0;
  }

  std::vector<std::string> smallest_;  // of the lists that were embedded
  std::size_t observed_ = 0;
  std::size_t observations_ = 0;

 private:
  std::vector<double> angles_;  // by layer and kind
};

QuantizedModel quantized(const EncoderModel& model, FakeBench& bench, const QuantizerOptions& options = {}) {
  Team team("quantize", 2);
  auto result = quantize(model, options, loop_kernels(), team, bench);
  if (!result) FAIL(result.error().text());
  return *std::move(result);
}

struct TwoLayers : MemoryModel {
  TwoLayers() : MemoryModel({.layers = 2}) { model.dimension = 2; }
};

}  // namespace

TEST_CASE("quantizer: stops at once where everything in u8 passes the gate") {
  TwoLayers source;
  FakeBench bench(std::vector<double>(8, 0.001));
  std::vector<double> done;
  const QuantizedModel result =
      quantized(source.model, bench, {.progress = [&](double share) { done.push_back(share); }});
  CHECK(result.report.passed);
  CHECK(result.report.fallbacks.empty());
  CHECK(result.report.agreement.mean == doctest::Approx(std::cos(std::sqrt(8e-6))));
  CHECK(result.report.source != CalibrationSource::none);
  CHECK(result.report.texts == probe_texts().size() / 2);
  CHECK(bench.observed_ == probe_texts().size() - result.report.texts);
  CHECK(result.report.tokens_per_second == 250.0);
  CHECK(result.report.f32_tokens_per_second == 100.0);
  CHECK(result.image.plan.words == DataType::f16);
  CHECK(result.image.plan.layers[1].qkv_factors.size() == 8);
  for (const LayerPlan& layer : result.image.plan.layers) {
    for (const Number number : layer.numbers) CHECK(number == Number::u8);
  }
  CHECK(std::is_sorted(done.begin(), done.end()));
  CHECK(done.back() == 1.0);
}

TEST_CASE("quantizer: changes the products that disturb most to bf16 until the gate is passed") {
  TwoLayers source;
  std::vector<double> angles(8, 0.001);
  angles[3] = 0.04;  // layer 0, output
  angles[4] = 0.07;  // layer 1, qkv
  FakeBench bench(angles);
  const QuantizedModel result = quantized(source.model, bench);
  CHECK(result.report.passed);
  REQUIRE(result.report.fallbacks.size() == 1);
  CHECK(result.report.fallbacks[0] == LinearPlace{1, LinearKind::qkv});
  CHECK(result.image.plan.layers[1].number(LinearKind::qkv) == Number::bf16);
  CHECK(result.image.plan.layers[0].number(LinearKind::output) == Number::u8);
  angles[3] = 0.06;
  FakeBench worse(angles);
  const QuantizedModel two = quantized(source.model, worse);
  CHECK(two.report.fallbacks == std::vector<LinearPlace>{{1, LinearKind::qkv}, {0, LinearKind::output}});
  CHECK(two.report.passed);
}

TEST_CASE("quantizer: says so when it cannot pass") {
  TwoLayers source;
  FakeBench bench(std::vector<double>(8, 0.1));
  const QuantizedModel result = quantized(source.model, bench);
  CHECK_FALSE(result.report.passed);
  CHECK(result.report.fallbacks.size() == 4);
  CHECK(describe(result.report).find("below the gate") != std::string::npos);
  const FidelityReport reports[] = {result.report};
  CHECK(choose_precision(reports).precision == Precision::f32);
}

TEST_CASE("quantizer: a user's texts replace the built-in ones, a few are joined by them") {
  TwoLayers source;
  FakeBench bench(std::vector<double>(8, 0.001));
  const std::vector<std::string> many(100, "text");
  const QuantizedModel own = quantized(source.model, bench, {.texts = many});
  CHECK(own.report.texts == 50);
  CHECK(bench.observed_ == 50);
  const std::vector<std::string> few(3, "text");
  const QuantizedModel joined = quantized(source.model, bench, {.texts = few});
  CHECK(joined.report.texts == 1 + probe_texts().size() / 2);
  const std::vector<std::string> very_many(5000, "text");
  quantized(source.model, bench, {.texts = very_many});
  CHECK(bench.observed_ == 512);
  const std::vector<std::string> a_few_more(1025, "text");
  CHECK(quantized(source.model, bench, {.texts = a_few_more}).report.texts == 512);
  CHECK(bench.observed_ == 512);
}

TEST_CASE("quantizer: each product is tried out on texts from the whole list") {
  TwoLayers source;
  FakeBench bench(std::vector<double>(8, 0.1));
  std::vector<std::string> texts;
  for (int i = 0; i < 400; ++i) texts.push_back(std::to_string(i));
  quantized(source.model, bench, {.texts = texts});
  // 200 tune, 48 of them sensitivity: spread over the list, none twice.
  REQUIRE(bench.smallest_.size() == 48);
  CHECK(bench.smallest_.front() == "0");
  CHECK(std::stoi(bench.smallest_.back()) >= 390);
  CHECK(std::adjacent_find(bench.smallest_.begin(), bench.smallest_.end()) == bench.smallest_.end());
}

TEST_CASE("quantizer: a pack's key tells models, precisions and texts apart, and no texts from any") {
  MemoryModel one({});
  MemoryModel two({.seed = 2});
  const std::vector<std::string> texts{"a", "b"};
  const std::vector<std::string> joined{"ab"};
  const PackKey key = pack_key(one.model, Precision::int8, {});
  CHECK(key.texts == Digest{});
  CHECK(key.model != pack_key(two.model, Precision::int8, {}).model);
  CHECK(key.settings == pack_key(two.model, Precision::int8, texts).settings);
  CHECK(key.settings != pack_key(one.model, Precision::bf16, {}).settings);
  CHECK(pack_key(one.model, Precision::int8, texts).texts == pack_key(one.model, Precision::int8, texts).texts);
  CHECK(pack_key(one.model, Precision::int8, texts).texts != pack_key(one.model, Precision::int8, joined).texts);
}

TEST_CASE("quantizer: moments that do not fit are gathered in passes, and the weights are the same") {
  TwoLayers source;
  FakeBench bench(std::vector<double>(8, 0.001));
  const QuantizedModel at_once = quantized(source.model, bench);
  CHECK(bench.observations_ == 1);
  FakeBench slow(std::vector<double>(8, 0.001));
  const QuantizedModel in_passes = quantized(source.model, slow, {.moment_bytes = 1});
  CHECK(slow.observations_ == 2);
  REQUIRE(in_passes.image.bytes.size() == at_once.image.bytes.size());
  CHECK(std::memcmp(in_passes.image.bytes.data(), at_once.image.bytes.data(), at_once.image.bytes.size()) == 0);
}

TEST_CASE("quantizer: bf16 is one plan, judged") {
  TwoLayers source;
  FakeBench bench(std::vector<double>(8, 0.1));
  const QuantizedModel result = quantized(source.model, bench, {.precision = Precision::bf16});
  CHECK(result.report.passed);
  CHECK(result.report.alpha == 0);
  CHECK(result.report.source == CalibrationSource::none);
  CHECK(result.image.plan.layers == uniform_plan(2, Number::bf16).layers);
  Team team("quantize", 1);
  CHECK(quantize(source.model, {.precision = Precision::f32}, loop_kernels(), team, bench).error().code() ==
        ErrorCode::invalid_argument);
}

TEST_CASE("statistics: reach and moments are those of plain sums") {
  for (const std::uint32_t width : {1U, 5U, 33U, 70U}) {
    CAPTURE(width);
    MemoryModel source({.hidden = width, .intermediate = 40});
    ActivationStatistics seen(source.model.config, loop_kernels());
    const std::size_t rows = 300;
    std::vector<float> x(rows * 80);
    for (float& value : x) value = source.next();
    for (std::size_t row = 0; row < rows; row += 60) {
      seen.observe(0, LinearKind::qkv, x.data() + row * 80, 80, 60, width);
    }
    seen.finish();
    const InputStatistics& statistics = seen.of(0, LinearKind::qkv);
    CHECK(statistics.rows == rows);
    CHECK(seen.of(0, LinearKind::output).rows == 0);
    bool right = true;
    for (std::size_t a = 0; a < width; ++a) {
      float reach = 0;
      for (std::size_t row = 0; row < rows; ++row) reach = std::max(reach, std::abs(x[row * 80 + a]));
      right = right && statistics.reach[a] == reach;
      for (std::size_t b = 0; b <= a; ++b) {
        double sum = 0;
        for (std::size_t row = 0; row < rows; ++row) sum += double{x[row * 80 + a]} * double{x[row * 80 + b]};
        right = right && std::abs(statistics.moments.data()[a * width + b] - sum) < 1e-3;
      }
    }
    CHECK(right);
  }
}

TEST_CASE("statistics: moments are held of as many layers as fit, reaches of all") {
  MemoryModel source({.hidden = 8, .intermediate = 16, .layers = 3});
  // Three inputs of 8 channels and one of 16, each squared and with 128 waiting rows.
  const std::size_t layer = (3 * 8 * (8 + 128) + 16 * (16 + 128)) * sizeof(float);
  CHECK(ActivationStatistics(source.model.config, loop_kernels(), 0).layers_together() == 1);
  CHECK(ActivationStatistics(source.model.config, loop_kernels(), 3 * layer).layers_together() == 3);
  ActivationStatistics seen(source.model.config, loop_kernels(), 3 * layer - 1);
  CHECK(seen.layers_together() == 2);
  std::vector<float> x(8, 2.0F);
  const auto observe = [&] {
    for (std::size_t i = 0; i < 3; ++i) seen.observe(i, LinearKind::qkv, x.data(), 8, 1, 8);
    seen.finish();
  };
  const auto rows = [&](std::size_t i) { return seen.of(i, LinearKind::qkv).rows; };
  observe();
  CHECK((rows(0) == 1 && rows(1) == 1 && rows(2) == 0));
  CHECK(seen.of(0, LinearKind::qkv).moments.data()[0] == 4.0F);
  seen.gather(2);
  CHECK(seen.of(0, LinearKind::qkv).moments.size() == 0);
  observe();
  CHECK((rows(0) == 0 && rows(1) == 0 && rows(2) == 1));
  for (std::size_t i = 0; i < 3; ++i) CHECK(seen.of(i, LinearKind::qkv).reach[0] == 2.0F);
}

TEST_CASE("rounding: errors that answer one another leave a smaller error than rounding each") {
  MemoryModel source({.hidden = 40, .intermediate = 45});
  ActivationStatistics seen(source.model.config, loop_kernels());
  // Channels that go together: only then can one make good for another.
  const std::size_t rows = 500;
  std::vector<float> x(rows * 40);
  for (std::size_t row = 0; row < rows; ++row) {
    const float common = source.next() * 3;
    for (std::size_t i = 0; i < 40; ++i) x[row * 40 + i] = common + source.next();
  }
  seen.observe(0, LinearKind::intermediate, x.data(), 40, rows, 40);
  seen.finish();
  PackingPlan plan = uniform_plan(1, Number::u8);
  plan.layers[0].intermediate_factors.assign(40, 1.0F);
  for (std::size_t i = 0; i < 40; ++i) plan.layers[0].intermediate_factors[i] = 0.5F + 0.05F * static_cast<float>(i);
  const auto error_of = [&](const WeightRounder* rounder) {
    const auto image = pack_model(source.model, plan, rounder);
    REQUIRE(image);
    const PackedLinear linear = view_image(source.model, image->plan, image->bytes.data()).layers[0].intermediate;
    const std::vector<float>& weights = source.values("0.intermediate");
    double total = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < 45; ++column) {
        double error = 0;
        for (std::size_t k = 0; k < 40; ++k) {
          const std::byte* at = linear.strips + ((column / kStrip * 10 + k / 4) * kStrip + column % kStrip) * 4 + k % 4;
          const double packed = static_cast<std::int8_t>(std::to_integer<std::uint8_t>(*at)) *
                                double{linear.column_scale[column]} / plan.layers[0].intermediate_factors[k];
          error += (packed - weights[column * 40 + k]) * x[row * 40 + k];
        }
        total += error * error;
      }
    }
    return total;
  };
  Team team("quantize", 2);
  const GptqRounder rounder(seen, plan, team);
  const double nearest = error_of(nullptr);
  const double together = error_of(&rounder);
  CHECK(together < 0.7 * nearest);
  CHECK(error_of(&rounder) == together);
}

TEST_CASE("smoothing: factors balance reaches, average to one and stay in bounds") {
  const std::vector<float> input = {100.0F, 1.0F, 1.0F, 0.0F};
  const std::vector<float> weights = {1.0F, 1.0F, 0.25F, 0.0F};
  const std::vector<float> factors = smoothing_factors(input, weights, 0.5);
  CHECK(factors[0] / factors[1] == doctest::Approx(10.0));
  CHECK(factors[2] / factors[1] == doctest::Approx(2.0));
  CHECK(smoothing_factors(input, weights, 1.0)[0] == doctest::Approx(64.0));
  const std::vector<float> even = smoothing_factors(std::vector<float>(5, 3.0F), std::vector<float>(5, 2.0F), 0.4);
  for (const float factor : even) CHECK(factor == doctest::Approx(1.0));

  MemoryModel source({.hidden = 2, .layers = 2});
  source.values("norm.gamma") = {3.0F, -1.0F};
  source.values("norm.beta") = {-1.0F, 0.5F};
  CHECK(norm_reach(source.model.embedding_norm) == std::vector<float>{7.0F, 2.5F});
  source.values("0.query") = {1, -2, 3, 0};
  source.values("0.key") = {0, 0, -4, 0};
  const LinearWeights* const parts[] = {&source.model.layers[0].query, &source.model.layers[0].key};
  CHECK(channel_reach(parts) == std::vector<float>{4.0F, 2.0F});
  const PackingPlan plan = smoothed_plan(source.model, nullptr, 0.5);
  CHECK(plan.layers[1].qkv_factors.size() == 2);
  CHECK(plan.layers[0].number(LinearKind::output) == Number::u8);
  CHECK(pack_model(source.model, plan).has_value());
}

TEST_CASE("fidelity: a report survives its JSON, a wrong one is named") {
  FidelityReport report;
  report.precision = Precision::int8;
  report.texts = 97;
  report.agreement = {0.99951234567, 0.9983, 0.9975};
  report.gate = gate_of(Precision::int8);
  report.passed = true;
  report.alpha = 0.6;
  report.source = CalibrationSource::user_texts;
  report.fallbacks = {{2, LinearKind::output}, {0, LinearKind::qkv}};
  report.kernels = "avx2";
  report.tokens_per_second = 31234.5;
  report.f32_tokens_per_second = 9000.25;
  const std::string json = to_json(report);
  const auto again = fidelity_from_json(json);
  REQUIRE(again);
  CHECK(*again == report);
  CHECK(describe(report).find("2 products in bf16") != std::string::npos);
  for (std::size_t size = 0; size < json.size(); ++size) CHECK_FALSE(fidelity_from_json(json.substr(0, size)));
  const auto with = [&json](std::string_view from, std::string_view to) {
    std::string changed = json;
    changed.replace(changed.find(from), from.size(), to);
    return fidelity_from_json(changed);
  };
  for (const auto& [from, to, field] :
       {std::tuple{"\"int8\"", "\"int4\"", "precision"}, std::tuple{"\"user_texts\"", "\"guess\"", "calibration"},
        std::tuple{"\"output\"", "\"outputs\"", "product"}, std::tuple{"0.6", "\"x\"", "alpha"},
        std::tuple{"\"p1\"", "\"p2\"", "p1"}, std::tuple{"true", "null", "passed"}}) {
    CAPTURE(field);
    const auto refused = with(from, to);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::corrupt_data);
    CHECK(refused.error().message().find(field) != std::string_view::npos);
  }
}

TEST_CASE("fidelity: agreement counts what is not a number as opposite") {
  std::vector<double> cosines(101, 1.0);
  cosines[50] = 0.5;
  CHECK(agreement_of(cosines).minimum == 0.5);
  CHECK(agreement_of(cosines).p1 == 1.0);
  cosines[7] = 0.9;
  CHECK(agreement_of(cosines).p1 == doctest::Approx(0.9));
  cosines[3] = std::nan("");
  CHECK(agreement_of(cosines).minimum == -1.0);
  const std::vector<float> rows = {1, 0, 0, 2, 0, 0};
  const std::vector<float> others = {2, 0, 3, 0, 0, 0};
  CHECK(cosines_of(rows, others, 2) == std::vector<double>{1.0, 0.0, 1.0});
}

TEST_CASE("fidelity: automatic takes the fastest that passes") {
  FidelityReport int8{.precision = Precision::int8, .agreement = {0.9995, 0.999, 0.998}, .passed = true};
  int8.tokens_per_second = 400;
  int8.f32_tokens_per_second = 100;
  FidelityReport bf16{.precision = Precision::bf16, .agreement = {0.99999, 0.9999, 0.9999}, .passed = true};
  bf16.tokens_per_second = 200;
  bf16.f32_tokens_per_second = 100;
  const auto choose = [&] {
    const FidelityReport reports[] = {bf16, int8};
    return choose_precision(reports);
  };
  CHECK(choose().precision == Precision::int8);
  CHECK(choose().reason.find("400") != std::string::npos);
  int8.agreement.mean = 0.99;
  CHECK(choose().precision == Precision::bf16);
  CHECK(choose().reason.find("int8 does not agree") != std::string::npos);
  int8.agreement.mean = 0.9995;
  int8.passed = false;
  CHECK(choose().precision == Precision::bf16);
  bf16.tokens_per_second = 90;
  CHECK(choose().precision == Precision::f32);
  CHECK(choose_precision({}).precision == Precision::f32);
}

TEST_CASE("probe texts: about two hundred of valid UTF-8, none twice") {
  const auto texts = probe_texts();
  CHECK(texts.size() > 180);
  std::vector<std::string_view> sorted(texts.begin(), texts.end());
  std::sort(sorted.begin(), sorted.end());
  CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
}

}  // namespace tidegate
