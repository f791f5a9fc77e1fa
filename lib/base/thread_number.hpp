// thread_number: a small number for the calling thread.
#pragma once

#include <cstdint>

namespace tidegate {

inline constexpr std::uint32_t kThreadNumbers = 64;
inline constexpr std::uint32_t kNoThreadNumber = ~0U;

/// Below kThreadNumbers, the same for the life of the thread and no other living thread's; the
/// lowest free one when it is first asked for. kNoThreadNumber while all are taken, and once the
/// thread's own variables are being destroyed. What a thread wrote is seen by the next one of its number.
[[nodiscard]] std::uint32_t thread_number() noexcept;

}  // namespace tidegate
