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
__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(std::span<const std::byte> bytes,
                                                             std::uint32_t seed) noexcept {
  std::uint64_t crc = ~seed;
  const std::byte* next = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, next += 8) {
    std::uint64_t word;
    std::memcpy(&word, next, 8);
    crc = _mm_crc32_u64(crc, word);
  }
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
