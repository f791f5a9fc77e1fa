// TextEncoderRunner: texts to embeddings, on a team of threads, same bits whatever
// the batch.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "runner/encoder/prepared_network.hpp"
#include "runner/encoder/tokenizer.hpp"
#include "tidegate/modules.hpp"

namespace tidegate {

/// For tests and benchmarks: what is otherwise chosen by the machine.
struct EncoderTuning {
  std::optional<ProductChoice> products;
};

/// The kernel set of TextEncoderOptions::isa. Errors: invalid_argument (no such set),
/// unsupported (this processor lacks it).
[[nodiscard]] Result<KernelSet> choose_kernels(std::string_view isa);

class TextEncoderRunner final : public ModelRunner {
 public:
  /// Blocks while it reads, checks and packs the model. Errors: as load_text_encoder,
  /// and invalid_argument (threads, an unknown prompt name says which are known).
  [[nodiscard]] static Result<std::unique_ptr<TextEncoderRunner>> create(const TextEncoderOptions& options,
                                                                         const EncoderTuning& tuning = {});

  [[nodiscard]] const ModelInfo& info() const noexcept override { return info_; }

  /// The prompt is put before the text, then both are tokenized as one.
  [[nodiscard]] Result<PreparedInput> prepare(Input input) override;

  /// Calls from several threads take turns: together they use `threads` cores. The
  /// calling thread is one of the team.
  void run(std::span<BatchItem> batch) override;

  /// From now on adds up phase times in `per_member`, one a thread; empty = no longer.
  void measure(std::span<PhaseTimes> per_member) {
    MutexLock lock(mutex_);
    encoder_->measure(per_member);
  }

  [[nodiscard]] std::size_t threads() const noexcept { return team_->size(); }
  [[nodiscard]] const EncoderModel& model() const noexcept { return *model_; }
  [[nodiscard]] PackingPlan plan() {
    MutexLock lock(mutex_);
    return encoder_->plan();
  }
  [[nodiscard]] ProductChoice products() {
    MutexLock lock(mutex_);
    return encoder_->products();
  }

 private:
  TextEncoderRunner(std::unique_ptr<EncoderModel> model, Tokenizer tokenizer)
      : model_(std::move(model)), tokenizer_(std::move(tokenizer)) {}

  [[nodiscard]] Result<void> choose_prompt(const std::string& name);
  [[nodiscard]] Result<void> load(const TextEncoderOptions& options, const EncoderTuning& tuning);
  void describe(const PreparedNetwork& prepared, KernelSet kernels) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Digest preparation_digest() const;
  void add_samples(const TextEncoderOptions& options);
  void collect(std::span<BatchItem> batch) TIDEGATE_REQUIRES(mutex_);

  std::unique_ptr<const EncoderModel> model_;  // the encoder points into it
  Tokenizer tokenizer_;
  std::string prompt_;
  std::size_t prompt_tokens_ = 0;  // [CLS] and the prompt's own; 0 without a prompt
  ModelInfo info_;

  std::unique_ptr<Team> team_;

  Mutex mutex_;  // held for a whole run; nothing else is taken under it
  std::unique_ptr<SequenceEncoder> encoder_ TIDEGATE_GUARDED_BY(mutex_);
  std::vector<Sequence> sequences_ TIDEGATE_GUARDED_BY(mutex_);
};

}  // namespace tidegate
