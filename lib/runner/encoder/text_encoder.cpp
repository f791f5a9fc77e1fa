#include "runner/encoder/text_encoder.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "base/utf8.hpp"

namespace tidegate {
namespace {

/// Raised whenever a change of the code changes the bits of an embedding.
constexpr std::uint64_t kArithmeticRevision = 1;
constexpr std::uint32_t kMaxThreads = 256;
/// See together().
constexpr std::size_t kTogetherTokens = kPanelRows;

std::string known_prompts(const EncoderModel& model) {
  if (model.prompts.empty()) return "it has none";
  std::string names = "it has";
  for (const auto& [name, text] : model.prompts) names += " '" + name + "'";
  return names;
}

}  // namespace

Result<KernelSet> choose_kernels(std::string_view isa) {
  const CpuFeatures features = cpu_features();
  if (isa.empty()) return best_kernel_set(features);
  const std::optional<KernelSet> set = kernel_set_of(isa);
  if (!set) {
    std::string names;
    for (const KernelSet known : kKernelSets) names.append(names.empty() ? "" : ", ").append(to_string(known));
    return Error(ErrorCode::invalid_argument,
                 "there is no instruction set '" + std::string(isa) + "' (isa); there are " + names);
  }
  if (supports(features, *set)) return *set;
  return Error(ErrorCode::unsupported,
               "this processor lacks the instruction set '" + std::string(isa) + "' (isa); leave it empty for the best");
}

ProductChoice choose_products(const EncoderTuning& tuning, KernelSet kernels, Number number) {
  if (tuning.products) return *tuning.products;
  const CpuFeatures features = cpu_features();
  const bool tiles = number == Number::u8 ? features.amx_int8 : number == Number::bf16 && features.amx_bf16;
  return tiles && kernels == best_kernel_set(features) ? ProductChoice::onednn : ProductChoice::kernels;
}

// ---- load -------------------------------------------------------------------------

Result<std::unique_ptr<TextEncoderRunner>> TextEncoderRunner::create(const TextEncoderOptions& options,
                                                                     const EncoderTuning& tuning) {
  if (options.threads == 0 || options.threads > kMaxThreads) {
    return Error(ErrorCode::invalid_argument, "threads of a text encoder must be 1 to 256")
        .with_numbers(options.threads, kMaxThreads);
  }
  if (options.folder.empty()) return Error(ErrorCode::invalid_argument, "the model folder has no name");
  TIDEGATE_TRY(EncoderModel loaded, load_encoder_model(options.folder));
  auto model = std::make_unique<EncoderModel>(std::move(loaded));
  TIDEGATE_TRY(Tokenizer tokenizer, Tokenizer::load(model->tokenizer_folder, model->max_tokens));
  if (tokenizer.vocab_size() > model->config.vocab_size) {
    return Error(ErrorCode::corrupt_data, options.folder + ": the tokenizer has " +
                                              std::to_string(tokenizer.vocab_size()) + " words, the model embeds " +
                                              std::to_string(model->config.vocab_size));
  }
  std::unique_ptr<TextEncoderRunner> runner(new TextEncoderRunner(std::move(model), std::move(tokenizer)));
  TIDEGATE_CHECK(runner->choose_prompt(options.prompt));
  TIDEGATE_CHECK(runner->load(options, tuning));
  return runner;
}

Result<void> TextEncoderRunner::choose_prompt(const std::string& name) {
  const std::string& chosen = name.empty() ? model_->default_prompt : name;
  if (chosen.empty()) return {};
  const auto found = model_->prompts.find(chosen);
  if (found == model_->prompts.end()) {
    return Error(ErrorCode::invalid_argument,
                 "the model has no prompt named '" + chosen + "': " + known_prompts(*model_));
  }
  prompt_ = found->second;
  if (prompt_.empty()) return {};
  TIDEGATE_TRY(const std::uint32_t tokens, tokenizer_.count(prompt_));
  prompt_tokens_ = tokens + std::size_t{1};
  return {};
}

Result<void> TextEncoderRunner::load(const TextEncoderOptions& options, const EncoderTuning& tuning) {
  TIDEGATE_TRY(const KernelSet kernels, choose_kernels(tuning));
  TIDEGATE_TRY(const std::unique_ptr<ProductMethod> method, make_method(choose_products(tuning, kernels), kernels));
  TIDEGATE_TRY(network_, Network::create(*model_, kernels_of(kernels), *method));
  describe(*method, kernels);
  workspaces_.resize(options.threads);
  if (options.threads > 1) team_ = std::make_unique<ThreadPool>("tidegate-encode", options.threads - 1);
  return {};
}

void TextEncoderRunner::describe(const ProductMethod& method, KernelSet kernels) {
  info_.kind = "encoder";
  info_.max_tokens = model_->max_tokens;
  Sha256 digest;
  digest.update(std::as_bytes(std::span(model_->content_digest))).update_field("f32");
  digest.update_u64(kArithmeticRevision).update_field(to_string(kernels)).update_field(method.description());
  digest.update_u64(model_->max_tokens).update_field(prompt_);
  info_.fingerprint = digest.finish();
  info_.notes.push_back("kernels: " + std::string(to_string(kernels)));
  if (const std::string reason = why_not_faster(cpu_features()); !reason.empty()) info_.notes.push_back(reason);
  info_.notes.push_back("products: " + method.description());
  info_.notes.push_back("dimension: " + std::to_string(model_->dimension));
}

// ---- prepare ----------------------------------------------------------------------

Result<PreparedInput> TextEncoderRunner::prepare(Input input) {
  const auto* text = std::get_if<std::string>(&input);
  if (text == nullptr) return Error(ErrorCode::invalid_argument, "a text encoder takes a text, not tensors");
  PreparedInput prepared;
  // Checked alone, so that the offset an error names is one in the caller's text.
  if (!prompt_.empty() && find_invalid_utf8(*text) == std::string_view::npos) {
    TIDEGATE_TRY(prepared.tokens, tokenizer_.encode(prompt_ + *text));
  } else {
    TIDEGATE_TRY(prepared.tokens, tokenizer_.encode(*text));
  }
  prepared.size.tokens = prepared.tokens.size();
  prepared.size.bytes = text->size() + prepared.tokens.size() * sizeof(std::int32_t);
  prepared.input = std::move(input);
  return prepared;
}

// ---- run --------------------------------------------------------------------------

/// Lists the items that can be embedded; answers the others.
void TextEncoderRunner::collect(std::span<BatchItem> batch) {
  sequences_.clear();
  const auto vocabulary = static_cast<std::int64_t>(model_->config.vocab_size);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].input == nullptr) {
      batch[i].output = Error(ErrorCode::internal, "a batch item without an input");
      continue;
    }
    const std::vector<std::int32_t>& tokens = batch[i].input->tokens;
    if (tokens.empty() || tokens.size() > model_->max_tokens) {
      batch[i].output = Error(ErrorCode::invalid_argument, "an item has no tokens or more than the model's limit")
                            .with_numbers(static_cast<std::int64_t>(tokens.size()), model_->max_tokens);
      continue;
    }
    bool known = true;
    for (const std::int32_t token : tokens) known = known && token >= 0 && token < vocabulary;
    if (!known) {
      batch[i].output = Error(ErrorCode::invalid_argument, "a token id lies outside the model's vocabulary");
      continue;
    }
    sequences_.push_back({tokens, i});
  }
}

/// Whether the team works in step on all sequences at once rather than each member on
/// groups of its own: where there are too few sequences for every member, or so few
/// tokens that reading the weights, which members then share, costs more than waiting
/// for one another.
bool TextEncoderRunner::together() const {
  if (team_->size() == 1) return false;
  if (sequences_.size() < team_->size()) return true;
  std::size_t tokens = 0;
  for (const Sequence& sequence : sequences_) tokens += sequence.tokens.size();
  return tokens <= kTogetherTokens;
}

void TextEncoderRunner::answer(std::span<BatchItem> batch, std::span<const Sequence> group,
                               const Workspace& workspace) const {
  const std::size_t stride = row_stride(model_->dimension);
  for (std::size_t text = 0; text < group.size(); ++text) {
    auto& output = batch[group[text].item].output;
    if (workspace.failure) {
      output = *workspace.failure;
      continue;
    }
    try {
      output = std::vector<Tensor>{
          Tensor::vector_of({workspace.pooled.data() + text * stride, std::size_t{model_->dimension}})};
    } catch (const std::bad_alloc&) {
      output = Error(ErrorCode::out_of_memory, "no memory for an embedding");
    }
  }
}

void TextEncoderRunner::run_together(std::span<BatchItem> batch) {
  groups_.plan(sequences_, 1);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const WorkShare share = groups_.group(i);
    const auto group = std::span<const Sequence>(sequences_).subspan(share.begin, share.end - share.begin);
    auto job = [&](std::size_t member) {
      network_->encode(group, prompt_tokens_, workspaces_[0], {&scratches_[member], team_.get(), member});
    };
    team_->run(job);
    answer(batch, group, workspaces_[0]);
  }
}

void TextEncoderRunner::run_apart(std::span<BatchItem> batch) {
  groups_.plan(sequences_, team_->size());
  std::atomic<std::size_t> next{0};  // relaxed: the value alone hands out groups; the team orders the results
  const std::span<const Sequence> sequences = sequences_;
  const GroupPlan& groups = groups_;
  auto job = [&](std::size_t member) {
    Workspace& workspace = workspaces_[member];
    for (;;) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= groups.size()) return;
      const WorkShare share = groups.group(index);
      const auto group = sequences.subspan(share.begin, share.end - share.begin);
      network_->encode(group, prompt_tokens_, workspace, {&scratches_[member]});
      answer(batch, group, workspace);
    }
  };
  if (groups_.size() == 1) return job(0);
  team_->run(job);
}

void TextEncoderRunner::run(std::span<BatchItem> batch) {
  MutexLock lock(mutex_);
  collect(batch);
  if (sequences_.empty()) return;
  if (together()) return run_together(batch);
  run_apart(batch);
}

}  // namespace tidegate
