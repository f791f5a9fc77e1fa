#include "base/utf8.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace tidegate;

namespace {

/// Plain reference: encodes a code point as RFC 3629 says.
std::string encode(std::uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  if (c < 0x10000)
    return {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
            static_cast<char>(0x80 | (c & 63))};
  return {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
          static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
}

}  // namespace

TEST_CASE("utf8: every scalar value is accepted, every surrogate refused") {
  for (std::uint32_t c = 0; c <= 0x10FFFF; ++c) {
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    if ((find_invalid_utf8(encode(c)) == std::string_view::npos) == surrogate) FAIL("code point " << c);
  }
}

TEST_CASE("utf8: a broken sequence is reported at its first byte") {
  CHECK(find_invalid_utf8("plain ascii, longer than eight") == std::string_view::npos);
  CHECK(find_invalid_utf8("12345678\xff") == 8);
  CHECK(find_invalid_utf8("ab\xc3") == 2);
  CHECK(find_invalid_utf8("ab\xe2\x82") == 2);
  CHECK(find_invalid_utf8("\xc0\xaf") == 0);
  CHECK(find_invalid_utf8("\xe0\x80\xaf") == 0);
  CHECK(find_invalid_utf8("\xf4\x90\x80\x80") == 0);
  CHECK(find_invalid_utf8("\xf8\x88\x80\x80\x80") == 0);
}
