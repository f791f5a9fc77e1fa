// EvictionPolicy: which entry goes when room is needed.
#pragma once

#include <cstdint>
#include <memory>

#include "tidegate/cache.hpp"

namespace tidegate {

/// Orders entries of one shard; owns none of them. It holds no lock and reads no
/// clock, so the memory tier and the simulator run the same object.
/// Thread-compatible.
class EvictionPolicy {
 public:
  /// Part of every entry. `frequency`, `part` and the links belong to the policy.
  struct Node {
    Node* newer = nullptr;
    Node* older = nullptr;
    std::uint64_t bytes = 0;        ///< its weight, the same while it is in the policy
    TimePoint expires_at{};         ///< the same while it is in the policy
    std::uint32_t fingerprint = 0;  ///< of its key
    std::uint8_t frequency = 0;
    std::uint8_t part = 0;  ///< which of the policy's queues it is in or belongs to
  };

  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;
  virtual ~EvictionPolicy() = default;

  /// The entry was read. Allocates nothing.
  virtual void hit(Node& node) noexcept = 0;

  /// Decides where a new key belongs, before room is made for it. An entry that
  /// replaces another one of its key takes over that one's `frequency` and `part`.
  virtual void admit(Node& newcomer) noexcept = 0;

  /// Takes in an entry with a `part`, as the newest of its kind.
  virtual void add(Node& node) = 0;
  virtual void remove(Node& node) noexcept = 0;

  /// Takes out the entry that gives way to `incoming`, which is admitted but not yet
  /// added. Null: nothing does, because there is nothing or all is worth more.
  [[nodiscard]] virtual Node* evict(const Node& incoming) = 0;

  /// What all entries together may weigh; queues take their shares of it.
  void set_budget(std::uint64_t bytes) noexcept { budget_ = bytes; }

  /// Memory the policy takes from the heap, itself included, whatever it holds.
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept { return heap_bytes_; }
  /// Memory it takes on top for each entry.
  [[nodiscard]] std::uint64_t bytes_per_entry() const noexcept { return bytes_per_entry_; }

 protected:
  EvictionPolicy(std::uint64_t heap_bytes, std::uint64_t bytes_per_entry)
      : heap_bytes_(heap_bytes), bytes_per_entry_(bytes_per_entry) {}
  [[nodiscard]] std::uint64_t budget() const noexcept { return budget_; }

 private:
  const std::uint64_t heap_bytes_;
  const std::uint64_t bytes_per_entry_;
  std::uint64_t budget_ = 0;
};

/// `memory_size`: for how many keys a policy that remembers keys beyond its entries
/// has room; a power of two, at least 16. All of that memory is taken here.
[[nodiscard]] std::unique_ptr<EvictionPolicy> make_eviction_policy(CachePolicy policy, std::uint32_t memory_size);

}  // namespace tidegate
