// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of stored records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tidegate {

/// Checksum of `bytes`. `seed` is the checksum of what came before them, so a
/// block may be fed in pieces. Uses SSE4.2 where the processor has it.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0) noexcept;

/// The table path that every processor can run: the reference of the other one.
[[nodiscard]] std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t seed = 0) noexcept;

/// Whether `crc32c` uses the processor's own instruction.
[[nodiscard]] bool crc32c_is_accelerated() noexcept;

}  // namespace tidegate
