// Error: what every fallible operation of Tidegate answers instead of throwing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tidegate {

/// Why an operation failed. Values are fixed, shared with the C ABI
/// (`TIDEGATE_E_*` in tidegate.h) and never reused.
enum class ErrorCode : std::int32_t {
  internal = -1,           ///< a defect of Tidegate
  invalid_argument = -2,   ///< the caller's input is wrong; retrying cannot help
  not_found = -3,          ///< no such model, file, id or key
  already_exists = -4,     ///< the name is taken
  unsupported = -5,        ///< valid, but this build or this file cannot do it
  out_of_memory = -6,      ///< an allocation failed or a byte budget is spent
  io_error = -7,           ///< the operating system refused a read or write
  deadline_exceeded = -8,  ///< the request's deadline passed first
  cancelled = -9,          ///< the caller cancelled
  queue_full = -10,        ///< a hard cap of the queue is reached; see retry_after
  overloaded = -11,        ///< refused before any cap: it could not be served in time
  unavailable = -12,       ///< no replica can take the request
  shutting_down = -13,     ///< drain has begun
  busy = -14,              ///< a single-consumer object is in use elsewhere
  bad_handle = -15,        ///< C ABI: not a live handle of the expected type
  version_mismatch = -16,  ///< library, module or file of another version
  forked = -17,            ///< C ABI: object inherited through fork()
  backend_failed = -18,    ///< the model failed on this item
  corrupt_data = -19,      ///< stored bytes fail their checks
  abandoned = -20,         ///< a promise was dropped unanswered
  host_failed = -21,       ///< a function supplied by the host failed or threw
  too_large = -22,         ///< one item exceeds a per-batch or per-item limit
  preempted = -23,         ///< gave way to a request of a higher class in a full queue
  quota_exceeded = -24,    ///< the tenant has used up its share or rate; see retry_after
  stuck = -25,             ///< the model has not come back; the replica is out of use
};

/// Identifier text of a code, e.g. "queue_full". Static storage.
[[nodiscard]] constexpr std::string_view to_string(ErrorCode code) noexcept;

/// A failure: code, one line of text, and for refusals the numbers behind them.
/// Making one from a string literal allocates nothing, so a refusal costs no heap.
class [[nodiscard]] Error {
 public:
  /// `literal` must have static storage (a string literal).
  template <std::size_t N>
  constexpr Error(ErrorCode code, const char (&literal)[N]) noexcept : code_(code), literal_(literal, N - 1) {}

  Error(ErrorCode code, std::string message) noexcept : code_(code), owned_(std::move(message)) {}

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

  /// One line of UTF-8: what failed, where, and the remedy where there is one.
  [[nodiscard]] std::string_view message() const noexcept {
    return literal_.empty() ? std::string_view(owned_) : literal_;
  }

  /// Earliest moment a retry has a chance, as a delay from now; zero = unknown.
  [[nodiscard]] std::chrono::nanoseconds retry_after() const noexcept { return retry_after_; }

  /// The quantity that was refused and the limit it met (items, tokens or
  /// bytes, as the message says); both zero when the failure has none.
  [[nodiscard]] std::int64_t observed() const noexcept { return observed_; }
  [[nodiscard]] std::int64_t limit() const noexcept { return limit_; }

  Error&& with_retry_after(std::chrono::nanoseconds delay) && noexcept {
    retry_after_ = delay;
    return std::move(*this);
  }
  Error&& with_numbers(std::int64_t observed, std::int64_t limit) && noexcept {
    observed_ = observed;
    limit_ = limit;
    return std::move(*this);
  }

  /// "queue_full: the queue is full (observed 512, limit 512; retry after 12 ms)".
  [[nodiscard]] std::string text() const;

 private:
  ErrorCode code_;
  std::string_view literal_{};
  std::string owned_{};
  std::chrono::nanoseconds retry_after_{0};
  std::int64_t observed_ = 0;
  std::int64_t limit_ = 0;
};

constexpr std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::internal: return "internal";
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::already_exists: return "already_exists";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::io_error: return "io_error";
    case ErrorCode::deadline_exceeded: return "deadline_exceeded";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::queue_full: return "queue_full";
    case ErrorCode::overloaded: return "overloaded";
    case ErrorCode::unavailable: return "unavailable";
    case ErrorCode::shutting_down: return "shutting_down";
    case ErrorCode::busy: return "busy";
    case ErrorCode::bad_handle: return "bad_handle";
    case ErrorCode::version_mismatch: return "version_mismatch";
    case ErrorCode::forked: return "forked";
    case ErrorCode::backend_failed: return "backend_failed";
    case ErrorCode::corrupt_data: return "corrupt_data";
    case ErrorCode::abandoned: return "abandoned";
    case ErrorCode::host_failed: return "host_failed";
    case ErrorCode::too_large: return "too_large";
    case ErrorCode::preempted: return "preempted";
    case ErrorCode::quota_exceeded: return "quota_exceeded";
    case ErrorCode::stuck: return "stuck";
  }
  return "unknown";
}

/// The HTTP status that says the same to a client. 503: it may ask again; 429: and should ask less.
[[nodiscard]] constexpr unsigned http_status(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return 400;
    case ErrorCode::not_found: return 404;
    case ErrorCode::already_exists: return 409;
    case ErrorCode::too_large: return 413;
    case ErrorCode::queue_full:
    case ErrorCode::overloaded:
    case ErrorCode::preempted:
    case ErrorCode::quota_exceeded: return 429;
    case ErrorCode::cancelled: return 499;
    case ErrorCode::unsupported: return 501;
    case ErrorCode::out_of_memory:
    case ErrorCode::unavailable:
    case ErrorCode::stuck:
    case ErrorCode::busy:
    case ErrorCode::shutting_down: return 503;
    case ErrorCode::deadline_exceeded: return 504;
    default: return 500;
  }
}

/// The number of the gRPC status that says the same: 14 where http_status is 503, 8 (10 for a request that
/// gave way) where it is 429.
[[nodiscard]] constexpr int grpc_status(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::cancelled: return 1;
    case ErrorCode::invalid_argument:
    case ErrorCode::too_large: return 3;
    case ErrorCode::deadline_exceeded: return 4;
    case ErrorCode::not_found: return 5;
    case ErrorCode::already_exists: return 6;
    case ErrorCode::queue_full:
    case ErrorCode::overloaded:
    case ErrorCode::quota_exceeded: return 8;
    case ErrorCode::version_mismatch: return 9;
    case ErrorCode::preempted: return 10;
    case ErrorCode::unsupported: return 12;
    case ErrorCode::out_of_memory:
    case ErrorCode::unavailable:
    case ErrorCode::stuck:
    case ErrorCode::busy:
    case ErrorCode::shutting_down: return 14;
    case ErrorCode::corrupt_data: return 15;
    default: return 13;
  }
}

}  // namespace tidegate
