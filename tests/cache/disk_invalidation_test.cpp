// Invalidation on a disk folder, over restarts.
#include <doctest/doctest.h>

#include "cache/kept_engine.hpp"
#include "cache/killed_child.hpp"
#include "disk_fixtures.hpp"
#include "engine/engine_rig.hpp"
#include "tidegate/disk_cache.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

/// One run of a program: what its model answers, asked once for each tag.
std::vector<float> run(const DiskCacheOptions& disk, float value, const CacheScope* invalidated = nullptr) {
  // A thread of the run before may still be letting go of the folder.
  std::shared_ptr<CacheTier> tier;
  REQUIRE(eventually([&] {
    if (auto opened = disk::DiskTier::open(disk, DiskWorld().surroundings())) tier = *std::move(opened);
    return tier != nullptr;
  }));
  CacheOptions cache;
  cache.bypass = CacheBypass::never;
  cache.tiers = {std::move(tier)};
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
    disk.admission = DiskAdmission::all;
    DiskCacheOptions choosy = disk;
    choosy.admission = admission;
    using Answers = std::vector<float>;
    CHECK(run(disk, 0) == Answers{0, 0});
    CHECK(run(disk, 1) == Answers{0, 0});
    const CacheScope tag{{}, "x", {}};
    CHECK(run(choosy, 2, &tag) == Answers{0, 2});
    CHECK(run(disk, 3).at(0) == 0);
    CHECK(run(disk, 4).at(1) >= 2);
    const CacheScope all{};
    CHECK(run(choosy, 7, &all) == Answers{7, 7});
    CHECK(run(disk, 8) == (admission == DiskAdmission::all ? Answers{7, 7} : Answers{8, 8}));
  }
}

TEST_CASE("disk invalidation: a process killed right after an invalidation that was confirmed brings nothing back") {
  const TemporaryFolder folder;
  for (int round = 0; round < 6; ++round) {
    const auto answer_of = [&](Engine engine) {
      const auto response = engine.infer_future({"m", "text", {}}).get();
      REQUIRE(response);
      return response->outputs.at(0).as<float>()[0];
    };
    const auto value = static_cast<float>(round);
    CHECK(answer_of(kept_engine(folder.path(), "disk", value)) == value);
    CHECK(answer_of(kept_engine(folder.path(), "disk", value + 0.5F)) == value);
    KilledChild child(folder.path(), "disk");
    REQUIRE(child.kill_after(1) == 0);
  }
}

TEST_CASE(
    "disk invalidation: a process killed after an invalidation finds no snapshot from before, also after another") {
  const TemporaryFolder folder;
  const auto answer_of = [](Engine engine) {
    const auto response = engine.infer_future({"m", "text", {}}).get();
    REQUIRE(response);
    return response->outputs.at(0).as<float>()[0];
  };
  for (int round = 0; round < 4; ++round) {
    const auto value = static_cast<float>(round);
    CHECK(answer_of(kept_engine(folder.path(), "snapshot", value)) == value);
    CHECK(answer_of(kept_engine(folder.path(), "snapshot", value + 0.5F)) == value);
    for (int kill = 0; kill < 2; ++kill) {
      KilledChild child(folder.path(), "snapshot");
      REQUIRE(child.kill_after(1) == 0);
    }
  }
}
