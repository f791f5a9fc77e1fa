// open_disk_cache: checks the options, opens the module and calls through its table.
#include "tidegate/disk_cache.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/module_loader.hpp"
#include "base/try.hpp"
#include "cache/disk_module_abi.hpp"

namespace tidegate {
namespace {

Error refused(std::string_view option, std::string_view why) {
  return Error(ErrorCode::invalid_argument, fmt::format("disk cache: {} {}", option, why));
}

Result<void> check(const DiskCacheOptions& options) {
  if (options.folder.empty()) return refused("folder", "is empty; name the folder that holds the store");
  if (options.capacity_bytes < kSmallestDiskCapacity || options.capacity_bytes > std::uint64_t{1} << 50) {
    return refused("capacity_bytes",
                   fmt::format("is {}; it must be {} to 2^50", options.capacity_bytes, kSmallestDiskCapacity));
  }
  if (options.write_buffer_bytes > options.capacity_bytes / 8 || options.write_buffer_bytes > std::uint64_t{4} << 30) {
    return refused("write_buffer_bytes", fmt::format("is {}; it must be an eighth of capacity_bytes ({}) and 4 GiB at "
                                                     "most, 0 chooses",
                                                     options.write_buffer_bytes, options.capacity_bytes));
  }
  if (options.write_buffer_bytes > 0 && options.write_buffer_bytes < 64 << 10) {
    return refused("write_buffer_bytes",
                   fmt::format("is {}; it must be 0 or at least 65536", options.write_buffer_bytes));
  }
  if (options.read_threads < 1 || options.read_threads > 64) {
    return refused("read_threads", fmt::format("is {}; it must be 1 to 64", options.read_threads));
  }
  if (options.max_queued_bytes == 0) return refused("max_queued_bytes", "is 0; nothing could ever be stored");
  if (options.flush_interval < Duration::zero()) return refused("flush_interval", "is negative; 0 switches it off");
  if (options.admit_cost < Duration::zero()) return refused("admit_cost", "is negative; 0 switches it off");
  if (options.max_retry_pause <= Duration::zero()) return refused("max_retry_pause", "must be above zero");
  return {};
}

}  // namespace

std::string_view to_string(DiskAdmission admission) noexcept {
  return admission == DiskAdmission::seen_twice ? "seen_twice" : "all";
}

std::string_view to_string(DiskTrouble trouble) noexcept {
  return trouble == DiskTrouble::try_again ? "try_again" : "refuse";
}

Result<std::shared_ptr<CacheTier>> open_disk_cache(const DiskCacheOptions& options, std::shared_ptr<Clock> clock) {
  if (clock == nullptr) return refused("clock", "is empty; give make_steady_clock()");
  TIDEGATE_CHECK(check(options));
  TIDEGATE_TRY(const LoadedModule module, load_module("rocksdb", options.module_path));
  const auto& table = static_cast<const DiskModuleTable&>(*module.table);
  return table.open_disk_cache(options, std::move(clock));
}

}  // namespace tidegate
