// What a part of the memory cache for each model costs: look-ups, and decisions that move bytes.
#include <algorithm>
#include <cstring>

#include "benchmark_main.hpp"
#include "cache/key_hash.hpp"
#include "cache/memory_shares.hpp"

namespace {

using namespace tidegate;

constexpr std::size_t kAnswerBytes = 1536;

CacheEntry entry_of(std::uint64_t number) {
  static const CacheRecord record(std::make_shared<const std::vector<std::byte>>(kAnswerBytes));
  CacheKey key{};
  const std::uint64_t mixed = (number + 1) * 0x9E3779B97F4A7C15ULL;
  std::memcpy(key.data(), &mixed, sizeof(mixed));
  std::memcpy(key.data() + sizeof(mixed), &number, sizeof(number));
  return {key, record, std::chrono::hours(1)};
}

std::shared_ptr<MemoryShares> shares_of(std::uint64_t capacity) {
  return std::make_shared<MemoryShares>(MemoryCacheOptions{capacity},
                                        MemoryShares::Surroundings{make_steady_clock(), {}, {}});
}

void fill(MemoryShare& share, std::uint64_t capacity) {
  for (std::uint64_t i = 0; i < capacity / kAnswerBytes; ++i) {
    const CacheEntry entry = entry_of(i);
    share.memory.put(entry);
    share.stored(hash_of(entry.key), MemoryCache::charge_of(entry.key, entry.record));
  }
}

/// What one decision moves at most goes back and forth between two full parts.
void move_step(benchmark::State& state) {
  const auto capacity = static_cast<std::uint64_t>(state.range(0)) << 20;
  const auto shares = shares_of(capacity);
  const auto one = *shares->open("one", {});
  const auto other = *shares->open("other", {});
  fill(*one, capacity);
  fill(*other, capacity);
  const std::uint64_t half = capacity / 2;
  const std::uint64_t step = capacity / MemoryShares::kStepPart;
  bool back = false;
  for (auto _ : state) {
    static_cast<void>(shares->set_limits("one", back ? CacheShare{half, half} : CacheShare{0, half - step}));
    state.PauseTiming();
    fill(*one, capacity);
    fill(*other, capacity);
    back = !back;
    state.ResumeTiming();
  }
}

/// With nothing to move.
void decide(benchmark::State& state) {
  const auto shares = shares_of(64ULL << 20);
  std::vector<std::shared_ptr<MemoryShare>> held;
  for (std::int64_t i = 0; i < state.range(0); ++i) held.push_back(*shares->open(std::to_string(i), {}));
  for (auto _ : state) shares->balance();
}

/// A hit in the part of a model (1), or in a tier that all share (0).
void hit(benchmark::State& state) {
  const auto shares = shares_of(64ULL << 20);
  const auto share = *shares->open("one", {});
  constexpr std::uint64_t kKeys = 20'000;
  fill(*share, kKeys * kAnswerBytes);
  std::vector<CacheKey> keys;
  for (std::uint64_t i = 0; i < kKeys; ++i) keys.push_back(entry_of(i * 7919 % kKeys).key);
  std::size_t next = 0;
  for (auto _ : state) {
    const CacheKey& key = keys[next];
    next = next + 1 < keys.size() ? next + 1 : 0;
    if (state.range(0) == 1) share->asked(hash_of(key));
    benchmark::DoNotOptimize(share->memory.find(key));
  }
}

BENCHMARK(hit)->ArgName("in_part")->Arg(0)->Arg(1);
BENCHMARK(decide)->ArgName("models")->Arg(2)->Arg(16)->Unit(benchmark::kMicrosecond);
BENCHMARK(move_step)->ArgName("MiB")->Arg(64)->Arg(512)->Unit(benchmark::kMicrosecond)->Iterations(10);

}  // namespace

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
