#include "queue/batch_filling.hpp"

namespace tidegate {

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
  return *opener_of(*queue.of(choose_class(queue, outlook).priority).lines.first(), outlook);
}

/// Where the newest go first, the oldest of those that do not keep their place.
Flight& BatchFormer::last_to_run(TenantLine& line, const Outlook& outlook) noexcept {
  Flight* flight = line.flights.last();
  if (!is_newest_first(line, outlook)) return *flight;
  flight = line.flights.first();
  for (std::uint32_t i = 0; i < kWindow && flight != nullptr; ++i, flight = FlightTree::next(*flight)) {
    if (!keeps_place(*flight)) return *flight;
  }
  return *line.flights.last();
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
  filling.batch.newest_first = outlook.overloaded && opening.priority == Priority::batch;
  queue.of(opening.priority).opened_at = outlook.now;

  TenantLine& line = *queue.of(opening.priority).lines.first();
  filling.least_served = line.served;
  filling.touch(line);
  Flight& anchor = *line.cursor;
  filling.anchor_length = row_length(anchor.size);
  filling.signature = anchor.signature;
  filling.anchor_was_passed_over = anchor.overtaken >= kMaxOvertaken;
  filling.most_rows = options_.max_batch_size;
  filling.batch.cut = cut_by_length(filling, opening, anchor);
  take(filling, line, anchor);
  choose_size(filling);
  fill_from(filling, opening.priority);
  for (const Priority one : kClasses) fill_from(filling, one);

  settle_shape(filling);
  settle_floors(filling);
  put_lines_back(filling);
  if (queue.empty()) filling.batch.fullness = Fullness::nothing_left;
  const bool gain_stopped = filling.batch.fullness == Fullness::gain;
  if (filling.exploring) gain_stops_ = 0;
  gain_stops_ += gain_stopped ? 1 : 0;
  return filling.batch;
}

void BatchFormer::shrink(std::uint64_t tokens) noexcept {
  constexpr double kLeft = 0.7;
  const auto less = static_cast<std::uint64_t>(kLeft * static_cast<double>(std::min(most_tokens_, tokens)));
  most_tokens_ = std::max<std::uint64_t>(1, less);
  good_batches_ = 0;
}

void BatchFormer::grow() noexcept {
  constexpr std::uint32_t kBatches = 100;
  constexpr std::uint64_t kPart = 20;
  if (most_tokens_ >= options_.max_batch_tokens || ++good_batches_ < kBatches) return;
  const std::uint64_t more = std::max<std::uint64_t>(1, most_tokens_ / kPart);
  most_tokens_ += std::min(more, options_.max_batch_tokens - most_tokens_);
  good_batches_ = 0;
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

/// What was reckoned with while the batch grew gives way to what it is.
void BatchFormer::settle_shape(Filling& filling) const noexcept {
  FormedBatch& batch = filling.batch;
  if (batch.cut) {
    batch.shape.longest = 0;
    for (const Flight* one = batch.flights.front(); one != nullptr; one = one->next) {
      batch.shape.longest = std::max(batch.shape.longest, row_length(one->size));
    }
  }
  batch.shape = sizes_.pad(batch.shape);
  const Outlook& outlook = filling.outlook;
  if (outlook.model != nullptr) batch.mean_ns = outlook.model->mean(outlook.level, batch.shape);
}

/// Lines that were set aside return; who stood before the last one taken was overtaken.
void BatchFormer::put_lines_back(Filling& filling) noexcept {
  while (TenantLine* const line = filling.touched) {
    filling.touched = line->next_touched;
    Flight* flight = line->flights.first();
    const auto overtaken = [line](const Flight& one) {
      return one.order != line->last_order ? one.order < line->last_order : one.sequence < line->last_sequence;
    };
    while (!line->newest_first && flight != nullptr && overtaken(*flight)) {
      Flight* const next = FlightTree::next(*flight);
      if (flight->overtaken < kMaxOvertaken && ++flight->overtaken == kMaxOvertaken) filling.queue.promote(*flight);
      flight = next;
    }
    if (line->set_aside) filling.queue.put_back(*line, static_cast<Priority>(line - line->tenant->lines.data()));
  }
}

}  // namespace tidegate
