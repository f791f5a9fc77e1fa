// What stands before the queues of an engine: announcements, the caps of all models together, and the room left.
#pragma once

#include <cstdint>
#include <memory>

#include "tidegate/time.hpp"

namespace tidegate {

/// Says that a request is on its way, for as long as it lives; move-only in effect (copies
/// count as one). A forgotten one delays batches by max_queue_delay at most, and keeps
/// the model.
using Announcement = std::shared_ptr<void>;

/// Hard caps on what waits in all models of an engine together, beside those of each
/// (AdmissionOptions); 0 = no cap. They hold at every instant, whoever submits. A request that would
/// break one is refused (queue_full) and changes nothing, unless requests of lower classes of its own model
/// can give way, or its caller waits (RequestOptions::admit_until). Each 0 to 2^50; a request above one by itself is
/// too_large. One that a free replica takes at once does not wait, so it is never refused by them.
struct EngineQueueOptions {
  std::uint64_t max_queued_items = 0;   ///< waiting requests
  std::uint64_t max_queued_tokens = 0;  ///< of waiting requests
  std::uint64_t max_queued_bytes = 0;   ///< of waiting requests' inputs
};

/// What the queue of a model would take in now of requests of class interactive, by its own caps and those of
/// the engine. A look, not a promise: others submit too.
struct QueueRoom {
  std::uint64_t items = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  Duration retry_after{0};    ///< when there may be room; zero where there is
  std::uint32_t waiting = 0;  ///< callers who wait for room here (RequestOptions::admit_until)

  /// Whether the smallest request would be taken.
  [[nodiscard]] bool any() const noexcept { return items > 0 && tokens > 0 && bytes > 0; }
};

}  // namespace tidegate
