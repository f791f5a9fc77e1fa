// What one batch and an empty queue can hold at most.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/try.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

/// As the numbers of an Error count.
[[nodiscard]] inline std::int64_t clamped(std::uint64_t value) noexcept {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return static_cast<std::int64_t>(std::min(value, kMost));
}

/// The largest item that fits a batch.
[[nodiscard]] inline ItemSize batch_limit(const BatchingOptions& batching) noexcept {
  return {batching.max_batch_size, batching.max_batch_tokens, batching.max_batch_bytes};
}

[[nodiscard]] inline bool fits_batch(const ItemSize& size, const BatchingOptions& caps) noexcept {
  return size.rows <= caps.max_batch_size && size.tokens <= caps.max_batch_tokens && size.bytes <= caps.max_batch_bytes;
}

[[nodiscard]] inline bool fits_queue(const ItemSize& size, std::uint64_t items, const AdmissionOptions& caps) noexcept {
  return items <= caps.max_queued_items && size.tokens <= caps.max_queued_tokens && size.bytes <= caps.max_queued_bytes;
}

template <std::size_t N>
[[nodiscard]] Result<void> check_cap(const char (&message)[N], std::uint64_t observed, std::uint64_t limit) noexcept {
  if (observed <= limit) return {};
  return Error(ErrorCode::too_large, message).with_numbers(clamped(observed), clamped(limit));
}

/// Error: too_large (which cap of a batch the item breaks by itself). Allocates nothing.
[[nodiscard]] inline Result<void> check_batch_caps(const ItemSize& size, const BatchingOptions& caps) noexcept {
  if (fits_batch(size, caps)) return {};
  TIDEGATE_CHECK(check_cap("the request has more rows than max_batch_size", size.rows, caps.max_batch_size));
  TIDEGATE_CHECK(check_cap("the request has more tokens than max_batch_tokens", size.tokens, caps.max_batch_tokens));
  return check_cap("the request has more bytes than max_batch_bytes", size.bytes, caps.max_batch_bytes);
}

/// Error: too_large (not even the empty queue would hold so many items of this size in all).
[[nodiscard]] inline Result<void> check_queue_caps(const ItemSize& size, std::uint64_t items,
                                                   const AdmissionOptions& caps) noexcept {
  if (fits_queue(size, items, caps)) return {};
  TIDEGATE_CHECK(check_cap("the request makes more parts than max_queued_items", items, caps.max_queued_items));
  TIDEGATE_CHECK(check_cap("the request has more tokens than max_queued_tokens", size.tokens, caps.max_queued_tokens));
  return check_cap("the request has more bytes than max_queued_bytes", size.bytes, caps.max_queued_bytes);
}

}  // namespace tidegate
