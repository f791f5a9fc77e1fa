#include "queue/batch_former.hpp"

namespace tidegate {
namespace {

constexpr std::array<Priority, kPriorities> kClasses{Priority::critical, Priority::interactive, Priority::batch};

TimePoint later(TimePoint time, Duration by) noexcept {
  return time > TimePoint::max() - by ? TimePoint::max() : time + by;
}

/// 0 = urgent, 2 = can wait: among flights of one bucket length decides, not the deadline.
int slack_bucket(const Flight& flight, const Outlook& outlook) noexcept {
  if (flight.order <= later(outlook.now, 2 * outlook.mean_batch)) return 0;
  return flight.order <= later(outlook.now, 8 * outlook.mean_batch) ? 1 : 2;
}

}  // namespace

/// A batch on its way from its first flight to its last.
struct BatchFormer::Filling {
  FlightQueue& queue;
  const Outlook& outlook;
  std::uint64_t formation = 0;
  FormedBatch batch{};
  std::array<bool, kPriorities> had_work{};
  std::array<std::uint64_t, kPriorities> taken{};  ///< tokens
  std::uint64_t anchor_length = 0;
  bool exploring = false;
  std::uint32_t gain_misses = 0;
  TenantLine* touched = nullptr;

  void touch(TenantLine& line) noexcept {
    if (line.formation == formation) return;
    line.formation = formation;
    line.cursor = line.flights.first();
    line.last_order = TimePoint::min();
    line.last_sequence = 0;
    line.next_touched = touched;
    touched = &line;
  }
  bool miss(Fullness why) noexcept {
    if (batch.fullness == Fullness::nothing_left) batch.fullness = why;
    return false;
  }
};

// ---- when -----------------------------------------------------------------------------

TimePoint BatchFormer::linger_end(const FlightQueue& queue, const Outlook& outlook, std::uint32_t expected,
                                  Deadline earliest) const noexcept {
  const TimePoint arrival = queue.oldest()->arrival;
  if (options_.max_queue_delay <= Duration::zero()) return arrival;
  if (options_.linger == Linger::announced && expected == 0) return arrival;
  const TimePoint end = later(arrival, options_.max_queue_delay);
  if (outlook.model == nullptr) return end;
  ItemSize next;
  next.rows = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, queue.rows() / queue.items()));
  next.tokens = std::max<std::uint64_t>(1, queue.tokens() / queue.items());
  BatchShape with_next = queue.total();
  with_next.add(next);
  const LatencyModel& model = *outlook.model;
  const double alone = model.mean(outlook.level, BatchShape::of(next));
  const double together = model.mean(outlook.level, with_next);
  if (alone - (together - model.mean(outlook.level, queue.total())) < kLeastGain * alone) return arrival;
  if (earliest == kNoDeadline) return end;
  const auto needed = Duration(static_cast<std::int64_t>(together * model.tail95()));
  return std::min(end, earliest < TimePoint::min() + needed ? arrival : earliest - needed);
}

// ---- who opens ------------------------------------------------------------------------

Duration BatchFormer::longest_class_wait(const Outlook& outlook) const noexcept {
  constexpr int kMeanBatches = 20;
  return options_.max_class_wait > Duration::zero() ? options_.max_class_wait : kMeanBatches * outlook.mean_batch;
}

BatchFormer::Opening BatchFormer::choose_class(const FlightQueue& queue, const Outlook& outlook) const noexcept {
  const auto has_work = [&](Priority one) { return queue.of(one).items > 0; };
  const Priority highest = *std::find_if(kClasses.begin(), kClasses.end(), has_work);
  if (queue.of(highest).items == queue.items()) return {highest, false};
  if (!aged_last_) {
    const Duration wait = longest_class_wait(outlook);
    for (const Priority one : kClasses) {
      const bool aged = has_work(one) && later(queue.of(one).opened_at, wait) <= outlook.now;
      if (aged) return {one, one != highest};
    }
  }
  for (const Priority one : kClasses) {
    if (has_work(one) && queue.of(one).owed > 0) return {one, false};
  }
  return {highest, false};
}

Flight& BatchFormer::anchor(FlightQueue& queue, const Outlook& outlook) const noexcept {
  return *queue.of(choose_class(queue, outlook).priority).lines.first()->flights.first();
}

// ---- who joins ------------------------------------------------------------------------

FormedBatch BatchFormer::form(FlightQueue& queue, const Outlook& outlook) noexcept {
  Filling filling{queue, outlook};
  filling.formation = ++formations_;
  filling.exploring = gain_stops_ >= kExploreEvery;
  for (const Priority one : kClasses) filling.had_work[index_of(one)] = queue.of(one).items > 0;
  const Opening opening = choose_class(queue, outlook);
  aged_last_ = opening.aged;
  filling.batch.opened_by = opening.priority;
  queue.of(opening.priority).opened_at = outlook.now;

  TenantLine& line = *queue.of(opening.priority).lines.first();
  Flight& anchor = *line.flights.first();
  filling.anchor_length = row_length(anchor.size);
  filling.touch(line);
  take(filling, line, anchor);
  fill_from(filling, opening.priority);
  for (const Priority one : kClasses) fill_from(filling, one);

  settle_floors(filling);
  put_lines_back(filling);
  if (queue.empty()) filling.batch.fullness = Fullness::nothing_left;
  const bool gain_stopped = filling.batch.fullness == Fullness::gain;
  if (filling.exploring) gain_stops_ = 0;
  gain_stops_ += gain_stopped ? 1 : 0;
  return filling.batch;
}

void BatchFormer::take(Filling& filling, TenantLine& line, Flight& flight) const noexcept {
  FormedBatch& batch = filling.batch;
  if (line.cursor == &flight) line.cursor = FlightTree::next(flight);
  if (flight.order > line.last_order || (flight.order == line.last_order && flight.sequence > line.last_sequence)) {
    line.last_order = flight.order;
    line.last_sequence = flight.sequence;
  }
  filling.taken[index_of(flight.priority)] += flight.size.tokens;
  batch.shape.add(flight.size);
  batch.deadline = std::min(batch.deadline, flight.urgent);
  batch.oldest = std::min(batch.oldest, flight.arrival);
  filling.queue.serve(line, flight);
  batch.flights.push_back(flight);
  const Outlook& outlook = filling.outlook;
  if (outlook.model == nullptr) return;
  batch.mean_ns = outlook.model->mean(outlook.level, batch.shape);
  batch.alone_ns += outlook.model->mean(outlook.level, BatchShape::of(flight.size));
}

void BatchFormer::fill_from(Filling& filling, Priority priority) const noexcept {
  ClassQueue& queue = filling.queue.of(priority);
  FormedBatch& batch = filling.batch;
  while (TenantLine* const line = queue.lines.first()) {
    const bool rows_full = batch.shape.rows >= options_.max_batch_size;
    const bool tokens_full = batch.shape.tokens >= options_.max_batch_tokens;
    if (rows_full || tokens_full) filling.miss(rows_full ? Fullness::rows : Fullness::tokens);
    const bool full = rows_full || tokens_full;
    if (full || batch.passed_over >= kWindow || filling.gain_misses >= kGainMisses) return;
    filling.touch(*line);
    Flight* const flight = candidate(filling, *line);
    if (flight == nullptr) {
      filling.queue.set_aside(*line, priority);
    } else if (fits(filling, *flight)) {
      take(filling, *line, *flight);
    } else {
      ++batch.passed_over;
      flight->missed = filling.formation;
      if (line->cursor == flight) line->cursor = FlightTree::next(*flight);
      // Who was passed over often enough lets nobody of his line go before him any more.
      if (flight->overtaken >= kMaxOvertaken) filling.queue.set_aside(*line, priority);
    }
  }
}

/// The flight of the line to try next: the first, or where rows are padded the one of the
/// likest length among the urgent ones.
Flight* BatchFormer::candidate(const Filling& filling, TenantLine& line) const noexcept {
  if (layout_ == BatchLayout::packed) return line.cursor;
  Flight* best = nullptr;
  int best_bucket = 0;
  std::uint64_t best_distance = 0;
  Flight* flight = line.flights.first();
  for (std::uint32_t i = 0; i < kLengthWindow && flight != nullptr; ++i, flight = FlightTree::next(*flight)) {
    if (flight->missed == filling.formation) continue;
    const int bucket = slack_bucket(*flight, filling.outlook);
    const std::uint64_t length = row_length(flight->size);
    const std::uint64_t distance =
        length > filling.anchor_length ? length - filling.anchor_length : filling.anchor_length - length;
    if (best == nullptr || bucket < best_bucket || (bucket == best_bucket && distance < best_distance)) {
      best = flight;
      best_bucket = bucket;
      best_distance = distance;
    }
  }
  return best;
}

bool BatchFormer::fits(Filling& filling, const Flight& flight) const noexcept {
  // Subtracting from a cap cannot wrap: the batch never exceeds it.
  BatchShape shape = filling.batch.shape;
  if (flight.size.rows > options_.max_batch_size - shape.rows) return filling.miss(Fullness::rows);
  if (flight.size.tokens > options_.max_batch_tokens - shape.tokens) return filling.miss(Fullness::tokens);
  if (flight.size.bytes > options_.max_batch_bytes - shape.bytes) return filling.miss(Fullness::bytes);
  shape.add(flight.size);
  const bool padded = layout_ == BatchLayout::padded;
  if (padded && shape.computed_tokens(layout_) > static_cast<double>(options_.max_batch_tokens)) {
    return filling.miss(Fullness::tokens);
  }
  if (shape.computed_squares(layout_) > kMostPadding * shape.squares) return filling.miss(Fullness::padding);
  if (filling.outlook.model == nullptr) return true;
  const Outlook& outlook = filling.outlook;
  const double together = outlook.model->mean(outlook.level, shape);
  const Deadline deadline = std::min(filling.batch.deadline, flight.urgent);
  const auto tail = Duration(static_cast<std::int64_t>(together * outlook.model->tail95()));
  if (deadline != kNoDeadline && later(outlook.now, tail) > deadline) return filling.miss(Fullness::deadline);
  const double alone = outlook.model->mean(outlook.level, BatchShape::of(flight.size));
  const bool explores = filling.exploring && filling.batch.flights.size() < kExploreFlights;
  if (explores || alone - (together - filling.batch.mean_ns) >= kLeastGain * alone) return true;
  ++filling.gain_misses;
  return filling.miss(Fullness::gain);
}

// ---- afterwards -----------------------------------------------------------------------

/// A class with work is owed its floor of the batch's tokens, less what it got. What is
/// owed is bounded, so that neither debt nor surplus outlasts a few batches.
void BatchFormer::settle_floors(const Filling& filling) noexcept {
  const std::array<std::uint32_t, kPriorities> floors{0, options_.interactive_floor, options_.batch_floor};
  const auto bound = static_cast<double>(options_.max_batch_tokens);
  for (const Priority one : kClasses) {
    const std::size_t i = index_of(one);
    ClassQueue& queue = filling.queue.of(one);
    const bool has_work = filling.had_work[i] && queue.items > 0;
    const double due = static_cast<double>(filling.batch.shape.tokens) * floors[i] / 100;
    const double owed = queue.owed + due - static_cast<double>(filling.taken[i]);
    queue.owed = has_work && floors[i] > 0 ? std::clamp(owed, -bound, bound) : 0;
  }
}

/// Lines that were set aside return; who stood before the last one taken was overtaken.
void BatchFormer::put_lines_back(Filling& filling) noexcept {
  while (TenantLine* const line = filling.touched) {
    filling.touched = line->next_touched;
    Flight* flight = line->flights.first();
    const auto overtaken = [line](const Flight& one) {
      return one.order != line->last_order ? one.order < line->last_order : one.sequence < line->last_sequence;
    };
    while (flight != nullptr && overtaken(*flight)) {
      Flight* const next = FlightTree::next(*flight);
      if (flight->overtaken < kMaxOvertaken && ++flight->overtaken == kMaxOvertaken) filling.queue.promote(*flight);
      flight = next;
    }
    if (line->set_aside) filling.queue.put_back(*line, static_cast<Priority>(line - line->tenant->lines.data()));
  }
}

}  // namespace tidegate
