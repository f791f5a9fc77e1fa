#include "engine/guarded_call.hpp"

#include <exception>
#include <string>

namespace tidegate {
namespace {

/// Inside a catch block: what was thrown, as an Error.
Error current_exception_as_error(const char* where) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "the model ran out of memory");
  } catch (const std::exception& error) {
    return Error(ErrorCode::backend_failed, std::string("the model threw in ") + where + ": " + error.what());
  } catch (...) {
    return Error(ErrorCode::backend_failed, std::string("the model threw in ") + where);
  }
}

}  // namespace

Result<PreparedInput> guarded_prepare(ModelRunner& runner, Input input) noexcept {
  try {
    return runner.prepare(std::move(input));
  } catch (...) {
    return current_exception_as_error("prepare");
  }
}

void guarded_run(ModelRunner& runner, std::span<BatchItem> batch) noexcept {
  try {
    runner.run(batch);
  } catch (...) {
    const Error error = current_exception_as_error("run");
    for (BatchItem& item : batch) {
      if (!item.output) item.output = error;
    }
  }
}

}  // namespace tidegate
