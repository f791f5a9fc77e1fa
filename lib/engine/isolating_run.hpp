// Running a batch so that an item the model fails on fails alone.
#pragma once

#include <span>

#include "queue/scheduler_core.hpp"
#include "tidegate/runner.hpp"

namespace tidegate {

/// Runs the batch. Where several items fail with one and the same error of the model's and
/// the model is deterministic, its halves are run again, down to single items: at most
/// log2(n) levels; items of an iterative model only if its steps are repeatable. Never throws. `failed`: something had
/// to be run again, or nothing was answered; `out_of_memory`: the same for want of it, of one item at least.
[[nodiscard]] BatchEnd run_isolating(ModelRunner& runner, std::span<BatchItem> batch) noexcept;

/// The item has an answer, or has taken its step.
[[nodiscard]] bool is_good(const BatchItem& item) noexcept;

/// The item failed though it ran alone; only of items that went through a split.
[[nodiscard]] bool is_models_failure(const BatchItem& item) noexcept;

}  // namespace tidegate
