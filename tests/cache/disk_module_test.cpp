// The disk tier as programs get it: through the module, and from a description.
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <fmt/format.h>

#include "cache/disk_fixtures.hpp"
#include "tidegate/config.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

bool mentions(const Error& error, std::string_view part) {
  return error.message().find(part) != std::string_view::npos;
}

Result<Engine> engine_with(const std::string& folder, std::string_view more = "") {
  auto config = parse_config(fmt::format(R"({{"cache": {{"disk": {{"folder": "{}"{}}}, "lookup_budget_us": 10000000}},
      "models": [{{"name": "m", "kind": "synthetic"}}]}})",
                                         folder, more));
  if (!config) return std::move(config).error();
  return create_engine(*config);
}

Response ask(Engine& engine, const std::string& text) {
  auto answer = engine.infer_future({.model = "m", .input = text}).get();
  if (!answer) throw std::runtime_error(answer.error().text());
  return *std::move(answer);
}

}  // namespace

TEST_CASE("disk module: opens by itself, exports one symbol, and its tier stores over a restart") {
  const TemporaryFolder folder;
  DiskCacheOptions options;
  options.folder = folder.path();
  const auto clock = make_steady_clock();
  for (int round = 0; round < 2; ++round) {
    auto tier = open_disk_cache(options, clock);
    if (!tier) FAIL(tier.error().text());
    CHECK((*tier)->name() == "disk");
    const auto found = look_up(**tier, 1);
    CHECK(found.has_value() == (round == 1));
    if (found) CHECK(version_in(1, *found) == 5);
    store(**tier, disk_entry(1, 1536, 5));
  }
  void* module = ::dlopen((std::string(TIDEGATE_TEST_BINARY_DIR) + "/libtidegate_rocksdb.so").c_str(), RTLD_NOW);
  REQUIRE((module != nullptr));
  CHECK((::dlsym(module, "tidegate_module") != nullptr));
  CHECK((::dlsym(module, "_ZN8tidegate8build_idEv") == nullptr));
}

TEST_CASE("disk module: a missing module names the file and the remedy") {
  DiskCacheOptions options;
  options.folder = "/nonexistent";
  options.module_path = "/nonexistent/libtidegate_rocksdb.so";
  const auto tier = open_disk_cache(options, make_steady_clock());
  REQUIRE_FALSE(tier);
  CHECK(tier.error().code() == ErrorCode::not_found);
  CHECK(mentions(tier.error(), "/nonexistent/libtidegate_rocksdb.so"));
  CHECK(mentions(tier.error(), "TIDEGATE_WITH_ROCKSDB=ON"));
}

TEST_CASE("disk module: each wrong option is refused by its name") {
  const auto clock = make_steady_clock();
  const auto refusal = [&](auto&& change) -> std::string {
    DiskCacheOptions options;
    options.folder = "/nonexistent";
    change(options);
    const auto tier = open_disk_cache(options, clock);
    if (tier || tier.error().code() != ErrorCode::invalid_argument) return "";
    return std::string(tier.error().message());
  };
  const auto names = [](const std::string& text, const char* option) { return text.find(option) != std::string::npos; };
  CHECK(names(refusal([](auto& o) { o.folder.clear(); }), "folder"));
  CHECK(names(refusal([](auto& o) { o.capacity_bytes = kSmallestDiskCapacity - 1; }), "capacity_bytes"));
  CHECK(names(refusal([](auto& o) { o.write_buffer_bytes = 1; }), "write_buffer_bytes"));
  CHECK(names(refusal([](auto& o) { o.write_buffer_bytes = o.capacity_bytes / 8 + 1; }), "write_buffer_bytes"));
  CHECK(names(refusal([](auto& o) { o.read_threads = 0; }), "read_threads"));
  CHECK(names(refusal([](auto& o) { o.max_queued_bytes = 0; }), "max_queued_bytes"));
  CHECK(names(refusal([](auto& o) { o.flush_interval = -1ns; }), "flush_interval"));
  CHECK(names(refusal([](auto& o) { o.admit_cost = -1ns; }), "admit_cost"));
  CHECK(names(refusal([](auto& o) { o.max_retry_pause = 0ns; }), "max_retry_pause"));
}

TEST_CASE("disk module: an engine that starts again answers from the disk, with the same bits") {
  const TemporaryFolder folder;
  std::vector<std::byte> before;
  {
    auto engine = engine_with(folder.path());
    if (!engine) FAIL(engine.error().text());
    const auto computed = ask(*engine, "the same text");
    CHECK(computed.source == AnswerSource::model);
    before.assign(computed.outputs.at(0).bytes().begin(), computed.outputs.at(0).bytes().end());
  }
  auto engine = engine_with(folder.path());
  // The system may still be letting go of the folder.
  REQUIRE(eventually([&] { return engine || (engine = engine_with(folder.path())); }));
  const auto again = ask(*engine, "the same text");
  CHECK(again.source == AnswerSource::cache);
  CHECK(again.timing.cache_tier == 1);
  CHECK(std::vector<std::byte>(again.outputs.at(0).bytes().begin(), again.outputs.at(0).bytes().end()) == before);
  CHECK(ask(*engine, "the same text").timing.cache_tier == 0);
  CHECK(ask(*engine, "another text").source == AnswerSource::model);
  const auto stats = engine->cache_stats();
  REQUIRE(stats.size() == 2);
  CHECK(stats[1].hits == 1);
  CHECK(stats[1].misses == 1);
  CHECK(stats[1].inserted == 1);
  CHECK(stats[1].corrupt == 0);
}

TEST_CASE("disk module: two engines on one folder - the second is refused or runs without its disk") {
  const TemporaryFolder folder;
  auto first = engine_with(folder.path());
  REQUIRE(first);
  const auto refused = engine_with(folder.path());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::busy);
  CHECK(mentions(refused.error(), folder.path()));
  auto second = engine_with(folder.path(), R"(, "trouble": "try_again")");
  if (!second) FAIL(second.error().text());
  CHECK(ask(*second, "a text").source == AnswerSource::model);
  CHECK(second->cache_stats().at(1).troubled == 1);
}
