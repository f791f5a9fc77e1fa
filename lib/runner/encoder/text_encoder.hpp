// TextEncoderRunner: texts to embeddings, on a team of threads, same bits whatever
// the batch.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "base/team.hpp"
#include "runner/encoder/group_plan.hpp"
#include "runner/encoder/network.hpp"
#include "runner/encoder/tokenizer.hpp"
#include "tidegate/modules.hpp"

namespace tidegate {

enum class ProductChoice : std::uint8_t { kernels, onednn };

/// For tests and benchmarks: what is otherwise chosen by the machine.
struct EncoderTuning {
  std::optional<ProductChoice> products;
};

/// The kernel set of TextEncoderOptions::isa. Errors: invalid_argument (no such set),
/// unsupported (this processor lacks it).
[[nodiscard]] Result<KernelSet> choose_kernels(std::string_view isa);

/// oneDNN multiplies bf16 and u8 where the processor has tiles for them, which the
/// kernels do not use.
[[nodiscard]] ProductChoice choose_products(const EncoderTuning& tuning, KernelSet kernels, Number number);

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

 private:
  TextEncoderRunner(std::unique_ptr<EncoderModel> model, Tokenizer tokenizer)
      : model_(std::move(model)), tokenizer_(std::move(tokenizer)) {}

  [[nodiscard]] Result<void> choose_prompt(const std::string& name);
  [[nodiscard]] Result<void> load(const TextEncoderOptions& options, const EncoderTuning& tuning);
  void describe(const ProductMethod& method, KernelSet kernels);

  void make_buffers(std::uint32_t threads);
  void collect(std::span<BatchItem> batch) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] bool together() const TIDEGATE_REQUIRES(mutex_);
  void run_together(std::span<BatchItem> batch) TIDEGATE_REQUIRES(mutex_);
  void run_apart(std::span<BatchItem> batch) TIDEGATE_REQUIRES(mutex_);
  void answer(std::span<BatchItem> batch, std::span<const Sequence> group, const Workspace& workspace) const;

  std::unique_ptr<const EncoderModel> model_;  // the network points into it
  Tokenizer tokenizer_;
  std::string prompt_;
  std::size_t prompt_tokens_ = 0;  // [CLS] and the prompt's own; 0 without a prompt
  std::optional<Network> network_;
  ModelInfo info_;

  Mutex mutex_;  // held for a whole run; nothing else is taken under it
  std::vector<Sequence> sequences_ TIDEGATE_GUARDED_BY(mutex_);
  GroupPlan groups_ TIDEGATE_GUARDED_BY(mutex_);
  // One per member of the team, touched by it alone during a run.
  std::vector<Workspace> workspaces_;
  std::vector<Scratch> scratches_;
  std::unique_ptr<Team> team_;
};

}  // namespace tidegate
