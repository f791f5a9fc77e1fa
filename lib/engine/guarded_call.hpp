// The border to user-supplied runners: whatever they throw becomes an Error.
#pragma once

#include <span>

#include "tidegate/runner.hpp"

namespace tidegate {

/// As ModelRunner::prepare; an exception becomes backend_failed.
[[nodiscard]] Result<PreparedInput> guarded_prepare(ModelRunner& runner, Input input) noexcept;

/// As ModelRunner::run; an exception becomes backend_failed for every item that
/// has no answer yet.
void guarded_run(ModelRunner& runner, std::span<BatchItem> batch) noexcept;

}  // namespace tidegate
