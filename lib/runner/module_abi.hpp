// The border between the core and a module (libtidegate_<name>.so).
//
// A module exports one C symbol, `tidegate_module`, that answers a table. C++ types
// cross the border, which is safe because the core refuses a table whose build id
// is not exactly its own (cmake/Modules.cmake says what the id covers). A module
// imports nothing from the core and is never unloaded.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tidegate/modules.hpp"

namespace tidegate {

struct ModuleTable {
  const char* build_id;  // first, so that it can be read whatever follows
  const char* name;      // "encoder", "torch"
  /// Versions and choices for `doctor`: {"onednn", "3.2.0"}, {"kernels", "avx2"}, ...
  std::vector<std::pair<std::string, std::string>> (*facts)();
  // Entries a module does not offer are null.
  Result<std::unique_ptr<ModelRunner>> (*load_text_encoder)(const TextEncoderOptions& options);
  Result<EncoderProfile> (*profile_text_encoder)(const TextEncoderOptions& options, std::span<const std::string> texts,
                                                 std::size_t batch_size);
  Result<std::unique_ptr<TextTokenizer>> (*load_tokenizer)(const std::string& folder);
  Result<std::unique_ptr<ModelRunner>> (*load_torchscript)(const TorchScriptOptions& options);
};

using ModuleEntry = const ModuleTable* (*)();
inline constexpr const char* kModuleSymbol = "tidegate_module";

}  // namespace tidegate
