// The next step of a slot of an iterative model: who goes on, and who enters.
#include "queue/batch_filling.hpp"

namespace tidegate {

FormedBatch BatchFormer::form_step(FlightQueue& queue, const Outlook& outlook, Continuing& continuing) noexcept {
  Filling filling{queue, outlook};
  filling.formation = ++formations_;
  filling.continuing = &continuing;
  filling.most_rows = options_.max_batch_size;
  std::array<std::uint32_t, kPriorities> waiting{};
  for (const Priority one : kClasses) {
    waiting[index_of(one)] = queue.of(one).items;
    filling.had_work[index_of(one)] = queue.of(one).items > 0;
  }
  const bool admits = !queue.empty() && continuing.newcomers > 0;
  if (admits) open_step(filling);
  const std::span<Flight* const> line_up = continuing.line_up;
  std::size_t last = 0;
  while (last < line_up.size() && line_up[last]->overtaken >= kMaxOvertaken) ++last;
  go_on(filling, last);
  for (const Priority one : kClasses) {
    while (last < line_up.size() && line_up[last]->priority == one) ++last;
    go_on(filling, last);
    if (admits) fill_from(filling, one);
  }
  for (const Priority one : kClasses) {
    if (queue.of(one).items < waiting[index_of(one)]) queue.of(one).opened_at = outlook.now;
  }
  settle_shape(filling);
  settle_floors(filling);
  put_lines_back(filling);
  if (filling.opener != nullptr) count_overtaken(queue, *filling.opener);
  if (queue.empty() && filling.batch.passed_over == 0) filling.batch.fullness = Fullness::nothing_left;
  filling.batch.opened_by = filling.batch.flights.front()->priority;
  return filling.batch;
}

/// The flight that would open a batch of the queue goes before those that go on where its
/// class is owed that, where steps have passed it over too often or where nobody goes on. Not where
/// steps have passed over one of those too often: so neither kind keeps the other out.
void BatchFormer::open_step(Filling& filling) noexcept {
  FlightQueue& queue = filling.queue;
  const Opening opening = choose_class(queue, filling.outlook);
  const bool out_of_turn = std::any_of(kClasses.begin(), kClasses.end(), [&](Priority one) {
    return index_of(one) < index_of(opening.priority) && queue.of(one).items > 0;
  });
  TenantLine& line = *queue.of(opening.priority).lines.first();
  Flight& opener = *opener_of(line, filling.outlook);
  filling.opener = &opener;
  filling.anchor_length = row_length(opener.size);
  const std::span<Flight* const> line_up = filling.continuing->line_up;
  const bool gives_way = !line_up.empty() && line_up.front()->overtaken >= kMaxOvertaken;
  const bool first = line_up.empty() || (!gives_way && (out_of_turn || opener.overtaken >= kMaxOvertaken));
  aged_last_ = first && opening.aged;
  if (!first) return;
  filling.touch(line);
  filling.signature = opener.signature;
  take(filling, line, opener);
}

/// Takes those of the line-up before `last` that fit.
void BatchFormer::go_on(Filling& filling, std::size_t last) const noexcept {
  FormedBatch& batch = filling.batch;
  for (std::size_t& next = filling.next_continuing; next < last; ++next) {
    Flight& flight = *filling.continuing->line_up[next];
    if (batch.flights.empty()) filling.signature = flight.signature;
    if (!batch.flights.empty() && !fits(filling, flight)) {
      ++batch.passed_over;
      if (flight.overtaken < kMaxOvertaken) ++flight.overtaken;
      continue;
    }
    filling.continuing->ready.remove(flight);
    flight.overtaken = 0;
    filling.queue.charge(flight);
    batch.oldest = std::min(batch.oldest, flight.ready_since);
    ++batch.continued;
    add(filling, flight);
  }
}

/// A line's first flight that a step has passed over, and with it its whole line.
void BatchFormer::count_overtaken(FlightQueue& queue, Flight& opener) const noexcept {
  const TenantLine& line = opener.tenant->lines[index_of(opener.priority)];
  const bool counted = line.formation == formations_ && line.last_sequence > 0;  // by put_lines_back
  if (counted || opener.overtaken >= kMaxOvertaken) return;
  if (++opener.overtaken == kMaxOvertaken) queue.promote(opener);
}

}  // namespace tidegate
