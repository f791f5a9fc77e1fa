#include "engine/guarded_call.hpp"

#include <exception>
#include <string>

#include "engine/room_line.hpp"

namespace tidegate {
namespace {

/// Inside a catch block: what was thrown, as an Error.
Error thrown_by_model(const char* where) noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
      return Error(ErrorCode::out_of_memory, "the model ran out of memory");
    } catch (const std::exception& error) {
      return Error(ErrorCode::backend_failed, std::string("the model threw in ") + where + ": " + error.what());
    } catch (...) {
      return Error(ErrorCode::backend_failed, std::string("the model threw in ") + where);
    }
  } catch (...) {
    return Error(ErrorCode::backend_failed, "the model threw, and there is no memory to say what");
  }
}

/// A copy where there is memory for one.
Error same(const Error& error) noexcept {
  try {
    return error;
  } catch (...) {
    return Error(ErrorCode::backend_failed, "the model threw, and there is no memory to say what");
  }
}

}  // namespace

Error thrown_on_the_way() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "there is no memory to carry the request on");
  } catch (...) {
    return Error(ErrorCode::host_failed, "an executor, clock or cache tier supplied by the program threw");
  }
}

Result<PreparedInput> guarded_prepare(ModelRunner& runner, Input&& input) noexcept {
  try {
    const NoWaiting model;
    return runner.prepare(std::move(input));
  } catch (...) {
    return thrown_by_model("prepare");
  }
}

Result<std::vector<PreparedInput>> guarded_split(ModelRunner& runner, const PreparedInput& input,
                                                 const ItemSize& limit) noexcept {
  try {
    const NoWaiting model;
    return runner.split(input, limit);
  } catch (...) {
    return thrown_by_model("split");
  }
}

Result<std::vector<Tensor>> guarded_join(ModelRunner& runner, std::vector<std::vector<Tensor>> parts) noexcept {
  try {
    const NoWaiting model;
    return runner.join(std::move(parts));
  } catch (...) {
    return thrown_by_model("join");
  }
}

void guarded_run(ModelRunner& runner, std::span<BatchItem> batch) noexcept {
  try {
    const NoWaiting model;
    runner.run(batch);
  } catch (...) {
    const Error error = thrown_by_model("run");
    for (BatchItem& item : batch) {
      if (!item.output || item.step == StepEnd::proceeds) item.output = same(error);
      if (!item.output) item.step = StepEnd::done;
    }
  }
  if (runner.info().iterative) return;
  for (BatchItem& item : batch) {
    if (item.step == StepEnd::done) continue;
    item.step = StepEnd::done;
    item.output = Error(ErrorCode::backend_failed, "the model wants another step, but its ModelInfo is not iterative");
  }
}

}  // namespace tidegate
