// ShardMemory: the stretch of memory in which a shard of the memory tier keeps everything.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "cache/arena.hpp"
#include "cache/held_nodes.hpp"
#include "cache/key_index.hpp"

namespace tidegate {

/// Nodes, index and values in one mapping, whose pages are taken when first touched: the
/// shard cannot outgrow it. Nodes lie at its start, in an array that grows; the rest is an
/// arena with the values and the index. Blocks that nobody refers to from outside are moved
/// where the array or a large block needs what they lie in. Thread-compatible, but for what readers without
/// the lock call: `node`, `may_be`, `search`.
class ShardMemory {
 public:
  using Node = EvictionPolicy::Node;
  using Place = Arena::Place;
  static constexpr std::uint32_t kNone = KeyIndex::kNone;
  static constexpr std::uint64_t kLeastBytes = 512;

  /// Throws std::bad_alloc if the system has no address space. `first_slots` of the index.
  /// Both others outlive it; whatever is not const is called inside a change of `sequence`, but for `free` and
  /// `give_node`.
  ShardMemory(std::uint64_t bytes, std::size_t first_slots, ReadSlots& slots, const Sequence& sequence);
  ~ShardMemory();
  ShardMemory(const ShardMemory&) = delete;
  ShardMemory& operator=(const ShardMemory&) = delete;

  /// At most so many bytes are in use from now on; more may be already.
  void set_limit(std::uint64_t bytes) noexcept { limit_ = bytes; }
  [[nodiscard]] std::uint64_t used_bytes() const noexcept {
    return node_bytes_ + arena_.total_bytes() - arena_.free_bytes() - closed_bytes_;
  }

  [[nodiscard]] Node& node(std::uint32_t number) const noexcept { return nodes_[number]; }
  [[nodiscard]] std::uint32_t number_of(const Node& node) const noexcept {
    return static_cast<std::uint32_t>(&node - nodes_);
  }
  /// A search of the index as it was lately. Without one, nothing is found.
  [[nodiscard]] std::optional<IndexSearch> search(std::uint64_t hash) const noexcept {
    const std::uint64_t where = index_where_.load(std::memory_order_relaxed);
    if (where == 0) return std::nullopt;
    return IndexSearch(base_ + (where >> kGroupsBits) * Arena::kStep,
                       (std::size_t{1} << (where & ((1U << kGroupsBits) - 1))) - 1, hash);
  }
  /// False for what cannot be the number of a node: reading node(number) would read beyond the mapping.
  [[nodiscard]] bool may_be(std::uint32_t number) const noexcept { return number < bytes_ / sizeof(Node); }

  /// All there are, used or not.
  [[nodiscard]] std::uint32_t nodes() const noexcept { return static_cast<std::uint32_t>(node_bytes_ / sizeof(Node)); }
  /// kNone if there is no room for another one. It says nothing yet.
  [[nodiscard]] std::uint32_t take_node() noexcept;
  void give_node(std::uint32_t number) noexcept;
  /// Told of a node that is a copy of another one and takes its place.
  using Moved = std::function<void(Node& from, Node& to)>;
  /// Gives the last part of the array of nodes to the values, if so many or more nodes are free
  /// as keep it from being wanted back soon. False if nothing was given.
  bool shrink_nodes(std::uint32_t spare, const Moved& moved);
  [[nodiscard]] std::uint32_t free_nodes() const noexcept { return free_nodes_; }
  /// Whether nobody but the tier refers to a node that can be found.
  [[nodiscard]] bool is_movable(std::uint32_t number) noexcept;
  /// Each reader of a node that cannot be found any more has a counted reference from now on.
  void count_readers(Node& node) noexcept { held_.make_counted(node); }
  /// By how many nodes the array grows and shrinks.
  [[nodiscard]] std::uint32_t nodes_at_once() const noexcept;

  [[nodiscard]] KeyIndex& index() noexcept { return index_; }
  [[nodiscard]] const KeyIndex& index() const noexcept { return index_; }
  /// Makes the index larger if it is full. False if there is no room for that.
  [[nodiscard]] bool has_slot() noexcept;

  /// A block for the value of a node, which may be moved while the node has one reference; 0 = no room.
  [[nodiscard]] Place allocate(std::uint64_t bytes, std::uint32_t number) noexcept;
  void free(Place place) noexcept { last_freed_ = arena_.free(place); }
  [[nodiscard]] std::byte* at(Place place) const noexcept { return arena_.at(place); }

  /// Uses the first `bytes` only from now on, as far as blocks beyond can be moved or `drop` lets go
  /// of a node; pages beyond go back to the system. Never more than it was made with.
  void resize(std::uint64_t bytes, const std::function<void(std::uint32_t)>& drop);
  /// As new. No node may be in use.
  void reset() noexcept;

 private:
  /// Owners of blocks that are no values.
  static constexpr std::uint32_t kIndexOwner = ~0U;
  static constexpr std::uint32_t kClosed = ~0U - 1;
  static constexpr std::uint32_t kGathered = ~0U - 2;
  static constexpr unsigned kGroupsBits = 8;

  void tell_index() noexcept;
  [[nodiscard]] Place find_room(std::uint64_t bytes, std::uint32_t owner) noexcept;
  [[nodiscard]] bool gather(Place start, std::uint64_t size) noexcept;
  [[nodiscard]] bool move_away(Place place) noexcept;
  void unlist(std::uint32_t number) noexcept;
  [[nodiscard]] bool grow_nodes() noexcept;
  [[nodiscard]] Place close(Place place, Place line) noexcept;
  void close_all() noexcept;
  void give_pages_back(Place place) noexcept;

  const std::uint64_t bytes_;
  const std::size_t first_slots_;
  std::byte* const base_;
  Node* const nodes_;
  /// Place and power of two of the groups in one word, so that a reader has both of one time; 0 = none.
  std::atomic<std::uint64_t> index_where_{0};
  std::uint64_t node_bytes_ = 0;
  std::uint32_t free_node_ = kNone;  ///< linked by Node::value, backwards by Node::bytes
  std::uint32_t free_nodes_ = 0;
  std::uint64_t limit_;
  Place line_;                      ///< where the size ends that was last asked for
  std::uint64_t closed_bytes_ = 0;  ///< beyond that
  Place last_freed_ = 0;            ///< 0 once anything was allocated since
  Place index_place_ = 0;
  KeyIndex index_;
  Arena arena_;
  HeldNodes held_;
};

}  // namespace tidegate
