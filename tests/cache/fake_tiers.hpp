// Cache tiers that do what a test tells them to.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "request/record_codec.hpp"
#include "tidegate/cache.hpp"

namespace tidegate::test {

/// A stored answer of one float, and how a tier would hand it out.
inline std::vector<Tensor> answer_of(float value) { return {Tensor::vector_of(std::span(&value, 1))}; }

inline CacheEntry stored_answer(const CacheKey& key, float value, Duration life = std::chrono::minutes(5)) {
  return {key, encode_record(key, answer_of(value), 0), life};
}

inline float value_of(const std::vector<Tensor>& outputs) { return outputs.at(0).as<float>()[0]; }

/// Remembers what it is told to store; answers by `script`, by default from what it
/// has, before get_many returns. Thread-safe.
class ScriptedTier : public CacheTier {
 public:
  using Script = std::function<void(std::span<const CacheKey>, Deadline, Lookup)>;

  explicit ScriptedTier(std::string name, Script script = {}) : name_(std::move(name)), script_(std::move(script)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }

  void get_many(std::span<const CacheKey> keys, Deadline deadline, Lookup done) override {
    {
      const std::lock_guard lock(mutex_);
      ++lookups_;
    }
    if (script_) {
      script_(keys, deadline, std::move(done));
      return;
    }
    std::vector<std::optional<CacheEntry>> found;
    for (const CacheKey& key : keys) found.push_back(stored(key));
    done(std::move(found));
  }

  void put_many(std::span<const CacheEntry> entries) override {
    const std::lock_guard lock(mutex_);
    for (const CacheEntry& entry : entries) entries_[entry.key] = entry;
  }

  void erase_many(std::span<const CacheKey> keys) override {
    const std::lock_guard lock(mutex_);
    for (const CacheKey& key : keys) entries_.erase(key);
  }

  [[nodiscard]] std::optional<CacheEntry> stored(const CacheKey& key) const {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    return it != entries_.end() ? std::optional(it->second) : std::nullopt;
  }

  [[nodiscard]] int lookups() const {
    const std::lock_guard lock(mutex_);
    return lookups_;
  }

 private:
  const std::string name_;
  const Script script_;
  mutable std::mutex mutex_;
  std::map<CacheKey, CacheEntry> entries_;
  int lookups_ = 0;
};

/// Keeps every look-up until the test answers it.
class HeldTier final : public ScriptedTier {
 public:
  explicit HeldTier(std::string name)
      : ScriptedTier(std::move(name), [this](std::span<const CacheKey> keys, Deadline deadline, Lookup done) {
          const std::lock_guard lock(held_mutex_);
          held_.push_back({keys.front(), deadline, std::move(done)});
        }) {}

  struct Held {
    CacheKey key;
    Deadline deadline;
    Lookup done;
  };

  /// The oldest look-up that waits.
  [[nodiscard]] std::optional<Held> take() {
    const std::lock_guard lock(held_mutex_);
    if (held_.empty()) return std::nullopt;
    Held oldest = std::move(held_.front());
    held_.pop_front();
    return oldest;
  }

 private:
  std::mutex held_mutex_;
  std::deque<Held> held_;
};

}  // namespace tidegate::test
