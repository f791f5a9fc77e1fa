// JsonDocument: JSON of a model folder, read strictly, with errors that name file and field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tidegate/result.hpp"

namespace tidegate {

struct JsonMember;

/// An immutable JSON value. Integers keep their full range; what fits neither
/// std::int64_t nor std::uint64_t is a double.
struct JsonValue {
  using Array = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;  ///< sorted by name, names are unique

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> content;

  /// The member `name`; nullptr if this is no object, it has no such member, or that is null.
  [[nodiscard]] const JsonValue* find(std::string_view name) const noexcept;
  /// A non-negative integer that fits; nullopt otherwise (a double never is one).
  [[nodiscard]] std::optional<std::uint64_t> as_unsigned() const noexcept;
  [[nodiscard]] const std::string* as_string() const noexcept { return std::get_if<std::string>(&content); }
  [[nodiscard]] const Array* as_array() const noexcept { return std::get_if<Array>(&content); }
  [[nodiscard]] const Object* as_object() const noexcept { return std::get_if<Object>(&content); }
  /// For messages: the value if it is a scalar (shortened), else its kind.
  [[nodiscard]] std::string describe() const;
};

struct JsonMember {
  std::string name;
  JsonValue value;
};

/// Parses one JSON text. Bounded: nesting up to 32, up to 2^21 values. A repeated
/// name in an object is an error. Errors: corrupt_data, naming `file`.
[[nodiscard]] Result<JsonValue> parse_json(std::string_view text, const std::string& file);

/// `text` in single quotes, shortened, control characters replaced: names that come
/// from a file stay on one line of an error message.
[[nodiscard]] std::string quote_name(std::string_view text);

/// A JSON object of the file `file`, read field by field. A null field counts as
/// absent. Views the value: it must outlive the reader.
class JsonFields {
 public:
  /// Errors: corrupt_data (not an object).
  [[nodiscard]] static Result<JsonFields> of(const JsonValue& value, const std::string& file);

  [[nodiscard]] const JsonValue* find(std::string_view field) const noexcept { return value_->find(field); }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

  /// Readers of one field; nullopt where it is absent. Errors: corrupt_data
  /// naming file, field, what was found and what was expected.
  [[nodiscard]] Result<std::optional<std::uint32_t>> count(std::string_view field, std::uint32_t low,
                                                           std::uint32_t high) const;
  [[nodiscard]] Result<std::optional<double>> number(std::string_view field) const;
  [[nodiscard]] Result<std::optional<bool>> flag(std::string_view field) const;
  [[nodiscard]] Result<std::optional<std::string>> text(std::string_view field) const;
  [[nodiscard]] Result<std::uint32_t> required_count(std::string_view field, std::uint32_t low,
                                                     std::uint32_t high) const;

  /// "'config.json': field 'x' is 3, expected 4", as corrupt_data or `code`.
  [[nodiscard]] Error wrong(std::string_view field, const std::string& expected,
                            ErrorCode code = ErrorCode::corrupt_data) const;

 private:
  JsonFields(const JsonValue& value, std::string file) : value_(&value), file_(std::move(file)) {}
  const JsonValue* value_;
  std::string file_;
};

}  // namespace tidegate
