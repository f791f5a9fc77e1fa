// Invalidation on a disk folder, over restarts.
#include <doctest/doctest.h>

#include "disk_fixtures.hpp"
#include "engine/engine_rig.hpp"
#include "tidegate/disk_cache.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

/// One run of a program: what its model answers, asked once for each tag.
std::vector<float> run(const DiskCacheOptions& disk, float value, const CacheScope* invalidated = nullptr) {
  auto tier = disk::DiskTier::open(disk, DiskWorld().surroundings());
  REQUIRE(tier);
  CacheOptions cache;
  cache.bypass = CacheBypass::never;
  cache.tiers = {*std::move(tier)};
  cache.lookup_budget = std::chrono::minutes(1);
  EngineOptions options;
  options.cache = cache;
  Engine engine = *Engine::create(std::move(options));
  std::vector<Replica> set;
  set.push_back({std::make_unique<FakeRunner>(nullptr,
                                              [value](std::span<BatchItem> batch) {
                                                for (BatchItem& item : batch) {
                                                  item.output =
                                                      std::vector<Tensor>{Tensor::vector_of(std::span(&value, 1))};
                                                }
                                              }),
                 {}});
  REQUIRE(engine.add_model("m", std::move(set)));
  if (invalidated != nullptr) REQUIRE(engine.invalidate_cache(*invalidated, std::chrono::seconds(20)));
  std::vector<float> answers;
  for (const char* tag : {"", "x"}) {
    RequestOptions how;
    how.cache_tag = tag;
    const auto response = engine.infer_future({"m", std::string("text ") + tag, how}).get();
    REQUIRE(response);
    answers.push_back(response->outputs.at(0).as<float>()[0]);
  }
  return answers;
}

}  // namespace

TEST_CASE(
    "disk invalidation: a run that starts obeys what former ones have invalidated, also where answers are stored "
    "when seen twice") {
  for (const DiskAdmission admission : {DiskAdmission::all, DiskAdmission::seen_twice}) {
    const TemporaryFolder folder;
    DiskCacheOptions disk;
    disk.folder = folder.file("store");
    disk.capacity_bytes = 64ULL << 20;
    disk.admission = admission;
    using Answers = std::vector<float>;
    const bool at_once = admission == DiskAdmission::all;
    CHECK(run(disk, 0) == Answers{0, 0});
    CHECK(run(disk, 1) == (at_once ? Answers{0, 0} : Answers{1, 1}));
    const float kept = at_once ? 0.0F : 1.0F;
    const CacheScope tag{{}, "x", {}};
    static_cast<void>(run(disk, kept));
    CHECK(run(disk, 5, &tag) == Answers{kept, 5});
    const float after = run(disk, 5).at(1);
    CHECK(after == 5);
    CHECK(run(disk, 6).at(0) == kept);
    const CacheScope all{};
    CHECK(run(disk, 7, &all) == Answers{7, 7});
    static_cast<void>(run(disk, 7));
    CHECK(run(disk, 8) == Answers{7, 7});
  }
}
