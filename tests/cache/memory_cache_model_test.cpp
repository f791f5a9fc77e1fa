// Random operations on MemoryCache held against a std::map that forgets nothing.
#include <doctest/doctest.h>

#include <map>
#include <random>

#include "cache/memory_cache.hpp"
#include "cache_fixtures.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;

namespace {

struct Stored {
  std::uint64_t mark;
  TimePoint expires_at;
  std::weak_ptr<const std::vector<std::byte>> block;
};

/// One run of random operations with its own capacity, shards and sizes.
class ModelRun {
 public:
  ModelRun(std::uint64_t seed, MemoryCacheOptions options, std::size_t largest, std::uint64_t keys)
      : random_(seed), capacity_(options.capacity_bytes), largest_(largest), keys_(keys), cache_(options, clock_) {}

  void run(int operations) {
    for (int i = 0; i < operations; ++i) {
      step();
      check();
    }
    const CacheTierStats stats = cache_.stats();
    CHECK(stats.hits + stats.misses == gets_);
    CHECK(stats.hits == hits_);
    CHECK(stats.expired <= stats.misses);
    CHECK(wrong_ == 0);
    CHECK(over_budget_ == 0);
    CHECK(under_counted_ == 0);
    CHECK(hits_ > 0);
  }

 private:
  void step() {
    const std::uint64_t key = random_() % keys_;
    switch (random_() % 16) {
      case 0: clock_->advance(Duration(random_() % 40)); break;
      case 1:
        cache_.erase(key_of(key));
        model_.erase(key);
        break;
      case 2:
      case 3:
      case 4:
      case 5:
      case 6: put(key); break;
      default: get(key);
    }
  }

  void put(std::uint64_t key) {
    const bool huge = random_() % 64 == 0;
    const std::size_t size = huge ? capacity_ / (1 + random_() % 9) : random_() % largest_;
    // Never more than 8 bytes of mark: two blocks of one size stay distinguishable by address.
    const CacheRecord record = block_of(size + 8, ++last_mark_);
    const Duration life =
        random_() % 8 == 0 ? Duration::max() : Duration(static_cast<std::int64_t>(random_() % 300) - 5);
    cache_.put({key_of(key), record, life});
    if (life <= Duration::zero()) return;
    const TimePoint expires = life == Duration::max() ? TimePoint::max() : clock_->now() + life;
    if (const auto old = model_.find(key); old != model_.end()) replaced_.push_back(old->second.block);
    model_[key] = {last_mark_, expires, record.block()};
  }

  void get(std::uint64_t key) {
    ++gets_;
    const auto hit = cache_.get(key_of(key));
    if (!hit) return;
    ++hits_;
    const auto known = model_.find(key);
    const bool right = known != model_.end() && hit->key == key_of(key) && mark_of(hit->record) == known->second.mark &&
                       known->second.expires_at > clock_->now() &&
                       hit->time_to_live == known->second.expires_at - clock_->now();
    if (!right) ++wrong_;
  }

  void check() {
    const CacheTierStats stats = cache_.stats();
    if (stats.bytes > capacity_) ++over_budget_;
    // Every block that is still alive is alive through the cache alone.
    std::uint64_t alive = 0;
    std::uint64_t count = 0;
    for (const auto& [key, stored] : model_) {
      if (const auto block = stored.block.lock()) {
        alive += block->capacity() + sizeof(*block) + sizeof(CacheKey);
        ++count;
      }
    }
    if (alive > stats.bytes || count != stats.entries) ++under_counted_;
    for (const auto& block : replaced_) {
      if (!block.expired()) ++under_counted_;
    }
    replaced_.clear();
  }

  std::mt19937_64 random_;
  const std::uint64_t capacity_;
  const std::size_t largest_;
  const std::uint64_t keys_;
  std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  MemoryCache cache_;
  std::map<std::uint64_t, Stored> model_;
  std::vector<std::weak_ptr<const std::vector<std::byte>>> replaced_;
  std::uint64_t last_mark_ = 0;
  std::uint64_t gets_ = 0;
  std::uint64_t hits_ = 0;
  std::uint64_t wrong_ = 0;
  std::uint64_t over_budget_ = 0;
  std::uint64_t under_counted_ = 0;
};

}  // namespace

TEST_CASE("memory cache: against a map: never wrong, never expired, never above its budget") {
  std::uint64_t seed = 1;
  for (const std::uint64_t capacity : {8000U, 60000U, 500000U}) {
    for (const std::uint32_t shards : {1U, 2U, 8U}) {
      for (const std::size_t largest : {60U, 900U}) {
        CAPTURE(capacity);
        CAPTURE(shards);
        CAPTURE(largest);
        ModelRun(++seed, {capacity, shards}, largest, 40).run(4000);
        ModelRun(++seed, {capacity, shards}, largest, 600).run(4000);
      }
    }
  }
}

TEST_CASE("memory cache: against a map: the same with every eviction policy") {
  std::uint64_t seed = 100;
  for (const CachePolicy policy :
       {CachePolicy::lru, CachePolicy::lfu, CachePolicy::w_tiny_lfu, CachePolicy::ttl_only}) {
    for (const std::uint64_t capacity : {8000U, 60000U}) {
      CAPTURE(to_string(policy));
      CAPTURE(capacity);
      ModelRun(++seed, {capacity, 1, policy}, 60, 40).run(4000);
      ModelRun(++seed, {capacity, 2, policy}, 900, 600).run(4000);
    }
  }
}
