// FlightQueue: the flights that wait, by arrival and by who goes first, and the totals
// the caps are held against.
#pragma once

#include <array>
#include <cstdint>

#include "queue/batch_shape.hpp"
#include "queue/flight.hpp"
#include "queue/tenant.hpp"

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

/// What waits of one class: lines of tenants, and in each line the flights by deadline.
struct ClassQueue {
  LineTree lines;  ///< with flights and not set aside: least served first
  std::uint32_t items = 0;
  BatchShape total{};
  double clock = 0;       ///< `served` of the line served last
  double owed = 0;        ///< tokens by which the class is below its floor
  TimePoint opened_at{};  ///< last opened a batch, or got its first flight
};

/// Three levels: class, tenant, and in a tenant's line by deadline. A flight without one
/// stands as if it had to be answered kClassTarget after its arrival.
class FlightQueue {
 public:
  /// The flight's class, tenant, deadline and arrival are set.
  void push_back(Flight& flight) noexcept;
  /// O(log n), wherever the flight stands.
  void unlink(Flight& flight) noexcept;
  /// Gives a waiting flight another class or deadline.
  void move(Flight& flight, Priority priority, Deadline urgent) noexcept;
  /// From now on the flight stands first in its line.
  void promote(Flight& flight) noexcept;

  /// Takes the flight, which stands in `line`, and charges its tenant for it.
  void serve(TenantLine& line, Flight& flight) noexcept;
  /// Charges the tenant of a flight that is not in the queue for one more step.
  void charge(Flight& flight) noexcept;
  /// The line is out of its class's lines until `put_back`.
  void set_aside(TenantLine& line, Priority priority) noexcept;
  void put_back(TenantLine& line, Priority priority) noexcept;

  [[nodiscard]] Flight* oldest() const noexcept { return list_.front(); }
  [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
  [[nodiscard]] std::uint64_t departures() const noexcept { return departures_; }  ///< so far
  [[nodiscard]] std::uint32_t items() const noexcept { return list_.size(); }
  [[nodiscard]] const BatchShape& total() const noexcept { return total_; }
  [[nodiscard]] std::uint64_t rows() const noexcept { return total_.rows; }
  [[nodiscard]] std::uint64_t tokens() const noexcept { return total_.tokens; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return total_.bytes; }
  [[nodiscard]] ClassQueue& of(Priority priority) noexcept { return classes_[index_of(priority)]; }
  [[nodiscard]] const ClassQueue& of(Priority priority) const noexcept { return classes_[index_of(priority)]; }

  /// By class: when a request without a deadline should be answered.
  static constexpr std::array<Duration, kPriorities> kClassTarget{
      std::chrono::milliseconds(20), std::chrono::milliseconds(100), std::chrono::seconds(1)};

 private:
  void enter(Flight& flight) noexcept;
  void leave(Flight& flight) noexcept;

  FlightList list_;
  BatchShape total_{};
  std::uint64_t departures_ = 0;
  std::array<ClassQueue, kPriorities> classes_{};
};

}  // namespace tidegate
