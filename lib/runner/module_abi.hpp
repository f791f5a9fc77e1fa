// What the modules that run models offer the core; see base/module_abi.hpp.
#pragma once

#include <memory>
#include <string>

#include "base/module_abi.hpp"
#include "tidegate/modules.hpp"

namespace tidegate {

/// Entries a module does not offer are null.
struct ModuleTable : ModuleHeader {
  Result<std::unique_ptr<ModelRunner>> (*load_text_encoder)(const TextEncoderOptions& options);
  Result<EncoderProfile> (*profile_text_encoder)(const TextEncoderOptions& options, std::span<const std::string> texts,
                                                 std::size_t batch_size);
  Result<std::unique_ptr<TextTokenizer>> (*load_tokenizer)(const std::string& folder);
  Result<std::unique_ptr<ModelRunner>> (*load_torchscript)(const TorchScriptOptions& options);
};

}  // namespace tidegate
