#include "base/circuit_breaker.hpp"

#include <algorithm>

namespace tidegate {

CircuitBreaker::Permit CircuitBreaker::ask(TimePoint now) {
  if (state_ == State::closed) return Permit::call;
  if (state_ == State::half_open || now < open_until_) return Permit::refuse;
  state_ = State::half_open;
  return Permit::probe;
}

void CircuitBreaker::succeeded(TimePoint now) {
  if (state_ != State::closed) return;
  silences_ = 0;
  ++bucket(now).calls;
}

void CircuitBreaker::failed(TimePoint now, Failure failure) {
  if (state_ != State::closed) return;
  silences_ = failure == Failure::silence ? silences_ + 1 : 0;
  Bucket& current = bucket(now);
  ++current.calls;
  ++current.failures;
  if (silences_ >= options_.consecutive_silences || window_is_bad(now)) open(now);
}

void CircuitBreaker::probe_succeeded() {
  if (state_ != State::half_open) return;
  state_ = State::closed;
  openings_ = 0;
  silences_ = 0;
  buckets_.fill({});
}

void CircuitBreaker::probe_failed(TimePoint now) {
  if (state_ == State::half_open) open(now);
}

void CircuitBreaker::open(TimePoint now) {
  Duration span = options_.first_open;
  for (std::uint32_t i = 0; i < openings_ && span < options_.longest_open; ++i) span *= 2;
  state_ = State::open;
  open_until_ = now + std::min(with_jitter(std::min(span, options_.longest_open)), options_.longest_open);
  ++openings_;
}

std::int64_t CircuitBreaker::bucket_number(TimePoint now) const {
  return now.time_since_epoch() / (options_.window / static_cast<std::int64_t>(kBuckets));
}

CircuitBreaker::Bucket& CircuitBreaker::bucket(TimePoint now) {
  const std::int64_t number = bucket_number(now);
  Bucket& found = buckets_[static_cast<std::size_t>(number) % kBuckets];
  if (found.number != number) found = {number, 0, 0};
  return found;
}

bool CircuitBreaker::window_is_bad(TimePoint now) const {
  const std::int64_t oldest = bucket_number(now) - static_cast<std::int64_t>(kBuckets) + 1;
  std::uint64_t calls = 0;
  std::uint64_t failures = 0;
  for (const Bucket& one : buckets_) {
    if (one.number < oldest) continue;
    calls += one.calls;
    failures += one.failures;
  }
  return calls >= options_.least_calls && failures * 100 >= calls * options_.failure_percent;
}

Duration CircuitBreaker::with_jitter(Duration span) {
  // splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
  random_ += 0x9E3779B97F4A7C15ULL;
  std::uint64_t mixed = random_;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBULL;
  mixed ^= mixed >> 31;
  const double part = static_cast<double>(mixed >> 11) / static_cast<double>(1ULL << 53);  // [0, 1)
  const double factor = 1.0 + (2.0 * part - 1.0) * options_.jitter_percent / 100.0;
  return Duration(static_cast<std::int64_t>(static_cast<double>(span.count()) * factor));
}

}  // namespace tidegate
