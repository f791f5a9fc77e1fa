// HMAC-SHA256 (RFC 2104) over the SHA-256 of OpenSSL.
#pragma once

#include <span>
#include <string_view>

#include "tidegate/request.hpp"

namespace tidegate {

/// The code of `first` followed by `second` under `key`, which is not empty.
[[nodiscard]] Digest hmac_sha256(std::string_view key, std::string_view first, std::span<const std::byte> second);

/// Takes as long whatever differs. `tag` has the length of a digest.
[[nodiscard]] bool equal_in_constant_time(const Digest& digest, std::span<const std::byte> tag) noexcept;

}  // namespace tidegate
