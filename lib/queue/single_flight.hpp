// SingleFlight: finds the flight that an equal request may join.
#pragma once

#include <cstddef>
#include <vector>

#include "queue/flight.hpp"

namespace tidegate {

/// A hash table chained through the flights themselves, so that entering and leaving
/// allocate nothing once it has grown. Holds at most one flight per key: the youngest.
class SingleFlight {
 public:
  SingleFlight();

  /// Compares whole keys; nullptr if there is none.
  [[nodiscard]] Flight* find(const Digest& key) const noexcept;

  /// The next `insert` allocates nothing.
  void make_room() {
    if (size_ == buckets_.size()) grow();
  }

  /// `flight.key` is set. An older flight of the same key leaves the table.
  void insert(Flight& flight);

  /// No effect on a flight that is not in the table.
  void erase(Flight& flight) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  [[nodiscard]] std::size_t bucket_of(const Digest& key) const noexcept;
  void grow();

  std::vector<Flight*> buckets_;  ///< a power of two, at least as many as flights
  std::size_t size_ = 0;
};

}  // namespace tidegate
