#include "engine/isolating_run.hpp"

#include <algorithm>
#include <new>
#include <vector>

#include "engine/guarded_call.hpp"

namespace tidegate {
namespace {

/// Two or more items carry the same error of the model's: it failed on the batch, not on them.
bool failed_together(std::span<const BatchItem> batch) noexcept {
  const BatchItem* first = nullptr;
  std::size_t failed = 0;
  for (const BatchItem& item : batch) {
    if (is_good(item)) continue;
    if (!is_models_failure(item)) return false;
    if (first == nullptr) first = &item;
    const Error& error = item.output.error();
    if (error.code() != first->output.error().code() || error.message() != first->output.error().message()) {
      return false;
    }
    ++failed;
  }
  return failed > 1;
}

/// Runs the failed items of the batch again in two halves. May throw std::bad_alloc.
void split(ModelRunner& runner, std::span<BatchItem> batch) {
  std::vector<BatchItem> again;
  std::vector<BatchItem*> owners;
  for (BatchItem& item : batch) {
    if (is_good(item)) continue;
    BatchItem& second = again.emplace_back();
    second.input = item.input;
    second.state = std::move(item.state);
    owners.push_back(&item);
  }
  const std::span<BatchItem> all(again);
  const std::size_t middle = all.size() / 2;
  for (const std::span<BatchItem> half : {all.first(middle), all.subspan(middle)}) {
    guarded_run(runner, half);
    if (failed_together(half)) split(runner, half);
  }
  for (std::size_t i = 0; i < again.size(); ++i) *owners[i] = std::move(again[i]);
}

}  // namespace

bool is_good(const BatchItem& item) noexcept { return item.output || item.step == StepEnd::proceeds; }

bool is_models_failure(const BatchItem& item) noexcept {
  if (is_good(item)) return false;
  const ErrorCode code = item.output.error().code();
  return code == ErrorCode::backend_failed || code == ErrorCode::host_failed || code == ErrorCode::out_of_memory;
}

BatchEnd run_isolating(ModelRunner& runner, std::span<BatchItem> batch) noexcept {
  guarded_run(runner, batch);
  const ModelInfo& model = runner.info();
  const bool repeatable = !model.iterative || model.repeatable_steps;
  const bool starved = std::any_of(batch.begin(), batch.end(), [](const BatchItem& item) {
    return !item.output && item.output.error().code() == ErrorCode::out_of_memory;
  });
  const BatchEnd bad = starved ? BatchEnd::out_of_memory : BatchEnd::failed;
  if (model.deterministic && repeatable && failed_together(batch)) {
    try {
      split(runner, batch);
    } catch (const std::bad_alloc&) {
      // Without memory for a second try the first error stands.
    }
    return bad;
  }
  const bool any = std::any_of(batch.begin(), batch.end(), is_good);
  return any && !starved ? BatchEnd::ran : bad;
}

}  // namespace tidegate
