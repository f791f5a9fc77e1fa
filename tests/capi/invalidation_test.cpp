// Invalidation and snapshots through the C ABI.
#include <array>
#include <atomic>
#include <filesystem>
#include <string>

#include "c_api.hpp"
#include "support/temporary_folder.hpp"

using namespace capi_test;

namespace {

/// A host model that counts what it computes.
struct Counting {
  std::atomic<int> computed{0};
  HostModel host;

  Counting() {
    host.run = [this](tidegate_batch* batch) {
      computed += static_cast<int>(tidegate_batch_size(batch));
      return answer_all(batch);
    };
  }
};

tidegate_request_options tagged(const char* tag) {
  auto options = initialised<tidegate_request_options>();
  options.cache_tag = tag;
  options.cache_tag_length = tag == nullptr ? 0 : TIDEGATE_NUL;
  return options;
}

void ask(const Runtime& runtime, const Queue& cq, const char* text, const char* tag = nullptr) {
  const auto options = tagged(tag);
  REQUIRE(submit(runtime, cq, text, 1, nullptr, &options) == TIDEGATE_OK);
  const tidegate_completion record = next(cq);
  CHECK(record.status == TIDEGATE_OK);
  release(record);
}

constexpr const char* kNamed = R"({"fingerprint": "counting 1"})";

}  // namespace

TEST_CASE("invalidation: a tag, a version and a whole model are computed anew, and nothing else is") {
  Counting model;
  const Runtime runtime = make_runtime(R"({"cache.bypass": "never"})");
  REQUIRE(add_host(runtime, model.host, kNamed) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const auto ask_both = [&] {
    ask(runtime, cq, "plain");
    ask(runtime, cq, "tagged", "x");
    return model.computed.load();
  };
  CHECK(ask_both() == 2);
  CHECK(ask_both() == 2);
  auto scope = initialised<tidegate_cache_scope>();
  scope.tag = "x and more";
  scope.tag_length = 1;
  REQUIRE(tidegate_cache_invalidate(runtime.get(), &scope, 0, nullptr) == TIDEGATE_OK);
  CHECK(ask_both() == 3);
  const std::array<std::uint8_t, 32> nobodys{};
  scope = initialised<tidegate_cache_scope>();
  scope.version = nobodys.data();
  REQUIRE(tidegate_cache_invalidate(runtime.get(), &scope, 0, nullptr) == TIDEGATE_OK);
  CHECK(ask_both() == 3);
  REQUIRE(tidegate_cache_invalidate(runtime.get(), nullptr, TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  CHECK(ask_both() == 5);

  scope.tag = "x";
  scope.tag_length = 1;
  CHECK(tidegate_cache_invalidate(runtime.get(), &scope, 0, nullptr) == TIDEGATE_E_INVALID);
  scope = initialised<tidegate_cache_scope>();
  scope.reserved = 1;
  CHECK(tidegate_cache_invalidate(runtime.get(), &scope, 0, nullptr) == TIDEGATE_E_UNSUPPORTED);
  scope = initialised<tidegate_cache_scope>();
  scope.model = "other";
  scope.model_length = TIDEGATE_NUL;
  CHECK(tidegate_cache_invalidate(runtime.get(), &scope, 0, nullptr) == TIDEGATE_E_NOT_FOUND);
  CHECK(tidegate_cache_invalidate(runtime.get(), nullptr, -1, nullptr) == TIDEGATE_E_INVALID);
  const std::string longer(257, 't');
  const auto options = tagged(longer.c_str());
  CHECK(submit(runtime, cq, "text", 1, nullptr, &options) == TIDEGATE_E_INVALID);
  CHECK(ask_both() == 5);
}

TEST_CASE("invalidation: a snapshot is written on demand and answers after a restart") {
  const tidegate::test::TemporaryFolder folder;
  const std::string config =
      R"({"cache.bypass": "never", "cache.snapshot.file": ")" + folder.file("snapshot") + R"("})";
  Counting model;
  {
    const Runtime runtime = make_runtime(config);
    REQUIRE(add_host(runtime, model.host, kNamed) == TIDEGATE_OK);
    const Queue cq = make_queue(runtime);
    ask(runtime, cq, "a");
    std::uint64_t answers = 0;
    REQUIRE(tidegate_cache_save(runtime.get(), &answers, nullptr) == TIDEGATE_OK);
    CHECK(answers == 1);
    CHECK(std::filesystem::exists(folder.file("snapshot")));
  }
  const Runtime runtime = make_runtime(config);
  REQUIRE(add_host(runtime, model.host, kNamed) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  ask(runtime, cq, "a");
  CHECK(model.computed == 1);
  const Runtime without = make_runtime();
  CHECK(tidegate_cache_save(without.get(), nullptr, nullptr) == TIDEGATE_E_INVALID);
}

TEST_CASE("cache resize: memory goes back at once, and what cannot be is refused with its remedy") {
  const Runtime runtime =
      make_runtime(R"({"cache.bypass": "never", "cache.memory.capacity_bytes": 1048576, "cache.memory.shards": 1})");
  Counting model;
  REQUIRE(add_host(runtime, model.host, kNamed) == TIDEGATE_OK);
  const Queue cq = make_queue(runtime);
  const auto entries_after_asking = [&] {
    for (int number = 0; number < 400; ++number) ask(runtime, cq, std::to_string(number).c_str());
    const int before = model.computed;
    for (int number = 0; number < 400; ++number) ask(runtime, cq, std::to_string(number).c_str());
    return 400 - (model.computed - before);
  };
  CHECK(entries_after_asking() == 400);
  REQUIRE(tidegate_cache_resize(runtime.get(), 1 << 14, nullptr) == TIDEGATE_OK);
  CHECK(entries_after_asking() < 300);
  REQUIRE(tidegate_cache_resize(runtime.get(), 1 << 20, nullptr) == TIDEGATE_OK);
  CHECK(entries_after_asking() == 400);
  tidegate_error* error = nullptr;
  CHECK(tidegate_cache_resize(runtime.get(), (1 << 20) + 1, &error) == TIDEGATE_E_INVALID);
  const std::string message = tidegate_error_message(error, nullptr);
  CHECK(message.find("cache.memory.capacity_bytes = 1048576") != std::string::npos);
  CHECK(message.find("give 1048576 or less") != std::string::npos);
  tidegate_error_release(error);
  CHECK(tidegate_cache_resize(nullptr, 1, nullptr) == TIDEGATE_E_INVALID);
}
