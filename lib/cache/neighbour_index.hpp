// NeighbourIndex: which of the stored vectors lies nearest.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace tidegate {

/// Unit vectors of one dimension under small numbers. Up to `flat_limit` of them are compared
/// one by one, which is exact; beyond, a graph answers for all but the newest (Malkov and
/// Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
/// navigable small world graphs", TPAMI 2020; hnswlib). It finds the nearest nearly always, and
/// taking a vector in costs it about a millisecond: each `add` moves a few from the newest to the
/// graph. If the graph runs out of memory it is given up and everything is compared again.
/// Thread-compatible, `nearest` included.
class NeighbourIndex {
 public:
  struct Neighbour {
    std::uint32_t number = 0;
    float cosine = 0;
  };

  /// Most vectors at a time; their numbers are below it.
  static constexpr std::uint32_t kMaximum = 1U << 20;

  NeighbourIndex(std::size_t dimension, std::uint32_t flat_limit);
  ~NeighbourIndex();
  NeighbourIndex(NeighbourIndex&&) noexcept;
  NeighbourIndex& operator=(NeighbourIndex&&) noexcept;

  /// Stores a unit vector under a number that is free. Throws std::bad_alloc with nothing
  /// changed. There must be fewer than kMaximum.
  [[nodiscard]] std::uint32_t add(std::span<const float> unit);
  /// The number must be one in use.
  void remove(std::uint32_t number) noexcept;

  /// The nearest `many` or as many as there are, nearest first.
  [[nodiscard]] std::vector<Neighbour> nearest(std::span<const float> unit, std::size_t many);

  [[nodiscard]] std::uint32_t count() const noexcept;
  [[nodiscard]] bool flat() const noexcept;  ///< every vector is compared
  /// Bytes on the heap.
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept;
  /// Bytes that one vector more may take at most.
  [[nodiscard]] std::uint64_t heap_bytes_of_add() const noexcept;

 private:
  class Vectors;
  class Graph;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tidegate
