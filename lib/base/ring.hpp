// Ring: a queue in one block of memory, which it keeps.
#pragma once

#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

namespace tidegate {

/// First in, first out. Allocates only where more elements wait than ever before; memory
/// grows by doubling. T is default-constructible and its moves do not throw; a place
/// that is left holds a T{}. Thread-compatible.
template <class T>
class Ring {
 public:
  /// May throw std::bad_alloc; `value` is then untouched.
  void push(T&& value) {
    if (size_ == places_.size()) grow();
    places_[(first_ + size_) & (places_.size() - 1)] = std::move(value);
    ++size_;
  }

  /// The ring is not empty.
  [[nodiscard]] T pop() noexcept {
    assert(size_ > 0);
    T value = std::exchange(places_[first_], T{});
    first_ = (first_ + 1) & (places_.size() - 1);
    --size_;
    return value;
  }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kFirst = 16;

  void grow() {
    std::vector<T> wider(places_.empty() ? kFirst : 2 * places_.size());
    for (std::size_t i = 0; i < size_; ++i) wider[i] = std::move(places_[(first_ + i) & (places_.size() - 1)]);
    places_.swap(wider);
    first_ = 0;
  }

  std::vector<T> places_;  ///< a power of two
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace tidegate
