#include <doctest/doctest.h>

#include <stdexcept>

#include "runner/torch/torch_call.hpp"

using namespace tidegate;

TEST_CASE("torch call: the cause is the first line, or the exception below an interpreter's trace") {
  CHECK(cause_of("shapes do not fit\nException raised from mm at x.cpp:1") == "shapes do not fit");
  CHECK(cause_of("\n\nlate start\nmore") == "late start");
  CHECK(cause_of("") == "libtorch gave no reason");
  CHECK(cause_of("The following operation failed in the TorchScript interpreter.\n"
                 "Traceback of TorchScript, serialized code (most recent call last):\n"
                 "  File \"code/__torch__.py\", line 9, in forward\n"
                 "    raise RuntimeError: not this one\n"
                 "           ~~~~ <--- HERE\n"
                 "RuntimeError: mat1 and mat2 shapes\n"
                 "cannot be multiplied\n") == "RuntimeError: mat1 and mat2 shapes");
  CHECK(cause_of("The following operation failed in the TorchScript interpreter.") ==
        "The following operation failed in the TorchScript interpreter.");
  CHECK(cause_of(std::string(10000, 'x')).size() == 400);
}

TEST_CASE("torch call: every kind of exception becomes an error") {
  const auto code_of = [](auto thrower) {
    const auto result = torch_call("it failed", ErrorCode::backend_failed, [&]() -> Result<int> {
      thrower();
      return 1;
    });
    REQUIRE_FALSE(result);
    CHECK(result.error().message().starts_with("it failed: "));
    return result.error().code();
  };
  CHECK(code_of([] { throw std::runtime_error("why"); }) == ErrorCode::backend_failed);
  CHECK(code_of([] { throw 5; }) == ErrorCode::backend_failed);
  CHECK(code_of([] { throw std::bad_alloc(); }) == ErrorCode::out_of_memory);
  CHECK(code_of([] { throw std::runtime_error("DefaultCPUAllocator: can't allocate memory: you tried"); }) ==
        ErrorCode::out_of_memory);
  CHECK(*torch_call("x", ErrorCode::internal, []() -> Result<int> { return 3; }) == 3);
}
