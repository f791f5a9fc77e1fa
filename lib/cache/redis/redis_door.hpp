// RedisDoor: where callers' threads hand over to the network thread.
#pragma once

#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.hpp"
#include "cache/redis/write_queue.hpp"

namespace tidegate {

/// One get_many. Used by the network thread alone once it has been handed over.
struct RedisLookup {
  TimePoint asked;
  Deadline expires;
  std::vector<CacheKey> keys;
  std::vector<std::optional<CacheEntry>> slots;
  std::size_t missing = 0;  ///< slots without a verdict
  bool patient = false;     ///< it has no deadline of its own: no request waits for it
  bool told = false;        ///< the server has said something of one of the keys
  CacheTier::Lookup done;

  [[nodiscard]] bool ended() const noexcept { return !done; }
};

struct RedisDoor {
  /// `shut_until` while a probe is out.
  static constexpr std::int64_t kProbing = std::numeric_limits<std::int64_t>::max();

  RedisDoor(std::size_t write_items, std::uint64_t write_bytes) : writes(write_items, write_bytes) {}

  /// The circuit breaker as callers see it: 0 = closed, else when the next probe may go
  /// out, in ticks of the steady clock. Release on change, acquire on read.
  std::atomic<std::int64_t> shut_until{0};
  /// A reply is overdue: no request is to wait for the next one. Relaxed: a hint.
  std::atomic<bool> silent{false};
  std::atomic<std::size_t> waiting_keys{0};  ///< of look-ups that have not ended. Relaxed: a bound.

  Mutex mutex;  // leaf
  std::vector<std::shared_ptr<RedisLookup>> lookups TIDEGATE_GUARDED_BY(mutex);
  WriteQueue writes TIDEGATE_GUARDED_BY(mutex);
  bool announced TIDEGATE_GUARDED_BY(mutex) = false;  ///< the network thread will look
};

}  // namespace tidegate
