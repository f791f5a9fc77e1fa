#include "queue/reference_model.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace tidegate::test {

void ReferenceModel::end(const Flight& flight, const Request& request, Outcome outcome) {
  Effects::End end{request.number, outcome, request.joined, {}};
  if (outcome == Outcome::answered) end.work = flight.work;
  effects_.ended.push_back(end);
}

/// Ends all requests that fit; queued flights left by everybody go with them.
template <class Condition>
bool ReferenceModel::end_where(Outcome outcome, Condition condition) {
  bool any = false;
  const auto sweep = [&](Flight& flight) {
    std::vector<Request> staying;
    for (const Request& request : flight.requests) {
      if (condition(request)) {
        end(flight, request, outcome);
        any = true;
      } else {
        staying.push_back(request);
      }
    }
    flight.requests = std::move(staying);
  };
  std::vector<Flight> waiting;
  for (Flight& flight : queue_) {
    sweep(flight);
    if (flight.requests.empty()) {
      effects_.retired.push_back(flight.work);
    } else {
      waiting.push_back(std::move(flight));
    }
  }
  queue_ = std::move(waiting);
  for (auto& [number, batch] : running_) {
    for (Flight& flight : batch) sweep(flight);
  }
  return any;
}

void ReferenceModel::expire(TimePoint now) {
  end_where(Outcome::deadline_exceeded,
            [&](const Request& request) { return request.deadline != kNoDeadline && request.deadline <= now; });
}

ReferenceModel::Flight* ReferenceModel::joinable(std::uint8_t key) {
  const auto youngest = youngest_.find(key);
  if (youngest == youngest_.end()) return nullptr;
  const auto fits = [&](const Flight& flight) {
    return flight.work == youngest->second && flight.requests.size() < SchedulerCore::kMaxWaitersPerFlight;
  };
  for (Flight& flight : queue_) {
    if (fits(flight)) return &flight;
  }
  for (auto& [number, batch] : running_) {
    for (Flight& flight : batch) {
      if (fits(flight)) return &flight;
    }
  }
  return nullptr;
}

bool ReferenceModel::lingers(TimePoint now) const {
  std::uint64_t rows = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  for (const Flight& flight : queue_) {
    rows += flight.size.rows;
    tokens += flight.size.tokens;
    bytes += flight.size.bytes;
  }
  const bool full = rows >= setup_.batching.max_batch_size || tokens >= setup_.batching.max_batch_tokens ||
                    queue_.size() >= setup_.admission.max_queued_items ||
                    tokens >= setup_.admission.max_queued_tokens || bytes >= setup_.admission.max_queued_bytes;
  return !draining_ && !full && now < queue_.front().arrival + setup_.batching.max_queue_delay;
}

std::pair<TimePoint, std::uint32_t> ReferenceModel::Flight::place() const {
  if (overtaken >= 8) return {TimePoint::min(), work};
  Deadline earliest = kNoDeadline;
  for (const Request& request : requests) earliest = std::min(earliest, request.deadline);
  if (earliest != kNoDeadline) return {earliest, work};
  switch (who.priority) {
    case Priority::critical: return {arrival + std::chrono::milliseconds(20), work};
    case Priority::interactive: return {arrival + std::chrono::milliseconds(100), work};
    case Priority::batch: break;
  }
  return {arrival + std::chrono::seconds(1), work};
}

bool ReferenceModel::has_work(Priority priority) const {
  return std::any_of(queue_.begin(), queue_.end(), [&](const Flight& one) { return one.who.priority == priority; });
}

/// To be called before the flight stands in the queue.
void ReferenceModel::enter(const Flight& flight) {
  if (!has_work(flight.who.priority)) {
    opened_at_[flight.who.priority] = flight.arrival;
    owed_[flight.who.priority] = 0;
  }
  const auto same_line = [&](const Flight& one) {
    return one.who.priority == flight.who.priority && one.who.tenant == flight.who.tenant;
  };
  if (std::any_of(queue_.begin(), queue_.end(), same_line)) return;
  double& served = served_[{flight.who.priority, flight.who.tenant}];
  served = std::max(served, clock_[flight.who.priority]);
}

/// A flight takes on the class of a higher one that joins it while it waits.
void ReferenceModel::reclass(Flight& flight, Priority priority) {
  if (priority >= flight.who.priority) return;
  const bool waits = &flight >= queue_.data() && &flight < queue_.data() + queue_.size();
  if (!waits) return;
  Flight moved = flight;
  moved.who.priority = priority;
  enter(moved);
  flight.who.priority = priority;
}

std::optional<std::uint8_t> ReferenceModel::least_served(Priority priority, const std::set<Line>& aside) const {
  std::optional<std::pair<double, std::uint8_t>> least;
  for (const Flight& flight : queue_) {
    const Line line{flight.who.priority, flight.who.tenant};
    if (line.first != priority || aside.count(line) != 0) continue;
    const std::pair<double, std::uint8_t> candidate{served_.at(line), line.second};
    if (!least || candidate < *least) least = candidate;
  }
  return least ? std::optional<std::uint8_t>(least->second) : std::nullopt;
}

Priority ReferenceModel::open_class(TimePoint now) {
  std::vector<Priority> waiting;
  for (const Priority one : {Priority::critical, Priority::interactive, Priority::batch}) {
    if (has_work(one)) waiting.push_back(one);
  }
  const bool may_age = !aged_last_ && waiting.size() > 1;
  aged_last_ = false;
  for (const Priority one : waiting) {
    if (!may_age || opened_at_.at(one) + setup_.batching.max_class_wait > now) continue;
    aged_last_ = one != waiting.front();
    return one;
  }
  for (const Priority one : waiting) {
    if (owed_[one] > 0 && waiting.size() > 1) return one;
  }
  return waiting.front();
}

void ReferenceModel::take(Forming& forming, std::size_t position) {
  Flight flight = std::move(queue_[position]);
  queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(position));
  const Line line{flight.who.priority, flight.who.tenant};
  auto& furthest = forming.furthest.emplace(line, std::pair(TimePoint::min(), 0u)).first->second;
  furthest = std::max(furthest, flight.place());
  clock_[line.first] = std::max(clock_[line.first], served_[line]);
  served_[line] += static_cast<double>(flight.size.tokens);
  forming.rows += flight.size.rows;
  forming.tokens += flight.size.tokens;
  forming.batch.push_back(std::move(flight));
}

void ReferenceModel::fill(Forming& forming, Priority priority) {
  while (forming.rows < setup_.batching.max_batch_size && forming.tokens < setup_.batching.max_batch_tokens) {
    const auto tenant = least_served(priority, forming.aside);
    if (!tenant) return;
    std::optional<std::size_t> next;
    for (std::size_t i = 0; i < queue_.size(); ++i) {
      const Flight& flight = queue_[i];
      if (flight.who.priority != priority || flight.who.tenant != *tenant) continue;
      if (forming.missed.count(flight.work) != 0) continue;
      if (!next || flight.place() < queue_[*next].place()) next = i;
    }
    if (!next) {
      forming.aside.insert({priority, *tenant});
    } else if (forming.rows + queue_[*next].size.rows <= setup_.batching.max_batch_size &&
               forming.tokens + queue_[*next].size.tokens <= setup_.batching.max_batch_tokens) {
      take(forming, *next);
    } else {
      forming.missed.insert(queue_[*next].work);
      if (queue_[*next].overtaken >= 8) forming.aside.insert({priority, *tenant});
    }
  }
}

void ReferenceModel::settle_floors(const Forming& forming, const std::set<Priority>& had_work) {
  const auto bound = static_cast<double>(setup_.batching.max_batch_tokens);
  for (const auto& [priority, floor] : {std::pair(Priority::interactive, setup_.batching.interactive_floor),
                                        std::pair(Priority::batch, setup_.batching.batch_floor)}) {
    std::uint64_t taken = 0;
    for (const Flight& flight : forming.batch) taken += flight.who.priority == priority ? flight.size.tokens : 0;
    double owed = owed_[priority] + static_cast<double>(forming.tokens) * floor / 100 - static_cast<double>(taken);
    if (floor == 0 || had_work.count(priority) == 0 || !has_work(priority)) owed = 0;
    owed_[priority] = std::clamp(owed, -bound, bound);
  }
}

std::vector<ReferenceModel::Flight> ReferenceModel::form(TimePoint now) {
  std::set<Priority> had_work;
  for (const Flight& flight : queue_) had_work.insert(flight.who.priority);
  const Priority opening = open_class(now);
  opened_at_[opening] = now;
  // The first of the least served line fits in an empty batch, so it is taken first.
  Forming forming;
  fill(forming, opening);
  for (const Priority one : {Priority::critical, Priority::interactive, Priority::batch}) fill(forming, one);
  settle_floors(forming, had_work);
  for (Flight& flight : queue_) {
    const auto furthest = forming.furthest.find({flight.who.priority, flight.who.tenant});
    if (furthest != forming.furthest.end() && flight.place() < furthest->second) ++flight.overtaken;
  }
  return std::move(forming.batch);
}

void ReferenceModel::start_batches(TimePoint now) {
  expire(now);
  while (!queue_.empty() && running_.size() < setup_.slots && !lingers(now)) {
    std::vector<Flight> batch = form(now);
    std::vector<std::uint32_t> works;
    for (const Flight& flight : batch) works.push_back(flight.work);
    effects_.started.push_back(std::move(works));
    running_.emplace(next_batch_++, std::move(batch));
  }
}

/// `without_below`: as if everything of lower classes were gone.
bool ReferenceModel::has_room(const ItemSize& size, std::optional<Priority> without_below) const {
  std::uint64_t items = 1;
  std::uint64_t tokens = size.tokens;
  std::uint64_t bytes = size.bytes;
  for (const Flight& flight : queue_) {
    if (without_below && flight.who.priority > *without_below) continue;
    ++items;
    tokens += flight.size.tokens;
    bytes += flight.size.bytes;
  }
  return items <= setup_.admission.max_queued_items && tokens <= setup_.admission.max_queued_tokens &&
         bytes <= setup_.admission.max_queued_bytes;
}

/// Of the lowest class and its most served tenant, the last of the line gives way.
void ReferenceModel::displace_last() {
  const auto rank = [this](const Flight& one) {
    const Line line{one.who.priority, one.who.tenant};
    return std::tuple(one.who.priority, served_.at(line), one.who.tenant, one.place());
  };
  const auto last = std::max_element(queue_.begin(), queue_.end(),
                                     [&](const Flight& a, const Flight& b) { return rank(a) < rank(b); });
  for (const Request& request : last->requests) end(*last, request, Outcome::preempted);
  effects_.retired.push_back(last->work);
  queue_.erase(last);
}

ReferenceModel::Answer ReferenceModel::submit(TimePoint now, ItemSize size, Deadline deadline,
                                              std::optional<std::uint8_t> key, Who who) {
  expire(now);
  const std::uint32_t number = next_request_++;
  const std::uint32_t work = next_work_++;
  Answer answer = Answer::accepted;
  Flight* const equal = key ? joinable(*key) : nullptr;
  if (draining_) {
    answer = Answer::shutting_down;
  } else if (equal != nullptr) {
    reclass(*equal, who.priority);
    equal->requests.push_back({number, deadline, true});
    answer = Answer::joined;
  } else if (size.rows > setup_.batching.max_batch_size || size.tokens > setup_.batching.max_batch_tokens ||
             size.tokens > setup_.admission.max_queued_tokens || size.bytes > setup_.admission.max_queued_bytes) {
    answer = Answer::too_large;
  } else if (!has_room(size, {}) && !has_room(size, who.priority)) {
    answer = Answer::queue_full;
  } else {
    while (!has_room(size, {})) displace_last();
    Flight flight{work, size, now, key, {{number, deadline, false}}, who, 0};
    enter(flight);
    queue_.push_back(std::move(flight));
    if (key) youngest_[*key] = work;
  }
  start_batches(now);
  return answer;
}

bool ReferenceModel::join(TimePoint now, std::uint8_t key, Deadline deadline, Priority priority) {
  expire(now);
  const std::uint32_t number = next_request_++;
  Flight* const flight = draining_ ? nullptr : joinable(key);
  if (flight != nullptr) {
    reclass(*flight, priority);
    flight->requests.push_back({number, deadline, true});
  }
  start_batches(now);
  return flight != nullptr;
}

bool ReferenceModel::cancel(TimePoint now, std::uint32_t request) {
  expire(now);
  const bool found = end_where(Outcome::cancelled, [&](const Request& one) { return one.number == request; });
  start_batches(now);
  return found;
}

void ReferenceModel::advance(TimePoint now) {
  expire(now);
  start_batches(now);
}

void ReferenceModel::done(TimePoint now, std::uint32_t batch) {
  expire(now);
  if (const auto found = running_.find(batch); found != running_.end()) {
    for (const Flight& flight : found->second) {
      for (const Request& request : flight.requests) end(flight, request, Outcome::answered);
      wasted += flight.requests.empty() ? 1 : 0;
      effects_.retired.push_back(flight.work);
    }
    running_.erase(found);
  }
  start_batches(now);
}

void ReferenceModel::set_slots(TimePoint now, std::uint32_t slots) {
  expire(now);
  setup_.slots = slots;
  start_batches(now);
}

void ReferenceModel::begin_drain(TimePoint now) {
  expire(now);
  draining_ = true;
  start_batches(now);
}

void ReferenceModel::fail_remaining(TimePoint now) {
  expire(now);
  draining_ = true;
  end_where(Outcome::shutting_down, [](const Request&) { return true; });
  start_batches(now);
}

Effects ReferenceModel::take() {
  effects_.sort();
  return std::exchange(effects_, {});
}

}  // namespace tidegate::test
