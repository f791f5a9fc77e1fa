// SharedRoom: the room that the queues of all models of an engine share.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include "base/mutex.hpp"
#include "tidegate/intake.hpp"
#include "tidegate/request.hpp"

namespace tidegate {

struct QueueAmount {
  std::uint64_t items = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  bool operator==(const QueueAmount&) const = default;
};

/// Somebody who is to be told that there may be room again.
class RoomListener {
 public:
  virtual ~RoomListener() = default;
  /// Called under no lock, by the thread that has made room.
  virtual void room_came() noexcept = 0;
};

/// Totals with caps, taken all or nothing and given back by the queues, and those who wait for them. Thread-safe.
/// No call allocates.
class SharedRoom {
 public:
  explicit SharedRoom(const EngineQueueOptions& caps) noexcept;

  /// A place among those who wait. Stays where it is, and is left, before it is destroyed.
  class Place {
   public:
    [[nodiscard]] bool is_taken() const noexcept { return taken_; }

   private:
    friend class SharedRoom;
    std::weak_ptr<RoomListener> listener_{};
    Priority priority_ = Priority::interactive;
    bool claims_ = false;
    bool taken_ = false;
    std::uint64_t round_ = 0;  ///< of telling, in which it was taken
    Place* previous_ = nullptr;
    Place* next_ = nullptr;
  };

  /// Which cap stands against it.
  enum class Verdict : std::uint8_t { there, items, tokens, bytes, others_wait };
  struct Taken {
    Verdict verdict = Verdict::there;
    /// `there`: what the taker must let go of by the end of his event, at most the `replaceable`. It is
    /// given back like anything else.
    QueueAmount missing{};
    std::uint64_t observed = 0;  ///< otherwise: the total that would be, and the cap
    std::uint64_t limit = 0;
  };
  /// Who asks: no claim goes before a higher class, and before his own only those that came earlier.
  struct Asker {
    Priority priority = Priority::interactive;
    const Place* claim = nullptr;  ///< his own
  };
  /// All of it, or nothing. At no instant is more taken than the caps allow.
  [[nodiscard]] Taken take(const QueueAmount& wanted, const QueueAmount& replaceable, const Asker& asker) noexcept;
  void give_back(const QueueAmount& amount) noexcept;

  /// What is left for a newcomer of this class; the largest number where there is no cap.
  [[nodiscard]] QueueAmount left(Priority priority) const noexcept;
  [[nodiscard]] bool is_full() const noexcept;
  [[nodiscard]] QueueAmount used() const noexcept;
  /// A request was turned away by these caps.
  void count_refusal() noexcept { refused_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_.load(std::memory_order_relaxed); }
  [[nodiscard]] const QueueAmount& caps() const noexcept { return caps_; }  ///< kNoCap = none

  /// From now on room that comes is kept for the claim: in class order, then in order of arrival. No effect if
  /// it is taken already.
  void claim(Place& place, Priority priority, std::weak_ptr<RoomListener> listener) noexcept;
  /// To be told, without a claim.
  void listen(Place& place, std::weak_ptr<RoomListener> listener) noexcept;
  /// No effect if it is not taken.
  void leave(Place& place) noexcept;

  /// Room has come for somebody who waits: to be followed by `tell`, outside every lock.
  [[nodiscard]] bool must_tell() const noexcept;
  /// Tells the first claim and every listener, whose places are left.
  void tell() noexcept;

  static constexpr std::uint64_t kNoCap = std::numeric_limits<std::uint64_t>::max();

 private:
  [[nodiscard]] Taken judge(const QueueAmount& wanted, const QueueAmount& replaceable,
                            const Asker& asker) const noexcept TIDEGATE_REQUIRES(mutex_);
  /// Behind the last of those in front that `goes_first` names.
  template <class GoesFirst>
  void enter(Place& place, const GoesFirst& goes_first) noexcept TIDEGATE_REQUIRES(mutex_);
  void unlink(Place& place) noexcept TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::shared_ptr<RoomListener> next_to_tell(std::uint64_t round) noexcept TIDEGATE_REQUIRES(mutex_);

  const QueueAmount caps_;
  std::atomic<std::uint64_t> refused_{0};
  mutable Mutex mutex_;  // leaf; taken under a pipeline's
  QueueAmount used_ TIDEGATE_GUARDED_BY(mutex_){};
  Place* first_ TIDEGATE_GUARDED_BY(mutex_) = nullptr;  ///< claims by class and arrival, then listeners
  std::uint64_t round_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  bool came_ TIDEGATE_GUARDED_BY(mutex_) = false;  ///< since the last `tell`
};

}  // namespace tidegate
