// Disk tiers for tests: clocks that stand still, answers that can be recognised.
#pragma once

#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cache/cache_fixtures.hpp"
#include "cache/rocksdb/disk_tier.hpp"
#include "request/record_codec.hpp"
#include "support/eventually.hpp"
#include "support/manual_clock.hpp"
#include "support/temporary_folder.hpp"

namespace tidegate::test {

/// The answer of a key: `bytes` of floats that say the key's number and a version.
inline CacheEntry disk_entry(std::uint64_t number, std::size_t bytes = 1536, float version = 0,
                             Duration life = std::chrono::hours(1)) {
  std::vector<float> values(bytes / sizeof(float), static_cast<float>(number % 100'000));
  if (values.size() > 1) values[1] = version;
  const std::vector<Tensor> outputs{Tensor::vector_of(values)};
  return {key_of(number), encode_record(key_of(number), outputs, 0), life};
}

/// The version that a found answer carries; -1 unless it is wholly the one of its key.
inline float version_in(std::uint64_t number, const CacheEntry& entry) {
  if (entry.key != key_of(number)) return -1;
  const auto outputs = decode_record(entry.key, entry.record, ChecksumPolicy::verify);
  if (!outputs || outputs->size() != 1) return -1;
  const auto values = outputs->front().as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i != 1 && values[i] != static_cast<float>(number % 100'000)) return -1;
  }
  return values.size() > 1 ? values[1] : 0;
}

/// A wall clock and a steady clock that the test moves.
struct DiskWorld {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<std::atomic<std::int64_t>> unix_ms = std::make_shared<std::atomic<std::int64_t>>(1'800'000'000'000);

  /// Both clocks go on.
  void pass(Duration time) const {
    *unix_ms += std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
    clock->advance(time);
  }

  [[nodiscard]] disk::Surroundings surroundings(rocksdb::Env* env = nullptr) const {
    return {clock, [wall = unix_ms] { return wall->load(); }, env};
  }

  [[nodiscard]] std::shared_ptr<CacheTier> open(const DiskCacheOptions& options, rocksdb::Env* env = nullptr) const {
    auto tier = disk::DiskTier::open(options, surroundings(env));
    if (!tier) throw std::runtime_error(tier.error().text());
    return *std::move(tier);
  }
};

/// No limit on what is written, small files.
inline DiskCacheOptions disk_options(const std::string& folder, std::uint64_t capacity = 64 << 20) {
  DiskCacheOptions options;
  options.folder = folder;
  options.capacity_bytes = capacity;
  options.write_buffer_bytes = 256 << 10;
  options.write_bytes_per_second = 0;
  options.max_queued_bytes = 1ULL << 30;
  return options;
}

inline std::vector<std::optional<CacheEntry>> look_up(CacheTier& tier, const std::vector<CacheKey>& keys,
                                                      Deadline deadline = kNoDeadline) {
  std::promise<std::vector<std::optional<CacheEntry>>> answer;
  auto found = answer.get_future();
  tier.get_many(keys, deadline, [&answer](auto entries) { answer.set_value(std::move(entries)); });
  auto entries = found.get();
  entries.resize(keys.size());  // none where the tier could not find out
  return entries;
}

inline std::optional<CacheEntry> look_up(CacheTier& tier, std::uint64_t number) {
  return look_up(tier, std::vector<CacheKey>{key_of(number)}).at(0);
}

inline void store(CacheTier& tier, const CacheEntry& entry) { tier.put_many(std::span(&entry, 1)); }
inline void forget(CacheTier& tier, std::uint64_t number) {
  const CacheKey key = key_of(number);
  tier.erase_many(std::span(&key, 1));
}

/// Bytes that the files under a folder take.
inline std::uint64_t bytes_in(const std::string& folder) {
  namespace fs = std::filesystem;
  std::uint64_t sum = 0;
  std::error_code gone;  // files come and go while we look
  for (auto at = fs::recursive_directory_iterator(folder, gone); at != fs::recursive_directory_iterator();
       at.increment(gone)) {
    std::error_code ignored;
    const auto size = at->file_size(ignored);
    if (!ignored && at->is_regular_file(ignored)) sum += size;
  }
  return sum;
}

}  // namespace tidegate::test
