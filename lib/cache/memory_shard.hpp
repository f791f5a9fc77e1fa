// MemoryShard: one of the parts that the memory tier is cut into.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "base/spin_mutex.hpp"
#include "cache/held_value.hpp"
#include "cache/read_slots.hpp"
#include "cache/sequence.hpp"
#include "cache/shard_memory.hpp"

namespace tidegate {

/// An entry and how old it is.
struct MemoryHit {
  enum class Age : std::uint8_t {
    fresh,
    stale,          ///< past its fresh life; somebody renews it
    to_be_renewed,  ///< stale, and this asker is the one to renew it
  };
  HeldValue value;
  TimePoint expires_at{};
  Age age = Age::fresh;
};

/// A lock, an eviction policy and the memory of all entries. Thread-safe. Begins at a cache
/// line, so that two threads in two shards do not share one.
///
/// Look-ups go without the lock and write to nothing that two of them share, where the policy does not order entries
/// by their hits: a sequence shows whether index and entry were of one moment, and a slot of the thread keeps
/// the entry. They take the lock where that fails again and again, where the entry is stale or expired and where the
/// thread has no slots.
class alignas(64) MemoryShard {
 public:
  using Node = EvictionPolicy::Node;

  /// The last part of every life in which an entry is stale, and how long a renewal may take.
  struct Staleness {
    Duration window{0};
    Duration renewal = std::chrono::seconds(5);
  };
  /// What is stored, as `put` takes it apart.
  struct Incoming {
    const CacheKey& key;
    std::uint64_t hash;
    std::span<const std::byte> bytes;  ///< body or plain value
    bool plain;
    Duration time_to_live;
    Duration recompute_cost;
  };
  struct Leave {
    void operator()(MemoryShard* shard) const noexcept { shard->leave(); }
  };
  /// It ends with its last held value.
  using Pointer = std::unique_ptr<MemoryShard, Leave>;

  /// `share` bytes for everything but the slots, which all shards of a tier share. Throws std::bad_alloc.
  [[nodiscard]] static Pointer create(std::uint64_t share, CachePolicy policy, Staleness staleness,
                                      std::shared_ptr<ReadSlots> slots);
  /// What an entry with a value of so many bytes takes, its part of the index included.
  [[nodiscard]] static std::uint64_t charge_of(std::uint64_t bytes) noexcept;

  [[nodiscard]] std::optional<MemoryHit> find(const CacheKey& key, std::uint64_t hash, const Clock& clock);
  void put(const Incoming& incoming, TimePoint now);
  void erase(const CacheKey& key, std::uint64_t hash);
  void clear();
  void resize(std::uint64_t share);
  void add_to(CacheTierStats& total) const;

  /// An entry as it was a moment ago; another one may have its node by now.
  struct Living {
    std::uint32_t node = 0;
    std::uint32_t heat = 0;  ///< EvictionPolicy::heat
    TimePoint expires_at{};
  };
  /// The living entries among some nodes from `from` on, which becomes where to go on, kNone at
  /// the end.
  [[nodiscard]] std::vector<Living> some_from(std::uint32_t& from, TimePoint now);
  /// What lives in a node; counts nowhere, and its age is not looked at.
  [[nodiscard]] std::optional<MemoryHit> at(std::uint32_t number, TimePoint now);

  /// For HeldValue: the last reference of an entry that left is gone.
  void let_go(Node& node) noexcept;

 private:
  MemoryShard(std::uint64_t share, Staleness staleness, std::unique_ptr<EvictionPolicy> order,
              std::shared_ptr<ReadSlots> slots);
  ~MemoryShard() = default;

  /// Where an incoming entry goes.
  struct Room {
    std::uint32_t number = ShardMemory::kNone;
    Arena::Place place = 0;
  };

  /// What a look-up without the lock has come to.
  struct Sight {
    enum class Is : std::uint8_t { unknown, absent, held } is = Is::unknown;
    MemoryHit hit{};
    Node* node = nullptr;
  };

  [[nodiscard]] Sight look(const CacheKey& key, std::uint64_t hash, ReadSlots::Line& line)
      TIDEGATE_ATTRIBUTE(no_thread_safety_analysis);
  [[nodiscard]] bool is_fresh(TimePoint expires_at, const Clock& clock) const noexcept;
  [[nodiscard]] std::optional<MemoryHit> find_locked(const CacheKey& key, std::uint64_t hash, const Clock& clock);
  void leave() noexcept;
  [[nodiscard]] static std::uint64_t heap_bytes(const EvictionPolicy& order, const ReadSlots& slots) noexcept;
  [[nodiscard]] std::uint64_t used_bytes() const TIDEGATE_REQUIRES(mutex_);
  void set_limits() TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] Room make_room(const Node& incoming, std::uint64_t bytes) TIDEGATE_REQUIRES(mutex_);
  void store(Room room, const Node& entry, const Incoming& incoming) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] MemoryHit hold(Node& node, MemoryHit::Age age) TIDEGATE_REQUIRES(mutex_);
  /// Takes an entry out of policy and index.
  void retire(Node& node) TIDEGATE_REQUIRES(mutex_);
  /// An entry that the policy does not have any more.
  void forget(Node& node) TIDEGATE_REQUIRES(mutex_);
  void release_memory(Node& node) TIDEGATE_REQUIRES(mutex_);
  void evict_all() TIDEGATE_REQUIRES(mutex_);
  void reset_if_unused() TIDEGATE_REQUIRES(mutex_);
  void look_for_expired(TimePoint now) TIDEGATE_REQUIRES(mutex_);
  [[nodiscard]] std::span<std::byte> value_of(const Node& node) const TIDEGATE_ATTRIBUTE(no_thread_safety_analysis);
  [[nodiscard]] MemoryHit::Age age_of(Node& node, TimePoint now) TIDEGATE_REQUIRES(mutex_);

  Sequence sequence_;                            ///< of all that look-ups without the lock read
  const std::unique_ptr<EvictionPolicy> order_;  // guarded by mutex_, but for hits that touch a counter only
  const std::shared_ptr<ReadSlots> slots_;
  const Staleness staleness_;
  const std::uint64_t tail_bytes_;  ///< behind each value: when a renewal may begin, if entries age
  mutable SpinMutex mutex_;         // leaf, but for a lock the clock's now() may take
  /// Those under the lock, beside it: whoever changes one has this line.
  std::uint64_t hits_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  std::uint64_t misses_ TIDEGATE_GUARDED_BY(mutex_) = 0;
  ShardMemory memory_ TIDEGATE_GUARDED_BY(mutex_);
  const ShardMemory::Moved node_moved_ = [this](Node& from, Node& to) { order_->moved(from, to); };
  const std::uint64_t fixed_bytes_;                       ///< outside the mapping and for its arena
  const std::uint64_t first_share_;                       ///< the most it may have
  std::uint64_t share_ TIDEGATE_GUARDED_BY(mutex_);       ///< bytes
  CacheTierStats stats_ TIDEGATE_GUARDED_BY(mutex_);      ///< but for hits, misses, entries and bytes
  std::uint64_t pinned_ TIDEGATE_GUARDED_BY(mutex_) = 0;  ///< entries that left and are held
  std::uint32_t hand_ TIDEGATE_GUARDED_BY(mutex_) = 0;    ///< the node to be looked at next
  bool left_ TIDEGATE_GUARDED_BY(mutex_) = false;         ///< the tier is gone
};

}  // namespace tidegate
