// Random operations on MemoryCache held against a std::map that forgets nothing.
#include <doctest/doctest.h>

#include <cstring>
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
};

/// A value that was found, held until another one takes its place.
struct Held {
  HeldValue value;
  std::uint64_t key = 0;
  std::uint64_t mark = 0;
  std::size_t size = 0;
};

std::uint64_t mark_in(const HeldValue& value) {
  std::uint64_t mark = 0;
  std::memcpy(&mark, value.bytes().data(), sizeof(mark));
  return mark;
}

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
    held_.clear();
    CHECK(cache_.stats().pinned == 0);
    cache_.resize(capacity_);
    cache_.clear();
    CHECK(cache_.stats().bytes == empty_);
  }

 private:
  void step() {
    const std::uint64_t key = random_() % keys_;
    switch (random_() % 64) {
      case 0: clock_->advance(Duration(random_() % 40)); break;
      case 7: held_.clear(); break;
      case 8:
        // What is held of entries that left can be above a smaller budget.
        held_.clear();
        limit_ = capacity_ / (1 + random_() % 3);
        cache_.resize(limit_);
        break;
      case 1:
      case 2:
      case 3:
      case 4:
        cache_.erase(key_of(key));
        model_.erase(key);
        break;
      default:
        if (random_() % 5 < 2) {
          put(key);
        } else {
          get(key);
        }
    }
  }

  void put(std::uint64_t key) {
    const bool huge = random_() % 64 == 0;
    const std::size_t size = huge ? capacity_ / (1 + random_() % 9) : random_() % largest_;
    const CacheRecord record = block_of(size + 8, ++last_mark_);
    const Duration life =
        random_() % 8 == 0 ? Duration::max() : Duration(static_cast<std::int64_t>(random_() % 300) - 5);
    cache_.put({key_of(key), record, life});
    if (life <= Duration::zero()) return;
    const TimePoint expires = life == Duration::max() ? TimePoint::max() : clock_->now() + life;
    model_[key] = {last_mark_, expires};
  }

  void get(std::uint64_t key) {
    ++gets_;
    auto hit = cache_.find(key_of(key));
    if (!hit) return;
    ++hits_;
    const auto known = model_.find(key);
    const bool right = known != model_.end() && hit->value.key() == key_of(key) &&
                       mark_in(hit->value) == known->second.mark && known->second.expires_at > clock_->now() &&
                       hit->expires_at == known->second.expires_at;
    if (!right) ++wrong_;
    if (random_() % 4 != 0) return;
    const std::size_t size = hit->value.bytes().size();
    const std::uint64_t mark = mark_in(hit->value);
    Held held{std::move(hit->value), key, mark, size};
    if (held_.size() < 4) {
      held_.push_back(std::move(held));
    } else {
      held_[random_() % held_.size()] = std::move(held);
    }
  }

  void check() {
    const CacheTierStats stats = cache_.stats();
    // Below what its bookkeeping takes, an empty tier is the least.
    if (stats.bytes > std::max(limit_, empty_)) ++over_budget_;
    std::uint64_t held = 0;
    for (const Held& value : held_) {
      held += value.size;
      if (mark_in(value.value) != value.mark || value.value.key() != key_of(value.key)) ++wrong_;
    }
    if (held > stats.bytes || stats.pinned > stats.bytes) ++under_counted_;
  }

  std::mt19937_64 random_;
  const std::uint64_t capacity_;
  const std::size_t largest_;
  const std::uint64_t keys_;
  std::shared_ptr<ManualClock> clock_ = std::make_shared<ManualClock>();
  MemoryCache cache_;
  std::map<std::uint64_t, Stored> model_;
  std::vector<Held> held_;
  std::uint64_t limit_ = capacity_;
  const std::uint64_t empty_ = cache_.stats().bytes;
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
