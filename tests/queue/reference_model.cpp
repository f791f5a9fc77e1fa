#include "queue/reference_model.hpp"

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
  for (const Flight& flight : queue_) {
    rows += flight.size.rows;
    tokens += flight.size.tokens;
  }
  const bool full = rows >= setup_.batching.max_batch_size || tokens >= setup_.batching.max_batch_tokens ||
                    queue_.size() >= setup_.admission.max_queued_items || tokens >= setup_.admission.max_queued_tokens;
  return !draining_ && !full && now < queue_.front().arrival + setup_.batching.max_queue_delay;
}

std::vector<ReferenceModel::Flight> ReferenceModel::form() {
  std::vector<Flight> batch;
  std::vector<Flight> left;
  std::uint64_t rows = 0;
  std::uint64_t tokens = 0;
  bool closed = false;
  std::size_t passed_over = 0;  // of `left`, how many an admitted flight has overtaken
  for (Flight& flight : queue_) {
    const bool fits = rows + flight.size.rows <= setup_.batching.max_batch_size &&
                      tokens + flight.size.tokens <= setup_.batching.max_batch_tokens;
    if (!closed && fits) {
      rows += flight.size.rows;
      tokens += flight.size.tokens;
      batch.push_back(std::move(flight));
      passed_over = left.size();
    } else {
      closed = closed || flight.overtaken >= 8;
      left.push_back(std::move(flight));
    }
  }
  for (std::size_t i = 0; i < passed_over; ++i) ++left[i].overtaken;
  queue_ = std::move(left);
  return batch;
}

void ReferenceModel::start_batches(TimePoint now) {
  expire(now);
  while (!queue_.empty() && running_.size() < setup_.slots && !lingers(now)) {
    std::vector<Flight> batch = form();
    std::vector<std::uint32_t> works;
    for (const Flight& flight : batch) works.push_back(flight.work);
    effects_.started.push_back(std::move(works));
    running_.emplace(next_batch_++, std::move(batch));
  }
}

ReferenceModel::Answer ReferenceModel::submit(TimePoint now, ItemSize size, Deadline deadline,
                                              std::optional<std::uint8_t> key) {
  expire(now);
  const std::uint32_t number = next_request_++;
  const std::uint32_t work = next_work_++;
  std::uint64_t tokens = size.tokens;
  std::uint64_t bytes = size.bytes;
  for (const Flight& flight : queue_) {
    tokens += flight.size.tokens;
    bytes += flight.size.bytes;
  }
  Answer answer = Answer::accepted;
  Flight* const equal = key ? joinable(*key) : nullptr;
  if (draining_) {
    answer = Answer::shutting_down;
  } else if (equal != nullptr) {
    equal->requests.push_back({number, deadline, true});
    answer = Answer::joined;
  } else if (size.rows > setup_.batching.max_batch_size || size.tokens > setup_.batching.max_batch_tokens ||
             size.tokens > setup_.admission.max_queued_tokens || size.bytes > setup_.admission.max_queued_bytes) {
    answer = Answer::too_large;
  } else if (queue_.size() + 1 > setup_.admission.max_queued_items || tokens > setup_.admission.max_queued_tokens ||
             bytes > setup_.admission.max_queued_bytes) {
    answer = Answer::queue_full;
  } else {
    queue_.push_back({work, size, now, key, {{number, deadline, false}}, 0});
    if (key) youngest_[*key] = work;
  }
  start_batches(now);
  return answer;
}

bool ReferenceModel::join(TimePoint now, std::uint8_t key, Deadline deadline) {
  expire(now);
  const std::uint32_t number = next_request_++;
  Flight* const flight = draining_ ? nullptr : joinable(key);
  if (flight != nullptr) flight->requests.push_back({number, deadline, true});
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
