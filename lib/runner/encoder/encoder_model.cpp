#include "runner/encoder/encoder_model.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/try.hpp"
#include "runner/encoder/model_config.hpp"
#include "runner/encoder/model_folder.hpp"
#include "runner/encoder/weight_names.hpp"
#include "runner/encoder/weight_store.hpp"

namespace tidegate {
namespace {

void keep_files(EncoderModel& model, WeightStore store) {
  for (MappedFile& file : std::move(store).take_files()) model.files.push_back(std::move(file));
}

Result<EncoderModel> with_dense_stage(EncoderModel model, ModelFolder& folder, const std::string& part) {
  TIDEGATE_TRY(const DenseConfig dense, read_dense(folder, part, model.dimension));
  TIDEGATE_TRY(WeightStore store, WeightStore::open(folder, part));
  const Bias bias = dense.has_bias ? Bias::required : Bias::none;
  TIDEGATE_TRY(LinearWeights linear, linear_weights(store, "linear", dense.out_features, dense.in_features, bias));
  model.stages.emplace_back(DenseStage{std::move(linear), dense.activation});
  model.dimension = dense.out_features;
  keep_files(model, std::move(store));
  return model;
}

Result<EncoderModel> with_modules(EncoderModel model, ModelFolder& folder, const std::vector<ModelModule>& modules) {
  const std::uint32_t hidden = model.config.hidden_size;
  if (modules.empty()) {
    model.pooling.mean_tokens = true;
  } else {
    TIDEGATE_TRY(model.pooling, read_pooling(folder, modules[1].path, hidden));
  }
  model.dimension = hidden * mode_count(model.pooling);
  for (std::size_t i = 2; i < modules.size(); ++i) {
    if (modules[i].kind == ModuleKind::normalize) {
      model.stages.emplace_back(NormalizeStage{});
      continue;
    }
    TIDEGATE_TRY(model, with_dense_stage(std::move(model), folder, modules[i].path));
  }
  return model;
}

Result<EncoderModel> load(const std::string& folder_path, std::span<const KnownFile> known) {
  ModelFolder folder(folder_path, known);
  TIDEGATE_CHECK(folder.check_exists());
  TIDEGATE_TRY(const std::vector<ModelModule> modules, read_modules(folder));
  const std::string part = modules.empty() ? "" : modules[0].path;
  EncoderModel model;
  TIDEGATE_TRY(model.config, read_encoder_config(folder, part));
  TIDEGATE_TRY(model.max_tokens, read_max_tokens(folder, part, model.config));
  TIDEGATE_TRY(PromptConfig prompts, read_prompts(folder));
  model.prompts = std::move(prompts.prompts);
  model.default_prompt = std::move(prompts.default_prompt);
  TIDEGATE_TRY(model, with_modules(std::move(model), folder, modules));
  TIDEGATE_TRY(WeightStore store, WeightStore::open(folder, part));
  TIDEGATE_TRY(model, with_bert_weights(std::move(model), store));
  keep_files(model, std::move(store));
  for (const char* name : {"tokenizer.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"}) {
    TIDEGATE_CHECK(folder.include_in_digest(ModelFolder::join(part, name)));
  }
  model.tokenizer_folder = part.empty() ? folder_path : ModelFolder::join(folder_path, part);
  model.content_digest = folder.content_digest();
  model.known_files = folder.settled_files();
  return model;
}

}  // namespace

Result<EncoderModel> load_encoder_model(const std::string& folder, std::span<const KnownFile> known) {
  return load(folder, known).or_else([&](Error error) -> Result<EncoderModel> {
    return Error(error.code(), fmt::format("{} (model folder '{}')", error.message(), folder))
        .with_numbers(error.observed(), error.limit());
  });
}

}  // namespace tidegate
