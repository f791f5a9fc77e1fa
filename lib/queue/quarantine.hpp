// Quarantine: requests that made the model fail by themselves, refused for a while.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "tidegate/request.hpp"
#include "tidegate/time.hpp"

namespace tidegate {

/// At most kMost keys; the oldest makes room for the newest. Allocates only when made.
class Quarantine {
 public:
  Quarantine() { entries_.reserve(kMost); }

  void add(const Digest& key, TimePoint now) noexcept {
    forget(now);
    if (entries_.size() == kMost) entries_.erase(entries_.begin());
    entries_.push_back({now > TimePoint::max() - kLength ? TimePoint::max() : now + kLength, key});
  }

  /// How long the key stays; zero = it is not in quarantine.
  [[nodiscard]] Duration left(const Digest& key, TimePoint now) noexcept {
    if (entries_.empty()) return Duration::zero();
    forget(now);
    const auto found = std::find_if(entries_.rbegin(), entries_.rend(), [&](const Entry& e) { return e.key == key; });
    return found == entries_.rend() ? Duration::zero() : found->until - now;
  }

  static constexpr std::size_t kMost = 256;
  static constexpr Duration kLength = std::chrono::seconds(60);

 private:
  struct Entry {
    TimePoint until;
    Digest key;
  };
  void forget(TimePoint now) noexcept {
    const auto fresh = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.until > now; });
    entries_.erase(entries_.begin(), fresh);
  }

  std::vector<Entry> entries_;  ///< in order of their end
};

}  // namespace tidegate
