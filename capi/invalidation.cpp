// Answers that are to be asked for no more; caches kept over a restart.
#include <algorithm>

#include "arguments.hpp"
#include "runtime.hpp"
#include "tidegate/runtime.h"

using namespace tidegate::capi;  // NOLINT: the C functions below are the API of this namespace
using tidegate::CacheScope;
using tidegate::Error;
using tidegate::ErrorCode;
using tidegate::Result;

namespace {

Result<CacheScope> read_scope(const tidegate_cache_scope* given) {
  if (given == nullptr) return CacheScope{};
  const auto scope = read_struct(given, "scope");
  if (!scope) return scope.error();
  if (scope->reserved != 0) return Error(ErrorCode::unsupported, "scope.reserved is not 0");
  const auto model = text_argument(scope->model, scope->model_length, "scope.model");
  if (!model) return model.error();
  const auto tag = text_argument(scope->tag, scope->tag_length, "scope.tag");
  if (!tag) return tag.error();
  CacheScope read{std::string(*model), std::string(*tag), {}};
  if (scope->version != nullptr) {
    tidegate::Digest& version = read.version.emplace();
    std::copy_n(scope->version, version.size(), version.begin());
  }
  return read;
}

}  // namespace

tidegate_status tidegate_cache_invalidate(tidegate_runtime* runtime, const tidegate_cache_scope* scope,
                                          int64_t timeout_ns, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    const auto read = read_scope(scope);
    if (!read) return read.error();
    const auto bound = duration_argument(timeout_ns);
    if (!bound) return bound.error();
    auto engine = runtime->runtime->use(Runtime::Span::work);
    if (!engine) return engine.error();
    return (*engine)->invalidate_cache(*read, *bound);
  });
}

tidegate_status tidegate_cache_save(tidegate_runtime* runtime, uint64_t* answers, tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (answers != nullptr) *answers = 0;
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto engine = runtime->runtime->use(Runtime::Span::work);
    if (!engine) return engine.error();
    const auto saved = (*engine)->save_cache();
    if (!saved) return saved.error();
    if (answers != nullptr) *answers = *saved;
    return {};
  });
}

tidegate_status tidegate_cache_resize(tidegate_runtime* runtime, uint64_t capacity_bytes,
                                      tidegate_error** err) noexcept {
  return guarded(err, [&]() -> Result<void> {
    if (auto ok = check(runtime, "runtime"); !ok) return ok;
    auto engine = runtime->runtime->use(Runtime::Span::work);
    if (!engine) return engine.error();
    return (*engine)->resize_cache(capacity_bytes);
  });
}
