// What every opaque handle of the C ABI begins with: a word that names its type and
// the fork generation it was made in. A diagnostic, not a security boundary.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "tidegate/result.hpp"

namespace tidegate::capi {

/// Number of forks between the first handle of this process image and now: a child
/// counts one more than its parent.
[[nodiscard]] std::uint32_t fork_generation() noexcept;

inline constexpr std::uint32_t kReleasedMagic = 0xDEAD7469;

template <std::uint32_t kMagic>
struct Handle {
  static constexpr std::uint32_t kWord = kMagic;

  Handle() noexcept = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { magic.store(kReleasedMagic, std::memory_order_relaxed); }

  // Relaxed: the word is only compared; handles are published by their owner.
  std::atomic<std::uint32_t> magic{kMagic};
  const std::uint32_t generation = fork_generation();
};

/// A handle that several owners share.
template <std::uint32_t kMagic>
struct SharedHandle : Handle<kMagic> {
  std::atomic<std::uint32_t> references{1};

  void retain() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  /// True for the last owner. Acquire-release: it sees all that others did before.
  [[nodiscard]] bool release() noexcept { return references.fetch_sub(1, std::memory_order_acq_rel) == 1; }
};

enum class HandleState : std::uint8_t { live, null, wrong, forked };

template <class T>
[[nodiscard]] HandleState state_of(const T* handle) noexcept {
  if (handle == nullptr) return HandleState::null;
  if (handle->magic.load(std::memory_order_relaxed) != T::kWord) return HandleState::wrong;
  return handle->generation == fork_generation() ? HandleState::live : HandleState::forked;
}

template <class T>
[[nodiscard]] bool is_live(const T* handle) noexcept {
  return state_of(handle) == HandleState::live;
}

/// The error of a handle that is not live; `noun` says which argument it was.
[[nodiscard]] Error handle_error(HandleState state, const char* noun);

template <class T>
[[nodiscard]] Result<void> check(const T* handle, const char* noun) {
  const HandleState state = state_of(handle);
  if (state == HandleState::live) return {};
  return handle_error(state, noun);
}

/// The status of the same, for functions without an error parameter.
[[nodiscard]] std::int32_t status_of(HandleState state) noexcept;

}  // namespace tidegate::capi
