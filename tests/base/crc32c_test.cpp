#include "base/crc32c.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string_view>
#include <vector>

using namespace tidegate;

namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

void check_both(std::span<const std::byte> bytes, std::uint32_t expected) {
  CHECK(crc32c(bytes) == expected);
  CHECK(crc32c_portable(bytes) == expected);
}

}  // namespace

TEST_CASE("crc32c: the vectors of RFC 3720, on both paths") {
  MESSAGE("accelerated: " << crc32c_is_accelerated());
  check_both({}, 0);
  check_both(bytes_of("123456789"), 0xE3069283U);
  check_both(std::vector<std::byte>(32), 0x8A9136AAU);
  check_both(std::vector<std::byte>(32, std::byte{0xFF}), 0x62A8AB43U);
  std::vector<std::byte> rising(32);
  std::vector<std::byte> falling(32);
  for (std::size_t i = 0; i < rising.size(); ++i) {
    rising[i] = static_cast<std::byte>(i);
    falling[i] = static_cast<std::byte>(31 - i);
  }
  check_both(rising, 0x46DD794EU);
  check_both(falling, 0x113FDB5CU);
}

TEST_CASE("crc32c: both paths agree on every length and alignment, whole and in pieces") {
  std::mt19937_64 random(20240607);
  std::vector<std::byte> block(1700);  // more than two rounds of the accelerated loop
  for (std::byte& byte : block) byte = static_cast<std::byte>(random());
  std::size_t differences = 0;
  for (std::size_t start = 0; start < 9; ++start) {
    for (std::size_t size = 0; size + start <= block.size(); ++size) {
      const auto part = std::span<const std::byte>(block).subspan(start, size);
      const std::uint32_t whole = crc32c(part);
      const std::size_t cut = size == 0 ? 0 : random() % size;
      if (whole != crc32c_portable(part)) ++differences;
      if (whole != crc32c(part.subspan(cut), crc32c(part.first(cut)))) ++differences;
      if (whole != crc32c_portable(part.subspan(cut), crc32c_portable(part.first(cut)))) ++differences;
    }
  }
  CHECK(differences == 0);
}
