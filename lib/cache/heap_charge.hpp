// What a heap block really costs, so that a byte budget means memory.
#pragma once

#include <cstdint>

namespace tidegate {

/// Bytes the allocator takes for a request of `bytes`: 8 bytes of bookkeeping in
/// steps of 16, at least 32; from 128 KiB whole pages (glibc's malloc).
[[nodiscard]] constexpr std::uint64_t heap_charge(std::uint64_t bytes) noexcept {
  if (bytes >= (128U << 10)) return (bytes + 16 + 4095) / 4096 * 4096;
  const std::uint64_t chunk = (bytes + 8 + 15) / 16 * 16;
  return chunk < 32 ? 32 : chunk;
}

}  // namespace tidegate
