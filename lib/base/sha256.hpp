// SHA-256 (FIPS 180-4), by OpenSSL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tidegate/request.hpp"

namespace tidegate {

/// Incremental digest; allocates nothing. Not thread-safe; reusable after `finish`.
class Sha256 {
 public:
  Sha256() noexcept;
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Sha256& update(std::span<const std::byte> bytes) noexcept;
  Sha256& update(std::string_view text) noexcept { return update(std::as_bytes(std::span(text))); }
  /// Little-endian, so digests agree on every machine.
  Sha256& update_u64(std::uint64_t value) noexcept;
  /// Length first, so that no two lists of fields share an encoding.
  Sha256& update_field(std::string_view text) noexcept;

  /// The digest of what was added since construction or the last `finish`.
  [[nodiscard]] Digest finish() noexcept;

 private:
  alignas(8) std::byte context_[112];  // SHA256_CTX
};

[[nodiscard]] std::string to_hex(const Digest& digest);

}  // namespace tidegate
