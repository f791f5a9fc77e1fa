// TIDEGATE_TRY: early return of an Error. Internal; never in public headers.
#pragma once

#include "tidegate/result.hpp"

#define TIDEGATE_TRY_JOIN2(a, b) a##b
#define TIDEGATE_TRY_JOIN(a, b) TIDEGATE_TRY_JOIN2(a, b)

/// TIDEGATE_TRY(auto value, expression): declares `value` from a Result or returns its error.
#define TIDEGATE_TRY(declaration, expression)                                                                        \
  auto TIDEGATE_TRY_JOIN(try_result_, __LINE__) = (expression);                                                      \
  if (!TIDEGATE_TRY_JOIN(try_result_, __LINE__)) return std::move(TIDEGATE_TRY_JOIN(try_result_, __LINE__)).error(); \
  declaration = *std::move(TIDEGATE_TRY_JOIN(try_result_, __LINE__))

/// TIDEGATE_CHECK(expression): returns the error of a Result<void>.
#define TIDEGATE_CHECK(expression) \
  if (auto try_action = (expression); !try_action) return std::move(try_action).error()
