#include "runner/encoder/text_encoder.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <new>

#include "base/sha256.hpp"
#include "base/try.hpp"
#include "base/utf8.hpp"
#include "runner/encoder/model_folder.hpp"
#include "runner/encoder/prepared_network.hpp"
#include "runner/encoder/probe_texts.hpp"

namespace tidegate {
namespace {

/// Raised whenever a change of the code changes the bits of an embedding.
constexpr std::uint64_t kArithmeticRevision = 2;
constexpr std::uint32_t kMaxThreads = 256;

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
  return Error(ErrorCode::unsupported, "this processor lacks the instruction set '" + std::string(isa) +
                                           "' (isa); leave it empty for the best");
}

// ---- load -------------------------------------------------------------------------

Result<std::unique_ptr<TextEncoderRunner>> TextEncoderRunner::create(const TextEncoderOptions& options,
                                                                     const EncoderTuning& tuning) {
  if (options.threads == 0 || options.threads > kMaxThreads) {
    return Error(ErrorCode::invalid_argument, "threads of a text encoder must be 1 to 256")
        .with_numbers(options.threads, kMaxThreads);
  }
  if (options.folder.empty()) return Error(ErrorCode::invalid_argument, "the model folder has no name");
  TIDEGATE_TRY(EncoderModel loaded, load_encoder_model(options.folder, remembered_files(options)));
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
  TIDEGATE_TRY(const KernelSet kernels, choose_kernels(options.isa));
  team_ = std::make_unique<Team>("tidegate-encode", options.threads);
  TIDEGATE_TRY(PreparedNetwork prepared, prepare_network(*model_, tokenizer_, options, kernels_of(kernels), *team_));
  MutexLock lock(mutex_);
  TIDEGATE_TRY(encoder_, SequenceEncoder::create(*model_, std::move(prepared.image), kernels_of(kernels),
                                                 tuning.products, *team_));
  describe(prepared, kernels);
  add_samples(options);
  return {};
}

/// Of the tokenizer's files, the limit and the prompt.
Digest TextEncoderRunner::preparation_digest() const {
  Sha256 digest;
  digest.update_field("text encoder input 1").update_u64(model_->max_tokens).update_field(prompt_);
  for (const char* name : {"tokenizer.json", "vocab.txt", "tokenizer_config.json", "sentence_bert_config.json"}) {
    std::ifstream file(ModelFolder::join(model_->tokenizer_folder, name), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    digest.update_field(name).update_field(bytes);
  }
  return digest.finish();
}

/// Texts of few, some and many words.
void TextEncoderRunner::add_samples(const TextEncoderOptions& options) {
  const std::span<const std::string_view> texts = probe_texts();
  for (const std::size_t sentences : {1UL, 4UL, 16UL}) {
    std::string text;
    for (std::size_t i = 0; i < sentences; ++i) text.append(i == 0 ? "" : " ").append(texts[i]);
    info_.sample_texts.push_back(std::move(text));
  }
  info_.threads = options.threads;
  info_.preparation = preparation_digest();
  info_.folder = options.pack_folder.empty() ? options.folder : options.pack_folder;
}

void TextEncoderRunner::describe(const PreparedNetwork& prepared, KernelSet kernels) {
  const std::string precision(to_string(prepared.precision));
  info_.kind = "encoder";
  info_.max_tokens = model_->max_tokens;
  Sha256 digest;
  digest.update(std::as_bytes(std::span(model_->content_digest))).update_field(precision);
  digest.update(std::as_bytes(std::span(prepared.image_digest)));
  digest.update_u64(kArithmeticRevision).update_field(encoder_->description());
  digest.update_u64(model_->max_tokens).update_field(prompt_);
  info_.fingerprint = digest.finish();
  info_.variant = precision;
  info_.notes = {"precision: " + precision, "kernels: " + std::string(to_string(kernels))};
  info_.notes.insert(info_.notes.end(), prepared.notes.begin(), prepared.notes.end());
  if (const std::string reason = why_not_faster(cpu_features()); !reason.empty()) info_.notes.push_back(reason);
  info_.notes.push_back(encoder_->description());
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

void TextEncoderRunner::run(std::span<BatchItem> batch) {
  /// Puts embeddings into the items of a batch.
  class Answers final : public EmbeddingSink {
   public:
    explicit Answers(std::span<BatchItem> batch) : batch_(batch) {}
    void take(std::size_t item, std::span<const float> values) noexcept override {
      try {
        batch_[item].output = std::vector<Tensor>{Tensor::vector_of(values)};
      } catch (const std::bad_alloc&) {
        fail(item, Error(ErrorCode::out_of_memory, "no memory for an embedding"));
      }
    }
    void fail(std::size_t item, const Error& error) noexcept override { batch_[item].output = copy_of(error); }

   private:
    std::span<BatchItem> batch_;
  };
  MutexLock lock(mutex_);
  collect(batch);
  Answers answers(batch);
  encoder_->run(sequences_, prompt_tokens_, answers);
}

}  // namespace tidegate
