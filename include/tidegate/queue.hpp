// Options of the batching queue: when a batch is formed and who is refused.
#pragma once

#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// A batch is formed when a replica is free, never before (late binding): while
/// all are busy, the queue itself is the next batch.
struct BatchingOptions {
  std::uint32_t max_batch_size = 32;       ///< items, >= 1
  std::uint64_t max_batch_tokens = 16384;  ///< >= 1; an item larger than this is refused (too_large)
  /// How long a free replica may wait for company, counted from the arrival of
  /// the oldest item and never re-armed; a minute at most. 0 = never wait (the right
  /// choice on CPUs).
  Duration max_queue_delay{0};
};

/// Hard caps on what waits for a replica. They hold at every instant; a request that
/// would break one is refused with queue_full and changes nothing. Requests that join
/// an equal one (at most 1024 each) and requests in a look-up of further tiers
/// (lookup_budget at most) are not counted.
struct AdmissionOptions {
  std::uint32_t max_queued_items = 10'000;          ///< waiting requests, >= 1
  std::uint64_t max_queued_tokens = 64 * 16384ULL;  ///< of waiting requests, >= 1
  std::uint64_t max_queued_bytes = 256ULL << 20;    ///< of waiting requests' inputs, >= 1
};

}  // namespace tidegate
