// The functions of modules.hpp: each opens its module and calls through the table.
#include "tidegate/modules.hpp"

#include <fmt/format.h>

#include <array>

#include "base/module_loader.hpp"
#include "base/try.hpp"
#include "runner/module_abi.hpp"

namespace tidegate {
namespace {

constexpr std::array<const char*, 3> kModuleNames{"encoder", "torch", "rocksdb"};

/// The table of a module that runs models; whoever has the build id has the layout.
const ModuleTable& table_of(const LoadedModule& module) { return static_cast<const ModuleTable&>(*module.table); }

Error not_offered(const LoadedModule& module, std::string_view what) {
  return Error(ErrorCode::unsupported, fmt::format("module '{}' offers no {}", module.path, what));
}

}  // namespace

std::optional<Precision> precision_of(std::string_view name) noexcept {
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8, Precision::automatic}) {
    if (to_string(precision) == name) return precision;
  }
  return std::nullopt;
}

Result<std::unique_ptr<ModelRunner>> load_text_encoder(const TextEncoderOptions& options) {
  TIDEGATE_TRY(const LoadedModule module, load_module("encoder", options.module_path));
  if (table_of(module).load_text_encoder == nullptr) return not_offered(module, "text encoder");
  return table_of(module).load_text_encoder(options);
}

Result<EncoderProfile> profile_text_encoder(const TextEncoderOptions& options, std::span<const std::string> texts,
                                            std::size_t batch_size) {
  TIDEGATE_TRY(const LoadedModule module, load_module("encoder", options.module_path));
  if (table_of(module).profile_text_encoder == nullptr) return not_offered(module, "text encoder");
  return table_of(module).profile_text_encoder(options, texts, batch_size);
}

Result<std::unique_ptr<TextTokenizer>> load_tokenizer(const std::string& folder, const std::string& module_path) {
  TIDEGATE_TRY(const LoadedModule module, load_module("encoder", module_path));
  if (table_of(module).load_tokenizer == nullptr) return not_offered(module, "tokenizer");
  return table_of(module).load_tokenizer(folder);
}

Result<std::unique_ptr<ModelRunner>> load_torchscript(const TorchScriptOptions& options) {
  TIDEGATE_TRY(const LoadedModule module, load_module("torch", options.module_path));
  if (table_of(module).load_torchscript == nullptr) return not_offered(module, "TorchScript runner");
  return table_of(module).load_torchscript(options);
}

std::vector<ModuleReport> probe_modules() {
  std::vector<ModuleReport> reports;
  for (const char* name : kModuleNames) {
    ModuleReport& report = reports.emplace_back();
    report.name = name;
    auto module = load_module(name, {});
    if (!module) {
      report.trouble = module.error().text();
      continue;
    }
    report.path = module->path;
    if (module->table->facts != nullptr) report.facts = module->table->facts();
  }
  return reports;
}

}  // namespace tidegate
