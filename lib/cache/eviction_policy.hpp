// EvictionPolicy: which entry goes when room is needed.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "tidegate/cache.hpp"

namespace tidegate {

/// Orders entries of one shard; owns none of them, and they lie within 64 GiB of each other. It holds no lock and reads
/// no clock, so the memory tier and the simulator run the same object. Thread-compatible.
class EvictionPolicy {
 public:
  /// An entry but for its value, in one cache line. `frequency`, `part` and the links belong to the
  /// policy; `references`, `value` and `facts` to the memory tier.
  struct alignas(64) Node {
    CacheKey key{};
    TimePoint expires_at{};     ///< the same while it is in the policy
    std::int32_t to_newer = 0;  ///< how many nodes further on in memory that one is; 0 = none
    std::int32_t to_older = 0;
    std::uint32_t bytes = 0;       ///< its weight, the same while it is in the policy
    std::uint32_t references = 0;  ///< the tier's own one among them; atomic while others can have one
    std::uint32_t value = 0;       ///< its place in the arena
    std::uint8_t frequency = 0;    ///< atomic where hits need no lock
    std::uint8_t part = 0;         ///< which of the policy's queues it is in or belongs to
    std::uint16_t facts = 0;       ///< atomic while others can have a reference

    /// 32 bits of the key; keys that differ in one word only differ here too.
    [[nodiscard]] std::uint32_t fingerprint() const noexcept {
      std::uint64_t words[4];
      std::memcpy(words, key.data(), sizeof(words));
      const std::uint64_t folded = words[0] ^ words[1] ^ words[2] ^ words[3];
      return static_cast<std::uint32_t>(folded ^ (folded >> 32));
    }
  };
  static_assert(sizeof(Node) == 64);

  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;
  virtual ~EvictionPolicy() = default;

  /// What `hit` touches.
  enum class Hits : std::uint8_t {
    order,    ///< the order of entries: it is called under the shard's lock
    counter,  ///< at most the entry's own counter: it may be called at any time while the entry lives
  };
  [[nodiscard]] Hits hits() const noexcept { return hits_; }

  /// The entry was read. Allocates nothing.
  virtual void hit(Node& node) noexcept = 0;

  /// Decides where a new key belongs, before room is made for it. An entry that
  /// replaces another one of its key takes over that one's `frequency` and `part`.
  virtual void admit(Node& newcomer) noexcept = 0;

  /// Takes in an entry with a `part`, as the newest of its kind.
  virtual void add(Node& node) = 0;
  virtual void remove(Node& node) noexcept = 0;

  /// An entry lies elsewhere from now on: `to` is a copy of `from`.
  virtual void moved(Node& from, Node& to) = 0;

  /// Takes out the entry that gives way to `incoming`, which is admitted but not yet
  /// added. Null: nothing does, because there is nothing or all is worth more.
  [[nodiscard]] virtual Node* evict(const Node& incoming) = 0;

  /// How often the entry is asked for, as far as the policy knows; comparable among its entries.
  [[nodiscard]] virtual std::uint32_t heat(const Node& node) const noexcept;

  /// What all entries together may weigh; queues take their shares of it.
  void set_budget(std::uint64_t bytes) noexcept { budget_ = bytes; }

  /// Memory the policy takes from the heap, itself included, whatever it holds.
  [[nodiscard]] std::uint64_t heap_bytes() const noexcept { return heap_bytes_; }
  /// Memory it takes on top for each entry.
  [[nodiscard]] std::uint64_t bytes_per_entry() const noexcept { return bytes_per_entry_; }

 protected:
  EvictionPolicy(Hits hits, std::uint64_t heap_bytes, std::uint64_t bytes_per_entry)
      : heap_bytes_(heap_bytes), bytes_per_entry_(bytes_per_entry), hits_(hits) {}
  [[nodiscard]] std::uint64_t budget() const noexcept { return budget_; }

 private:
  const std::uint64_t heap_bytes_;
  const std::uint64_t bytes_per_entry_;
  const Hits hits_;
  std::uint64_t budget_ = 0;
};

/// `memory_size`: for how many keys a policy that remembers keys beyond its entries
/// has room; a power of two, at least 16. All of that memory is taken here.
[[nodiscard]] std::unique_ptr<EvictionPolicy> make_eviction_policy(CachePolicy policy, std::uint32_t memory_size);

}  // namespace tidegate
