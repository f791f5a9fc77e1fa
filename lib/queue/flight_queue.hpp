// FlightQueue: the flights that wait, by arrival, and the totals the caps are held against.
#pragma once

#include <cstdint>

#include "queue/flight.hpp"

namespace tidegate {

/// An intrusive list of flights. A flight is in one list at a time.
class FlightList {
 public:
  void push_back(Flight& flight) noexcept;
  void remove(Flight& flight) noexcept;
  [[nodiscard]] Flight* front() const noexcept { return front_; }
  [[nodiscard]] bool empty() const noexcept { return front_ == nullptr; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }

 private:
  Flight* front_ = nullptr;
  Flight* back_ = nullptr;
  std::uint32_t size_ = 0;
};

class FlightQueue {
 public:
  void push_back(Flight& flight) noexcept;
  /// O(1), wherever the flight stands.
  void unlink(Flight& flight) noexcept;

  [[nodiscard]] Flight* oldest() const noexcept { return list_.front(); }
  [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
  [[nodiscard]] std::uint32_t items() const noexcept { return list_.size(); }
  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  FlightList list_;
  std::uint64_t rows_ = 0;
  std::uint64_t tokens_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace tidegate
