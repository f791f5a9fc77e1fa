#include "runner/encoder/sequence_encoder.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "base/try.hpp"
#include "runner/encoder/image_layout.hpp"

namespace tidegate {
namespace {

/// See together().
constexpr std::size_t kTogetherTokens = kPanelRows;
/// Of a member's even share of the tokens: what in-step work loses by meeting.
constexpr double kLongShare = 1.25;

bool uses(const PackingPlan& plan, Number number) {
  return std::any_of(plan.layers.begin(), plan.layers.end(), [&](const LayerPlan& layer) {
    return std::find(layer.numbers.begin(), layer.numbers.end(), number) != layer.numbers.end();
  });
}

ProductChoice choose_products(const PackingPlan& plan, KernelSet kernels) {
  const CpuFeatures features = cpu_features();
  const bool tiles = (features.amx_int8 && uses(plan, Number::u8)) || (features.amx_bf16 && uses(plan, Number::bf16));
  return tiles && kernels == best_kernel_set(features) ? ProductChoice::onednn : ProductChoice::kernels;
}

}  // namespace

Error copy_of(const Error& error) noexcept {
  try {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "no memory to say what an encoder failed at");
  }
}

Result<std::unique_ptr<SequenceEncoder>> SequenceEncoder::create(const EncoderModel& model, NetworkImage image,
                                                                 const Kernels& kernels,
                                                                 std::optional<ProductChoice> products, Team& team) {
  const ProductChoice choice = products.value_or(choose_products(image.plan, kernels.set));
  std::unique_ptr<SequenceEncoder> encoder(new SequenceEncoder(model, std::move(image), team));
  if (choice == ProductChoice::onednn) {
    TIDEGATE_TRY(encoder->onednn_, make_onednn_method());
  }
  PackedModel packed = view_image(model, encoder->image_.plan, encoder->image_.bytes.get());
  TIDEGATE_TRY(encoder->network_, Network::create(model, std::move(packed), kernels, encoder->onednn_.get()));
  encoder->description_ = "kernels " + std::string(to_string(kernels.set));
  if (encoder->onednn_ != nullptr) encoder->description_ += ", products " + encoder->onednn_->description();
  const std::size_t tokens = std::max<std::size_t>(kGroupTokens, model.max_tokens);
  for (std::size_t member = 0; member < team.size(); ++member) {
    encoder->workspaces_.push_back(encoder->network_->make_workspace(tokens));
    encoder->scratches_.push_back(encoder->network_->make_scratch(model.max_tokens));
  }
  return encoder;
}

/// Whether the team works in step on all sequences at once rather than each member on
/// groups of its own: where there are too few sequences for every member, or one so long
/// that its member would work on when the others are done, or so few tokens that reading
/// the weights, which members then share, costs more than waiting for one another.
bool SequenceEncoder::together(std::span<const Sequence> sequences) const {
  if (team_->size() == 1) return false;
  if (sequences.size() < team_->size()) return true;
  std::size_t tokens = 0;
  std::size_t longest = 0;
  for (const Sequence& sequence : sequences) {
    tokens += sequence.tokens.size();
    longest = std::max(longest, sequence.tokens.size());
  }
  const double share = static_cast<double>(tokens) / static_cast<double>(team_->size());
  return tokens <= kTogetherTokens || static_cast<double>(longest) > kLongShare * share;
}

void SequenceEncoder::answer(std::span<const Sequence> group, const Workspace& workspace,
                             std::span<const Scratch> workers, EmbeddingSink& sink) const {
  const auto failed = std::find_if(workers.begin(), workers.end(), [](const Scratch& one) { return !!one.failure; });
  const std::size_t stride = row_stride(model_->dimension);
  for (std::size_t text = 0; text < group.size(); ++text) {
    if (failed != workers.end()) {
      sink.fail(group[text].item, *failed->failure);
    } else {
      sink.take(group[text].item, {workspace.pooled.data() + text * stride, std::size_t{model_->dimension}});
    }
  }
}

void SequenceEncoder::run_together(std::span<Sequence> sequences, std::size_t prompt_tokens, EmbeddingSink& sink) {
  groups_.plan(sequences, 1);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const WorkShare share = groups_.group(i);
    const auto group = sequences.subspan(share.begin, share.end - share.begin);
    auto job = [&](std::size_t member) {
      network_->encode(group, prompt_tokens, workspaces_[0], {&scratches_[member], team_, member});
    };
    team_->run(job);
    answer(group, workspaces_[0], scratches_, sink);
  }
}

void SequenceEncoder::run_apart(std::span<Sequence> sequences, std::size_t prompt_tokens, EmbeddingSink& sink) {
  groups_.plan(sequences, team_->size());
  std::atomic<std::size_t> next{0};  // relaxed: the value alone hands out groups; the team orders the results
  auto job = [&](std::size_t member) {
    Workspace& workspace = workspaces_[member];
    for (;;) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= groups_.size()) return;
      const WorkShare share = groups_.group(index);
      const auto group = sequences.subspan(share.begin, share.end - share.begin);
      network_->encode(group, prompt_tokens, workspace, {&scratches_[member]});
      answer(group, workspace, {&scratches_[member], 1}, sink);
    }
  };
  if (groups_.size() == 1) return job(0);
  team_->run(job);
}

void SequenceEncoder::run(std::span<Sequence> sequences, std::size_t prompt_tokens, EmbeddingSink& sink) {
  if (sequences.empty()) return;
  if (together(sequences)) return run_together(sequences, prompt_tokens, sink);
  run_apart(sequences, prompt_tokens, sink);
}

void SequenceEncoder::observe(std::span<Sequence> sequences, ActivationObserver& observer) {
  groups_.plan(sequences, 1);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const WorkShare share = groups_.group(i);
    network_->encode(sequences.subspan(share.begin, share.end - share.begin), 0, workspaces_[0],
                     {&scratches_[0], nullptr, 0, &observer});
  }
}

void SequenceEncoder::measure(std::span<PhaseTimes> times) {
  for (std::size_t member = 0; member < scratches_.size(); ++member) {
    scratches_[member].times = member < times.size() ? &times[member] : nullptr;
  }
}

}  // namespace tidegate
