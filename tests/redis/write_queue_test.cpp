// WriteQueue and the codes that sign values.
#include "cache/redis/write_queue.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>

#include "base/hmac_sha256.hpp"
#include "base/sha256.hpp"

using namespace tidegate;

namespace {

WriteQueue::Item item_of(std::uint8_t number, std::size_t bytes) {
  WriteQueue::Item item;
  item.key[0] = number;
  item.record = CacheRecord(std::make_shared<const std::vector<std::byte>>(bytes));
  return item;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("write queue: the oldest gives way to the newest, by number and by bytes") {
  WriteQueue queue(3, 1 << 20);
  for (std::uint8_t i = 0; i < 3; ++i) CHECK(queue.push(item_of(i, 10)) == 0);
  CHECK(queue.push(item_of(3, 10)) == 1);
  CHECK(queue.pop()->key[0] == 1);
  WriteQueue small(100, 4096);
  for (std::uint8_t i = 0; i < 3; ++i) CHECK(small.push(item_of(i, 1000)) == 0);
  CHECK(small.push(item_of(3, 2000)) == 2);
  CHECK(small.pop()->key[0] == 2);
  CHECK(small.push(item_of(4, 5000)) == 1);
  CHECK(small.pop()->key[0] == 3);
  CHECK_FALSE(small.pop());
  CHECK(small.bytes() == 0);
}

TEST_CASE("write queue: the bound holds after every operation, and nothing is lost uncounted") {
  WriteQueue queue(50, 10'000);
  std::mt19937_64 random(7);
  std::uint64_t pushed = 0;
  std::uint64_t dropped = 0;
  std::uint64_t popped = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 3 == 0) {
      popped += queue.pop() ? 1 : 0;
    } else {
      dropped += queue.push(item_of(0, random() % 3000));
      ++pushed;
    }
    CHECK(queue.size() <= 50);
    CHECK(queue.bytes() <= 10'000);
    CHECK(pushed == dropped + popped + queue.size());
  }
  CHECK(dropped > 1000);
}

TEST_CASE("hmac: the cases of RFC 4231 come out") {
  CHECK(to_hex(hmac_sha256(std::string(20, '\x0b'), "Hi ", bytes_of("There"))) ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(to_hex(hmac_sha256("Jefe", "", bytes_of("what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(to_hex(hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First", {})) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  const Digest digest = hmac_sha256("k", "a", {});
  auto tag = std::vector<std::byte>(32);
  std::memcpy(tag.data(), digest.data(), 32);
  CHECK(equal_in_constant_time(digest, tag));
  tag[31] ^= std::byte{1};
  CHECK_FALSE(equal_in_constant_time(digest, tag));
  CHECK_FALSE(equal_in_constant_time(digest, std::span(tag).first(31)));
}
