#include "cache/reuse_curve.hpp"

#include <algorithm>
#include <utility>

#include "cache/heap_charge.hpp"

namespace tidegate {
namespace {

/// One key in so many at first; more would cost look-ups more than it tells.
constexpr std::uint32_t kFirstSampling = 8;

}  // namespace

ReuseCurve::ReuseCurve(std::uint64_t reach_bytes, std::uint32_t keys)
    : part_bytes_(std::max<std::uint64_t>(reach_bytes / kParts, 1)),
      most_keys_(std::max<std::uint32_t>(keys, 16)),
      threshold_(kAllKeys / kFirstSampling),
      order_(std::size_t{2} * most_keys_),
      sums_(order_.size() + 1) {
  places_.reserve(most_keys_ + 1);
}

std::uint64_t ReuseCurve::heap_bytes(std::uint32_t keys) noexcept {
  const std::uint64_t most = std::max<std::uint64_t>(keys, 16) + 1;
  // A hash map's entry is hash, place, link and, by the standard library, a copy of the hash at most.
  return heap_charge(2 * most * sizeof(Sampled)) + heap_charge((2 * most + 1) * sizeof(std::uint64_t)) +
         most * (heap_charge(4 * sizeof(void*)) + 2 * sizeof(void*));
}

void ReuseCurve::look_up(std::uint64_t hash) {
  const MutexLock lock(mutex_);
  const auto found = places_.find(hash);
  if (found == places_.end()) return;
  const std::uint32_t place = found->second;
  const std::uint64_t since = bytes_ - bytes_until(place) + order_[place].bytes;
  const double part = static_cast<double>(since) * weight() / static_cast<double>(part_bytes_);
  if (part < static_cast<double>(kParts)) hits_[static_cast<std::size_t>(part)] += weight();
  const Sampled key = take_out(place);
  append(key);
}

void ReuseCurve::store(std::uint64_t hash, std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  if (const auto known = places_.find(hash); known != places_.end()) static_cast<void>(take_out(known->second));
  append({hash, std::max<std::uint64_t>(bytes, 1)});
  // What is further away than the reach will not be told.
  const auto reach = static_cast<double>(part_bytes_ * kParts);
  while (first_<end_&& static_cast<double>(bytes_) * weight()> reach) {
    if (order_[first_].bytes != 0) forget(first_);
    ++first_;
  }
  while (places_.size() > most_keys_) thin_out();
}

void ReuseCurve::append(const Sampled& key) {
  if (end_ == order_.size()) close_gaps();
  order_[end_] = key;
  places_[key.hash] = end_;
  bytes_ += key.bytes;
  add_bytes(end_, key.bytes);
  ++end_;
}

/// The hash map keeps its entry, for the key comes back at once.
ReuseCurve::Sampled ReuseCurve::take_out(std::uint32_t place) {
  const Sampled key = std::exchange(order_[place], Sampled{});
  bytes_ -= key.bytes;
  add_bytes(place, 0 - key.bytes);
  return key;
}

void ReuseCurve::forget(std::uint32_t place) { places_.erase(take_out(place).hash); }

void ReuseCurve::thin_out() {
  const std::uint32_t fewer = threshold_.load(std::memory_order_relaxed) * 7 / 8;
  threshold_.store(std::max(fewer, 1U), std::memory_order_relaxed);
  for (std::uint32_t place = first_; place < end_; ++place) {
    if (order_[place].bytes != 0 && !is_sampled(order_[place].hash)) forget(place);
  }
  if (fewer == 0) forget(static_cast<std::uint32_t>(end_ - 1));
}

void ReuseCurve::close_gaps() {
  std::uint32_t kept = 0;
  for (std::uint32_t place = first_; place < end_; ++place) {
    if (order_[place].bytes == 0) continue;
    places_[order_[place].hash] = kept;
    order_[kept++] = order_[place];
  }
  std::fill(order_.begin() + kept, order_.end(), Sampled{});
  std::fill(sums_.begin(), sums_.end(), 0);
  for (std::uint32_t place = 0; place < kept; ++place) add_bytes(place, order_[place].bytes);
  first_ = 0;
  end_ = kept;
}

/// Fenwick, "A new data structure for cumulative frequency tables", 1994. Differences wrap around.
void ReuseCurve::add_bytes(std::uint32_t place, std::uint64_t bytes) {
  for (std::size_t i = place + 1; i < sums_.size(); i += i & (0 - i)) sums_[i] += bytes;
}

std::uint64_t ReuseCurve::bytes_until(std::uint32_t place) const {
  std::uint64_t sum = 0;
  for (std::size_t i = place + 1; i > 0; i -= i & (0 - i)) sum += sums_[i];
  return sum;
}

ReuseCurve::Hits ReuseCurve::hits() const {
  const MutexLock lock(mutex_);
  return {hits_, weight()};
}

void ReuseCurve::fade(double factor) {
  const MutexLock lock(mutex_);
  for (double& hits : hits_) hits *= factor;
}

}  // namespace tidegate
