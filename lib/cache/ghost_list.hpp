// GhostList: fingerprints of entries that left the cache a short while ago.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidegate {

/// First in, first out, bounded by a number of fingerprints and by the bytes their
/// entries had. Two keys of one fingerprint are one ghost: at worst an entry starts
/// in the wrong queue. Thread-compatible.
class GhostList {
 public:
  /// `capacity` is 1 at least; all memory is taken here.
  explicit GhostList(std::uint32_t capacity);

  /// Forgets the oldest until `bytes` fit into `byte_limit`, then remembers this one
  /// (unless it had no bytes, or more than all may have).
  void insert(std::uint32_t fingerprint, std::uint32_t bytes, std::uint64_t byte_limit);

  /// True if it was there; it is not any more.
  bool take(std::uint32_t fingerprint) noexcept;

  /// Bytes of memory a list of this capacity takes from the heap.
  [[nodiscard]] static std::uint64_t heap_bytes(std::uint32_t capacity) noexcept;

 private:
  struct Ghost {
    std::uint32_t fingerprint = 0;
    std::uint32_t bytes = 0;  ///< 0 = taken, skipped later
  };

  void forget_oldest() noexcept;
  [[nodiscard]] std::size_t find(std::uint32_t fingerprint) const noexcept;
  void erase_slot(std::size_t slot) noexcept;
  [[nodiscard]] std::size_t home(std::uint32_t fingerprint) const noexcept;
  [[nodiscard]] std::size_t after(std::size_t slot) const noexcept { return slot + 1 == slots_.size() ? 0 : slot + 1; }

  std::vector<Ghost> ring_;
  std::vector<std::uint32_t> slots_;  ///< place in ring_ plus one; 0 = empty; linear probing
  std::uint32_t oldest_ = 0;
  std::uint32_t count_ = 0;  ///< places in use, taken ones among them
  std::uint64_t bytes_ = 0;  ///< sum over ghosts that are not taken
};

}  // namespace tidegate
