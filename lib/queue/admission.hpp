// Admission: who may wait. Holds the caps of AdmissionOptions and explains refusals.
#pragma once

#include <cstdint>

#include "queue/batch_caps.hpp"
#include "queue/flight_queue.hpp"
#include "queue/shared_room.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

class Admission {
 public:
  Admission(const BatchingOptions& batching, const AdmissionOptions& caps) : batching_(batching), caps_(caps) {}

  // No check allocates. `slots` tells how fast the backlog shrinks; a computation in parts is
  // as many `items`, and its size that of all of them.

  /// What check_item asks.
  [[nodiscard]] bool can_serve(const ItemSize& size) const noexcept {
    return shared_ == nullptr && fits_batch(size, batching_) && fits_queue(size, 1, caps_);
  }
  /// Of an item that runs on: the room of other queues is not asked for. Error: too_large.
  [[nodiscard]] Result<void> check_step(const ItemSize& size) const noexcept;
  /// Error: too_large (this item could never be served).
  [[nodiscard]] Result<void> check_item(const ItemSize& size) const noexcept;
  /// Error: too_large (not even an empty queue would hold it).
  [[nodiscard]] Result<void> check_queue(const ItemSize& size, std::size_t items) const noexcept;
  /// Error: queue_full (which cap, its numbers, retry_after).
  [[nodiscard]] Result<void> check_room(const ItemSize& size, std::uint32_t items, const FlightQueue& queue,
                                        std::uint32_t slots) const noexcept;
  /// Error: quota_exceeded (the tenant holds its share while others wait).
  [[nodiscard]] Result<void> check_share(const Tenant& tenant, std::uint32_t items, const FlightQueue& queue,
                                         std::uint32_t slots) const noexcept;

  // What all queues of the engine share; nothing where they share no caps.
  void share_room(SharedRoom& room) noexcept { shared_ = &room; }
  [[nodiscard]] SharedRoom* shared() const noexcept { return shared_; }
  /// Takes the room. Answers what is to be displaced for it, within the classes below. Error: queue_full (which
  /// cap, its numbers, retry_after).
  enum class Displacing : std::uint8_t { lower_classes, nobody };
  [[nodiscard]] Result<QueueAmount> take_shared(const QueueAmount& wanted, const FlightQueue& queue,
                                                std::uint32_t slots, const SharedRoom::Asker& asker,
                                                Displacing displacing) const noexcept;

  /// There would be room if everything of the classes below were gone.
  [[nodiscard]] bool can_displace(const ItemSize& size, std::uint32_t count, Priority priority,
                                  const FlightQueue& queue) const noexcept;

  /// Not even an item of one token and one byte would be admitted.
  [[nodiscard]] bool is_full(const FlightQueue& queue) const noexcept;

  /// Learns how long a batch takes.
  void record_batch(Duration duration) noexcept;

  /// kAssumedBatch before the first batch.
  [[nodiscard]] Duration mean_batch() const noexcept { return Duration(static_cast<std::int64_t>(batch_ns_)); }

  /// Room in this queue, whatever waits elsewhere.
  [[nodiscard]] QueueAmount left(const FlightQueue& queue) const noexcept;

  /// The time to work off what waits now, between kShortestRetry and kLongestRetry.
  [[nodiscard]] Duration retry_after(const FlightQueue& queue, std::uint32_t slots) const noexcept;

  /// Full batches that hold as much, not rounded; above 0 for a shape of something.
  [[nodiscard]] double exact_batches_of(const BatchShape& shape) const noexcept;
  /// The same, whole and at least 1.
  [[nodiscard]] double batches_of(const BatchShape& shape) const noexcept;

  static constexpr Duration kAssumedBatch = std::chrono::milliseconds(50);  ///< before the first batch
  static constexpr Duration kShortestRetry = std::chrono::milliseconds(1);
  static constexpr Duration kLongestRetry = std::chrono::seconds(60);

 private:
  [[nodiscard]] static QueueAmount below(Priority priority, const FlightQueue& queue) noexcept;

  BatchingOptions batching_;
  AdmissionOptions caps_;
  SharedRoom* shared_ = nullptr;
  double batch_ns_ = static_cast<double>(kAssumedBatch.count());  ///< exponentially weighted mean
  std::uint64_t batches_ = 0;
};

}  // namespace tidegate
