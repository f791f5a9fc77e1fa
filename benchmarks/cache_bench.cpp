// What a hit, an insertion and a key cost. Keys are drawn at random beforehand, so
// the figures contain neither key derivation nor the drawing.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <list>
#include <mutex>
#include <random>
#include <unordered_map>

#include "benchmark_main.hpp"
#include "cache/memory_cache.hpp"
#include "cache/tiered_cache.hpp"
#include "request/record_codec.hpp"
#include "request/request_key.hpp"

namespace {

using namespace tidegate;

constexpr std::size_t kEntries = 50'000;
/// Room for kEntries of these bytes with all that belongs to them, without eviction.
constexpr std::uint64_t capacity_for(std::size_t bytes) { return kEntries * (bytes + 512) * 5 / 4; }

CacheKey key_number(std::uint64_t number) { return make_request_key(Digest{}, std::to_string(number)); }

std::vector<Tensor> answer_of_bytes(std::size_t bytes) {
  return {Tensor::vector_of(std::vector<float>(bytes / sizeof(float), 0.5F))};
}

/// Keys drawn at random from the first `among` of kEntries, one long walk a thread.
std::vector<CacheKey> random_walk(std::uint64_t seed, std::uint64_t among) {
  static const std::vector<CacheKey> keys = [] {
    std::vector<CacheKey> all;
    for (std::uint64_t i = 0; i < kEntries; ++i) all.push_back(key_number(i));
    return all;
  }();
  std::mt19937_64 random(seed);
  std::vector<CacheKey> walk(1 << 17);
  for (CacheKey& key : walk) key = keys[random() % among];
  return walk;
}

/// The same, drawn by Zipf's law with exponent 1.
std::vector<CacheKey> zipf_walk(std::uint64_t seed) {
  static const std::vector<double> shares = [] {
    std::vector<double> sums;
    double sum = 0;
    for (std::size_t i = 1; i <= kEntries; ++i) sums.push_back(sum += 1.0 / static_cast<double>(i));
    return sums;
  }();
  std::mt19937_64 random(seed);
  std::vector<CacheKey> walk(1 << 17);
  for (CacheKey& key : walk) {
    const double drawn = std::uniform_real_distribution<double>(0, shares.back())(random);
    key =
        key_number(static_cast<std::uint64_t>(std::lower_bound(shares.begin(), shares.end(), drawn) - shares.begin()));
  }
  return walk;
}

struct KeyHash {
  std::size_t operator()(const CacheKey& key) const noexcept {
    std::size_t word = 0;
    std::memcpy(&word, key.data(), sizeof(word));
    return word;
  }
};

/// Least recently used, never evicting here.
class PlainLru {
 public:
  using Value = std::shared_ptr<const std::vector<std::byte>>;
  PlainLru() = default;
  PlainLru(PlainLru&& other) noexcept : order_(std::move(other.order_)), places_(std::move(other.places_)) {}

  Value get(const CacheKey& key) {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    return found->second->second;
  }
  void put(const CacheKey& key, Value value) {
    const std::lock_guard lock(mutex_);
    order_.emplace_front(key, std::move(value));
    places_[key] = order_.begin();
  }

 private:
  using Order = std::list<std::pair<CacheKey, Value>>;
  std::mutex mutex_;
  Order order_;
  std::unordered_map<CacheKey, Order::iterator, KeyHash> places_;
};

void tell_percentiles(benchmark::State& state, std::vector<Duration>& times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double part) {
    return static_cast<double>(times[static_cast<std::size_t>(part * static_cast<double>(times.size() - 1))].count());
  };
  state.counters["p50_ns"] = at(0.5);
  state.counters["p99_ns"] = at(0.99);
  state.counters["p99.9_ns"] = at(0.999);
}

/// One full cache a size, shared by all threads and repetitions.
TieredCache& filled_chain(std::size_t bytes) {
  static const std::shared_ptr<Clock> clock = make_steady_clock();
  const auto fill = [](std::size_t size) {
    CacheOptions options;
    options.memory.capacity_bytes = capacity_for(size);
    auto cache = std::make_unique<TieredCache>(options, clock);
    const auto outputs = answer_of_bytes(size);
    for (std::uint64_t i = 0; i < kEntries; ++i) cache->put(key_number(i), outputs);
    return cache;
  };
  static const std::unique_ptr<TieredCache> small = fill(1536);
  static const std::unique_ptr<TieredCache> large = fill(4096);
  return bytes == 1536 ? *small : *large;
}

MemoryCache& filled_memory(std::size_t bytes) {
  static const std::shared_ptr<Clock> clock = make_steady_clock();
  const auto fill = [](std::size_t size) {
    auto cache = std::make_unique<MemoryCache>(MemoryCacheOptions{capacity_for(size), 8}, clock);
    const auto outputs = answer_of_bytes(size);
    for (std::uint64_t i = 0; i < kEntries; ++i) {
      cache->put({key_number(i), encode_record(key_number(i), outputs, 0), std::chrono::hours(1)});
    }
    return cache;
  };
  static const std::unique_ptr<MemoryCache> small = fill(1536);
  static const std::unique_ptr<MemoryCache> large = fill(4096);
  return bytes == 1536 ? *small : *large;
}

/// Bytes of an entry, and among how many of them the hits fall: all, or a hot part
/// that the processor's caches hold.
void hit_cases(benchmark::internal::Benchmark* hits) {
  hits->ArgNames({"bytes", "among"})->UseRealTime();
  for (const std::int64_t bytes : {1536, 4096}) hits->Args({bytes, 1000})->Args({bytes, kEntries});
  hits->Threads(1)->Threads(2);
}

/// A hit on the memory tier: a value held and released.
void memory_hit(benchmark::State& state) {
  MemoryCache& cache = filled_memory(static_cast<std::size_t>(state.range(0)));
  const auto walk =
      random_walk(static_cast<std::uint64_t>(state.thread_index()), static_cast<std::uint64_t>(state.range(1)));
  std::size_t at = 0;
  for (auto step : state) {
    (void)step;
    auto hit = cache.find(walk[at++ & (walk.size() - 1)]);
    benchmark::DoNotOptimize(hit);
    if (!hit) state.SkipWithError("a miss");
  }
  state.counters["hits/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(memory_hit)->Apply(hit_cases);
BENCHMARK(memory_hit)->ArgNames({"bytes", "among"})->UseRealTime()->Args({1536, 1})->Threads(1)->Threads(2);

/// Keys by Zipf's law with exponent 1.
void memory_hit_zipf(benchmark::State& state) {
  MemoryCache& cache = filled_memory(1536);
  const auto walk = zipf_walk(static_cast<std::uint64_t>(state.thread_index()));
  std::size_t at = 0;
  for (auto step : state) {
    (void)step;
    auto hit = cache.find(walk[at++ & (walk.size() - 1)]);
    benchmark::DoNotOptimize(hit);
    if (!hit) state.SkipWithError("a miss");
  }
  state.counters["hits/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(memory_hit_zipf)->UseRealTime()->Threads(1)->Threads(2);

/// The same entries in what one writes down first: a hash map and a list under a mutex, values shared.
void plain_lru_hit(benchmark::State& state) {
  static PlainLru cache = [] {
    PlainLru filled;
    for (std::uint64_t i = 0; i < kEntries; ++i) {
      filled.put(key_number(i), std::make_shared<const std::vector<std::byte>>(1536));
    }
    return filled;
  }();
  const auto seed = static_cast<std::uint64_t>(state.thread_index());
  const auto among = static_cast<std::uint64_t>(state.range(0));
  const auto walk = among == 0 ? zipf_walk(seed) : random_walk(seed, among);
  std::size_t at = 0;
  for (auto step : state) {
    (void)step;
    auto hit = cache.get(walk[at++ & (walk.size() - 1)]);
    benchmark::DoNotOptimize(hit);
    if (!hit) state.SkipWithError("a miss");
  }
  state.counters["hits/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(plain_lru_hit)->ArgName("among")->UseRealTime()->Arg(kEntries)->Arg(0)->Arg(1)->Threads(1)->Threads(2);

/// Percentiles of single hits, one reading of the clock (20 to 30 ns) in each.
void hit_tail(benchmark::State& state) {
  const auto clock = make_steady_clock();
  MemoryCache& cache = filled_memory(1536);
  const auto walk = random_walk(3, kEntries);
  std::size_t at = 0;
  std::vector<Duration> times;
  times.reserve(2'000'000);
  for (auto step : state) {
    (void)step;
    const CacheKey& key = walk[at++ & (walk.size() - 1)];
    const TimePoint before = clock->now();
    {
      auto hit = cache.find(key);
      benchmark::DoNotOptimize(hit);
    }
    times.push_back(clock->now() - before);
  }
  tell_percentiles(state, times);
}
BENCHMARK(hit_tail)->Iterations(2'000'000);

/// A hit as the engine sees it: decoded to tensors that share the record.
void decoded_hit(benchmark::State& state) {
  TieredCache& cache = filled_chain(static_cast<std::size_t>(state.range(0)));
  const auto walk =
      random_walk(static_cast<std::uint64_t>(state.thread_index()), static_cast<std::uint64_t>(state.range(1)));
  std::size_t at = 0;
  for (auto step : state) {
    (void)step;
    auto hit = cache.get_in_memory(walk[at++ & (walk.size() - 1)]);
    benchmark::DoNotOptimize(hit);
    if (!hit) state.SkipWithError("a miss");
  }
}
BENCHMARK(decoded_hit)->Apply(hit_cases);

/// Misses: what every request that is new pays.
void memory_miss(benchmark::State& state) {
  MemoryCache& cache = filled_memory(1536);
  CacheKey key = key_number(kEntries);
  std::uint64_t number = 0;
  for (auto step : state) {
    (void)step;
    ++number;
    std::memcpy(key.data(), &number, sizeof(number));
    benchmark::DoNotOptimize(cache.get(key));
  }
}
BENCHMARK(memory_miss);

enum class After : std::int64_t { nothing, stored };

/// What the caches cost a request that is new, with no further tier: key, memory, remembered errors, and, if so asked,
/// the answer of 1.5 KB stored in the full memory tier once it has been computed.
void chain_on_a_miss(benchmark::State& state) {
  TieredCache& cache = filled_chain(1536);
  const auto after = static_cast<After>(state.range(0));
  const auto answer = answer_of_bytes(1536);
  const Digest model{1};
  static std::uint64_t number = 0;  // new in every repetition
  for (auto step : state) {
    (void)step;
    Input text = "a text of sixty-four bytes that has not been asked for: " + std::to_string(10'000'000 + ++number);
    const CacheKey key = make_request_key(model, text, {});
    if (cache.get_in_memory(key) || cache.find_error(key)) state.SkipWithError("a hit");
    if (after == After::stored) cache.put(key, answer, std::chrono::milliseconds(1));
  }
}
BENCHMARK(chain_on_a_miss)
    ->ArgName("stored")
    ->Arg(static_cast<std::int64_t>(After::nothing))
    ->Arg(static_cast<std::int64_t>(After::stored));

/// Encoding and storing into a full cache: each one evicts.
void insert_into_full(benchmark::State& state) {
  const auto outputs = answer_of_bytes(static_cast<std::size_t>(state.range(0)));
  CacheOptions options;
  options.memory.capacity_bytes = 64 << 20;
  TieredCache cache(options, make_steady_clock());
  CacheKey key = key_number(0);
  std::uint64_t number = 0;
  for (auto step : state) {
    (void)step;
    ++number;
    std::memcpy(key.data(), &number, sizeof(number));
    cache.put(key, outputs);
  }
  state.counters["evicted"] = static_cast<double>(cache.stats()[0].evicted);
}
BENCHMARK(insert_into_full)->Arg(1536)->Arg(4096);

/// What an insertion costs at its worst: into a full tier, where each one evicts and some entries expire. Percentiles
/// of single operations, the reading of the clock (20 to 30 ns) in them.
void insert_tail(benchmark::State& state) {
  const auto clock = make_steady_clock();
  MemoryCache cache({64 << 20, 8, static_cast<CachePolicy>(state.range(0))}, clock);
  CacheKey key = key_number(0);
  std::uint64_t number = 0;
  const auto record_for = [&](const CacheKey& of) { return encode_record(of, answer_of_bytes(1536), 0); };
  const auto next = [&] {
    ++number;
    std::memcpy(key.data(), &number, sizeof(number));
    return CacheEntry{key, record_for(key), std::chrono::milliseconds(20 + number % 2000)};
  };
  while (cache.stats().evicted == 0) cache.put(next());
  std::vector<Duration> times;
  for (auto step : state) {
    (void)step;
    const CacheEntry entry = next();
    const TimePoint before = clock->now();
    cache.put(entry);
    times.push_back(clock->now() - before);
  }
  tell_percentiles(state, times);
  state.SetLabel(std::string(to_string(static_cast<CachePolicy>(state.range(0)))));
}
BENCHMARK(insert_tail)->DenseRange(0, 4)->Iterations(100'000);

/// Memory of a full tier beyond the payload, for each entry: the whole budget, whatever it is used for.
void entry_overhead(benchmark::State& state) {
  constexpr std::uint64_t kBudget = 80 << 20;
  MemoryCache cache({kBudget, 8}, make_steady_clock());
  for (std::uint64_t i = 0; i < 2 * kEntries; ++i) {
    cache.put({key_number(i), encode_record(key_number(i), answer_of_bytes(1536), 0), std::chrono::hours(1)});
  }
  for (auto step : state) {
    (void)step;
    benchmark::DoNotOptimize(cache.stats());
  }
  state.counters["entries"] = static_cast<double>(cache.stats().entries);
  state.counters["bytes"] = static_cast<double>(kBudget) / static_cast<double>(cache.stats().entries) - 1536;
}
BENCHMARK(entry_overhead)->Iterations(1);

std::uint64_t resident_bytes() {
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * 4096;
}

/// What the process has resident beyond the budget after many mixed operations. To be run alone: what other
/// cases freed before would hide what this one takes.
void resident_beyond_budget(benchmark::State& state) {
  constexpr std::uint64_t kBudget = 64 << 20;
  constexpr int kOperations = 10'000'000;
  std::mt19937_64 random(1);
  std::vector<std::byte> bytes(8192, std::byte{1});
  const std::uint64_t before = resident_bytes();
  double most = 0;
  double most_counted = 0;
  for (auto step : state) {
    (void)step;
    MemoryCache cache({kBudget, 8}, make_steady_clock());
    std::vector<HeldValue> held(500);
    CacheKey key{};
    for (int i = 0; i < kOperations; ++i) {
      const std::uint64_t number = random() % 100'000;
      std::memcpy(key.data(), &number, sizeof(number));
      const std::uint64_t choice = random() % 16;
      if (choice == 0) {
        cache.erase(key);
      } else if (choice < 6) {
        // Sizes drift, so that no one size fits what another has left.
        const std::size_t size = 16 + random() % (i / 1'000'000 % 2 == 0 ? 2000 : 8000);
        cache.put({key, std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.begin() + size),
                   std::chrono::hours(1)});
      } else if (auto hit = cache.find(key); hit && choice == 6) {
        held[random() % held.size()] = std::move(hit->value);
      }
      if (i % 100'000 == 0) {
        most = std::max(most, static_cast<double>(resident_bytes()) - static_cast<double>(before));
        most_counted = std::max(most_counted, static_cast<double>(cache.stats().bytes));
      }
    }
    state.counters["evicted"] = static_cast<double>(cache.stats().evicted);
    state.counters["pinned"] = static_cast<double>(cache.stats().pinned);
  }
  state.counters["budget"] = static_cast<double>(kBudget);
  state.counters["counted"] = most_counted;
  state.counters["resident"] = most;
  state.counters["beyond_%"] = 100 * (most / static_cast<double>(kBudget) - 1);
}
BENCHMARK(resident_beyond_budget)->Iterations(1)->Unit(benchmark::kMillisecond);

void derive_key(benchmark::State& state) {
  const Input text = std::string(static_cast<std::size_t>(state.range(0)), 'a');
  Digest fingerprint{};
  for (auto step : state) {
    (void)step;
    fingerprint = make_request_key(fingerprint, text);
    benchmark::DoNotOptimize(fingerprint);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(derive_key)->Arg(64)->Arg(1024)->Arg(150 * 1024);

void decode_and_verify(benchmark::State& state) {
  const CacheKey key = key_number(1);
  const CacheRecord record = encode_record(key, answer_of_bytes(static_cast<std::size_t>(state.range(0))), 0);
  for (auto step : state) {
    (void)step;
    auto outputs = decode_record(key, record, ChecksumPolicy::verify);
    benchmark::DoNotOptimize(outputs);
  }
}
BENCHMARK(decode_and_verify)->Arg(1536)->Arg(4096);

}  // namespace

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
