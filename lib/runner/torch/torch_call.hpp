// torch_call: the one place where libtorch's exceptions end.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "tidegate/result.hpp"

namespace tidegate {

/// The line of a libtorch message that says why: the interpreter's messages open with
/// a trace of the script and name the cause below it, all others open with the cause.
[[nodiscard]] std::string cause_of(std::string_view message);

/// "<what>: <cause>"; out_of_memory in place of `code` when the allocator gave up.
[[nodiscard]] Error torch_error(std::string_view what, ErrorCode code, std::string_view message);

/// Answers `f()`, a Result; what it throws becomes `code` with "<what>: <cause>".
template <class F>
auto torch_call(std::string_view what, ErrorCode code, F&& f) -> decltype(f()) {
  try {
    return std::forward<F>(f)();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, std::string(what) + ": an allocation failed");
  } catch (const std::exception& failure) {
    return torch_error(what, code, failure.what());
  } catch (...) {
    return torch_error(what, code, "something that is no std::exception was thrown");
  }
}

}  // namespace tidegate
