// WriteQueue: what is to be written, within a bound of items and bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "tidegate/cache.hpp"

namespace tidegate {

/// First in, first out; the oldest gives way. Thread-compatible.
class WriteQueue {
 public:
  struct Item {
    CacheKey key{};
    CacheRecord record;      ///< empty = the key is to be erased
    TimePoint expires_at{};  ///< steady time
  };

  WriteQueue(std::size_t most_items, std::uint64_t most_bytes) : most_items_(most_items), most_bytes_(most_bytes) {}

  /// Answers how many items were dropped for it, itself included if it is too large.
  std::size_t push(Item item) {
    const std::uint64_t size = charge(item);
    if (size > most_bytes_) return 1;
    std::size_t dropped = 0;
    while (items_.size() >= most_items_ || bytes_ + size > most_bytes_) {
      pop();
      ++dropped;
    }
    bytes_ += size;
    items_.push_back(std::move(item));
    return dropped;
  }

  std::optional<Item> pop() {
    if (items_.empty()) return std::nullopt;
    std::optional<Item> oldest(std::move(items_.front()));
    items_.pop_front();
    bytes_ -= charge(*oldest);
    return oldest;
  }

  /// Answers how many there were.
  std::size_t clear() {
    const std::size_t count = items_.size();
    items_.clear();
    bytes_ = 0;
    return count;
  }

  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  static std::uint64_t charge(const Item& item) noexcept { return sizeof(Item) + item.record.bytes().size(); }

  const std::size_t most_items_;
  const std::uint64_t most_bytes_;
  std::deque<Item> items_;
  std::uint64_t bytes_ = 0;
};

}  // namespace tidegate
