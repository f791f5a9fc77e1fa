// ReferenceModel: the rules of the scheduler written down with plain vectors and loops,
// slow and obvious. It predicts the effects of every event.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "queue/scheduler_driver.hpp"

namespace tidegate::test {

class ReferenceModel {
 public:
  explicit ReferenceModel(const Setup& setup) : setup_(setup) {}

  enum class Answer : std::uint8_t { accepted, joined, too_large, queue_full, shutting_down };

  Answer submit(TimePoint now, ItemSize size, Deadline deadline, std::optional<std::uint8_t> key);
  bool join(TimePoint now, std::uint8_t key, Deadline deadline);
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
    int overtaken = 0;
  };

  void expire(TimePoint now);
  void start_batches(TimePoint now);
  [[nodiscard]] bool lingers(TimePoint now) const;
  [[nodiscard]] std::vector<Flight> form();
  [[nodiscard]] Flight* joinable(std::uint8_t key);
  void end(const Flight& flight, const Request& request, Outcome outcome);
  template <class Condition>
  bool end_where(Outcome outcome, Condition condition);

  Setup setup_;
  bool draining_ = false;
  std::uint32_t next_request_ = 0;
  std::uint32_t next_work_ = 0;
  std::vector<Flight> queue_;
  std::map<std::uint32_t, std::vector<Flight>> running_;  ///< by number of the batch
  std::uint32_t next_batch_ = 0;
  std::map<std::uint8_t, std::uint32_t> youngest_;
  Effects effects_;
};

}  // namespace tidegate::test
