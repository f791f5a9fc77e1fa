// JsonWriter: just enough to write statistics as JSON without a library.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace tidegate::capi {

/// Appends values in document order; commas are its business, nesting the caller's.
class JsonWriter {
 public:
  JsonWriter& open(char bracket) {
    separate();
    text_ += bracket;
    first_ = true;
    return *this;
  }
  JsonWriter& close(char bracket) {
    text_ += bracket;
    first_ = false;
    return *this;
  }
  /// The name of the member whose value comes next.
  JsonWriter& key(std::string_view name) {
    string(name);
    text_ += ':';
    first_ = true;
    return *this;
  }
  JsonWriter& string(std::string_view value) {
    separate();
    text_ += '"';
    for (const char c : value) append(c);
    text_ += '"';
    return *this;
  }
  JsonWriter& literal(std::string_view value) {
    separate();
    text_ += value;
    return *this;
  }
  JsonWriter& number(std::uint64_t value) { return literal(std::to_string(value)); }
  /// The shortest text that reads back as the same number; null if it is not finite.
  JsonWriter& number(double value) {
    if (!std::isfinite(value)) return literal("null");
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    return literal({digits, static_cast<std::size_t>(end - digits)});
  }
  JsonWriter& member(std::string_view name, std::string_view value) { return key(name).string(value); }
  JsonWriter& member(std::string_view name, std::uint64_t value) { return key(name).number(value); }

  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  void separate() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  void append(char c) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (byte < 0x20) {
      text_ += "\\u00";
      text_ += kDigits[byte >> 4];
      text_ += kDigits[byte & 15];
    } else {
      text_ += c;
    }
  }

  std::string text_{};
  bool first_ = true;  // nothing stands before the next value in its list or object
};

}  // namespace tidegate::capi
