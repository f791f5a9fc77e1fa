// Small histories of concurrent calls on the memory cache and on the chain, each held against a register
// that may lose what it has; and histories that must be refused. Run under the thread sanitizer, too.
#include "linearizability.hpp"

#include <doctest/doctest.h>

#include <barrier>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "cache/tiered_cache.hpp"
#include "cache_fixtures.hpp"
#include "fake_tiers.hpp"
#include "support/manual_clock.hpp"

using namespace tidegate;
using namespace tidegate::test;
using namespace std::chrono_literals;

namespace {

using Kind = CacheCall::Kind;
constexpr int kNothing = CacheCall::kNothing;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRounds = 400;
#else
constexpr int kRounds = 2000;
#endif
constexpr int kThreads = 3;
constexpr int kCalls = 6;             // of each thread in a round
constexpr std::uint64_t kKeys = 2;    // whose histories are kept
constexpr std::uint64_t kNoise = 40;  // keys that only push others out

/// What is tried: one key each, values above 0.
struct Subject {
  std::function<int(const CacheKey&)> get;
  std::function<void(const CacheKey&, int)> put;
  std::function<void(const CacheKey&)> erase = {};  // empty = it cannot
  /// The value of the n-th put of a round under a key.
  std::function<int(std::uint64_t key, int n)> value = [](std::uint64_t, int n) { return n; };
};

int value_in(const std::vector<Tensor>& outputs) { return static_cast<int>(value_of(outputs)); }

CacheEntry entry_of(const CacheKey& key, int value, std::size_t numbers) {
  const std::vector<float> all(numbers, static_cast<float>(value));
  const std::vector<Tensor> outputs{Tensor::vector_of(all)};
  return {key, encode_record(key, outputs, 0), 1h};
}

struct Outcome {
  int refused = 0;  // histories
  int found = 0;    // gets that answered
  int lost = 0;     // gets that did not, though the key had been put in the round
  int overlapping = 0;
};

class Recorder {
 public:
  Recorder(const Subject& subject, Loss loss) : subject_(subject), loss_(loss) {}

  Outcome play(int rounds, std::uint64_t seed) {
    std::barrier gate(kThreads, [this]() noexcept { clear_or_check(); });
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(seed * kThreads + static_cast<std::uint64_t>(t));
        for (int round = 0; round < rounds; ++round) {
          gate.arrive_and_wait();
          act(t, round, random);
          gate.arrive_and_wait();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return outcome_;
  }

 private:
  using Histories = std::map<std::uint64_t, std::vector<CacheCall>>;

  void act(int thread, int round, std::mt19937_64& random) {
    for (int n = 0; n < kCalls; ++n) {
      const std::uint64_t key = random() % kKeys;
      // Of this round alone, so that no history begins with another's values.
      const CacheKey name = key_of(static_cast<std::uint64_t>(round) * 1000 + key);
      CacheCall call;
      call.called = clock_.read();
      const std::uint64_t dice = random() % 8;
      if (dice < 3) {
        call.kind = Kind::put;
        call.value = subject_.value(key, 1 + thread * kCalls + n);
        subject_.put(name, call.value);
      } else if (dice == 3 && subject_.erase) {
        call.kind = Kind::erase;
        subject_.erase(name);
      } else {
        call.value = subject_.get(name);
      }
      call.returned = clock_.read();
      mine_[static_cast<std::size_t>(thread)][key].push_back(call);
      if (random() % 4 == 0) subject_.put(key_of(1'000'000'000 + random() % kNoise), 1);
    }
  }

  /// Between two rounds, on one thread.
  void clear_or_check() noexcept {
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      std::vector<CacheCall> all;
      for (Histories& one : mine_) {
        all.insert(all.end(), one[key].begin(), one[key].end());
        one[key].clear();
      }
      if (all.empty()) continue;
      count(all);
      if (!LinearizabilityCheck(all, loss_).passes()) ++outcome_.refused;
    }
  }

  void count(const std::vector<CacheCall>& all) noexcept {
    std::uint64_t first_put = UINT64_MAX;
    for (const CacheCall& one : all) {
      if (one.kind == Kind::put) first_put = std::min(first_put, one.returned);
      for (const CacheCall& other : all) {
        if (one.called < other.called && other.called < one.returned) ++outcome_.overlapping;
      }
    }
    for (const CacheCall& one : all) {
      if (one.kind != Kind::get) continue;
      if (one.value != kNothing) ++outcome_.found;
      if (one.value == kNothing && one.called > first_put) ++outcome_.lost;
    }
  }

  const Subject& subject_;
  const Loss loss_;
  CallClock clock_;
  std::array<Histories, kThreads> mine_;
  Outcome outcome_;  // written between two rounds only
};

Subject subject_of(MemoryCache& cache) {
  return {[&cache](const CacheKey& key) {
            const auto hit = cache.get(key);
            if (!hit || hit->key != key) return kNothing;
            const auto outputs = decode_record(key, hit->record, ChecksumPolicy::trust);
            return outputs ? value_in(*outputs) : -1;
          },
          // Now and then one that is too large to be kept.
          [&cache](const CacheKey& key, int value) { cache.put(entry_of(key, value, value % 7 == 6 ? 1 << 20 : 16)); },
          [&cache](const CacheKey& key) { cache.erase(key); }};
}

Subject subject_of(TieredCache& cache) {
  return {[&cache](const CacheKey& key) {
            if (const auto hit = cache.get_in_memory(key)) return value_in(hit->outputs);
            int value = kNothing;
            cache.get_further(key, kNoDeadline, [&value](std::optional<CacheHit> hit) {
              if (hit) value = value_in(hit->outputs);
            });
            return value;
          },
          [&cache](const CacheKey& key, int value) { cache.put(key, answer_of(static_cast<float>(value))); }};
}

CacheCall call(Kind kind, int value, std::uint64_t called, std::uint64_t returned) {
  return {kind, value, called, returned};
}

bool passes(std::vector<CacheCall> calls, Loss loss = Loss::for_good) {
  return LinearizabilityCheck(std::move(calls), loss).passes();
}

}  // namespace

TEST_CASE("linearizability: what could have happened in some order passes") {
  CHECK(passes({}));
  CHECK(passes({call(Kind::put, 1, 1, 2), call(Kind::get, 1, 3, 4)}));
  // Lost at any time.
  CHECK(passes({call(Kind::put, 1, 1, 2), call(Kind::get, kNothing, 3, 4), call(Kind::get, kNothing, 5, 6)}));
  // A get beside a put sees it or not.
  CHECK(passes({call(Kind::put, 1, 1, 6), call(Kind::get, kNothing, 2, 3), call(Kind::get, 1, 4, 5)}));
  // Two puts at a time come in either order, here the one that returned first last.
  CHECK(passes({call(Kind::put, 1, 1, 3), call(Kind::put, 2, 2, 4), call(Kind::get, 1, 5, 6)}));
  CHECK(passes({call(Kind::erase, kNothing, 2, 9), call(Kind::put, 1, 1, 3), call(Kind::get, 1, 4, 5)}));
  CHECK(
      passes({call(Kind::put, 1, 1, 2), call(Kind::get, kNothing, 3, 4), call(Kind::get, 1, 5, 6)}, Loss::for_a_while));
}

TEST_CASE("linearizability: what no order explains is refused") {
  // Invented.
  CHECK_FALSE(passes({call(Kind::get, 1, 1, 2)}));
  CHECK_FALSE(passes({call(Kind::put, 1, 1, 2), call(Kind::get, 2, 3, 4)}));
  // From the future.
  CHECK_FALSE(passes({call(Kind::get, 1, 1, 2), call(Kind::put, 1, 3, 4)}));
  // Older than a put or an erase that had returned.
  CHECK_FALSE(passes({call(Kind::put, 1, 1, 2), call(Kind::put, 2, 3, 4), call(Kind::get, 1, 5, 6)}));
  CHECK_FALSE(passes({call(Kind::put, 1, 1, 2), call(Kind::erase, kNothing, 3, 4), call(Kind::get, 1, 5, 6)}));
  // Back in time between two readers.
  CHECK_FALSE(passes({call(Kind::put, 1, 1, 9), call(Kind::put, 2, 2, 10), call(Kind::get, 2, 3, 4),
                      call(Kind::get, 1, 5, 6), call(Kind::get, 2, 7, 8)}));
  // Lost and back again without a put.
  CHECK_FALSE(passes({call(Kind::put, 1, 1, 2), call(Kind::get, kNothing, 3, 4), call(Kind::get, 1, 5, 6)}));
  CHECK_FALSE(
      passes({call(Kind::put, 1, 1, 2), call(Kind::put, 2, 3, 4), call(Kind::get, 1, 5, 6)}, Loss::for_a_while));
}

TEST_CASE("linearizability: recorded histories give away a cache that answers old values now and then") {
  std::mutex mutex;
  std::map<CacheKey, std::pair<int, int>> values;  // now, before
  std::mt19937 random(3);
  const Subject faulty{[&](const CacheKey& key) {
                         const std::lock_guard lock(mutex);
                         const auto found = values.find(key);
                         if (found == values.end()) return kNothing;
                         const auto [now, before] = found->second;
                         return random() % 16 == 0 ? before : now;
                       },
                       [&](const CacheKey& key, int value) {
                         const std::lock_guard lock(mutex);
                         auto& [now, before] = values[key];
                         before = std::exchange(now, value);
                       },
                       [&](const CacheKey& key) {
                         const std::lock_guard lock(mutex);
                         values.erase(key);
                       }};
  CHECK(Recorder(faulty, Loss::for_good).play(kRounds / 4, 1).refused > 0);
}

TEST_CASE("linearizability: recorded histories give away a put that takes effect after it has returned") {
  std::mutex mutex;
  std::map<CacheKey, int> values;
  std::vector<std::pair<CacheKey, int>> late;
  const auto apply = [&](std::size_t keep) {
    for (; late.size() > keep; late.erase(late.begin())) values[late.front().first] = late.front().second;
  };
  const Subject faulty{[&](const CacheKey& key) {
                         const std::lock_guard lock(mutex);
                         const auto found = values.find(key);
                         return found != values.end() ? found->second : kNothing;
                       },
                       [&](const CacheKey& key, int value) {
                         const std::lock_guard lock(mutex);
                         late.emplace_back(key, value);
                         apply(1);
                       },
                       [&](const CacheKey& key) {
                         const std::lock_guard lock(mutex);
                         values.erase(key);
                       }};
  CHECK(Recorder(faulty, Loss::for_good).play(kRounds / 4, 1).refused > 0);
}

TEST_CASE("linearizability: every history of the memory cache passes, with every policy, large and small") {
  for (const CachePolicy policy :
       {CachePolicy::s3_fifo, CachePolicy::lru, CachePolicy::lfu, CachePolicy::w_tiny_lfu, CachePolicy::ttl_only}) {
    INFO(to_string(policy));
    // The small one holds a few entries, so that most of what is put is pushed out.
    for (const std::uint64_t capacity : {std::uint64_t{1} << 20, std::uint64_t{16} << 10}) {
      MemoryCache cache({capacity, 1, policy}, std::make_shared<ManualClock>());
      const Subject subject = subject_of(cache);
      const Outcome outcome = Recorder(subject, Loss::for_good).play(kRounds / 5, capacity);
      CHECK(outcome.refused == 0);
      CHECK(outcome.found > 0);
      CHECK(outcome.lost > 0);
      CHECK(outcome.overlapping > 0);
    }
  }
}

TEST_CASE("linearizability: every history of a chain of memory alone passes, whatever is put under a key") {
  CacheOptions options;
  options.memory = {64 << 10, 1};
  TieredCache cache(options, std::make_shared<ManualClock>());
  const Subject subject = subject_of(cache);
  const Outcome outcome = Recorder(subject, Loss::for_good).play(kRounds, 5);
  CHECK(outcome.refused == 0);
  CHECK(outcome.found > 0);
}

TEST_CASE("linearizability: every history of a chain with a further tier passes where a key decides its answer") {
  // As keys of requests do. Nothing is invented, and nothing comes before it was put.
  CacheOptions options;
  options.memory = {16 << 10, 1};
  options.tiers = {std::make_shared<ScriptedTier>("further")};
  TieredCache cache(options, std::make_shared<ManualClock>());
  Subject subject = subject_of(cache);
  subject.value = [](std::uint64_t key, int) { return static_cast<int>(key) + 1; };
  const Outcome outcome = Recorder(subject, Loss::for_a_while).play(kRounds, 6);
  CHECK(outcome.refused == 0);
  CHECK(outcome.found > 0);
}

TEST_CASE("linearizability: a chain is no register for keys that do not decide their answers") {
  // Told so that nobody uses it as one: a fill from a further tier that was on its way when the
  // key was put again brings the former value back.
  const auto further = std::make_shared<HeldTier>("further");
  CacheOptions options;
  options.memory = {64 << 10, 1};
  options.lookup_budget = 1h;
  options.tiers = {further};
  TieredCache cache(options, std::make_shared<ManualClock>());
  const CacheKey key = key_of(1);
  int first = kNothing;
  cache.get_further(key, kNoDeadline, [&first](std::optional<CacheHit> hit) { first = value_in(hit->outputs); });
  cache.put(key, answer_of(2));
  further->take()->done({stored_answer(key, 1)});
  CHECK(first == 1);
  CHECK(value_in(cache.get_in_memory(key)->outputs) == 1);
}
