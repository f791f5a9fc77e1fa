#include "handle.hpp"

#include <pthread.h>

#include <mutex>

#include "tidegate/base.h"

namespace tidegate::capi {
namespace {

constinit std::atomic<std::uint32_t> generation{1};
constinit std::once_flag watch_once;

}  // namespace

std::uint32_t fork_generation() noexcept {
  std::call_once(watch_once, [] {
    // Without the handler (out of memory) forks go unnoticed; nothing else changes.
    (void)pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });
  });
  return generation.load(std::memory_order_relaxed);
}

Error handle_error(HandleState state, const char* noun) {
  switch (state) {
    case HandleState::null: return Error(ErrorCode::invalid_argument, std::string(noun) + " is NULL");
    case HandleState::forked:
      return Error(ErrorCode::forked, std::string(noun) + " was made before fork(): create a runtime in the child");
    case HandleState::wrong:
    case HandleState::live: break;
  }
  return Error(ErrorCode::bad_handle, std::string(noun) + " is not a live handle of that type");
}

std::int32_t status_of(HandleState state) noexcept {
  switch (state) {
    case HandleState::live: return TIDEGATE_OK;
    case HandleState::null: return TIDEGATE_E_INVALID;
    case HandleState::forked: return TIDEGATE_E_FORKED;
    case HandleState::wrong: break;
  }
  return TIDEGATE_E_BAD_HANDLE;
}

}  // namespace tidegate::capi
