// DeliveryOrder: whose completion may be called next, where completions of one key come in
// the order of acceptance.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "queue/order_tree.hpp"
#include "tidegate/queue.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

/// The place of one accepted request in its line. Base of the driver's record.
class Turn {
 public:
  [[nodiscard]] bool is_ordered() const noexcept { return line_ != nullptr; }

 private:
  friend class DeliveryOrder;
  struct Line {
    Turn* first = nullptr;
    Turn* last = nullptr;
    const std::string* key = nullptr;  ///< of its entry in the map
  };
  enum class State : std::uint8_t {
    open,    ///< has not ended
    held,    ///< has ended and waits for those before it
    called,  ///< is being told, or is about to be
  };
  struct ByDeadline {
    static TreeHook<Turn>& hook(Turn& turn) noexcept { return turn.hook_; }
    static bool before(const Turn& a, const Turn& b) noexcept {
      return a.deadline_ != b.deadline_ ? a.deadline_ < b.deadline_ : a.sequence_ < b.sequence_;
    }
  };

  Line* line_ = nullptr;
  Turn* previous_ = nullptr;
  Turn* next_ = nullptr;
  State state_ = State::open;
  bool apart_ = false;
  Deadline deadline_ = kNoDeadline;
  std::uint64_t sequence_ = 0;
  TreeHook<Turn> hook_{};  ///< among the held ones that have a deadline
};

/// Lines of turns. A turn is taken when its request is accepted. A request that ends in turn
/// (answer, error) is called when everybody before it has left the line; one that ends out of
/// turn (cancelled, expired, shed) just leaves. A line is left once the completion has been
/// called, so two of one line are never called side by side. Within one line several may be
/// called at once: they are one behind the other, to be told in that order by one thread. One that is told
/// apart, by a thread of its own, is always called alone.
/// While it is barred, nobody is called in turn: those who come before all of it stand in another one's lines.
/// Thread-compatible; pure: no clock, lock or callback. Only `enter` allocates.
class DeliveryOrder {
 public:
  /// At most `limit` turns are taken at a time.
  DeliveryOrder(Ordering ordering, std::uint32_t limit) : ordering_(ordering), limit_(limit) {}

  /// Errors: invalid_argument (a key where the model has no order by key; a priority where the
  /// request stands in a line). Allocates nothing.
  [[nodiscard]] Result<void> check(const RequestOptions& options) const noexcept;
  /// Whether the request stands in a line at all.
  [[nodiscard]] bool orders(const RequestOptions& options) const noexcept;
  /// Whether nobody comes before the request if it enters now.
  [[nodiscard]] bool is_free(const RequestOptions& options) const;
  [[nodiscard]] bool full() const noexcept { return size_ >= limit_; }
  [[nodiscard]] std::uint32_t left() const noexcept { return size_ < limit_ ? limit_ - size_ : 0; }  ///< turns

  /// Whether a request is told by the thread that tells its neighbours, or by another.
  enum class Telling : std::uint8_t { in_list, apart };

  /// The request stands last in its line, if it stands in one. May throw std::bad_alloc; then nothing has changed.
  void enter(Turn& turn, const RequestOptions& options, Telling telling = Telling::in_list);

  /// The request has ended in turn: true if it is called now, false if it is held until then.
  [[nodiscard]] bool end(Turn& turn) noexcept;

  /// Told, or ended out of turn, held or not. Calls `call(Turn&)` for those whose turn has come by
  /// it, in order. Does nothing to a turn in no line.
  template <class Call>
  void leave(Turn& turn, Call&& call) noexcept {
    if (turn.line_ == nullptr) return;
    Line& line = *turn.line_;
    remove(turn);
    if (!barred_) call_first(line, call);
    if (line.first == nullptr) drop(line);
  }

  /// Until `unbar` everybody who ends in turn is held.
  void bar() noexcept { barred_ = true; }
  /// Calls those whose turn has come by it, of each line in order.
  template <class Call>
  void unbar(Call&& call) noexcept {
    barred_ = false;
    for (auto& [key, line] : lines_) call_first(line, call);
  }

  /// The earliest deadline of those held; kNoDeadline if there is none.
  [[nodiscard]] Deadline earliest() const noexcept {
    return by_deadline_.empty() ? kNoDeadline : by_deadline_.first()->deadline_;
  }
  /// One that is held and due; nullptr if there is none.
  [[nodiscard]] Turn* first_due(TimePoint now) const noexcept {
    return earliest() <= now && !by_deadline_.empty() ? by_deadline_.first() : nullptr;
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }  ///< taken
  [[nodiscard]] std::uint32_t held() const noexcept { return held_; }

  static constexpr std::size_t kLongestKey = 256;  ///< bytes

 private:
  using Line = Turn::Line;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const noexcept { return std::hash<std::string_view>{}(key); }
  };

  /// Those at the front of the line who have ended.
  template <class Call>
  void call_first(Line& line, Call& call) noexcept {
    for (Turn* next = line.first; next != nullptr && next->state_ == Turn::State::held; next = next->next_) {
      if (next->apart_ && next != line.first) break;
      become_called(*next);
      call(*next);
      if (next->apart_) break;
    }
  }
  void remove(Turn& turn) noexcept;
  void become_called(Turn& turn) noexcept;
  void drop(Line& line) noexcept;

  const Ordering ordering_;
  const std::uint32_t limit_;
  std::unordered_map<std::string, Turn::Line, Hash, std::equal_to<>> lines_;  ///< with turns; by key
  OrderTree<Turn, Turn::ByDeadline> by_deadline_;
  std::uint64_t taken_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
  bool barred_ = false;
};

}  // namespace tidegate
