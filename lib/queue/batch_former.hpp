// BatchFormer: when a free slot takes a batch, and which flights go into it.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "queue/flight_queue.hpp"
#include "queue/latency_model.hpp"
#include "queue/sort_split.hpp"
#include "queue/static_sizes.hpp"
#include "tidegate/queue.hpp"

namespace tidegate {

/// What a batch is decided by besides the queue.
struct Outlook {
  TimePoint now{};
  const LatencyModel* model = nullptr;  ///< null: nothing is predicted
  std::uint32_t level = 1;              ///< batches that will run, this one included
  Duration mean_batch{0};
  bool overloaded = false;  ///< the queue stands (StandingQueue)
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
  std::uint32_t continued = 0;          ///< of its flights, those that have had a step before
  bool newest_first = false;            ///< the class it was opened by runs its newest flights first
  std::optional<LengthCut> cut{};       ///< set: what waited was cut by length
};

/// The flights that go on in the slot a step is formed for.
struct Continuing {
  std::span<Flight* const> line_up;  ///< who claims a place first stands first
  FlightList& ready;                 ///< the same flights; who is taken leaves it
  std::uint32_t newcomers = 0;       ///< at most so many of the queue may enter the slot
};

/// Chooses class, tenant and anchor, and fills up around the anchor.
class BatchFormer {
 public:
  BatchFormer(const BatchingOptions& options, BatchLayout layout)
      : options_(options),
        layout_(layout),
        most_tokens_(options.max_batch_tokens),
        sizes_(options.allowed_batch_sizes) {}

  /// A batch of so many tokens was too large for the model's memory: from now on batches have at
  /// most 0.7 of them. An item that has more by itself still runs, alone.
  void shrink(std::uint64_t tokens) noexcept;
  /// A batch has run. Every hundredth gives back a twentieth, up to max_batch_tokens.
  void grow() noexcept;
  [[nodiscard]] std::uint64_t most_tokens() const noexcept { return most_tokens_; }

  /// The moment a free slot stops waiting for company; the queue is not empty.
  /// The oldest arrival decides it, so later arrivals cannot put it off; `expected` (the
  /// requests announced) and `earliest` (deadline of any waiter) can only bring it forward.
  [[nodiscard]] TimePoint linger_end(const FlightQueue& queue, const Outlook& outlook, std::uint32_t expected,
                                     Deadline earliest) const noexcept;

  /// Whether a free slot ever waits.
  [[nodiscard]] bool lingers() const noexcept { return options_.max_queue_delay > Duration::zero(); }

  /// What waits meets or overflows a batch cap: more company cannot help the oldest.
  [[nodiscard]] bool can_fill_batch(const FlightQueue& queue) const noexcept {
    return queue.rows() >= options_.max_batch_size || queue.tokens() >= most_tokens_ ||
           queue.bytes() >= options_.max_batch_bytes;
  }

  /// No batch of this queue has more flights.
  [[nodiscard]] std::size_t most_flights(const FlightQueue& queue) const noexcept {
    return std::min<std::size_t>(queue.items(), options_.max_batch_size);
  }

  /// The flight that opens the next batch; the queue is not empty.
  [[nodiscard]] Flight& anchor(FlightQueue& queue, const Outlook& outlook) const noexcept;

  /// Of the line's flights, the one whose turn comes last.
  [[nodiscard]] static Flight& last_to_run(TenantLine& line, const Outlook& outlook) noexcept;

  /// What the model computes for an item by itself.
  [[nodiscard]] BatchShape shape_of(const ItemSize& size) const noexcept { return sizes_.pad(BatchShape::of(size)); }

  /// Moves one batch, opened by the anchor, out of the queue; the queue is not empty.
  /// Looks at no more than the batch and kWindow flights.
  [[nodiscard]] FormedBatch form(FlightQueue& queue, const Outlook& outlook) noexcept;

  /// The next step of a slot: the flights that go on in it and, within the same caps, others
  /// from the queue, class by class. Somebody is ready, or the queue is not empty and may
  /// enter. At most one long flight; neither deadlines nor gain keep anybody out, for who
  /// does not join would wait for the end of all that go on. Who has been passed over in
  /// kMaxOvertaken steps goes first.
  [[nodiscard]] FormedBatch form_step(FlightQueue& queue, const Outlook& outlook, Continuing& continuing) noexcept;

  static constexpr std::uint8_t kMaxOvertaken = 8;
  static constexpr std::uint32_t kWindow = 256;
  /// Flights of a line among which a padded batch picks the one of the likest length.
  static constexpr std::uint32_t kLengthWindow = 64;
  static constexpr double kLeastGain = BatchRules::kLeastGain;
  static constexpr double kBackloggedGain = 0.1;  ///< part of kLeastGain that a full backlog leaves
  static constexpr double kMostPadding = BatchRules::kMostPadding;
  /// To cut by length takes some 10 us: worth it where three percent of a batch are more.
  static constexpr Duration kShortestCutBatch = std::chrono::milliseconds(1);
  static constexpr std::uint32_t kGainMisses = 8;
  /// A flight of more than 1 / kLongShare of max_batch_tokens is long.
  static constexpr std::uint64_t kLongShare = 4;
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
  [[nodiscard]] std::optional<LengthCut> cut_by_length(const Filling& filling, const Opening& opening,
                                                       const Flight& anchor) const noexcept;
  void choose_size(Filling& filling) const noexcept;
  [[nodiscard]] BatchShape reachable(const Filling& filling) const noexcept;
  void take(Filling& filling, TenantLine& line, Flight& flight) const noexcept;
  void fill_from(Filling& filling, Priority priority) const noexcept;
  [[nodiscard]] bool is_long(const Flight& flight) const noexcept {
    return flight.size.tokens > options_.max_batch_tokens / kLongShare;
  }
  void add(Filling& filling, Flight& flight) const noexcept;
  void open_step(Filling& filling) noexcept;
  void go_on(Filling& filling, std::size_t last) const noexcept;
  void count_overtaken(FlightQueue& queue, Flight& opener) const noexcept;
  [[nodiscard]] Flight* candidate(Filling& filling, TenantLine& line) const noexcept;
  [[nodiscard]] Flight* next_inside_cut(Filling& filling, TenantLine& line) const noexcept;
  [[nodiscard]] Fullness obstacle(const Filling& filling, const BatchShape& shape, std::uint64_t most_rows,
                                  const Flight& flight) const noexcept;
  /// What merging must save, as a part of the time the flight would take alone. The less, the more waits
  /// behind the batch, from half a batch to a whole one on: what is saved spares all of them, and a
  /// server at its limit must waste nothing.
  [[nodiscard]] double least_gain(const FlightQueue& queue) const noexcept;
  [[nodiscard]] bool fits(Filling& filling, const Flight& flight) const noexcept;
  void settle_shape(Filling& filling) const noexcept;
  void settle_floors(const Filling& filling) noexcept;
  static void put_lines_back(Filling& filling) noexcept;

  BatchingOptions options_;
  BatchLayout layout_;
  std::uint64_t most_tokens_;       ///< of a batch; below max_batch_tokens where memory was short
  std::uint32_t good_batches_ = 0;  ///< since most_tokens_ changed
  StaticSizes sizes_;
  std::uint64_t formations_ = 0;
  std::uint32_t gain_stops_ = 0;  ///< since the last exploration
  bool aged_last_ = false;        ///< the last batch was opened out of turn, by age
};

}  // namespace tidegate
