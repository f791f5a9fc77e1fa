#include "engine/config_tiers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/mapped_file.hpp"
#include "base/thread_pool.hpp"
#include "base/try.hpp"
#include "base/wall_time.hpp"
#include "cache/cache_namespace.hpp"
#include "cache/cache_snapshot.hpp"
#include "engine/options_check.hpp"

namespace tidegate {
namespace config {

Result<void> add_tiers(EngineOptions& options, const EngineConfig& config) {
  if (!config.redis.address.empty()) {
    TIDEGATE_TRY(auto redis, make_redis_cache(config.redis, options.clock));
    options.cache.tiers.push_back(std::move(redis));
  }
  if (config.disk.folder.empty()) return {};
  if (options.clock == nullptr) options.clock = make_steady_clock();
  TIDEGATE_TRY(std::shared_ptr<CacheTier> disk, open_disk_cache(config.disk, options.clock));
  options.cache.tiers.push_back(std::move(disk));
  return {};
}

}  // namespace config

Result<void> invalidate_described(const EngineConfig& config, const CacheScope& scope, Duration bound) {
  TIDEGATE_TRY(const InvalidationTable::Scope part, scope_of(scope));
  EngineOptions options = config.engine;
  TIDEGATE_CHECK(check_options(options));
  if (options.clock == nullptr) options.clock = make_steady_clock();
  EngineConfig described = config;
  described.disk.trouble = DiskTrouble::refuse;  // who holds the folder is told of, not waited for
  const auto opened = config::add_tiers(options, described);
  const bool held = !opened && opened.error().code() == ErrorCode::busy && !options.cache.tiers.empty();
  if (!opened && !held) return opened;
  if (options.cache.tiers.empty() && options.cache.snapshot.file.empty()) {
    return Error(ErrorCode::invalid_argument,
                 "nothing outlives a process here: set cache.redis.address, cache.disk.folder or cache.snapshot.file");
  }
  const auto threads = std::make_shared<ThreadPool>("tidegate-told", 1);
  bool known = false;
  for (const ModelConfig& model : config.models) {
    if (!scope.model.empty() && scope.model != model.name) continue;
    known = true;
    const auto names = std::make_shared<CacheNamespace>(
        model.name, CacheNamespace::Surroundings{options.clock, options.cache.tiers,
                                                 std::max(options.cache.time_to_live, options.cache.tier_time_to_live),
                                                 threads, unix_microseconds});
    // A tier that does not answer is told all the same.
    names->invalidate(part, bound);
    if (!names->spread(bound)) {
      return Error(ErrorCode::unavailable,
                   fmt::format("model '{}': a cache tier did not take the invalidation within {} ms; is it up, and may "
                               "it be written to?",
                               model.name, std::chrono::duration_cast<std::chrono::milliseconds>(bound).count()));
    }
  }
  if (!known) {
    return Error(ErrorCode::not_found, fmt::format("the description has no model '{}'", scope.model));
  }
  const std::string& snapshot = options.cache.snapshot.file;
  if (!snapshot.empty()) TIDEGATE_CHECK(remove_cache_snapshot(snapshot));
  if (!held) return {};
  return Error(ErrorCode::busy,
               fmt::format("Redis was told, the disk folder was not: {}. If the process that has it shares this Redis, "
                           "it follows within 5 s of requests and tells its folder; else stop it and clear again",
                           opened.error().message()));
}

CacheSnapshotStats inspect_cache_snapshot(const std::string& file) {
  CacheSnapshotStats stats;
  const auto mapped = MappedFile::open(file);
  if (!mapped) {
    stats.skipped = mapped.error().code() == ErrorCode::not_found ? 0 : 1;
    return stats;
  }
  SnapshotReader reader(mapped->bytes(), unix_milliseconds());
  while (reader.next()) ++stats.restored;
  stats.skipped = reader.count_skipped();
  return stats;
}

}  // namespace tidegate
