#include "runner/encoder/encoder_workbench.hpp"

#include <algorithm>
#include <chrono>

#include "base/mutex.hpp"
#include "base/try.hpp"
#include "runner/encoder/probe_texts.hpp"

namespace tidegate {
namespace {

constexpr int kSpeedRounds = 2;          // after one that fills the caches
constexpr std::size_t kSpeedTexts = 64;  // evenly from the probe texts: some 1 300 tokens

/// Rows of embeddings in the order of the texts.
class RowSink final : public EmbeddingSink {
 public:
  RowSink(std::size_t rows, std::size_t width) : values_(rows * width), width_(width) {}

  void take(std::size_t item, std::span<const float> values) noexcept override {
    std::copy(values.begin(), values.end(), values_.begin() + static_cast<std::ptrdiff_t>(item * width_));
  }
  void fail(std::size_t, const Error& error) noexcept override {
    MutexLock lock(mutex_);
    if (!failure_) failure_ = copy_of(error);
  }
  [[nodiscard]] Result<std::vector<float>> rows() && {
    MutexLock lock(mutex_);
    if (failure_) return *std::move(failure_);
    return std::move(values_);
  }

 private:
  std::vector<float> values_;
  std::size_t width_;
  Mutex mutex_;
  std::optional<Error> failure_ TIDEGATE_GUARDED_BY(mutex_);
};

/// Owns nothing: `image` must outlive what the view is given to.
NetworkImage view_of(const PackedImage& image) {
  return {image.plan, std::shared_ptr<const std::byte>(std::shared_ptr<void>(), image.bytes.data())};
}

}  // namespace

struct EncoderWorkbench::Tokens {
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<Sequence> sequences;  // views of `ids`
  std::size_t count = 0;
};

Result<EncoderWorkbench::Tokens> EncoderWorkbench::tokenize(std::span<const std::string> texts) const {
  Tokens tokens;
  for (const std::string& text : texts) {
    TIDEGATE_TRY(std::vector<std::int32_t> ids, tokenizer_->encode(text));
    tokens.count += ids.size();
    tokens.ids.push_back(std::move(ids));
  }
  for (std::size_t i = 0; i < tokens.ids.size(); ++i) tokens.sequences.push_back({tokens.ids[i], i});
  return tokens;
}

Result<std::unique_ptr<SequenceEncoder>> EncoderWorkbench::encoder_of(NetworkImage image) const {
  return SequenceEncoder::create(*model_, std::move(image), *kernels_, products_, *team_);
}

Result<std::vector<float>> EncoderWorkbench::embed(const PackedImage& image, std::span<const std::string> texts) {
  TIDEGATE_TRY(Tokens tokens, tokenize(texts));
  TIDEGATE_TRY(const std::unique_ptr<SequenceEncoder> encoder, encoder_of(view_of(image)));
  RowSink sink(texts.size(), model_->dimension);
  encoder->run(tokens.sequences, 0, sink);
  return std::move(sink).rows();
}

Result<void> EncoderWorkbench::observe(const PackedImage& image, std::span<const std::string> texts,
                                       ActivationObserver& observer) {
  TIDEGATE_TRY(Tokens tokens, tokenize(texts));
  TIDEGATE_TRY(const std::unique_ptr<SequenceEncoder> encoder, encoder_of(view_of(image)));
  encoder->observe(tokens.sequences, observer);
  return {};
}

Result<double> EncoderWorkbench::tokens_per_second(const PackedImage& image) {
  return tokens_per_second(view_of(image));
}

Result<double> EncoderWorkbench::tokens_per_second(NetworkImage image) {
  const std::span<const std::string_view> probe = probe_texts();
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kSpeedTexts; ++i) texts.emplace_back(probe[i * probe.size() / kSpeedTexts]);
  TIDEGATE_TRY(Tokens tokens, tokenize(texts));
  TIDEGATE_TRY(const std::unique_ptr<SequenceEncoder> encoder, encoder_of(std::move(image)));
  RowSink sink(tokens.ids.size(), model_->dimension);
  Duration best = Duration::max();
  for (int round = 0; round <= kSpeedRounds; ++round) {
    const TimePoint begin = clock_->now();
    encoder->run(tokens.sequences, 0, sink);
    if (round > 0) best = std::min<Duration>(best, clock_->now() - begin);
  }
  TIDEGATE_TRY(const std::vector<float> rows, std::move(sink).rows());
  return static_cast<double>(tokens.count) / std::chrono::duration<double>(best).count();
}

}  // namespace tidegate
