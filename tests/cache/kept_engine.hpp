// Engines whose answers outlive them, for tests of what survives which end.
#pragma once

#include <string>
#include <string_view>

#include "cache/disk_fixtures.hpp"
#include "support/fake_runner.hpp"
#include "tidegate/engine.hpp"

namespace tidegate::test {

/// An engine whose model "m" answers `value`. Its caches are kept in `folder`: `where` is "disk", which nothing
/// but a closing or an urgent entry makes write a file, or "snapshot".
inline Engine kept_engine(const std::string& folder, std::string_view where, float value) {
  EngineOptions options;
  options.cache.bypass = CacheBypass::never;
  options.cache.lookup_budget = std::chrono::minutes(1);
  if (where == "disk") {
    DiskCacheOptions disk = disk_options(folder);
    disk.flush_interval = Duration::zero();
    // A thread of the engine before may still be letting go of the folder.
    std::shared_ptr<CacheTier> tier;
    const bool opened = eventually([&] {
      if (auto made = disk::DiskTier::open(disk, DiskWorld().surroundings())) tier = *std::move(made);
      return tier != nullptr;
    });
    if (!opened) throw std::runtime_error("the folder is not let go of");
    options.cache.tiers = {std::move(tier)};
  } else {
    options.cache.snapshot.file = folder + "/snapshot";
  }
  Engine engine = *Engine::create(std::move(options));
  std::vector<Replica> set;
  auto runner = std::make_unique<FakeRunner>(nullptr, [value](std::span<BatchItem> batch) {
    for (BatchItem& item : batch) item.output = std::vector<Tensor>{Tensor::vector_of(std::span(&value, 1))};
  });
  set.push_back({std::move(runner), {}});
  if (!engine.add_model("m", std::move(set))) throw std::runtime_error("the model was refused");
  return engine;
}

}  // namespace tidegate::test
