#include "runner/encoder/encoder_profile.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <random>

#include "base/try.hpp"

namespace tidegate {
namespace {

// ---- peaks --------------------------------------------------------------------------

constexpr std::size_t kInner = 384;
constexpr std::size_t kColumns = 128;
static_assert(kColumns % kStrip == 0 && row_stride(kInner) == kInner && row_stride(kColumns) == kColumns);
constexpr double kOperations = 2.0 * kPanelRows * kInner * kColumns;
/// The fastest of several windows counts: whoever shares the core slows the others.
constexpr Duration kWindow = std::chrono::milliseconds(10);
constexpr int kWindows = 8;
constexpr int kCallsBetweenLooks = 16;

/// Operations/s of `call`, one product each. 0 if one fails.
template <class Call>
double fastest_rate(const Clock& clock, Call&& call) {
  double best = 0;
  for (int window = 0; window < kWindows; ++window) {
    const TimePoint begin = clock.now();
    Duration spent{0};
    double calls = 0;
    while (spent < kWindow) {
      for (int i = 0; i < kCallsBetweenLooks; ++i) {
        if (!call()) return 0;
      }
      calls += kCallsBetweenLooks;
      spent = clock.now() - begin;
    }
    best = std::max(best, calls * kOperations / std::chrono::duration<double>(spent).count());
  }
  return best;
}

/// `values` numbers of the format, neither special nor tiny.
AlignedArray<std::byte> some_values(Number number, std::size_t values, std::mt19937& random) {
  AlignedArray<std::byte> bytes(values * bytes_of(number));
  for (std::size_t i = 0; i < values; ++i) {
    const float value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000.0F;
    const auto bits = std::bit_cast<std::uint32_t>(value);
    // The low bytes of each are copied: bf16 is the upper half of an f32.
    const std::array<std::uint32_t, kNumbers> parts{bits, bits >> 16, bits >> 8};
    std::memcpy(bytes.data() + i * bytes_of(number), &parts[static_cast<std::size_t>(number)], bytes_of(number));
  }
  return bytes;
}

bool has_tiles(KernelSet set, Number number) {
  const CpuFeatures features = cpu_features();
  if (set != best_kernel_set(features)) return false;
  return (number == Number::u8 && features.amx_int8) || (number == Number::bf16 && features.amx_bf16);
}

}  // namespace

double product_peak(KernelSet set, Number number) {
  const std::shared_ptr<Clock> clock = make_steady_clock();
  std::mt19937 random(1);
  const auto x = some_values(number, kPanelRows * kInner, random);
  const auto strips = some_values(number, kInner * kColumns, random);
  AlignedBuffer sums(kPanelRows * kColumns);
  const ProductCall call{x.data(), kInner, strips.data(), sums.data(), kColumns, kPanelRows, groups_of(number, kInner),
                         kColumns};
  const auto product = kernels_of(set).product[static_cast<std::size_t>(number)];
  const double own = fastest_rate(*clock, [&] {
    product(call);
    return true;
  });
  if (!has_tiles(set, number)) return own;
  const AlignedBuffer zeros(kColumns);
  const auto method = make_onednn_method();
  if (!method) return own;
  const auto packed =
      (*method)->pack({number, kInner, kColumns, strips.data(), zeros.data(), zeros.data(), zeros.data()});
  if (!packed) return own;
  AlignedArray<std::byte> scratch((*packed)->scratch_bytes());
  const OnednnOperands operands{x.data(), sums.data(), kPanelRows};
  return std::max(own, fastest_rate(*clock, [&] { return (*packed)->run(operands, scratch.data()).has_value(); }));
}

// ---- profile ------------------------------------------------------------------------

namespace {

/// Multiply-adds, counted as two, that the four products of every layer take for a token.
double operations_per_token(const EncoderConfig& config) {
  const double hidden = config.hidden_size;
  const double intermediate = config.intermediate_size;
  return 2.0 * config.layers * (hidden * 3 * hidden + hidden * hidden + 2 * hidden * intermediate);
}

/// What most products of the plan are in.
Precision main_precision(const PackingPlan& plan) {
  std::array<std::size_t, kNumbers> uses{};
  for (const LayerPlan& layer : plan.layers) {
    for (const Number number : layer.numbers) ++uses[static_cast<std::size_t>(number)];
  }
  constexpr std::array<Precision, kNumbers> kNames{Precision::f32, Precision::bf16, Precision::int8};
  return kNames[static_cast<std::size_t>(std::max_element(uses.begin(), uses.end()) - uses.begin())];
}

/// Runs batches and adds up what they take.
class Stopwatch {
 public:
  explicit Stopwatch(TextEncoderRunner& runner) : runner_(runner), clock_(make_steady_clock()) {}

  /// `first` is the place of the first text, for errors.
  Result<void> run(std::span<const std::string> texts, std::size_t first) {
    const TimePoint begin = clock_->now();
    inputs_.resize(texts.size());
    batch_.clear();
    batch_.resize(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      auto prepared = runner_.prepare(texts[i]);
      if (!prepared) return named(prepared.error(), first + i);
      inputs_[i] = *std::move(prepared);
      batch_[i].input = &inputs_[i];
      tokens += inputs_[i].tokens.size();
    }
    const TimePoint prepared = clock_->now();
    runner_.run(batch_);
    const TimePoint end = clock_->now();
    tokenize += prepared - begin;
    encode += end - prepared;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (!batch_[i].output) return named(batch_[i].output.error(), first + i);
    }
    return {};
  }

  std::uint64_t tokens = 0;
  Duration tokenize{0}, encode{0};

 private:
  static Error named(const Error& error, std::size_t place) {
    return Error(error.code(), "text " + std::to_string(place + 1) + ": " + std::string(error.message()));
  }

  TextEncoderRunner& runner_;
  std::shared_ptr<Clock> clock_;
  std::vector<PreparedInput> inputs_;
  std::vector<BatchItem> batch_;
};

Result<void> check(std::span<const std::string> texts, std::size_t batch_size) {
  if (texts.empty()) return Error(ErrorCode::invalid_argument, "there is no text to profile with");
  if (batch_size >= 1 && batch_size <= kLargestProfileBatch) return {};
  return Error(ErrorCode::invalid_argument, "the batch size of a profile must be 1 to 65536")
      .with_numbers(static_cast<std::int64_t>(batch_size), kLargestProfileBatch);
}

}  // namespace

Result<EncoderProfile> profile(TextEncoderRunner& runner, KernelSet set, std::span<const std::string> texts,
                               std::size_t batch_size) {
  TIDEGATE_CHECK(check(texts, batch_size));
  EncoderProfile result;
  result.isa = to_string(set);
  result.precision = to_string(main_precision(runner.plan()));
  result.products_by = runner.products() == ProductChoice::onednn ? "onednn" : "kernels";
  result.peak_f32 = product_peak(set, Number::f32);
  result.peak_bf16 = product_peak(set, Number::bf16);
  result.peak_int8 = product_peak(set, Number::u8);

  TIDEGATE_CHECK(Stopwatch(runner).run(texts.first(std::min(batch_size, texts.size())), 0));
  const std::shared_ptr<Clock> clock = make_steady_clock();
  std::vector<PhaseTimes> times(runner.threads(), PhaseTimes{clock.get(), {}});
  runner.measure(times);
  Stopwatch watch(runner);
  Result<void> done;
  for (std::size_t first = 0; first < texts.size() && done; first += batch_size) {
    done = watch.run(texts.subspan(first, std::min(batch_size, texts.size() - first)), first);
  }
  runner.measure({});
  TIDEGATE_CHECK(done);

  const auto sum = [&times](Phase phase) {
    Duration total{0};
    for (PhaseTimes& member : times) total += member.of(phase);
    return total;
  };
  result.texts = texts.size();
  result.tokens = watch.tokens;
  result.wall = watch.tokenize + watch.encode;
  result.tokenize = watch.tokenize;
  result.products = sum(Phase::products);
  result.attention = sum(Phase::attention);
  result.epilogues = sum(Phase::epilogues);
  const Duration named = result.products + result.attention + result.epilogues;
  result.other = std::max(Duration{0}, watch.encode * static_cast<std::int64_t>(times.size()) - named);
  const double seconds = std::chrono::duration<double>(result.products).count();
  const double operations = operations_per_token(runner.model().config) * static_cast<double>(result.tokens);
  if (seconds > 0) result.product_rate = operations / seconds;
  return result;
}

Result<EncoderProfile> profile_encoder(const TextEncoderOptions& options, std::span<const std::string> texts,
                                       std::size_t batch_size) {
  TIDEGATE_CHECK(check(texts, batch_size));
  TIDEGATE_TRY(const KernelSet set, choose_kernels(options.isa));
  TIDEGATE_TRY(const std::unique_ptr<TextEncoderRunner> runner, TextEncoderRunner::create(options));
  return profile(*runner, set, texts, batch_size);
}

}  // namespace tidegate
