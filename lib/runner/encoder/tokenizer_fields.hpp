// TokenizerFields: typed access to a JSON object whose errors name file and field.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/mapped_file.hpp"
#include "base/try.hpp"
#include "tidegate/result.hpp"

namespace tidegate {

/// A view of one object: the document must outlive it.
class TokenizerFields {
 public:
  using Json = nlohmann::json;

  /// The whole document. Errors: those of read_text_file, corrupt_data.
  [[nodiscard]] static Result<Json> read(const std::string& path) {
    TIDEGATE_TRY(const std::string text, read_text_file(path));
    Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (document.is_discarded()) return Error(ErrorCode::corrupt_data, path + ": not well-formed JSON");
    if (!document.is_object()) return Error(ErrorCode::corrupt_data, path + ": not a JSON object");
    return document;
  }

  /// `where` is the object's place in the file, "" for the document itself.
  /// REQUIRES: object.is_object().
  TokenizerFields(const std::string& path, std::string where, const Json& object)
      : path_(path), where_(std::move(where)), object_(object) {}

  /// nullptr where the field is absent or null.
  [[nodiscard]] const Json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  [[nodiscard]] std::string place(const std::string& name) const { return where_.empty() ? name : where_ + "." + name; }

  [[nodiscard]] Error error(ErrorCode code, const std::string& name, const std::string& what) const {
    return Error(code, path_ + ": " + place(name) + ": " + what);
  }

  [[nodiscard]] Result<TokenizerFields> object(const char* name) const {
    const Json* value = find(name);
    if (value == nullptr || !value->is_object()) return wrong(name, value, "an object");
    return TokenizerFields(path_, place(name), *value);
  }

  [[nodiscard]] Result<const Json*> array(const char* name) const {
    const Json* value = find(name);
    if (value == nullptr || !value->is_array()) return wrong(name, value, "an array");
    return value;
  }

  [[nodiscard]] Result<std::string> text(const char* name) const {
    const Json* value = find(name);
    if (value == nullptr || !value->is_string()) return wrong(name, value, "a string");
    return value->get<std::string>();
  }

  /// At most 2^31 - 1, the largest id.
  [[nodiscard]] Result<std::int32_t> number(const char* name) const {
    const Json* value = find(name);
    if (value == nullptr || !value->is_number_unsigned()) return wrong(name, value, "an unsigned number");
    const auto number = value->get<std::uint64_t>();
    if (number > std::numeric_limits<std::int32_t>::max()) return wrong(name, value, "a number below 2^31");
    return static_cast<std::int32_t>(number);
  }

  [[nodiscard]] Result<bool> flag(const char* name) const {
    const Json* value = find(name);
    if (value == nullptr || !value->is_boolean()) return wrong(name, value, "true or false");
    return value->get<bool>();
  }

  /// `fallback` where the field is absent or null.
  [[nodiscard]] Result<bool> flag_or(const char* name, bool fallback) const {
    return find(name) == nullptr ? Result<bool>(fallback) : flag(name);
  }

 private:
  [[nodiscard]] Error wrong(const char* name, const Json* value, const char* expected) const {
    if (value == nullptr) return error(ErrorCode::corrupt_data, name, std::string("missing; must be ") + expected);
    return error(ErrorCode::corrupt_data, name, std::string("must be ") + expected + ", is " + value->type_name());
  }

  const std::string& path_;
  std::string where_;
  const Json& object_;
};

}  // namespace tidegate
