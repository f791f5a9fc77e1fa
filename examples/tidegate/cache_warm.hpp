// What the subcommands of `tidegate cache` share, and the one that fills.
#pragma once

#include <string>

#include "tidegate/config.hpp"

namespace tidegate::program {

struct CacheArguments {
  std::string config, model, input;
  bool json = false;
};

/// Errors: not_found, invalid_argument (names the file and the key).
[[nodiscard]] Result<EngineConfig> read_description(const CacheArguments& arguments);

/// Runs the texts through the described engine. Errors: of the description, the model and the texts.
[[nodiscard]] Result<int> warm_cache(const CacheArguments& arguments);

}  // namespace tidegate::program
