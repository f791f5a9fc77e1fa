// Arguments of C functions: strings with a length, structs that know their size.
#pragma once

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

#include "tidegate/base.h"
#include "tidegate/result.hpp"

namespace tidegate::capi {

/// Larger sizes are taken for uninitialised memory, so that nothing far is read.
inline constexpr std::uint32_t kMaxStructSize = 4096;

/// The view of a (pointer, length) pair; `noun` names the argument in errors.
[[nodiscard]] inline Result<std::string_view> text_argument(const char* text, std::size_t length, const char* noun) {
  if (text == nullptr) {
    if (length == 0) return std::string_view();
    return Error(ErrorCode::invalid_argument, std::string(noun) + " is NULL");
  }
  if (length == TIDEGATE_NUL) return std::string_view(text);
  if (length > static_cast<std::size_t>(PTRDIFF_MAX)) {
    return Error(ErrorCode::invalid_argument, std::string(noun) + " has an impossible length");
  }
  return std::string_view(text, length);
}

/// The struct_size of a struct of the host's, checked for sense.
[[nodiscard]] inline Result<std::uint32_t> struct_size_of(const void* given, const char* noun) {
  if (given == nullptr) return Error(ErrorCode::invalid_argument, std::string(noun) + " is NULL");
  std::uint32_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size < sizeof size || size > kMaxStructSize) {
    return Error(ErrorCode::invalid_argument,
                 std::string(noun) + ": struct_size is " + std::to_string(size) + "; set it with TIDEGATE_INIT");
  }
  return size;
}

/// Copies a host's struct: a missing tail is zero; a tail the library does not know
/// must be zero, so that no wish of a newer host is ignored.
template <class T>
[[nodiscard]] Result<T> read_struct(const T* given, const char* noun) {
  const Result<std::uint32_t> size = struct_size_of(given, noun);
  if (!size) return size.error();
  T known{};
  std::memcpy(&known, given, *size < sizeof(T) ? *size : sizeof(T));
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(T); i < *size; ++i) {
    if (bytes[i] == 0) continue;
    return Error(ErrorCode::unsupported, std::string(noun) + " sets a field this library is too old to know");
  }
  return known;
}

/// Fills a host's struct as far as the host knows it and zeroes what the library
/// does not know; struct_size stays.
template <class T>
[[nodiscard]] Result<void> write_struct(T* target, T value, const char* noun) {
  const Result<std::uint32_t> size = struct_size_of(target, noun);
  if (!size) return size.error();
  value.struct_size = *size;
  std::memset(static_cast<void*>(target), 0, *size);
  std::memcpy(static_cast<void*>(target), &value, *size < sizeof(T) ? *size : sizeof(T));
  return {};
}

/// Sets an output to nothing before the work begins. Errors: invalid_argument (no place for it).
template <class T>
[[nodiscard]] Result<void> check_output(T** output, const char* noun) {
  if (output == nullptr) return Error(ErrorCode::invalid_argument, std::string(noun) + ": the output pointer is NULL");
  *output = nullptr;
  return {};
}

/// Hands a text to the host, to be freed with tidegate_free.
void give_text(std::string_view text, char** target, std::size_t* length);

}  // namespace tidegate::capi
