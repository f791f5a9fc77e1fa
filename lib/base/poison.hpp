// Poisoned memory: under AddressSanitizer, touching it is an error; elsewhere nothing happens.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define TIDEGATE_HAS_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TIDEGATE_HAS_POISON 1
#endif
#endif

#ifdef TIDEGATE_HAS_POISON
#include <sanitizer/asan_interface.h>
#endif

namespace tidegate {

/// For records that wait in a pool to be used again.
inline void poison([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef TIDEGATE_HAS_POISON
  __asan_poison_memory_region(begin, bytes);
#endif
}

inline void unpoison([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef TIDEGATE_HAS_POISON
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

}  // namespace tidegate
