// SequenceEncoder: a network with its memory, run on token ids by a team of threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runner/encoder/group_plan.hpp"
#include "runner/encoder/network.hpp"
#include "runner/encoder/packing_plan.hpp"

namespace tidegate {

enum class ProductChoice : std::uint8_t { kernels, onednn };

/// A packed model wherever it lies: in memory of its own or in a mapped file.
struct NetworkImage {
  PackingPlan plan;
  std::shared_ptr<const std::byte> bytes;
};

/// A copy of `error`, or out_of_memory where there is none for its text.
[[nodiscard]] Error copy_of(const Error& error) noexcept;

/// Receives embeddings, from any member of the team, each item from one.
class EmbeddingSink {
 public:
  virtual ~EmbeddingSink() = default;
  /// `values` live for the call. Must not throw.
  virtual void take(std::size_t item, std::span<const float> values) noexcept = 0;
  virtual void fail(std::size_t item, const Error& error) noexcept = 0;
};

/// One run at a time; runs allocate nothing once they have seen as large a batch,
/// but for what oneDNN does in its products.
class SequenceEncoder {
 public:
  /// `model` and `team` must outlive the encoder. Without `products`: oneDNN where the
  /// processor has tiles for the plan's numbers, which the kernels do not use, else the
  /// kernels. Throws std::bad_alloc. Errors: of oneDNN.
  [[nodiscard]] static Result<std::unique_ptr<SequenceEncoder>> create(const EncoderModel& model, NetworkImage image,
                                                                       const Kernels& kernels,
                                                                       std::optional<ProductChoice> products,
                                                                       Team& team);

  /// Everything besides the model and the plan that the bits of an embedding depend on.
  [[nodiscard]] const std::string& description() const noexcept { return description_; }
  [[nodiscard]] const PackingPlan& plan() const noexcept { return image_.plan; }
  [[nodiscard]] ProductChoice products() const noexcept {
    return onednn_ != nullptr ? ProductChoice::onednn : ProductChoice::kernels;
  }

  /// Sorts `sequences`, which must have 1 to max_tokens known tokens each, and answers
  /// each item once. `prompt_tokens` as Network::encode.
  void run(std::span<Sequence> sequences, std::size_t prompt_tokens, EmbeddingSink& sink);

  /// Shows `observer` what goes into the products of an f32 network. One thread.
  void observe(std::span<Sequence> sequences, ActivationObserver& observer);

  /// Adds up phase times in `times`, one per member of the team; empty = no longer.
  void measure(std::span<PhaseTimes> times);

 private:
  SequenceEncoder(const EncoderModel& model, NetworkImage image, Team& team)
      : model_(&model), image_(std::move(image)), team_(&team) {}

  [[nodiscard]] bool together(std::span<const Sequence> sequences) const;
  void run_together(std::span<Sequence> sequences, std::size_t prompt_tokens, EmbeddingSink& sink);
  void run_apart(std::span<Sequence> sequences, std::size_t prompt_tokens, EmbeddingSink& sink);
  /// Answers `group` with what was pooled, or with what one of `workers` failed at.
  void answer(std::span<const Sequence> group, const Workspace& workspace, std::span<const Scratch> workers,
              EmbeddingSink& sink) const;

  const EncoderModel* model_;
  NetworkImage image_;
  Team* team_;
  std::unique_ptr<OnednnMethod> onednn_;
  std::optional<Network> network_;
  std::string description_;
  GroupPlan groups_;
  // One per member of the team, touched by it alone during a run.
  std::vector<Workspace> workspaces_;
  std::vector<Scratch> scratches_;
};

}  // namespace tidegate
