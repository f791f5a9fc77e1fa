// SchedulerDriver: drives a SchedulerCore as the engine does and holds every command
// against the promises of scheduler_core.hpp, from its own books.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "queue/scheduler_core.hpp"

namespace tidegate::test {

using Ticks = std::int64_t;  ///< nanoseconds of test time

inline TimePoint at(Ticks ticks) { return TimePoint(Duration(ticks)); }
inline Digest key_of(std::uint8_t n) {
  Digest key{};
  key[0] = n;
  return key;
}

/// Whose request it is; tenants are numbered, 0 is nobody.
struct Who {
  Priority priority = Priority::interactive;
  std::uint8_t tenant = 0;
  std::uint64_t signature = 0;
};
inline std::string tenant_name(std::uint8_t tenant) { return tenant == 0 ? "" : std::string(tenant, 't'); }

struct Setup {
  BatchingOptions batching{};
  AdmissionOptions admission{};
  std::uint32_t slots = 1;
  BatchLayout layout = BatchLayout::packed;
};

/// What an event led to, in small numbers: requests by order of arrival, works likewise.
struct Effects {
  struct End {
    std::uint32_t request = 0;
    Outcome outcome{};
    bool joined = false;
    std::optional<std::uint32_t> work{};
    auto operator<=>(const End&) const = default;
  };
  std::vector<End> ended;
  std::vector<std::vector<std::uint32_t>> started;
  std::vector<std::uint32_t> retired;
  bool operator==(const Effects&) const = default;
  /// The order inside `ended` and `retired` is free where several end in one event.
  void sort();
  [[nodiscard]] std::string text() const;
};

/// Fails the running test case where they differ. `expected` is sorted.
void expect_equal(Effects seen, const Effects& expected);

/// Fails the running test case at the first broken promise.
class SchedulerDriver {
 public:
  struct Request {
    bool accepted = false;
    WaiterId id{};
    Deadline deadline = kNoDeadline;
    std::uint32_t work = 0;
    bool joined = false;
    std::optional<Outcome> outcome{};
  };
  struct Work {
    ItemSize size{};
    std::optional<std::uint8_t> key{};
    TimePoint arrival{};
    std::uint64_t signature = 0;
    enum class Place : std::uint8_t { unused, queued, running, finished, retired } place = Place::unused;
    std::uint32_t waiters = 0;  ///< accepted and not completed
  };
  struct Running {
    BatchId id{};
    std::vector<std::uint32_t> works;
    bool done = false;
  };

  explicit SchedulerDriver(const Setup& setup);

  // Every event returns after its commands were taken and checked; see `last`.
  bool submit(ItemSize size = {}, Deadline deadline = kNoDeadline, std::optional<std::uint8_t> key = {}, Who who = {});
  bool join(std::uint8_t key, Deadline deadline = kNoDeadline, Priority priority = Priority::interactive);
  bool cancel(std::uint32_t request);
  void advance(Ticks step);
  /// `batch` counts the batches ever started; a repeated one must change nothing.
  void done(std::uint32_t batch);
  void set_slots(std::uint32_t slots);
  void begin_drain();
  void fail_remaining();

  /// Answers all running batches until nothing runs or waits, then expects empty books.
  void finish_all();

  [[nodiscard]] std::optional<Outcome> outcome(std::uint32_t request) const { return requests[request].outcome; }
  [[nodiscard]] std::uint32_t running() const;

  Setup setup;
  SchedulerCore core;
  TimePoint now = at(1000);
  bool draining = false;
  std::vector<Request> requests;
  std::vector<Work> works;  ///< one per submission; unused where it joined or was refused
  std::vector<Running> batches;
  Effects last;
  std::optional<Error> refusal;  ///< of the last submit

 private:
  void absorb();
  void take_completion(const Complete& complete);
  void take_batch(const RunBatch& run);
  void take_retirement(const Retire& retire);
  void check_counters() const;
  void check_wake() const;

  std::map<std::uint8_t, std::uint32_t> youngest_;  ///< work of each key
  std::vector<std::uint32_t> just_done_;
};

}  // namespace tidegate::test
