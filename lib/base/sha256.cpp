#include "base/sha256.hpp"

// OpenSSL 3.0's EVP interface allocates at every start of a digest; a key is derived
// for every request, so the interface below it is used.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <new>

namespace tidegate {
namespace {

SHA256_CTX* sha(std::byte* context) { return reinterpret_cast<SHA256_CTX*>(context); }

}  // namespace

Sha256::Sha256() noexcept {
  static_assert(sizeof(SHA256_CTX) <= sizeof(context_) && alignof(SHA256_CTX) <= 8);
  SHA256_Init(::new (static_cast<void*>(context_)) SHA256_CTX);
}

Sha256& Sha256::update(std::span<const std::byte> bytes) noexcept {
  SHA256_Update(sha(context_), bytes.data(), bytes.size());
  return *this;
}

Sha256& Sha256::update_u64(std::uint64_t value) noexcept {
  std::byte bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
  return update(std::span<const std::byte>(bytes));
}

Sha256& Sha256::update_field(std::string_view text) noexcept {
  update_u64(text.size());
  return update(text);
}

Digest Sha256::finish() noexcept {
  Digest digest;
  SHA256_Final(digest.data(), sha(context_));
  SHA256_Init(sha(context_));
  return digest;
}

std::string to_hex(const Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * digest.size());
  for (const std::uint8_t byte : digest) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace tidegate
