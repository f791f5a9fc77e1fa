#include "queue/batch_filling.hpp"

namespace tidegate {
namespace {

/// 0 = urgent, 2 = can wait: among flights of one bucket length decides, not the deadline.
int slack_bucket(const Flight& flight, const Outlook& outlook) noexcept {
  if (flight.order <= later(outlook.now, 2 * outlook.mean_batch)) return 0;
  return flight.order <= later(outlook.now, 8 * outlook.mean_batch) ? 1 : 2;
}

}  // namespace

// ---- how it is planned ----------------------------------------------------------------

/// Where the class that goes first has more than two batches waiting of a model that pads,
/// the lengths between which this batch takes its flights. Packed, tokens and squares are
/// sums over rows, however they are cut. Only among flights that may go first anyway is the
/// order free: not with a higher class waiting, nor where a tenant is ahead by a batch already.
std::optional<LengthCut> BatchFormer::cut_by_length(const Filling& filling, const Opening& opening,
                                                    const Flight& anchor) const noexcept {
  const Outlook& outlook = filling.outlook;
  const bool wanted = options_.grouping == Grouping::by_length && layout_ == BatchLayout::padded && sizes_.any();
  if (!wanted || outlook.model == nullptr || filling.exploring || outlook.mean_batch < kShortestCutBatch) return {};
  const ClassQueue& queue = filling.queue.of(opening.priority);
  const std::uint64_t rows = 2 * std::uint64_t{options_.max_batch_size};
  if (opening.aged || (queue.total.rows <= rows && queue.total.tokens / 2 <= options_.max_batch_tokens)) return {};
  for (const Priority higher : kClasses) {
    if (higher < opening.priority && filling.queue.of(higher).items > 0) return {};
  }
  const auto ahead = queue.lines.last()->served - queue.lines.first()->served;
  if (ahead > static_cast<double>(options_.max_batch_tokens)) return {};
  BatchRules rules{options_.max_batch_size,  most_tokens_,
                   options_.max_batch_bytes, outlook.model->coefficients(outlook.level),
                   outlook.model->tail95(),  outlook.now};
  SortSplit split(rules);
  split.add(anchor.size, anchor.urgent, slack_bucket(anchor, outlook));
  const std::size_t of_each = std::max<std::size_t>(4, SortSplit::kMost / queue.lines.size());
  for (TenantLine* line = queue.lines.first(); line != nullptr; line = LineTree::next(*line)) {
    const bool newest_first = is_newest_first(*line, outlook);
    Flight* flight = newest_first ? line->flights.last() : line->flights.first();
    for (std::size_t i = 0; i < of_each && flight != nullptr && !split.full(); ++i) {
      if (flight != &anchor && flight->signature == anchor.signature) {
        split.add(flight->size, flight->urgent, slack_bucket(*flight, outlook));
      }
      flight = newest_first ? FlightTree::previous(*flight) : FlightTree::next(*flight);
    }
  }
  return split.cut();
}

/// Of a model with static shapes: the size that takes the least time per row it is asked for,
/// where a larger one saves enough. It is known before the batch is filled how far it could be.
void BatchFormer::choose_size(Filling& filling) const noexcept {
  const Outlook& outlook = filling.outlook;
  if (sizes_.any() || outlook.model == nullptr) return;
  const BatchShape all = reachable(filling);
  double best = 0;
  for (const std::uint32_t size : sizes_.sizes()) {
    if (size < filling.batch.shape.rows) continue;
    BatchShape shape = all;
    shape.rows = std::min<std::uint64_t>(size, all.rows);
    shape.filler = size - shape.rows;
    const double share = static_cast<double>(shape.rows) / static_cast<double>(all.rows);
    shape.tokens = static_cast<std::uint64_t>(static_cast<double>(all.tokens) * share);
    shape.squares = all.squares * share;
    const double per_row = outlook.model->mean(outlook.level, shape) / static_cast<double>(shape.rows);
    if (best == 0 || per_row < (1 - kLeastGain) * best) {
      best = per_row;
      filling.most_rows = size;
    }
    if (size >= all.rows) break;
  }
  filling.batch.mean_ns = outlook.model->mean(outlook.level, filling.computed(filling.batch.shape, sizes_));
}

/// What the batch would come to if it were filled as far as can be.
BatchShape BatchFormer::reachable(const Filling& filling) const noexcept {
  const Outlook& outlook = filling.outlook;
  BatchShape shape = filling.batch.shape;
  Deadline deadline = filling.batch.deadline;
  std::uint32_t looks = 0;
  for (const Priority one : kClasses) {
    for (TenantLine* line = filling.queue.of(one).lines.first(); line != nullptr; line = LineTree::next(*line)) {
      for (Flight* flight = line->flights.first(); flight != nullptr; flight = FlightTree::next(*flight)) {
        if (shape.rows >= options_.max_batch_size || ++looks > kWindow) return shape;
        if (obstacle(filling, shape, options_.max_batch_size, *flight) != Fullness::nothing_left) continue;
        BatchShape with = shape;
        with.add(flight->size);
        const Deadline both = std::min(deadline, flight->urgent);
        const double tail = outlook.model->mean(outlook.level, sizes_.pad(with)) * outlook.model->tail95();
        if (both != kNoDeadline && later(outlook.now, Duration(static_cast<std::int64_t>(tail))) > both) continue;
        shape = with;
        deadline = both;
      }
    }
  }
  return shape;
}

// ---- how it is filled -----------------------------------------------------------------

void BatchFormer::take(Filling& filling, TenantLine& line, Flight& flight) const noexcept {
  FormedBatch& batch = filling.batch;
  if (line.cursor == &flight) line.cursor = filling.after(line, flight);
  if (flight.order > line.last_order || (flight.order == line.last_order && flight.sequence > line.last_sequence)) {
    line.last_order = flight.order;
    line.last_sequence = flight.sequence;
  }
  ++filling.newcomers;
  if (filling.opener == &flight) filling.opener = nullptr;
  batch.deadline = std::min(batch.deadline, flight.urgent);
  batch.oldest = std::min(batch.oldest, flight.arrival);
  filling.queue.serve(line, flight);
  add(filling, flight);
}

/// The flight is in no list.
void BatchFormer::add(Filling& filling, Flight& flight) const noexcept {
  FormedBatch& batch = filling.batch;
  filling.taken[index_of(flight.priority)] += flight.size.tokens;
  filling.has_long = filling.has_long || is_long(flight);
  batch.shape.add(flight.size);
  // As the whole cut is run, every row is as long as its longest.
  if (batch.cut) batch.shape.longest = batch.cut->longest;
  batch.flights.push_back(flight);
  const Outlook& outlook = filling.outlook;
  if (outlook.model == nullptr) return;
  batch.mean_ns = outlook.model->mean(outlook.level, filling.computed(batch.shape, sizes_));
  batch.alone_ns += outlook.model->mean(outlook.level, shape_of(flight.size));
}

void BatchFormer::fill_from(Filling& filling, Priority priority) const noexcept {
  ClassQueue& queue = filling.queue.of(priority);
  FormedBatch& batch = filling.batch;
  while (TenantLine* const line = queue.lines.first()) {
    const bool rows_full = batch.shape.rows >= filling.most_rows;
    const bool tokens_full = batch.shape.tokens >= most_tokens_;
    if (rows_full || tokens_full) filling.miss(rows_full ? Fullness::rows : Fullness::tokens);
    const bool slot_full = filling.continuing != nullptr && filling.newcomers >= filling.continuing->newcomers;
    if (slot_full) filling.miss(Fullness::sequences);
    const bool full = rows_full || tokens_full || slot_full;
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
      if (line->cursor == flight) line->cursor = filling.after(*line, *flight);
      // Who was passed over often enough lets nobody of his line go before him any more.
      if (flight->overtaken >= kMaxOvertaken) filling.queue.set_aside(*line, priority);
    }
  }
}

/// The flight of the line to try next: the first, or where rows are padded the one of the
/// likest length among the urgent ones.
Flight* BatchFormer::candidate(Filling& filling, TenantLine& line) const noexcept {
  if (filling.batch.cut) return next_inside_cut(filling, line);
  if (layout_ == BatchLayout::packed) return line.cursor;
  Flight* best = nullptr;
  int best_bucket = 0;
  std::uint64_t best_distance = 0;
  Flight* flight = line.newest_first ? line.flights.last() : line.flights.first();
  for (std::uint32_t i = 0; i < kLengthWindow && flight != nullptr; ++i) {
    Flight& one = *flight;
    flight = line.newest_first ? FlightTree::previous(one) : FlightTree::next(one);
    if (one.missed == filling.formation) continue;
    const int bucket = slack_bucket(one, filling.outlook);
    const std::uint64_t length = row_length(one.size);
    const std::uint64_t distance =
        length > filling.anchor_length ? length - filling.anchor_length : filling.anchor_length - length;
    if (best == nullptr || bucket < best_bucket || (bucket == best_bucket && distance < best_distance)) {
      best = &one;
      best_bucket = bucket;
      best_distance = distance;
    }
  }
  return best;
}

Flight* BatchFormer::next_inside_cut(Filling& filling, TenantLine& line) const noexcept {
  // Its lengths may suit, but a tenant who is ahead by half a batch has had his turn.
  const bool of_opener = &line == &line.tenant->lines[index_of(filling.batch.opened_by)];
  const double most_served = filling.least_served + static_cast<double>(options_.max_batch_tokens) / 2;
  if (of_opener && line.served > most_served) return nullptr;
  while (line.cursor != nullptr && !filling.batch.cut->holds(row_length(line.cursor->size))) {
    Flight& outside = *line.cursor;
    // Who was passed over often enough opens a batch soon; only he himself may be in front.
    const bool blocks = outside.overtaken >= kMaxOvertaken && !filling.anchor_was_passed_over;
    if (blocks || ++filling.batch.passed_over >= kWindow) return nullptr;
    filling.miss(Fullness::padding);
    outside.missed = filling.formation;
    line.cursor = filling.after(line, outside);
  }
  return line.cursor;
}

/// What keeps the flight out of a batch of this shape, whatever its time.
Fullness BatchFormer::obstacle(const Filling& filling, const BatchShape& shape, std::uint64_t most_rows,
                               const Flight& flight) const noexcept {
  if (flight.signature != filling.signature) return Fullness::signature;
  // Subtracting from a cap cannot wrap: only an opener by itself exceeds the one of tokens.
  if (flight.size.rows > most_rows - shape.rows) return Fullness::rows;
  if (shape.tokens >= most_tokens_ || flight.size.tokens > most_tokens_ - shape.tokens) return Fullness::tokens;
  if (flight.size.bytes > options_.max_batch_bytes - shape.bytes) return Fullness::bytes;
  BatchShape with = shape;
  with.add(flight.size);
  const bool padded = layout_ == BatchLayout::padded;
  if (padded && with.computed_tokens(layout_) > static_cast<double>(most_tokens_)) {
    return Fullness::tokens;
  }
  const bool fits = with.computed_squares(layout_) <= kMostPadding * with.squares;
  return fits || filling.batch.cut || filling.continuing != nullptr ? Fullness::nothing_left : Fullness::padding;
}

double BatchFormer::least_gain(const FlightQueue& queue) const noexcept {
  const double batches = std::max(static_cast<double>(queue.items()) / options_.max_batch_size,
                                  static_cast<double>(queue.tokens()) / static_cast<double>(options_.max_batch_tokens));
  return kLeastGain * std::clamp(2 - 2 * batches, kBackloggedGain, 1.0);
}

bool BatchFormer::fits(Filling& filling, const Flight& flight) const noexcept {
  const Fullness why = obstacle(filling, filling.batch.shape, filling.most_rows, flight);
  if (why != Fullness::nothing_left) return filling.miss(why);
  if (filling.continuing != nullptr) {
    return !filling.has_long || !is_long(flight) || filling.miss(Fullness::long_step);
  }
  if (filling.outlook.model == nullptr) return true;
  BatchShape shape = filling.batch.shape;
  shape.add(flight.size);
  const Outlook& outlook = filling.outlook;
  const double together = outlook.model->mean(outlook.level, filling.computed(shape, sizes_));
  const Deadline deadline = std::min(filling.batch.deadline, flight.urgent);
  const auto tail = Duration(static_cast<std::int64_t>(together * outlook.model->tail95()));
  if (deadline != kNoDeadline && later(outlook.now, tail) > deadline) return filling.miss(Fullness::deadline);
  const double alone = outlook.model->mean(outlook.level, shape_of(flight.size));
  const bool explores = filling.exploring && filling.batch.flights.size() < kExploreFlights;
  if (explores || alone - (together - filling.batch.mean_ns) >= least_gain(filling.queue) * alone) return true;
  ++filling.gain_misses;
  return filling.miss(Fullness::gain);
}

}  // namespace tidegate
