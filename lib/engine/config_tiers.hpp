// The cache tiers that a description names.
#pragma once

#include "tidegate/config.hpp"

namespace tidegate::config {

/// Opens them behind those that the program brought. Errors: as make_redis_cache and open_disk_cache.
[[nodiscard]] Result<void> add_tiers(EngineOptions& options, const EngineConfig& config);

}  // namespace tidegate::config
