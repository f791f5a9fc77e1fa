// Arena: hands out blocks of one stretch of memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tidegate {

/// Two-level segregated fit (Masmano, Ripoll, Crespo, Real, "TLSF: a new dynamic memory
/// allocator for real-time systems", ECRTS 2004): constant time, neighbours that are
/// free become one. Everything is in the stretch itself but for the heads of the lists.
/// A block has 8 bytes of bookkeeping in front and is aligned to 16. Each has an owner, a
/// number that its user may look up, so that blocks can be moved. Under AddressSanitizer free bytes are poisoned:
/// whoever ends or reuses the memory unpoisons it. Thread-compatible.
class Arena {
 public:
  /// Where a block's bytes begin, in steps of 16 from `base`; 0 = none.
  using Place = std::uint32_t;

  static constexpr std::uint64_t kStep = 16;
  static constexpr std::uint64_t kHeaderBytes = 8;
  static constexpr std::uint64_t kSmallestBlock = 32;
  /// Pad in front of the first block and the mark behind the last one.
  static constexpr std::uint64_t kOwnBytes = 16;
  /// Longest stretch, from `base`.
  static constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 33;

  Arena() = default;
  /// Hands out [begin, end) beyond `base`; both are multiples of 16, at least 64 apart.
  Arena(std::byte* base, std::uint64_t begin, std::uint64_t end) noexcept;

  /// What a block of so many bytes takes.
  [[nodiscard]] static constexpr std::uint64_t block_bytes(std::uint64_t bytes) noexcept {
    const std::uint64_t whole = (bytes + kHeaderBytes + kStep - 1) / kStep * kStep;
    return whole < kSmallestBlock ? kSmallestBlock : whole;
  }

  /// 0 if no free stretch is long enough.
  [[nodiscard]] Place allocate(std::uint64_t bytes, std::uint32_t owner) noexcept;
  /// Where the free stretch that it became part of begins.
  Place free(Place place) noexcept;

  [[nodiscard]] std::byte* at(Place place) const noexcept { return base_ + place * kStep; }
  /// With its header, at least block_bytes of what was asked for.
  [[nodiscard]] std::uint64_t size_of(Place place) const noexcept { return units(place) * kStep; }
  [[nodiscard]] std::uint32_t owner_of(Place place) const noexcept { return header(place).owner; }
  void set_owner(Place place, std::uint32_t owner) noexcept { header(place).owner = owner; }
  [[nodiscard]] bool is_free(Place place) const noexcept { return (header(place).size & kFree) != 0; }
  [[nodiscard]] std::uint64_t free_bytes() const noexcept { return free_units_ * kStep; }
  /// Between begin and end, its own bytes not counted.
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return end_ - begin_ - kOwnBytes; }

  /// The blocks in the order of their addresses, free ones too; 0 behind the last.
  [[nodiscard]] Place first() const noexcept;
  [[nodiscard]] Place next(Place place) const noexcept;

  /// Takes a free stretch whole.
  void claim(Place place, std::uint32_t owner) noexcept;
  /// Adds the free stretch behind a block to it. False if what is behind is in use.
  bool absorb_next(Place place) noexcept;
  /// Cuts a block in use in two, both in use; `bytes` (a multiple of 16) is the first one's size with
  /// its header, and both must have kSmallestBlock at least. Returns the second.
  Place split(Place place, std::uint64_t bytes) noexcept;
  /// Gives back what a block in use has beyond `bytes`.
  void trim(Place place, std::uint64_t bytes) noexcept;
  /// Moves `begin` up by the first `bytes` of the first block, which is in use; the rest of it,
  /// nothing or kSmallestBlock at least, becomes free.
  void cut_front(std::uint64_t bytes) noexcept;

  /// Moves `begin` down by `bytes`, a multiple of 16 and kSmallestBlock at least, that were cut off before.
  void grow_front(std::uint64_t bytes) noexcept;

 private:
  static constexpr std::uint32_t kFree = 1U << 30;
  static constexpr std::uint32_t kAfterFree = 1U << 31;
  static constexpr std::uint32_t kSizeMask = kFree - 1;
  static constexpr unsigned kSecondBits = 3;
  static constexpr unsigned kSeconds = 1U << kSecondBits;
  static constexpr unsigned kFirsts = 28;
  /// How many stretches of a size's own class are looked at before a larger class is taken.
  static constexpr int kLooks = 8;

  /// In front of every block: its size in steps and flags, its owner.
  struct Header {
    std::uint32_t size;
    std::uint32_t owner;
  };
  /// At the start of every free stretch, which also ends with its size.
  struct Links {
    Place next;
    Place previous;
  };
  struct Class {
    unsigned first;
    unsigned second;
  };

  [[nodiscard]] Header& header(Place place) const noexcept {
    return *reinterpret_cast<Header*>(base_ + place * kStep - kHeaderBytes);
  }
  [[nodiscard]] Links& links(Place place) const noexcept { return *reinterpret_cast<Links*>(at(place)); }
  [[nodiscard]] std::uint32_t units(Place place) const noexcept { return header(place).size & kSizeMask; }
  [[nodiscard]] std::uint32_t& tail(Place place) const noexcept;
  [[nodiscard]] static Class class_of(std::uint32_t units) noexcept;
  [[nodiscard]] Place find(std::uint32_t units) const noexcept;
  void put_in_list(Place place, std::uint32_t units) noexcept;
  void take_out(Place place) noexcept;
  void mark_used(Place place, std::uint32_t units, std::uint32_t owner) noexcept;

  std::byte* base_ = nullptr;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t free_units_ = 0;
  std::uint32_t first_bits_ = 0;                     ///< bit f: second_bits_[f] is not zero
  std::array<std::uint8_t, kFirsts> second_bits_{};  ///< bit s: heads_[f][s] is not zero
  std::array<std::array<Place, kSeconds>, kFirsts> heads_{};
};

}  // namespace tidegate
