// BatchFormer: when a free slot takes a batch, and which flights go into it.
#pragma once

#include <algorithm>

#include "queue/flight_queue.hpp"
#include "tidegate/queue.hpp"

namespace tidegate {

/// First in, first out, with first fit: a flight that does not fit is passed over, but
/// in at most kMaxOvertaken batches; from then on nothing younger goes before it.
class BatchFormer {
 public:
  explicit BatchFormer(const BatchingOptions& options) : options_(options) {}

  /// The moment a free slot stops waiting for company; the queue is not empty.
  /// The oldest arrival alone decides it, so later arrivals cannot put it off.
  [[nodiscard]] TimePoint linger_end(const FlightQueue& queue) const noexcept;

  /// What waits meets or overflows a batch cap: more company cannot help the oldest.
  [[nodiscard]] bool can_fill_batch(const FlightQueue& queue) const noexcept {
    return queue.rows() >= options_.max_batch_size || queue.tokens() >= options_.max_batch_tokens;
  }

  /// No batch of this queue has more flights.
  [[nodiscard]] std::size_t most_flights(const FlightQueue& queue) const noexcept {
    return std::min<std::size_t>(queue.items(), options_.max_batch_size);
  }

  /// Moves one batch out of the queue, oldest first; the queue is not empty. Looks at
  /// no more than the batch and kMaxMisfits flights.
  [[nodiscard]] FlightList form(FlightQueue& queue) const noexcept;

  static constexpr std::uint8_t kMaxOvertaken = 8;
  static constexpr std::size_t kMaxMisfits = 64;

 private:
  BatchingOptions options_;
};

}  // namespace tidegate
