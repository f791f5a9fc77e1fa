// ReferenceModel: the rules of the scheduler written down with plain vectors and loops,
// slow and obvious. It predicts the effects of every event.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "queue/scheduler_driver.hpp"

namespace tidegate::test {

class ReferenceModel {
 public:
  explicit ReferenceModel(const Setup& setup) : setup_(setup) {}

  enum class Answer : std::uint8_t { accepted, joined, too_large, queue_full, shutting_down };

  Answer submit(TimePoint now, ItemSize size, Deadline deadline, std::optional<std::uint8_t> key, Who who = {});
  bool join(TimePoint now, std::uint8_t key, Deadline deadline, Priority priority = Priority::interactive);
  bool cancel(TimePoint now, std::uint32_t request);
  void advance(TimePoint now);
  void done(TimePoint now, std::uint32_t batch);
  void set_slots(TimePoint now, std::uint32_t slots);
  void begin_drain(TimePoint now);
  void fail_remaining(TimePoint now);

  [[nodiscard]] Effects take();
  std::uint64_t wasted = 0;

 private:
  struct Request {
    std::uint32_t number = 0;
    Deadline deadline = kNoDeadline;
    bool joined = false;
  };
  struct Flight {
    std::uint32_t work = 0;
    ItemSize size{};
    TimePoint arrival{};
    std::optional<std::uint8_t> key{};
    std::vector<Request> requests;
    Who who{};
    int overtaken = 0;

    /// Where it stands in its line: before all with a larger one.
    [[nodiscard]] std::pair<TimePoint, std::uint32_t> place() const;
  };
  using Line = std::pair<Priority, std::uint8_t>;
  /// What a batch that is being formed has come to.
  struct Forming {
    std::vector<Flight> batch;
    std::uint64_t rows = 0;
    std::uint64_t tokens = 0;
    std::set<std::uint32_t> missed;  ///< works
    std::set<Line> aside;
    std::map<Line, std::pair<TimePoint, std::uint32_t>> furthest;
  };

  void expire(TimePoint now);
  void start_batches(TimePoint now);
  [[nodiscard]] bool lingers(TimePoint now) const;
  [[nodiscard]] std::vector<Flight> form(TimePoint now);
  [[nodiscard]] Priority open_class(TimePoint now);
  void fill(Forming& forming, Priority priority);
  void take(Forming& forming, std::size_t position);
  void settle_floors(const Forming& forming, const std::set<Priority>& had_work);
  [[nodiscard]] bool has_work(Priority priority) const;
  [[nodiscard]] std::optional<std::uint8_t> least_served(Priority priority, const std::set<Line>& aside) const;
  void enter(const Flight& flight);
  [[nodiscard]] bool has_room(const ItemSize& size, std::optional<Priority> without_below) const;
  void displace_last();
  void reclass(Flight& flight, Priority priority);
  [[nodiscard]] Flight* joinable(std::uint8_t key);
  void end(const Flight& flight, const Request& request, Outcome outcome);
  template <class Condition>
  bool end_where(Outcome outcome, Condition condition);

  Setup setup_;
  bool draining_ = false;
  std::uint32_t next_request_ = 0;
  std::uint32_t next_work_ = 0;
  std::vector<Flight> queue_;  ///< by arrival
  std::map<Line, double> served_;
  std::map<Priority, double> clock_;
  std::map<Priority, double> owed_;
  std::map<Priority, TimePoint> opened_at_;
  bool aged_last_ = false;
  std::map<std::uint32_t, std::vector<Flight>> running_;  ///< by number of the batch
  std::uint32_t next_batch_ = 0;
  std::map<std::uint8_t, std::uint32_t> youngest_;
  Effects effects_;
};

}  // namespace tidegate::test
