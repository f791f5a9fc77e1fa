// BatchFormer: when a free slot takes a batch, and which flights go into it.
#pragma once

#include <algorithm>
#include <array>

#include "queue/flight_queue.hpp"
#include "queue/latency_model.hpp"
#include "tidegate/queue.hpp"

namespace tidegate {

/// What a batch is decided by besides the queue.
struct Outlook {
  TimePoint now{};
  const LatencyModel* model = nullptr;  ///< null: nothing is predicted
  std::uint32_t level = 1;              ///< batches that will run, this one included
  Duration mean_batch{0};
};

/// One batch, taken out of the queue.
struct FormedBatch {
  FlightList flights;
  BatchShape shape{};
  Deadline deadline = kNoDeadline;  ///< the earliest in it
  Priority opened_by{};             ///< the class of its first flight
  Fullness fullness = Fullness::nothing_left;
  std::uint32_t passed_over = 0;        ///< flights that were looked at and did not fit
  TimePoint oldest = TimePoint::max();  ///< arrival
  double alone_ns = 0;                  ///< predicted for its flights one after the other
  double mean_ns = 0;                   ///< predicted for the batch; 0 = nothing is predicted
};

/// Chooses class, tenant and anchor, and fills up around the anchor.
class BatchFormer {
 public:
  BatchFormer(const BatchingOptions& options, BatchLayout layout) : options_(options), layout_(layout) {}

  /// The moment a free slot stops waiting for company; the queue is not empty.
  /// The oldest arrival decides it, so later arrivals cannot put it off; `expected` (the
  /// requests announced) and `earliest` (deadline of any waiter) can only bring it forward.
  [[nodiscard]] TimePoint linger_end(const FlightQueue& queue, const Outlook& outlook, std::uint32_t expected,
                                     Deadline earliest) const noexcept;

  /// Whether a free slot ever waits.
  [[nodiscard]] bool lingers() const noexcept { return options_.max_queue_delay > Duration::zero(); }

  /// What waits meets or overflows a batch cap: more company cannot help the oldest.
  [[nodiscard]] bool can_fill_batch(const FlightQueue& queue) const noexcept {
    return queue.rows() >= options_.max_batch_size || queue.tokens() >= options_.max_batch_tokens ||
           queue.bytes() >= options_.max_batch_bytes;
  }

  /// No batch of this queue has more flights.
  [[nodiscard]] std::size_t most_flights(const FlightQueue& queue) const noexcept {
    return std::min<std::size_t>(queue.items(), options_.max_batch_size);
  }

  /// The flight that opens the next batch; the queue is not empty.
  [[nodiscard]] Flight& anchor(FlightQueue& queue, const Outlook& outlook) const noexcept;

  /// Moves one batch, opened by the anchor, out of the queue; the queue is not empty.
  /// Looks at no more than the batch and kWindow flights.
  [[nodiscard]] FormedBatch form(FlightQueue& queue, const Outlook& outlook) noexcept;

  static constexpr std::uint8_t kMaxOvertaken = 8;
  static constexpr std::uint32_t kWindow = 256;
  /// Flights of a line among which a padded batch picks the one of the likest length.
  static constexpr std::uint32_t kLengthWindow = 64;
  static constexpr double kLeastGain = 0.05;   ///< of the time the flight would take alone
  static constexpr double kMostPadding = 1.5;  ///< computed over needed squares
  static constexpr std::uint32_t kGainMisses = 8;
  /// Every so many batches that the gain rule ended, one grows to kExploreFlights: so that
  /// the model sees larger batches too.
  static constexpr std::uint32_t kExploreEvery = 64;
  static constexpr std::uint32_t kExploreFlights = 4;

 private:
  struct Filling;
  struct Opening {
    Priority priority{};
    bool aged = false;  ///< out of turn, as the class has waited too long
  };
  [[nodiscard]] Opening choose_class(const FlightQueue& queue, const Outlook& outlook) const noexcept;
  [[nodiscard]] Duration longest_class_wait(const Outlook& outlook) const noexcept;
  void take(Filling& filling, TenantLine& line, Flight& flight) const noexcept;
  void fill_from(Filling& filling, Priority priority) const noexcept;
  [[nodiscard]] Flight* candidate(const Filling& filling, TenantLine& line) const noexcept;
  [[nodiscard]] bool fits(Filling& filling, const Flight& flight) const noexcept;
  void settle_floors(const Filling& filling) noexcept;
  static void put_lines_back(Filling& filling) noexcept;

  BatchingOptions options_;
  BatchLayout layout_;
  std::uint64_t formations_ = 0;
  std::uint32_t gain_stops_ = 0;  ///< since the last exploration
  bool aged_last_ = false;        ///< the last batch was opened out of turn, by age
};

}  // namespace tidegate
