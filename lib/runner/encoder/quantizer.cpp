#include "runner/encoder/quantizer.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "runner/encoder/gptq.hpp"
#include "runner/encoder/probe_texts.hpp"
#include "runner/encoder/smoothing.hpp"

namespace tidegate {
namespace {

/// Covered by every pack's key. Raised with each change of the code that makes other weights
/// or another report of the same texts: the search and its constants, smoothing, rounding and
/// its damping, gates, how a model is packed. Packs of before are then made anew.
constexpr std::uint64_t kQuantizerRevision = 1;

constexpr double kAlphas[] = {0.3, 0.4, 0.5, 0.6, 0.7};
constexpr double kNormAlpha = 0.5;
constexpr std::size_t kFewTexts = 64;          // fewer from a user are joined by the built-in ones
constexpr std::size_t kManyTexts = 1024;       // of more, so many are taken evenly
constexpr std::size_t kSensitivityTexts = 48;  // each product is tried out on so many, of every kind of text

struct Texts {
  std::vector<std::string> tuning;
  std::vector<std::string> judging;
  CalibrationSource source = CalibrationSource::probe_texts;
};

/// Every second text of a list tunes, the first one among them.
void deal(Texts& texts, std::span<const std::string> list) {
  const std::size_t count = std::min(list.size(), kManyTexts);
  for (std::size_t i = 0; i < count; ++i) {
    (i % 2 == 0 ? texts.tuning : texts.judging).push_back(list[i * list.size() / count]);
  }
}

Texts choose_texts(std::span<const std::string> own) {
  Texts texts;
  deal(texts, own);
  if (!own.empty()) texts.source = CalibrationSource::user_texts;
  if (own.size() < kFewTexts) {
    const std::span<const std::string_view> built_in = probe_texts();
    deal(texts, std::vector<std::string>(built_in.begin(), built_in.end()));
  }
  return texts;
}

/// Texts with their embeddings in f32.
struct Sample {
  std::vector<std::string> texts;
  std::vector<float> reference;  // a row of `width` values a text
  std::size_t width;

  /// `count` of the texts, or all, evenly from the first on.
  [[nodiscard]] Sample part(std::size_t count) const {
    count = std::min(count, texts.size());
    Sample some{{}, {}, width};
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = i * texts.size() / count;
      some.texts.push_back(texts[at]);
      const auto row = reference.begin() + static_cast<std::ptrdiff_t>(at * width);
      some.reference.insert(some.reference.end(), row, row + static_cast<std::ptrdiff_t>(width));
    }
    return some;
  }
};

class Search {
 public:
  Search(const EncoderModel& model, const QuantizerOptions& options, const Kernels& kernels, Team& team,
         Workbench& workbench)
      : model_(model),
        options_(options),
        kernels_(kernels),
        team_(team),
        workbench_(workbench),
        width_(model.dimension) {}

  Result<QuantizedModel> run() {
    TIDEGATE_TRY(f32_, pack_model(model_, uniform_plan(model_.layers.size(), Number::f32)));
    Texts chosen = choose_texts(options_.texts);
    source_ = chosen.source;
    TIDEGATE_TRY(tuning_, sample_of(std::move(chosen.tuning)));
    TIDEGATE_TRY(judging_, sample_of(std::move(chosen.judging)));
    report_.precision = options_.precision;
    report_.gate = gate_of(options_.precision);
    report_.texts = judging_.texts.size();
    progress(0.1);
    if (options_.precision == Precision::bf16) {
      PackingPlan plan = uniform_plan(model_.layers.size(), Number::bf16);
      plan.words = DataType::f16;
      TIDEGATE_CHECK(judge(std::move(plan), nullptr));
    } else {
      TIDEGATE_CHECK(search_int8());
    }
    report_.kernels = to_string(kernels_.set);
    TIDEGATE_TRY(report_.tokens_per_second, workbench_.tokens_per_second(*best_));
    TIDEGATE_TRY(report_.f32_tokens_per_second, workbench_.tokens_per_second(*f32_));
    progress(1.0);
    return QuantizedModel{*std::move(best_), std::move(report_)};
  }

 private:
  Result<Sample> sample_of(std::vector<std::string> texts);
  Result<void> search_int8();
  Result<void> choose_smoothing(const ActivationStatistics& seen);
  Result<void> observe(ActivationStatistics& seen);
  Result<void> round_all_but_last(ActivationStatistics& seen, const WeightRounder& rounder);
  Result<void> fall_back(const WeightRounder& rounder);
  Result<std::vector<LinearPlace>> by_sensitivity(const WeightRounder& rounder);
  Result<std::vector<double>> cosines(const PackedImage& image, const Sample& sample);
  Result<double> mean_agreement(const PackingPlan& plan, const WeightRounder* rounder, const Sample& sample);
  Result<void> judge(PackingPlan plan, const WeightRounder* rounder);

  void progress(double done) const {
    if (options_.progress) options_.progress(done);
  }

  const EncoderModel& model_;
  const QuantizerOptions& options_;
  const Kernels& kernels_;
  Team& team_;
  Workbench& workbench_;
  std::size_t width_;
  CalibrationSource source_ = CalibrationSource::none;
  Sample tuning_{};
  Sample judging_{};
  std::optional<PackedImage> f32_;
  PackingPlan plan_;                 // without fallbacks
  std::optional<PackedImage> best_;  // what was judged last
  FidelityReport report_;
};

Result<Sample> Search::sample_of(std::vector<std::string> texts) {
  TIDEGATE_TRY(std::vector<float> reference, workbench_.embed(*f32_, texts));
  return Sample{std::move(texts), std::move(reference), width_};
}

Result<std::vector<double>> Search::cosines(const PackedImage& image, const Sample& sample) {
  TIDEGATE_TRY(const std::vector<float> rows, workbench_.embed(image, sample.texts));
  return cosines_of(rows, sample.reference, width_);
}

Result<double> Search::mean_agreement(const PackingPlan& plan, const WeightRounder* rounder, const Sample& sample) {
  TIDEGATE_TRY(const PackedImage image, pack_model(model_, plan, rounder));
  TIDEGATE_TRY(std::vector<double> values, cosines(image, sample));
  return agreement_of(std::move(values)).mean;
}

Result<void> Search::judge(PackingPlan plan, const WeightRounder* rounder) {
  TIDEGATE_TRY(best_, pack_model(model_, std::move(plan), rounder));
  TIDEGATE_TRY(std::vector<double> values, cosines(*best_, judging_));
  report_.agreement = agreement_of(std::move(values));
  report_.passed = passes(report_.agreement, report_.gate);
  return {};
}

Result<void> Search::choose_smoothing(const ActivationStatistics& seen) {
  double best = -std::numeric_limits<double>::infinity();
  const auto consider = [&](const ActivationStatistics* source, double alpha) -> Result<void> {
    PackingPlan plan = smoothed_plan(model_, source, alpha);
    plan.words = DataType::f16;
    TIDEGATE_TRY(const double agreement, mean_agreement(plan, nullptr, tuning_));
    if (agreement <= best) return {};
    best = agreement;
    plan_ = std::move(plan);
    report_.alpha = alpha;
    report_.source = source != nullptr ? source_ : CalibrationSource::norms;
    return {};
  };
  TIDEGATE_CHECK(consider(nullptr, kNormAlpha));
  for (const double alpha : kAlphas) TIDEGATE_CHECK(consider(&seen, alpha));
  return {};
}

Result<void> Search::observe(ActivationStatistics& seen) {
  TIDEGATE_CHECK(workbench_.observe(*f32_, tuning_.texts, seen));
  seen.finish();
  return {};
}

/// Where the moments of all layers do not fit in memory together: has the rounder round
/// and remember one range of layers after the other, and gathers the last range.
Result<void> Search::round_all_but_last(ActivationStatistics& seen, const WeightRounder& rounder) {
  for (std::size_t next = seen.layers_together(); next < model_.layers.size(); next += seen.layers_together()) {
    if (const auto rounded = pack_model(model_, plan_, &rounder); !rounded) return rounded.error();
    seen.gather(next);
    TIDEGATE_CHECK(observe(seen));
  }
  return {};
}

Result<void> Search::search_int8() {
  ActivationStatistics seen(model_.config, kernels_, options_.moment_bytes);
  TIDEGATE_CHECK(observe(seen));
  progress(0.25);
  TIDEGATE_CHECK(choose_smoothing(seen));
  progress(0.5);
  const GptqRounder rounder(seen, plan_, team_);
  TIDEGATE_CHECK(round_all_but_last(seen, rounder));
  TIDEGATE_CHECK(judge(plan_, &rounder));
  progress(0.7);
  if (report_.passed) return {};
  return fall_back(rounder);
}

/// Every product, the one whose change to bf16 helps most first.
Result<std::vector<LinearPlace>> Search::by_sensitivity(const WeightRounder& rounder) {
  const Sample sample = tuning_.part(kSensitivityTexts);
  std::vector<LinearPlace> places;
  std::vector<double> agreements;
  for (std::size_t layer = 0; layer < plan_.layers.size(); ++layer) {
    for (std::size_t kind = 0; kind < kLinearKinds; ++kind) {
      PackingPlan plan = plan_;
      plan.layers[layer].numbers[kind] = Number::bf16;
      TIDEGATE_TRY(const double agreement, mean_agreement(plan, &rounder, sample));
      places.push_back({layer, static_cast<LinearKind>(kind)});
      agreements.push_back(agreement);
    }
  }
  std::vector<std::size_t> order(places.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return agreements[a] > agreements[b]; });
  std::vector<LinearPlace> sorted;
  for (const std::size_t i : order) sorted.push_back(places[i]);
  return sorted;
}

Result<void> Search::fall_back(const WeightRounder& rounder) {
  TIDEGATE_TRY(const std::vector<LinearPlace> places, by_sensitivity(rounder));
  progress(0.85);
  PackingPlan plan = plan_;
  for (std::size_t i = 0; i < places.size() / 2 && !report_.passed; ++i) {
    plan.layers[places[i].layer].set(places[i].kind, Number::bf16);
    report_.fallbacks.push_back(places[i]);
    TIDEGATE_CHECK(judge(plan, &rounder));
  }
  return {};
}

}  // namespace

PackKey pack_key(const EncoderModel& model, Precision precision, std::span<const std::string> texts) {
  PackKey key;
  key.model = model.content_digest;
  Sha256 settings;
  settings.update_u64(kQuantizerRevision).update_field(to_string(precision));
  for (const std::string_view text : probe_texts()) settings.update_field(text);
  key.settings = settings.finish();
  if (texts.empty()) return key;
  Sha256 own;
  own.update_u64(texts.size());
  for (const std::string& text : texts) own.update_field(text);
  key.texts = own.finish();
  return key;
}

Result<QuantizedModel> quantize(const EncoderModel& model, const QuantizerOptions& options, const Kernels& kernels,
                                Team& team, Workbench& workbench) {
  if (options.precision != Precision::bf16 && options.precision != Precision::int8) {
    return Error(ErrorCode::invalid_argument, "only bf16 and int8 are quantized");
  }
  return Search(model, options, kernels, team, workbench).run();
}

}  // namespace tidegate
