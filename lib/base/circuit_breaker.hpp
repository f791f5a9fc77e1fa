// CircuitBreaker: stops calling a dependency that fails, and tries it again later.
#pragma once

#include <array>
#include <cstdint>

#include "tidegate/time.hpp"

namespace tidegate {

/// Closed: calls go out. Open: none does, for a time that doubles with each opening.
/// Half-open: one probe is out, and its end alone decides. A pure object: time is
/// passed in, and equal calls with an equal seed give equal decisions.
/// Thread-compatible.
class CircuitBreaker {
 public:
  struct Options {
    std::uint32_t consecutive_silences = 5;  ///< calls in a row without an answer that open it
    std::uint32_t least_calls = 20;          ///< in the window, before the share of failures counts
    std::uint32_t failure_percent = 50;      ///< share of the window's calls that opens it
    Duration window = std::chrono::seconds(10);
    Duration first_open = std::chrono::seconds(1);
    Duration longest_open = std::chrono::seconds(30);
    std::uint32_t jitter_percent = 20;  ///< each time is longer or shorter by up to so much
  };
  enum class State : std::uint8_t { closed, open, half_open };
  enum class Permit : std::uint8_t { call, refuse, probe };
  /// silence: no answer in time, or no connection. refusal: an answer that is an error.
  enum class Failure : std::uint8_t { silence, refusal };

  CircuitBreaker(const Options& options, std::uint64_t seed) : options_(options), random_(seed) {}

  /// `probe` is said once for each time it was open; whoever hears it must tell the end.
  [[nodiscard]] Permit ask(TimePoint now);

  /// The end of a call. Nothing while it is not closed: such a call began before.
  void succeeded(TimePoint now);
  void failed(TimePoint now, Failure failure);

  void probe_succeeded();
  void probe_failed(TimePoint now);

  [[nodiscard]] State state() const noexcept { return state_; }
  /// When the next probe may go out; while open.
  [[nodiscard]] TimePoint open_until() const noexcept { return open_until_; }

 private:
  static constexpr std::size_t kBuckets = 10;
  struct Bucket {
    std::int64_t number = -1;  ///< which tenth of a window since the clock's beginning
    std::uint32_t calls = 0;
    std::uint32_t failures = 0;
  };

  Bucket& bucket(TimePoint now);
  [[nodiscard]] bool window_is_bad(TimePoint now) const;
  void open(TimePoint now);
  [[nodiscard]] std::int64_t bucket_number(TimePoint now) const;
  [[nodiscard]] Duration with_jitter(Duration span);

  const Options options_;
  std::uint64_t random_;
  State state_ = State::closed;
  TimePoint open_until_{};
  std::uint32_t openings_ = 0;  ///< in a row, without a successful probe
  std::uint32_t silences_ = 0;  ///< in a row
  std::array<Bucket, kBuckets> buckets_{};
};

}  // namespace tidegate
