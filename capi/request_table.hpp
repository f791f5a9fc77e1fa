// RequestTable: the requests in flight, from C id to engine id and completion queue.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "completion_queue.hpp"
#include "mutex.hpp"
#include "tidegate/request.hpp"

namespace tidegate::capi {

/// Ids are made here and not taken from the engine, because a completion may be
/// drained before the engine has answered its own id. An id is a place and the
/// number of times the place was used, so an old id never names a new request.
/// Thread-safe. Lock: mutex_ is a leaf.
class RequestTable {
 public:
  struct Finished {
    Answer answer;
    std::shared_ptr<CompletionQueue> queue;
  };
  /// What a cancel must do: nothing known, ask the engine, or leave it to the
  /// submitting thread, which has not learned the engine's id yet.
  struct CancelTarget {
    bool known = false;
    std::optional<RequestId> engine_id{};
  };
  struct Counts {
    std::uint64_t submitted = 0;  ///< accepted by the engine
    std::uint64_t completed = 0;
    std::uint64_t in_flight = 0;
  };

  /// Takes a place; `answer->id` becomes the id. Errors: shutting_down (the queue is closed).
  [[nodiscard]] Result<std::uint64_t> begin(std::shared_ptr<CompletionQueue> queue, Answer answer);

  /// The engine accepted. True: a cancel came meanwhile and is now the caller's to pass on.
  [[nodiscard]] bool bind(std::uint64_t id, RequestId engine_id) noexcept;

  /// The engine refused.
  void abandon(std::uint64_t id) noexcept;

  /// The engine completed. Empty if the id is not in flight.
  [[nodiscard]] std::optional<Finished> finish(std::uint64_t id) noexcept;

  [[nodiscard]] CancelTarget cancel(std::uint64_t id) noexcept;

  /// Ids in flight bound for `queue`; nullptr = all.
  [[nodiscard]] std::vector<std::uint64_t> ids(const CompletionQueue* queue) const;

  [[nodiscard]] Counts counts() const noexcept;

 private:
  struct Slot {
    std::uint32_t uses = 1;
    bool taken = false;
    bool cancel_wanted = false;
    std::optional<RequestId> engine_id{};
    Finished pending{};
  };
  /// nullptr if `id` is not in flight.
  [[nodiscard]] Slot* find(std::uint64_t id) noexcept;
  [[nodiscard]] Finished free(std::uint64_t id, Slot& slot) noexcept;

  mutable Mutex mutex_;
  std::vector<Slot> slots_ TIDEGATE_GUARDED_BY(mutex_){};
  // Capacity is kept at slots_.size(), so that freeing a place needs no memory.
  std::vector<std::uint32_t> unused_ TIDEGATE_GUARDED_BY(mutex_){};
  Counts counts_ TIDEGATE_GUARDED_BY(mutex_){};
};

}  // namespace tidegate::capi
