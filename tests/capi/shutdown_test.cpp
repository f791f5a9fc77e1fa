// A shutdown keeps its bound whatever other threads wait for inside the engine.
#include <atomic>
#include <thread>

#include "c_api.hpp"
#include "runtime.hpp"
#include "tidegate/cache.hpp"

using namespace capi_test;
using tidegate::CacheEntry;
using tidegate::CacheKey;
using tidegate::Deadline;

namespace {

/// A tier of the program's that is asked nothing until it is armed.
class DeafTier final : public tidegate::CacheTier {
 public:
  enum class Way : std::uint8_t {
    answers,  ///< it has nothing
    keeps,    ///< the question, for as long as it lives
    hangs,    ///< in the call, until the gate is opened
  };

  [[nodiscard]] std::string_view name() const noexcept override { return "deaf"; }

  void get_many(std::span<const CacheKey> keys, Deadline, Lookup done) override {
    if (way == Way::answers) return done(std::vector<std::optional<CacheEntry>>(keys.size()));
    if (way == Way::hangs) gate.pass();
    {
      const std::scoped_lock lock(mutex_);
      kept_.push_back(std::move(done));
    }
    asked.open();
  }
  void put_many(std::span<const CacheEntry>) override {}
  void erase_many(std::span<const CacheKey>) override {}

  std::atomic<Way> way{Way::answers};
  Gate gate;
  Gate asked;

 private:
  std::mutex mutex_;
  std::vector<Lookup> kept_;
};

/// A runtime with such a tier, a host model, and a thread that invalidates for as long as it takes.
struct Deaf {
  std::shared_ptr<DeafTier> tier = std::make_shared<DeafTier>();
  std::atomic<int> destroyed{0};
  HostModel model{answer_all, [this] { ++destroyed; }};
  Runtime runtime = make();
  tidegate_status invalidated = TIDEGATE_OK;
  std::thread caller{};

  void invalidate(DeafTier::Way way) {
    REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
    tier->way = way;
    caller = std::thread(
        [this] { invalidated = tidegate_cache_invalidate(runtime.get(), nullptr, TIDEGATE_FOREVER, nullptr); });
  }

 private:
  Runtime make() const {
    tidegate::EngineConfig config;
    config.engine.cache.tiers.push_back(tier);
    auto created = tidegate::capi::Runtime::create(config);
    REQUIRE(created);
    return Runtime(new tidegate_runtime(*std::move(created)));
  }
};

}  // namespace

TEST_CASE("shutdown: keeps its bound while another call hangs in a tier, and that call ends the engine") {
  Deaf deaf;
  deaf.invalidate(DeafTier::Way::hangs);
  deaf.tier->gate.await(1);
  tidegate_error* err = nullptr;
  CHECK(tidegate_runtime_shutdown(deaf.runtime.get(), 1'000'000, &err) == TIDEGATE_E_DEADLINE);
  CHECK(std::string(tidegate_error_detail(err, "observed", nullptr)) == "1");
  CHECK(take_text(err).find("1 other calls wait") != std::string::npos);
  CHECK(deaf.destroyed == 0);
  // Again, and it waits for nobody either.
  CHECK(tidegate_runtime_shutdown(deaf.runtime.get(), 0, nullptr) == TIDEGATE_OK);
  CHECK(tidegate_cache_invalidate(deaf.runtime.get(), nullptr, 0, nullptr) == TIDEGATE_E_SHUTTING_DOWN);
  deaf.tier->gate.open();
  deaf.caller.join();
  CHECK(deaf.invalidated == TIDEGATE_E_SHUTTING_DOWN);
  CHECK(deaf.destroyed == 1);
}

TEST_CASE("shutdown: waits for a call as long as it may, and both end when that comes back") {
  Deaf deaf;
  deaf.invalidate(DeafTier::Way::hangs);
  deaf.tier->gate.await(1);
  tidegate_status ended = TIDEGATE_E_INTERNAL;
  std::thread closer([&] { ended = tidegate_runtime_shutdown(deaf.runtime.get(), TIDEGATE_FOREVER, nullptr); });
  deaf.tier->gate.open();
  closer.join();
  CHECK(ended == TIDEGATE_OK);
  CHECK(deaf.destroyed == 1);
  deaf.caller.join();
}

TEST_CASE("shutdown: without time it still waits for a caller whom no model keeps") {
  std::atomic<int> destroyed{0};
  HostModel model{answer_all, [&] { ++destroyed; }};
  const Runtime runtime = make_runtime();
  REQUIRE(add_host(runtime, model) == TIDEGATE_OK);
  using Inside = tidegate::capi::Runtime;
  Inside& inside = *runtime->runtime;
  Gate began;
  std::thread caller([&] {
    const auto leaving = inside.use(Inside::Span::batch);
    began.open();
    // Ends once the drain is over and the shutdown waits for this use.
    while (inside.use()) std::this_thread::yield();
  });
  began.pass();
  CHECK(tidegate_runtime_shutdown(runtime.get(), 0, nullptr) == TIDEGATE_OK);
  CHECK(destroyed == 1);
  caller.join();
}

TEST_CASE("shutdown: an invalidation without a bound ends though a tier never answers") {
  Deaf deaf;
  deaf.invalidate(DeafTier::Way::keeps);
  deaf.tier->asked.pass();
  CHECK(tidegate_runtime_shutdown(deaf.runtime.get(), TIDEGATE_FOREVER, nullptr) == TIDEGATE_OK);
  CHECK(deaf.destroyed == 1);
  deaf.caller.join();
  CHECK(deaf.invalidated == TIDEGATE_E_SHUTTING_DOWN);
}
