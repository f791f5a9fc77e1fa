// What a hit, an insertion and a key cost. Keys are drawn at random beforehand, so
// the figures contain neither key derivation nor the drawing.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <random>

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

/// A hit on the memory tier: the shared record, not yet decoded.
void memory_hit(benchmark::State& state) {
  MemoryCache& cache = filled_memory(static_cast<std::size_t>(state.range(0)));
  const auto walk =
      random_walk(static_cast<std::uint64_t>(state.thread_index()), static_cast<std::uint64_t>(state.range(1)));
  std::size_t at = 0;
  for (auto step : state) {
    (void)step;
    auto hit = cache.get(walk[at++ & (walk.size() - 1)]);
    benchmark::DoNotOptimize(hit);
    if (!hit) state.SkipWithError("a miss");
  }
}
BENCHMARK(memory_hit)->Apply(hit_cases);

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

/// What an insertion costs at its worst: into a full tier, each one evicts. Percentiles
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
    return CacheEntry{key, record_for(key), std::chrono::hours(1)};
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
  std::sort(times.begin(), times.end());
  const auto at = [&](double part) {
    return static_cast<double>(times[static_cast<std::size_t>(part * static_cast<double>(times.size() - 1))].count());
  };
  state.counters["p50_ns"] = at(0.5);
  state.counters["p99_ns"] = at(0.99);
  state.counters["p99.9_ns"] = at(0.999);
  state.SetLabel(std::string(to_string(static_cast<CachePolicy>(state.range(0)))));
}
BENCHMARK(insert_tail)->DenseRange(0, 4)->Iterations(100'000);

/// Memory of the tier beyond the payload, for each entry it holds.
void entry_overhead(benchmark::State& state) {
  for (auto step : state) {
    (void)step;
    benchmark::DoNotOptimize(filled_memory(1536).stats());
  }
  const CacheTierStats stats = filled_memory(1536).stats();
  state.counters["bytes"] = static_cast<double>(stats.bytes) / static_cast<double>(stats.entries) - 1536;
}
BENCHMARK(entry_overhead)->Iterations(1);

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

BENCHMARK_MAIN();
