// What the disk tier costs: reads of a full store that the page cache holds, misses,
// and what storing costs the caller. Percentiles of single operations; each contains a
// reading of the clock (20 to 30 ns). Keys are drawn beforehand.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/wall_time.hpp"
#include "benchmark_main.hpp"
#include "cache/rocksdb/disk_store.hpp"
#include "cache/rocksdb/disk_tier.hpp"
#include "request/record_codec.hpp"

namespace {

using namespace tidegate;

constexpr std::size_t kBytes = 1536;
constexpr std::uint64_t kCapacity = 256 << 20;
/// As many files as the default of 1 GiB has: 17.
constexpr std::uint64_t kBuffer = kCapacity / 20;
/// Once and a half what fits: the oldest are gone.
constexpr std::uint64_t kOffered = 220'000;

CacheKey key_number(std::uint64_t number) {
  CacheKey key;
  for (std::size_t word = 0; word < 4; ++word) {
    const std::uint64_t value = (number + 1) * 0x9E3779B97F4A7C15ULL * (2 * word + 1);
    std::memcpy(key.data() + 8 * word, &value, 8);
  }
  return key;
}

CacheRecord record_of(const CacheKey& key) {
  const std::vector<Tensor> outputs{Tensor::vector_of(std::vector<float>(kBytes / sizeof(float), 0.5F))};
  return encode_record(key, outputs, 0);
}

/// Empty at first, gone at the end.
class BenchFolder {
 public:
  explicit BenchFolder(const char* name)
      : path_((std::filesystem::temp_directory_path() / (std::string("tidegate_disk_bench_") + name)).string()) {
    std::filesystem::remove_all(path_);
  }
  ~BenchFolder() { std::filesystem::remove_all(path_); }
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

disk::StoreOptions store_options(const std::string& folder) { return {folder, kCapacity, kBuffer, nullptr}; }

/// A folder with a full store, filled once.
const std::string& full_folder() {
  static const BenchFolder folder("full");
  static const bool filled = [] {
    const std::string& path = folder.path();
    auto opened = disk::DiskStore::open(store_options(path), disk::Start::keep);
    const std::int64_t now = unix_milliseconds();
    for (std::uint64_t i = 0; i < kOffered; ++i) {
      const disk::KeyedChange change{key_number(i), {record_of(key_number(i)), {now, now + 86'400'000}}};
      const disk::KeyedChange* const one = &change;
      (void)opened->store->write(std::span(&one, 1));
      if (opened->store->full() || i + 1 == kOffered) (void)opened->store->flush();
    }
    return true;
  }();
  (void)filled;
  return folder.path();
}

std::vector<CacheKey> walk(std::uint64_t first, std::uint64_t count) {
  std::mt19937_64 random(1);
  std::vector<CacheKey> keys(1 << 15);
  for (CacheKey& key : keys) key = key_number(first + random() % count);
  return keys;
}

/// The newest fifth of what was offered, which is surely there.
std::vector<CacheKey> present_keys() { return walk(kOffered * 4 / 5, kOffered / 5); }

class Percentiles {
 public:
  void add(Duration time) { times_.push_back(time); }
  void report(benchmark::State& state) {
    std::sort(times_.begin(), times_.end());
    const auto at = [&](double part) {
      const auto index = static_cast<std::size_t>(part * static_cast<double>(times_.size() - 1));
      return static_cast<double>(times_[index].count()) / 1000;
    };
    state.counters["p50_us"] = at(0.5);
    state.counters["p99_us"] = at(0.99);
    state.counters["p99.9_us"] = at(0.999);
  }

 private:
  std::vector<Duration> times_;
};

/// A read as the read threads do it: found, both checksums verified, copied.
void store_read(benchmark::State& state) {
  auto opened = disk::DiskStore::open(store_options(full_folder()), disk::Start::keep);
  const auto clock = make_steady_clock();
  const auto keys = present_keys();
  for (const CacheKey& key : keys) benchmark::DoNotOptimize(opened->store->read(std::span(&key, 1)));
  Percentiles times;
  std::size_t next = 0;
  for (auto step : state) {
    (void)step;
    const CacheKey& key = keys[next++ & (keys.size() - 1)];
    const TimePoint before = clock->now();
    auto answers = opened->store->read(std::span(&key, 1));
    times.add(clock->now() - before);
    if (answers[0].state != disk::Answer::State::whole) state.SkipWithError("a miss");
  }
  times.report(state);
}
BENCHMARK(store_read)->Iterations(100'000);

/// The same for 32 keys in one call; times for each key.
void store_read_32(benchmark::State& state) {
  auto opened = disk::DiskStore::open(store_options(full_folder()), disk::Start::keep);
  const auto keys = present_keys();
  std::size_t next = 0;
  for (auto step : state) {
    (void)step;
    auto answers = opened->store->read(std::span(&keys[32 * (next++ & (keys.size() / 32 - 1))], 32));
    benchmark::DoNotOptimize(answers);
  }
  state.SetItemsProcessed(32 * state.iterations());
}
BENCHMARK(store_read_32)->Iterations(3'000);

std::shared_ptr<CacheTier> open_tier(const std::string& folder) {
  DiskCacheOptions options;
  options.folder = folder;
  options.capacity_bytes = kCapacity;
  options.write_buffer_bytes = kBuffer;
  options.write_bytes_per_second = 0;
  options.max_queued_bytes = 1ULL << 30;  // nothing is dropped here
  return *disk::DiskTier::open(options, {make_steady_clock(), unix_milliseconds});
}

/// One look-up at a time, from the call until the caller, who waits, sees the answer.
void look_up(benchmark::State& state, const std::vector<CacheKey>& keys, bool present) {
  const auto tier = open_tier(full_folder());
  const auto clock = make_steady_clock();
  Percentiles times;
  std::size_t next = 0;
  std::atomic<int> answered{0};
  for (auto step : state) {
    (void)step;
    answered.store(0, std::memory_order_relaxed);
    const CacheKey& key = keys[next++ & (keys.size() - 1)];
    const TimePoint before = clock->now();
    tier->get_many(std::span(&key, 1), kNoDeadline, [&answered](auto found) {
      answered.store(found[0] ? 2 : 1, std::memory_order_release);
      answered.notify_one();
    });
    answered.wait(0, std::memory_order_acquire);
    times.add(clock->now() - before);
    if (present && answered.load() != 2) state.SkipWithError("a miss");
  }
  times.report(state);
}
/// A hit by way of a read thread.
void tier_hit(benchmark::State& state) { look_up(state, present_keys(), true); }
BENCHMARK(tier_hit)->Iterations(50'000);

/// A miss, which the filters mostly know of on the caller's thread.
void tier_miss(benchmark::State& state) { look_up(state, walk(10 * kOffered, kOffered), false); }
BENCHMARK(tier_miss)->Iterations(100'000);

/// What the caller pays for storing, the writer at work beside it.
void tier_put(benchmark::State& state) {
  const BenchFolder folder("put");
  const auto tier = open_tier(folder.path());
  const auto clock = make_steady_clock();
  Percentiles times;
  std::uint64_t number = 0;
  for (auto step : state) {
    (void)step;
    const CacheKey key = key_number(number++);
    const CacheEntry entry{key, record_of(key), std::chrono::hours(1)};
    const TimePoint before = clock->now();
    tier->put_many(std::span(&entry, 1));
    times.add(clock->now() - before);
  }
  times.report(state);
  state.counters["dropped"] = static_cast<double>(tier->stats().dropped);
}
BENCHMARK(tier_put)->Iterations(100'000);

/// Opening a full store again.
void store_open(benchmark::State& state) {
  const std::string& folder = full_folder();
  for (auto step : state) {
    (void)step;
    auto opened = disk::DiskStore::open(store_options(folder), disk::Start::keep);
    benchmark::DoNotOptimize(opened);
  }
}
BENCHMARK(store_open)->Unit(benchmark::kMillisecond)->Iterations(5);

}  // namespace

int main(int count, char** arguments) { return tidegate::bench::run(count, arguments); }
