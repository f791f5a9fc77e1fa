// A service-time model: waits as long as a model of that cost would take.
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>

#include "base/mutex.hpp"
#include "base/sha256.hpp"
#include "base/try.hpp"
#include "runner/plain_input.hpp"
#include "runner/row_split.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {
namespace {

constexpr std::uint32_t kMaxDimension = 65536;
constexpr std::uint32_t kMaxSteps = 1'000'000;
constexpr Duration kMaxCost = std::chrono::hours(1);
constexpr Duration kLongestSample = std::chrono::milliseconds(25);
constexpr Duration kMaxRun = std::chrono::hours(24);  // keeps `now + run` far from overflow

Result<void> check_cost(std::string_view field, Duration cost) {
  if (cost >= Duration::zero() && cost <= kMaxCost) return {};
  return Error(ErrorCode::invalid_argument,
               fmt::format("SyntheticOptions.{} is {} ns, must be between 0 and {} ns (one hour)", field, cost.count(),
                           kMaxCost.count()));
}

Result<void> check_options(const SyntheticOptions& options) {
  TIDEGATE_CHECK(check_cost("base", options.base));
  TIDEGATE_CHECK(check_cost("per_item", options.per_item));
  TIDEGATE_CHECK(check_cost("per_token", options.per_token));
  if (options.dimension < 1 || options.dimension > kMaxDimension) {
    return Error(ErrorCode::invalid_argument, fmt::format("SyntheticOptions.dimension is {}, must be between 1 and {}",
                                                          options.dimension, kMaxDimension));
  }
  if (options.steps < 1 || options.steps > kMaxSteps) {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("SyntheticOptions.steps is {}, must be between 1 and {}", options.steps, kMaxSteps));
  }
  return {};
}

Duration times(Duration cost, std::uint64_t count) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(cost.count(), count, &product)) return kMaxRun;
  return std::min(Duration(product), kMaxRun);
}

std::uint64_t word_count(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r\v\f";
  std::uint64_t words = 0;
  std::size_t at = text.find_first_not_of(kSpaces);
  while (at != std::string_view::npos) {
    ++words;
    at = text.find_first_of(kSpaces, at);
    if (at != std::string_view::npos) at = text.find_first_not_of(kSpaces, at);
  }
  return words;
}

std::uint64_t token_count(const Input& input) {
  std::uint64_t tokens = 0;
  if (const auto* text = std::get_if<std::string>(&input)) {
    tokens = word_count(*text);
  } else {
    for (const Tensor& tensor : *std::get_if<std::vector<Tensor>>(&input)) {
      if (tensor.shape().empty()) continue;
      tokens = std::max(tokens, static_cast<std::uint64_t>(tensor.shape().front()));
    }
  }
  return std::max<std::uint64_t>(tokens, 1);
}

std::string words(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += i == 0 ? "tide" : " tide";
  return text;
}

Digest seed_of(const Input& input) {
  Sha256 hash;
  if (const auto* text = std::get_if<std::string>(&input)) return hash.update_field(*text).finish();
  for (const Tensor& tensor : *std::get_if<std::vector<Tensor>>(&input)) {
    hash.update_u64(static_cast<std::uint64_t>(tensor.type())).update_u64(tensor.shape().size());
    for (const std::int64_t dimension : tensor.shape()) hash.update_u64(static_cast<std::uint64_t>(dimension));
    hash.update(tensor.bytes());
  }
  return hash.finish();
}

/// Numbers in [-1, 1), drawn by splitmix64 (Steele, Lea, Flood 2014) from the digest; each
/// part of the answer goes on where the one before ended.
Tensor answer_for(const Input& input, std::uint32_t dimension, std::uint32_t part = 0) {
  constexpr std::uint64_t kStride = 0x9e3779b97f4a7c15U;
  const Digest seed = seed_of(input);
  std::uint64_t state = 0;
  for (std::size_t i = 0; i < 8; ++i) state = state << 8 | seed[i];
  state += kStride * dimension * part;
  std::vector<float> values(dimension);
  for (float& value : values) {
    state += kStride;
    std::uint64_t mixed = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
    mixed ^= mixed >> 31;
    // 24 bits are what a float holds exactly.
    value = static_cast<float>(mixed >> 40) * 0x1p-23F - 1.0F;
  }
  return Tensor::vector_of(values);
}

/// The answers of all rows, one behind the other.
Result<Tensor> answer_rows(const std::vector<Tensor>& tensors, std::uint32_t dimension) {
  TIDEGATE_TRY(const std::uint32_t rows, leading_rows(tensors));
  std::vector<std::vector<Tensor>> answers;
  for (std::uint32_t i = 0; i < rows; ++i) {
    TIDEGATE_TRY(std::vector<Tensor> row, slice_rows(tensors, i, 1));
    const Tensor answer = answer_for(std::move(row), dimension);
    TIDEGATE_TRY(Tensor lying,
                 Tensor::share(DataType::f32, {1, dimension}, answer.bytes(), std::make_shared<const Tensor>(answer)));
    answers.push_back({std::move(lying)});
  }
  TIDEGATE_TRY(std::vector<Tensor> joined, join_rows(answers));
  return std::move(joined.front());
}

/// Shared with the alarm, which may still run while its waiter returns.
struct Bell {
  Mutex mutex;  // leaf
  std::condition_variable rung;
  bool done TIDEGATE_GUARDED_BY(mutex) = false;
};

void wait_out(Clock& clock, Duration time) {
  if (time <= Duration::zero()) return;
  const auto bell = std::make_shared<Bell>();
  clock.call_at(clock.now() + time, [bell] {
    MutexLock lock(bell->mutex);
    bell->done = true;
    bell->rung.notify_all();
  });
  MutexLock lock(bell->mutex);
  while (!bell->done) lock.wait(bell->rung);
}

/// An item of an iterative model between its steps.
struct Progress {
  std::uint64_t to_take_in = 0;  ///< tokens of the input
  std::uint32_t emitted = 0;     ///< chunks
};

/// Of all that decides an input's size: its rows, and the tokens of its first step.
Digest preparation_of(const SyntheticOptions& options) {
  Sha256 digest;
  digest.update_field("synthetic input 2").update_u64(options.rows == ItemRows::leading ? 1 : 0);
  return digest.update_u64(options.steps > 1 ? options.chunk : 0).finish();
}

class SyntheticRunner final : public ModelRunner {
 public:
  explicit SyntheticRunner(SyntheticOptions options) : options_(std::move(options)) {
    // A clock of the user's may stand still, and a slow model is not worth a second's wait.
    const Duration largest = options_.base + options_.per_item + times(options_.per_token, 128);
    const bool may_be_sampled = options_.clock == nullptr && largest <= kLongestSample;
    if (options_.clock == nullptr) options_.clock = make_steady_clock();
    info_.kind = "synthetic";
    // The times decide when an answer comes, not what it is.
    if (may_be_sampled) info_.sample_texts = {words(4), words(32), words(128)};
    info_.preparation = preparation_of(options_);
    Sha256 hash;
    hash.update_field("synthetic 1").update_u64(options_.dimension);
    info_.iterative = options_.steps > 1;
    if (info_.iterative) hash.update_u64(options_.steps);
    if (options_.rows == ItemRows::leading) hash.update_field("leading rows");
    info_.fingerprint = hash.finish();
  }

  const ModelInfo& info() const noexcept override { return info_; }

  Result<PreparedInput> prepare(Input input) override {
    TIDEGATE_CHECK(check_plain_input(input));
    PreparedInput prepared;
    TIDEGATE_TRY(prepared.size, size_of(input));
    prepared.size.tokens = next_tokens(prepared.size.tokens);
    prepared.input = std::move(input);
    return prepared;
  }

  void run(std::span<BatchItem> batch) override {
    Duration time = options_.base;
    for (BatchItem& item : batch) {
      time += times(options_.per_item, item.input->size.rows);
      time = std::min(time + times(options_.per_token, take_in(item)), kMaxRun);
    }
    wait_out(*options_.clock, time);
    for (BatchItem& item : batch) answer(item);
  }

  Result<std::vector<PreparedInput>> split(const PreparedInput& input, const ItemSize& limit) override {
    if (options_.rows == ItemRows::one) return ModelRunner::split(input, limit);
    return split_rows(input, limit, [this](const Input& part) { return size_of(part); });
  }

  Result<std::vector<Tensor>> join(std::vector<std::vector<Tensor>> parts) override { return join_rows(parts); }

 private:
  [[nodiscard]] std::uint64_t next_tokens(std::uint64_t left) const noexcept {
    const bool in_parts = info_.iterative && options_.chunk > 0;
    return in_parts ? std::min(left, options_.chunk) : left;
  }

  /// The tokens of the item's step.
  [[nodiscard]] std::uint64_t take_in(BatchItem& item) const {
    if (!info_.iterative) return item.input->size.tokens;
    if (item.state == nullptr) {
      const auto progress = std::make_shared<Progress>();
      progress->to_take_in = token_count(item.input->input);
      item.state = progress;
    }
    std::uint64_t& left = static_cast<Progress*>(item.state.get())->to_take_in;
    if (left == 0) return 1;
    const std::uint64_t tokens = next_tokens(left);
    left -= tokens;
    return tokens;
  }

  void answer(BatchItem& item) const {
    if (!info_.iterative) {
      item.output = whole_answer(item.input->input);
      return;
    }
    Progress& progress = *static_cast<Progress*>(item.state.get());
    if (progress.to_take_in == 0) {
      item.emitted = {answer_for(item.input->input, options_.dimension, progress.emitted++)};
    }
    if (progress.emitted == options_.steps) {
      item.output = std::vector<Tensor>();
      return;
    }
    item.step = StepEnd::proceeds;
    item.next_size = {item.input->size.rows, 1, item.input->size.bytes};
    if (progress.to_take_in > 0) item.next_size.tokens = next_tokens(progress.to_take_in);
  }

  [[nodiscard]] bool has_rows(const Input& input) const noexcept {
    return options_.rows == ItemRows::leading && std::holds_alternative<std::vector<Tensor>>(input);
  }

  [[nodiscard]] Result<ItemSize> size_of(const Input& input) const {
    if (!has_rows(input)) return ItemSize{1, token_count(input), input_bytes(input)};
    TIDEGATE_TRY(const std::uint32_t rows, leading_rows(input));
    return row_size(input, rows);
  }

  [[nodiscard]] Result<std::vector<Tensor>> whole_answer(const Input& input) const {
    if (!has_rows(input)) return std::vector{answer_for(input, options_.dimension)};
    TIDEGATE_TRY(Tensor rows, answer_rows(*std::get_if<std::vector<Tensor>>(&input), options_.dimension));
    return std::vector{std::move(rows)};
  }

  SyntheticOptions options_;
  ModelInfo info_;
};

}  // namespace

Result<std::unique_ptr<ModelRunner>> make_synthetic_runner(SyntheticOptions options) {
  TIDEGATE_CHECK(check_options(options));
  return std::unique_ptr<ModelRunner>(std::make_unique<SyntheticRunner>(std::move(options)));
}

}  // namespace tidegate
