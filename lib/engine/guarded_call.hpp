// The border to what the program supplies: whatever it throws becomes an Error.
#pragma once

#include <span>
#include <vector>

#include "tidegate/runner.hpp"

namespace tidegate {

/// Inside a catch block: what an executor, a clock or an allocation threw on the way of
/// a request: out_of_memory or host_failed. Copying it allocates nothing.
[[nodiscard]] Error thrown_on_the_way() noexcept;

/// As ModelRunner::prepare; an exception becomes backend_failed.
[[nodiscard]] Result<PreparedInput> guarded_prepare(ModelRunner& runner, Input&& input) noexcept;

/// As ModelRunner::split and join; an exception becomes backend_failed.
[[nodiscard]] Result<std::vector<PreparedInput>> guarded_split(ModelRunner& runner, const PreparedInput& input,
                                                               const ItemSize& limit) noexcept;
[[nodiscard]] Result<std::vector<Tensor>> guarded_join(ModelRunner& runner,
                                                       std::vector<std::vector<Tensor>> parts) noexcept;

/// As ModelRunner::run; an exception becomes backend_failed for every item that
/// has no answer yet, whether or not it would have taken another step.
void guarded_run(ModelRunner& runner, std::span<BatchItem> batch) noexcept;

}  // namespace tidegate
