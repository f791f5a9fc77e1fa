#include "base/crc32c.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace tidegate {
namespace {

constexpr std::uint32_t kReflectedPolynomial = 0x82F63B78U;

using Table = std::array<std::array<std::uint32_t, 256>, 8>;

/// table[k][b]: the effect of byte b followed by k zero bytes, so that eight
/// look-ups replace eight dependent steps.
constexpr Table make_table() {
  Table table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kReflectedPolynomial : 0U);
    table[0][byte] = crc;
  }
  for (std::size_t k = 1; k < table.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t previous = table[k - 1][byte];
      table[k][byte] = (previous >> 8) ^ table[0][previous & 0xFFU];
    }
  }
  return table;
}

constexpr Table kTable = make_table();

#if defined(__x86_64__)
/// An instruction waits three cycles for the one before it, so three stretches of this many bytes go side by side.
constexpr std::size_t kStretch = 256;

using Shift = std::array<std::array<std::uint32_t, 256>, 4>;

/// shift[k][b]: what a state with b as its byte k becomes after kStretch zero bytes. The step is linear, so the
/// states of single bits make all others.
constexpr Shift make_shift() {
  Shift shift{};
  for (std::size_t k = 0; k < shift.size(); ++k) {
    for (std::uint32_t bit = 0; bit < 8; ++bit) {
      std::uint32_t crc = 1U << (8 * k + bit);
      for (std::size_t i = 0; i < kStretch; ++i) crc = (crc >> 8) ^ kTable[0][crc & 0xFFU];
      for (std::size_t byte = 0; byte < 256; ++byte) {
        if ((byte >> bit & 1U) != 0) shift[k][byte] ^= crc;
      }
    }
  }
  return shift;
}

constexpr Shift kShift = make_shift();

std::uint64_t shifted(std::uint64_t crc) noexcept {
  return kShift[0][crc & 0xFFU] ^ kShift[1][crc >> 8 & 0xFFU] ^ kShift[2][crc >> 16 & 0xFFU] ^
         kShift[3][crc >> 24 & 0xFFU];
}

std::uint64_t word_at(const std::byte* place) noexcept {
  std::uint64_t word;
  std::memcpy(&word, place, sizeof word);
  return word;
}

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(std::span<const std::byte> bytes,
                                                             std::uint32_t seed) noexcept {
  std::uint64_t crc = ~seed;
  const std::byte* next = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 3 * kStretch; left -= 3 * kStretch, next += 3 * kStretch) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < kStretch; i += 8) {
      crc = _mm_crc32_u64(crc, word_at(next + i));
      second = _mm_crc32_u64(second, word_at(next + kStretch + i));
      third = _mm_crc32_u64(third, word_at(next + 2 * kStretch + i));
    }
    crc = shifted(shifted(crc) ^ second) ^ third;
  }
  for (; left >= 8; left -= 8, next += 8) crc = _mm_crc32_u64(crc, word_at(next));
  auto tail = static_cast<std::uint32_t>(crc);
  for (; left > 0; --left, ++next) tail = _mm_crc32_u8(tail, std::to_integer<std::uint8_t>(*next));
  return ~tail;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t seed) noexcept {
  std::uint32_t crc = ~seed;
  const std::byte* next = bytes.data();
  std::size_t left = bytes.size();
  const auto at = [&next](std::size_t i) { return std::to_integer<std::uint32_t>(next[i]); };
  for (; left >= 8; left -= 8, next += 8) {
    crc = kTable[7][(crc ^ at(0)) & 0xFFU] ^ kTable[6][((crc >> 8) ^ at(1)) & 0xFFU] ^
          kTable[5][((crc >> 16) ^ at(2)) & 0xFFU] ^ kTable[4][((crc >> 24) ^ at(3)) & 0xFFU] ^ kTable[3][at(4)] ^
          kTable[2][at(5)] ^ kTable[1][at(6)] ^ kTable[0][at(7)];
  }
  for (; left > 0; --left, ++next) crc = (crc >> 8) ^ kTable[0][(crc ^ at(0)) & 0xFFU];
  return ~crc;
}

bool crc32c_is_accelerated() noexcept {
#if defined(__x86_64__)
  static const bool supported = __builtin_cpu_supports("sse4.2") != 0;
  return supported;
#else
  return false;
#endif
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) noexcept {
#if defined(__x86_64__)
  if (crc32c_is_accelerated()) return crc32c_sse42(bytes, seed);
#endif
  return crc32c_portable(bytes, seed);
}

}  // namespace tidegate
