// The module's one exported symbol.
#include <fmt/format.h>
#include <rocksdb/version.h>

#include "base/wall_time.hpp"
#include "cache/disk_module_abi.hpp"
#include "cache/rocksdb/disk_tier.hpp"
#include "tidegate/version.hpp"

namespace tidegate {
namespace {

std::vector<std::pair<std::string, std::string>> rocksdb_facts() {
  return {{"rocksdb", fmt::format("{}.{}.{}", ROCKSDB_MAJOR, ROCKSDB_MINOR, ROCKSDB_PATCH)}};
}

Result<std::shared_ptr<CacheTier>> open_tier(const DiskCacheOptions& options, std::shared_ptr<Clock> clock) {
  try {
    return disk::DiskTier::open(options, {std::move(clock), unix_milliseconds});
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "disk cache: there is not enough memory to open it");
  } catch (const std::exception& trouble) {
    return Error(ErrorCode::unavailable, fmt::format("disk cache '{}': {}", options.folder, trouble.what()));
  }
}

}  // namespace
}  // namespace tidegate

extern "C" __attribute__((visibility("default"))) const tidegate::ModuleHeader* tidegate_module() {
  static const tidegate::DiskModuleTable table = {
      {tidegate::build_id(), "rocksdb", tidegate::rocksdb_facts},
      tidegate::open_tier,
  };
  return &table;
}
