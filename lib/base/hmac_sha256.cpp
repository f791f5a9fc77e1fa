#include "base/hmac_sha256.hpp"

#include <openssl/crypto.h>

#include <array>
#include <cstring>

#include "base/sha256.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kBlockBytes = 64;  // of SHA-256
constexpr std::byte kInnerPad{0x36};
constexpr std::byte kOuterPad{0x5C};

std::array<std::byte, kBlockBytes> padded(std::string_view key, std::byte pad) {
  std::array<std::byte, kBlockBytes> block{};
  if (key.size() > kBlockBytes) {
    const Digest hashed = Sha256().update(key).finish();
    std::memcpy(block.data(), hashed.data(), hashed.size());
  } else {
    std::memcpy(block.data(), key.data(), key.size());
  }
  for (std::byte& byte : block) byte ^= pad;
  return block;
}

}  // namespace

Digest hmac_sha256(std::string_view key, std::string_view first, std::span<const std::byte> second) {
  const Digest inner = Sha256().update(padded(key, kInnerPad)).update(first).update(second).finish();
  return Sha256().update(padded(key, kOuterPad)).update(std::as_bytes(std::span(inner))).finish();
}

bool equal_in_constant_time(const Digest& digest, std::span<const std::byte> tag) noexcept {
  return tag.size() == digest.size() && CRYPTO_memcmp(digest.data(), tag.data(), tag.size()) == 0;
}

}  // namespace tidegate
