// What the module with the disk tier offers the core; see base/module_abi.hpp.
#pragma once

#include <memory>

#include "base/module_abi.hpp"
#include "tidegate/disk_cache.hpp"

namespace tidegate {

struct DiskModuleTable : ModuleHeader {
  Result<std::shared_ptr<CacheTier>> (*open_disk_cache)(const DiskCacheOptions& options, std::shared_ptr<Clock> clock);
};

}  // namespace tidegate
