#include "queue/delivery_order.hpp"

namespace tidegate {

Result<void> DeliveryOrder::check(const RequestOptions& options) const noexcept {
  if (!options.ordering_key.empty() && ordering_ != Ordering::per_key) {
    return Error(ErrorCode::invalid_argument,
                 "the request has an ordering_key, but batching.ordering of the model is not per_key");
  }
  if (options.ordering_key.size() > kLongestKey) {
    return Error(ErrorCode::invalid_argument, "the ordering_key is too long (bytes)")
        .with_numbers(static_cast<std::int64_t>(options.ordering_key.size()), kLongestKey);
  }
  if (orders(options) && options.priority != Priority::interactive) {
    return Error(ErrorCode::invalid_argument,
                 "the request has a priority, but is answered in order (batching.ordering): leave one of them out");
  }
  return {};
}

bool DeliveryOrder::orders(const RequestOptions& options) const noexcept {
  return ordering_ == Ordering::lane || !options.ordering_key.empty();
}

bool DeliveryOrder::is_free(const RequestOptions& options) const {
  return !orders(options) || (!barred_ && lines_.find(std::string_view(options.ordering_key)) == lines_.end());
}

void DeliveryOrder::enter(Turn& turn, const RequestOptions& options, Telling telling) {
  turn = {};
  if (!orders(options)) return;
  const auto [entry, is_new] = lines_.try_emplace(options.ordering_key);
  Line& line = entry->second;
  line.key = &entry->first;
  turn.line_ = &line;
  turn.apart_ = telling == Telling::apart;
  turn.deadline_ = options.deadline;
  turn.sequence_ = ++taken_;
  turn.previous_ = line.last;
  (line.last != nullptr ? line.last->next_ : line.first) = &turn;
  line.last = &turn;
  ++size_;
}

bool DeliveryOrder::end(Turn& turn) noexcept {
  if (turn.line_ == nullptr || (turn.line_->first == &turn && !barred_)) {
    turn.state_ = Turn::State::called;
    return true;
  }
  turn.state_ = Turn::State::held;
  ++held_;
  if (turn.deadline_ != kNoDeadline) by_deadline_.insert(turn);
  return false;
}

void DeliveryOrder::remove(Turn& turn) noexcept {
  if (turn.state_ == Turn::State::held) become_called(turn);
  Line& line = *turn.line_;
  (turn.previous_ != nullptr ? turn.previous_->next_ : line.first) = turn.next_;
  (turn.next_ != nullptr ? turn.next_->previous_ : line.last) = turn.previous_;
  turn.line_ = nullptr;
  --size_;
}

/// It is held no longer.
void DeliveryOrder::become_called(Turn& turn) noexcept {
  turn.state_ = Turn::State::called;
  --held_;
  if (turn.deadline_ != kNoDeadline) by_deadline_.erase(turn);
}

void DeliveryOrder::drop(Line& line) noexcept { lines_.erase(lines_.find(std::string_view(*line.key))); }

}  // namespace tidegate
