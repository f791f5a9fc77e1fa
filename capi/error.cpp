// Error objects and the texts of exceptions.
#include <array>
#include <charconv>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "boundary.hpp"

using tidegate::Error;
using tidegate::ErrorCode;

namespace {

/// Decimal text of a number, NUL-terminated.
struct NumberText {
  std::array<char, 24> text{};
  std::size_t length = 0;

  explicit NumberText(std::int64_t number) noexcept {
    length =
        static_cast<std::size_t>(std::to_chars(text.data(), text.data() + text.size() - 1, number).ptr - text.data());
  }
};

bool is_retryable(ErrorCode code) noexcept {
  return code == ErrorCode::preempted || code == ErrorCode::quota_exceeded || code == ErrorCode::stuck ||
         code == ErrorCode::queue_full || code == ErrorCode::overloaded || code == ErrorCode::unavailable ||
         code == ErrorCode::busy || code == ErrorCode::out_of_memory;
}

}  // namespace

struct tidegate_error : tidegate::capi::Handle<0x54476572> {
  explicit tidegate_error(const Error& error)
      : code(error.code()),
        message(error.message()),
        retry_after(error.retry_after().count()),
        observed(error.observed()),
        limit(error.limit()),
        has_retry_after(error.retry_after().count() > 0),
        has_numbers(error.observed() != 0 || error.limit() != 0) {}

  const ErrorCode code;
  const std::string message;
  const NumberText retry_after;
  const NumberText observed;
  const NumberText limit;
  const bool has_retry_after;
  const bool has_numbers;
};

namespace {

/// Lives in static storage and is never destroyed; its text fits into the string
/// object, so that making it allocates nothing.
tidegate_error* no_memory_error() noexcept {
  alignas(tidegate_error) static std::byte storage[sizeof(tidegate_error)];
  static tidegate_error* const error = ::new (storage) tidegate_error(Error(ErrorCode::out_of_memory, "out of memory"));
  return error;
}

/// Errors hold no thread and no descriptor, so those made before a fork stay usable.
bool is_error(const tidegate_error* error) noexcept {
  const auto state = tidegate::capi::state_of(error);
  return state == tidegate::capi::HandleState::live || state == tidegate::capi::HandleState::forked;
}

void set_length(std::size_t* length, std::size_t value) noexcept {
  if (length != nullptr) *length = value;
}

/// The part before the first line break.
std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

}  // namespace

namespace tidegate::capi {

tidegate_error* make_error(const Error& error) noexcept {
  try {
    return new tidegate_error(error);
  } catch (...) {
    return no_memory_error();
  }
}

tidegate_status report(tidegate_error** err, const Error& error) noexcept {
  if (err != nullptr) *err = make_error(error);
  return static_cast<tidegate_status>(error.code());
}

Error current_exception_as(ErrorCode fallback) noexcept {
  try {
    try {
      throw;
    } catch (const std::bad_alloc&) {
      return Error(ErrorCode::out_of_memory, "out of memory");
    } catch (const std::length_error&) {
      return Error(ErrorCode::out_of_memory, "a size exceeds what memory can hold");
    } catch (const std::exception& failure) {
      return Error(fallback, "exception: " + first_line(failure.what()));
    } catch (...) {
      return Error(fallback, "exception of an unknown type");
    }
  } catch (...) {
    return Error(ErrorCode::out_of_memory, "out of memory");
  }
}

}  // namespace tidegate::capi

tidegate_status tidegate_error_code(const tidegate_error* error) noexcept {
  if (error == nullptr) return TIDEGATE_OK;
  return is_error(error) ? static_cast<tidegate_status>(error->code) : TIDEGATE_E_BAD_HANDLE;
}

const char* tidegate_error_message(const tidegate_error* error, size_t* length) noexcept {
  if (!is_error(error)) {
    set_length(length, 0);
    return "";
  }
  set_length(length, error->message.size());
  return error->message.c_str();
}

const char* tidegate_error_detail(const tidegate_error* error, const char* key, size_t* length) noexcept {
  set_length(length, 0);
  if (!is_error(error) || key == nullptr) return nullptr;
  const std::string_view name(key);
  const NumberText* number = nullptr;
  if (name == "retryable") {
    set_length(length, 1);
    return is_retryable(error->code) ? "1" : "0";
  }
  if (name == "retry_after_ns" && error->has_retry_after) number = &error->retry_after;
  if (name == "observed" && error->has_numbers) number = &error->observed;
  if (name == "limit" && error->has_numbers) number = &error->limit;
  if (number == nullptr) return nullptr;
  set_length(length, number->length);
  return number->text.data();
}

void tidegate_error_release(tidegate_error* error) noexcept {
  if (is_error(error) && error != no_memory_error()) delete error;
}
