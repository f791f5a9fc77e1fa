// Facts of the library: versions, statuses, features, the clock.
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "arguments.hpp"
#include "boundary.hpp"
#include "build_facts.hpp"
#include "tidegate/error.hpp"
#include "tidegate/tidegate.h"
#include "tidegate/version.hpp"

using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;

namespace {

constexpr bool same(ErrorCode code, int status) { return static_cast<int>(code) == status; }
static_assert(same(ErrorCode::internal, TIDEGATE_E_INTERNAL) && same(ErrorCode::invalid_argument, TIDEGATE_E_INVALID) &&
              same(ErrorCode::not_found, TIDEGATE_E_NOT_FOUND) && same(ErrorCode::already_exists, TIDEGATE_E_EXISTS) &&
              same(ErrorCode::unsupported, TIDEGATE_E_UNSUPPORTED) &&
              same(ErrorCode::out_of_memory, TIDEGATE_E_NO_MEMORY) && same(ErrorCode::io_error, TIDEGATE_E_IO) &&
              same(ErrorCode::deadline_exceeded, TIDEGATE_E_DEADLINE) &&
              same(ErrorCode::cancelled, TIDEGATE_E_CANCELLED) && same(ErrorCode::queue_full, TIDEGATE_E_QUEUE_FULL) &&
              same(ErrorCode::overloaded, TIDEGATE_E_OVERLOADED) &&
              same(ErrorCode::unavailable, TIDEGATE_E_UNAVAILABLE));
static_assert(same(ErrorCode::shutting_down, TIDEGATE_E_SHUTTING_DOWN) && same(ErrorCode::busy, TIDEGATE_E_BUSY) &&
              same(ErrorCode::bad_handle, TIDEGATE_E_BAD_HANDLE) &&
              same(ErrorCode::version_mismatch, TIDEGATE_E_VERSION) && same(ErrorCode::forked, TIDEGATE_E_FORKED) &&
              same(ErrorCode::backend_failed, TIDEGATE_E_BACKEND) &&
              same(ErrorCode::corrupt_data, TIDEGATE_E_CORRUPT) && same(ErrorCode::abandoned, TIDEGATE_E_ABANDONED) &&
              same(ErrorCode::host_failed, TIDEGATE_E_HOST) && same(ErrorCode::too_large, TIDEGATE_E_TOO_LARGE) &&
              same(ErrorCode::preempted, TIDEGATE_E_PREEMPTED) && same(ErrorCode::quota_exceeded, TIDEGATE_E_QUOTA) &&
              same(ErrorCode::stuck, TIDEGATE_E_STUCK));

constexpr std::array<std::string_view, 7> kFeatures{
    "runner.synthetic",
    "runner.host",
    "cache.memory",
    "cq.eventfd",
    TIDEGATE_WITH_ENCODER ? "runner.encoder" : "",
    TIDEGATE_WITH_TORCH ? "runner.torchscript" : "",
    TIDEGATE_WITH_ROCKSDB ? "cache.disk" : "",
};

std::string version_text(std::uint32_t version) {
  return std::to_string(version >> 16) + "." + std::to_string(version & 0xffffU);
}

}  // namespace

namespace tidegate::capi {

void give_text(std::string_view text, char** target, std::size_t* length) {
  auto* const copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  *target = copy;
  if (length != nullptr) *length = text.size();
}

}  // namespace tidegate::capi

uint32_t tidegate_abi_version(void) noexcept { return TIDEGATE_ABI_VERSION; }

const char* tidegate_version_string(void) noexcept { return tidegate::version_string(); }

tidegate_status tidegate_require_abi(uint32_t header_version, tidegate_error** err) noexcept {
  return tidegate::capi::guarded(err, [&]() -> Result<void> {
    const bool fits = header_version >> 16 == TIDEGATE_ABI_MAJOR && (header_version & 0xffffU) <= TIDEGATE_ABI_MINOR;
    if (fits) return {};
    Dl_info file{};
    const bool known = dladdr(reinterpret_cast<const void*>(&tidegate_abi_version), &file) != 0;
    return Error(ErrorCode::version_mismatch,
                 "the program was built for ABI " + version_text(header_version) + "; the loaded library has ABI " +
                     version_text(TIDEGATE_ABI_VERSION) + " (" +
                     (known && file.dli_fname != nullptr ? file.dli_fname : "path unknown") + ")");
  });
}

const char* tidegate_status_name(tidegate_status status) noexcept {
  switch (status) {
    case TIDEGATE_OK: return "ok";
    case TIDEGATE_DONE: return "done";
    case TIDEGATE_EMPTY: return "empty";
    // The names are string literals and so end in NUL.
    default: return tidegate::to_string(static_cast<ErrorCode>(status)).data();
  }
}

int32_t tidegate_status_http(tidegate_status status) noexcept {
  return status >= 0 ? 200 : static_cast<int32_t>(tidegate::http_status(static_cast<ErrorCode>(status)));
}

int32_t tidegate_status_grpc(tidegate_status status) noexcept {
  return status >= 0 ? 0 : tidegate::grpc_status(static_cast<ErrorCode>(status));
}

const char* tidegate_build_info(const char* key) noexcept {
  if (key == nullptr) return nullptr;
  const std::string_view name(key);
  if (name == "version") return tidegate::version_string();
  if (name == "build_id") return tidegate::build_id();
  if (name == "compiler") return TIDEGATE_COMPILER;
  return nullptr;
}

int32_t tidegate_has_feature(const char* name) noexcept {
  if (name == nullptr || *name == '\0') return 0;
  return std::find(kFeatures.begin(), kFeatures.end(), std::string_view(name)) != kFeatures.end() ? 1 : 0;
}

int64_t tidegate_clock_now_ns(void) noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void tidegate_free(char* text) noexcept { std::free(text); }
