// Slab: records with stable addresses, reused through a free list, named by ids that
// are never given out twice. Thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "base/prefetch.hpp"

namespace tidegate {

/// Base of every record in a Slab: its place and its generation.
class SlabNode {
 private:
  template <class T>
  friend class Slab;
  std::uint32_t index_ = 0;
  std::uint32_t generation_ = 1;  ///< starts at 1, so the id 0 names nothing
  bool live_ = false;
};

/// T derives from SlabNode and is default-constructible. Memory grows to the highest
/// number of records alive at once and is kept; records never move.
template <class T>
class Slab {
 public:
  /// The next `count` calls of `acquire` allocate nothing.
  void make_room(std::size_t count = 1) {
    while (free_.size() < count) grow();
  }

  /// A record in default state.
  T& acquire() {
    make_room();
    T& node = *free_.back();
    free_.pop_back();
    const std::uint32_t index = node.index_;
    const std::uint32_t generation = node.generation_;
    if (!free_.empty()) prefetch(*free_.back());
    std::destroy_at(&node);
    ::new (&node) T{};
    node.index_ = index;
    node.generation_ = generation;
    node.live_ = true;
    ++size_;
    return node;
  }

  /// From here on the record's id finds nothing.
  void release(T& node) noexcept {
    node.live_ = false;
    --size_;
    // A place that has used up its generations is abandoned: reuse would repeat an id.
    if (++node.generation_ == std::numeric_limits<std::uint32_t>::max()) return;
    free_.push_back(&node);  // within the capacity reserved by grow()
  }

  [[nodiscard]] static std::uint64_t id_of(const T& node) noexcept {
    return (static_cast<std::uint64_t>(node.generation_) << 32) | node.index_;
  }

  /// The live record of this id; nullptr if it was released or never existed.
  [[nodiscard]] T* find(std::uint64_t id) const noexcept {
    const auto index = static_cast<std::uint32_t>(id);
    if (index / kChunk >= chunks_.size()) return nullptr;
    T& node = chunks_[index / kChunk][index % kChunk];
    return node.live_ && node.generation_ == static_cast<std::uint32_t>(id >> 32) ? &node : nullptr;
  }

  /// Calls `visit(T&)` for every live record, in no stated order.
  template <class F>
  void for_each(F&& visit) {
    for (auto& chunk : chunks_) {
      for (std::size_t i = 0; i < kChunk; ++i) {
        if (chunk[i].live_) visit(chunk[i]);
      }
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kChunk = 64;

  void grow() {
    const std::size_t first = chunks_.size() * kChunk;
    free_.reserve(first + kChunk);
    chunks_.push_back(std::make_unique<T[]>(kChunk));
    for (std::size_t i = kChunk; i-- > 0;) {
      T& node = chunks_.back()[i];
      node.index_ = static_cast<std::uint32_t>(first + i);
      free_.push_back(&node);
    }
  }

  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<T*> free_;  ///< last in, first out: the warmest record is reused first
  std::size_t size_ = 0;
};

}  // namespace tidegate
