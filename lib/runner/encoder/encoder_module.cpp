// The module's one exported symbol.
#include <new>
#include <system_error>

#include "base/try.hpp"
#include "runner/encoder/encoder_profile.hpp"
#include "runner/encoder/model_config.hpp"
#include "runner/encoder/text_encoder.hpp"
#include "runner/module_abi.hpp"
#include "tidegate/version.hpp"

namespace tidegate {
namespace {

/// The border of the module: what the standard library throws for want of memory or
/// threads becomes an Error here.
template <class F>
auto guarded(F&& load) -> decltype(load()) {
  try {
    return load();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "no memory to load the text encoder");
  } catch (const std::system_error& failure) {
    return Error(ErrorCode::io_error, std::string("the text encoder's threads did not start: ") + failure.what());
  }
}

class ModelTokenizer final : public TextTokenizer {
 public:
  explicit ModelTokenizer(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  Result<std::vector<std::int32_t>> encode(std::string_view text) const override { return tokenizer_.encode(text); }

 private:
  Tokenizer tokenizer_;
};

/// Everything the encoder could use, whether it does or not.
std::string detected(const CpuFeatures& features) {
  std::string names;
  for (const KernelSet set : kKernelSets) {
    if (set != KernelSet::plain && supports(features, set))
      names.append(names.empty() ? "" : " ").append(to_string(set));
  }
  if (features.amx_bf16) names += " amx_bf16";
  if (features.amx_int8) names += " amx_int8";
  return names.empty() ? "none" : names;
}

std::vector<std::pair<std::string, std::string>> facts() {
  std::vector<std::pair<std::string, std::string>> list;
  list.emplace_back("onednn", onednn_version());
  const KernelSet kernels = best_kernel_set(cpu_features());
  list.emplace_back("kernels", to_string(kernels));
  list.emplace_back("detected", detected(cpu_features()));
  if (std::string reason = why_not_faster(cpu_features()); !reason.empty()) {
    list.emplace_back("not used", std::move(reason));
  }
  return list;
}

Result<std::unique_ptr<ModelRunner>> load_encoder(const TextEncoderOptions& options) {
  return guarded([&]() -> Result<std::unique_ptr<ModelRunner>> {
    TIDEGATE_TRY(std::unique_ptr<ModelRunner> runner, TextEncoderRunner::create(options));
    return runner;
  });
}

Result<EncoderProfile> measure_encoder(const TextEncoderOptions& options, std::span<const std::string> texts,
                                       std::size_t batch_size) {
  return guarded([&] { return profile_encoder(options, texts, batch_size); });
}

Result<std::unique_ptr<TextTokenizer>> load_model_tokenizer(const std::string& folder) {
  return guarded([&]() -> Result<std::unique_ptr<TextTokenizer>> {
    if (folder.empty()) return Error(ErrorCode::invalid_argument, "the model folder has no name");
    ModelFolder files(folder);
    TIDEGATE_CHECK(files.check_exists());
    TIDEGATE_TRY(const std::vector<ModelModule> modules, read_modules(files));
    const std::string part = modules.empty() ? "" : modules[0].path;
    TIDEGATE_TRY(const EncoderConfig config, read_encoder_config(files, part));
    TIDEGATE_TRY(const std::uint32_t limit, read_max_tokens(files, part, config));
    TIDEGATE_TRY(Tokenizer tokenizer, Tokenizer::load(ModelFolder::join(folder, part), limit));
    return std::unique_ptr<TextTokenizer>(std::make_unique<ModelTokenizer>(std::move(tokenizer)));
  });
}

}  // namespace
}  // namespace tidegate

extern "C" __attribute__((visibility("default"))) const tidegate::ModuleHeader* tidegate_module() {
  static const tidegate::ModuleTable table = {
      {tidegate::build_id(), "encoder", tidegate::facts},
      tidegate::load_encoder,
      tidegate::measure_encoder,
      tidegate::load_model_tokenizer,
      nullptr,
  };
  return &table;
}
