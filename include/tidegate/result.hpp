// Result<T>: a value or an Error, with the vocabulary of std::expected.
#pragma once

#include <cassert>
#include <type_traits>
#include <utility>
#include <variant>

#include "tidegate/error.hpp"

namespace tidegate {

/// Holds either a T or an Error. `*` and `->` on an error are a caller's bug
/// (assert); nothing here throws.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  using error_type = Error;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& operator*() & noexcept {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  const T& operator*() const& noexcept {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  T&& operator*() && noexcept {
    assert(has_value());
    return std::move(*std::get_if<0>(&state_));
  }
  T* operator->() noexcept { return &**this; }
  const T* operator->() const noexcept { return &**this; }
  T& value() & noexcept { return **this; }
  const T& value() const& noexcept { return **this; }
  T&& value() && noexcept { return *std::move(*this); }

  Error& error() & noexcept {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  const Error& error() const& noexcept {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && noexcept {
    assert(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

  template <class U>
  T value_or(U&& fallback) && {
    return has_value() ? *std::move(*this) : static_cast<T>(std::forward<U>(fallback));
  }

  /// `f(T&&)` must answer a Result; it is skipped on an error.
  template <class F>
  auto and_then(F&& f) && -> std::invoke_result_t<F, T&&> {
    if (has_value()) return std::forward<F>(f)(*std::move(*this));
    return std::move(*this).error();
  }

  /// `f(T&&)` answers a plain value, which is wrapped.
  template <class F>
  auto transform(F&& f) && -> Result<std::invoke_result_t<F, T&&>> {
    if (has_value()) return std::forward<F>(f)(*std::move(*this));
    return std::move(*this).error();
  }

  /// `f(Error&&)` answers a Result<T> in place of the error.
  template <class F>
  Result or_else(F&& f) && {
    if (has_value()) return std::move(*this);
    return std::forward<F>(f)(std::move(*this).error());
  }

 private:
  std::variant<T, Error> state_;
};

/// An action that can fail and has nothing else to say.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  using error_type = Error;

  Result() = default;
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  Error& error() & noexcept {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  const Error& error() const& noexcept {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && noexcept {
    assert(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

  template <class F>
  auto and_then(F&& f) && -> std::invoke_result_t<F> {
    if (has_value()) return std::forward<F>(f)();
    return std::move(*this).error();
  }

 private:
  std::variant<std::monostate, Error> state_;
};

}  // namespace tidegate
