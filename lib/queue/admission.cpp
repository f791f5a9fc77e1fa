#include "queue/admission.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/try.hpp"

namespace tidegate {
namespace {

/// Weight of the newest batch: the last ~16 batches decide the mean.
constexpr double kNewestWeight = 1.0 / 8;

/// a + b, or the largest value where that overflows.
std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a > std::numeric_limits<std::uint64_t>::max() - b ? std::numeric_limits<std::uint64_t>::max() : a + b;
}

}  // namespace

Result<void> Admission::check_item(const ItemSize& size) const noexcept {
  TIDEGATE_CHECK(check_batch_caps(size, batching_));
  return check_queue(size, 1);
}

Result<void> Admission::check_step(const ItemSize& size) const noexcept {
  TIDEGATE_CHECK(check_batch_caps(size, batching_));
  return check_queue_caps(size, 1, caps_);
}

Result<void> Admission::check_queue(const ItemSize& size, std::size_t items) const noexcept {
  TIDEGATE_CHECK(check_queue_caps(size, items, caps_));
  if (shared_ == nullptr) return {};
  const QueueAmount& most = shared_->caps();
  TIDEGATE_CHECK(check_cap("the request makes more parts than queue.max_queued_items", items, most.items));
  TIDEGATE_CHECK(check_cap("the request has more tokens than queue.max_queued_tokens", size.tokens, most.tokens));
  return check_cap("the request has more bytes than queue.max_queued_bytes", size.bytes, most.bytes);
}

/// What waits of the classes below `priority`.
QueueAmount Admission::below(Priority priority, const FlightQueue& queue) noexcept {
  QueueAmount amount;
  for (std::size_t i = index_of(priority) + 1; i < kPriorities; ++i) {
    const ClassQueue& one = queue.of(static_cast<Priority>(i));
    amount.items += one.items;
    amount.tokens += one.total.tokens;
    amount.bytes += one.total.bytes;
  }
  return amount;
}

Result<QueueAmount> Admission::take_shared(const QueueAmount& wanted, const FlightQueue& queue, std::uint32_t slots,
                                           const SharedRoom::Asker& asker, Displacing displacing) const noexcept {
  const QueueAmount replaceable = displacing == Displacing::nobody ? QueueAmount{} : below(asker.priority, queue);
  const auto taken = shared_->take(wanted, replaceable, asker);
  const auto full = [&](auto& message) -> Error {
    return Error(ErrorCode::queue_full, message)
        .with_numbers(clamped(taken.observed), clamped(taken.limit))
        .with_retry_after(retry_after(queue, slots));
  };
  switch (taken.verdict) {
    case SharedRoom::Verdict::items:
      return full("the queues of all models are full: queue.max_queued_items requests wait");
    case SharedRoom::Verdict::tokens:
      return full("the queues of all models are full: waiting tokens would exceed queue.max_queued_tokens");
    case SharedRoom::Verdict::bytes:
      return full("the queues of all models are full: waiting bytes would exceed queue.max_queued_bytes");
    case SharedRoom::Verdict::others_wait:
      return full(
          "the queues of all models are full: callers wait for room under queue.max_queued_items, tokens or bytes");
    case SharedRoom::Verdict::there: break;
  }
  return taken.missing;
}

QueueAmount Admission::left(const FlightQueue& queue) const noexcept {
  return {caps_.max_queued_items - queue.items(), caps_.max_queued_tokens - queue.tokens(),
          caps_.max_queued_bytes - queue.bytes()};
}

Result<void> Admission::check_room(const ItemSize& size, std::uint32_t items, const FlightQueue& queue,
                                   std::uint32_t slots) const noexcept {
  const auto full = [&](auto& message, std::uint64_t observed, std::uint64_t limit) -> Error {
    return Error(ErrorCode::queue_full, message)
        .with_numbers(clamped(observed), clamped(limit))
        .with_retry_after(retry_after(queue, slots));
  };
  // Subtracting from a cap cannot wrap: the totals never exceed it.
  if (items > caps_.max_queued_items - queue.items()) {
    return full("the queue is full: max_queued_items requests wait", queue.items(), caps_.max_queued_items);
  }
  if (size.tokens > caps_.max_queued_tokens - queue.tokens()) {
    return full("the queue is full: with this request, waiting tokens would exceed max_queued_tokens",
                sum(queue.tokens(), size.tokens), caps_.max_queued_tokens);
  }
  if (size.bytes > caps_.max_queued_bytes - queue.bytes()) {
    return full("the queue is full: with this request, waiting bytes would exceed max_queued_bytes",
                sum(queue.bytes(), size.bytes), caps_.max_queued_bytes);
  }
  return {};
}

Result<void> Admission::check_share(const Tenant& tenant, std::uint32_t items, const FlightQueue& queue,
                                    std::uint32_t slots) const noexcept {
  const std::uint64_t share = std::uint64_t{caps_.max_queued_items} * caps_.max_tenant_share / 100;
  const bool alone = tenant.queued == queue.items();
  if (alone || std::uint64_t{tenant.queued} + items <= std::max<std::uint64_t>(1, share)) return {};
  return Error(ErrorCode::quota_exceeded, "the tenant holds its max_tenant_share of the queue, and others wait")
      .with_numbers(tenant.queued, clamped(share))
      .with_retry_after(retry_after(queue, slots));
}

bool Admission::can_displace(const ItemSize& size, std::uint32_t count, Priority priority,
                             const FlightQueue& queue) const noexcept {
  std::uint64_t items = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i <= index_of(priority); ++i) {
    const ClassQueue& stays = queue.of(static_cast<Priority>(i));
    items += stays.items;
    tokens += stays.total.tokens;
    bytes += stays.total.bytes;
  }
  return count <= caps_.max_queued_items - items && size.tokens <= caps_.max_queued_tokens - tokens &&
         size.bytes <= caps_.max_queued_bytes - bytes;
}

bool Admission::is_full(const FlightQueue& queue) const noexcept {
  return queue.items() >= caps_.max_queued_items || queue.tokens() >= caps_.max_queued_tokens ||
         queue.bytes() >= caps_.max_queued_bytes || (shared_ != nullptr && shared_->is_full());
}

void Admission::record_batch(Duration duration) noexcept {
  const auto ns = static_cast<double>(std::max(duration, Duration::zero()).count());
  batch_ns_ = batches_++ == 0 ? ns : batch_ns_ + kNewestWeight * (ns - batch_ns_);
}

double Admission::exact_batches_of(const BatchShape& shape) const noexcept {
  const double by_rows = static_cast<double>(shape.rows) / batching_.max_batch_size;
  const double by_tokens = static_cast<double>(shape.tokens) / static_cast<double>(batching_.max_batch_tokens);
  return std::max(by_rows, by_tokens);
}

double Admission::batches_of(const BatchShape& shape) const noexcept {
  return std::max(1.0, std::ceil(exact_batches_of(shape)));
}

Duration Admission::retry_after(const FlightQueue& queue, std::uint32_t slots) const noexcept {
  const double rounds = std::ceil(batches_of(queue.total()) / std::max<std::uint32_t>(1, slots));
  const double ns = std::min(rounds * batch_ns_, static_cast<double>(kLongestRetry.count()));
  return std::max(kShortestRetry, Duration(static_cast<std::int64_t>(ns)));
}

}  // namespace tidegate
