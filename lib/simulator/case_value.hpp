// CaseValue: one JSON value of a case file, or one result to hold against it.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tidegate {

struct CaseMember;

/// Numbers without a fraction are integers, however they were written (1e9), as long
/// as they fit; so equal numbers compare equal.
class CaseValue {
 public:
  using List = std::vector<CaseValue>;
  using Object = std::vector<CaseMember>;  ///< names are unique

  CaseValue() = default;  ///< null
  explicit CaseValue(bool value) : value_(value) {}
  explicit CaseValue(double value);
  explicit CaseValue(std::string_view value) : value_(std::string(value)) {}
  explicit CaseValue(List value) : value_(std::move(value)) {}
  explicit CaseValue(Object value);
  template <std::integral Integer>
  explicit CaseValue(Integer value) : value_(static_cast<std::int64_t>(value)) {}

  /// Null if it is of another type.
  [[nodiscard]] const bool* flag() const noexcept { return std::get_if<bool>(&value_); }
  [[nodiscard]] const std::int64_t* integer() const noexcept { return std::get_if<std::int64_t>(&value_); }
  [[nodiscard]] std::optional<double> number() const noexcept;
  [[nodiscard]] const std::string* text() const noexcept { return std::get_if<std::string>(&value_); }
  [[nodiscard]] const List* list() const noexcept { return std::get_if<List>(&value_); }
  [[nodiscard]] const Object* object() const noexcept { return std::get_if<Object>(&value_); }
  [[nodiscard]] bool is_null() const noexcept { return value_.index() == 0; }

  /// The member of this name; null if there is none, or this is no object.
  [[nodiscard]] const CaseValue* find(std::string_view name) const noexcept;
  /// Compact JSON; malformed UTF-8 is replaced.
  [[nodiscard]] std::string dump() const;
  bool operator==(const CaseValue&) const;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Object> value_;
};

struct CaseMember {
  std::string name;
  CaseValue value;
  bool operator==(const CaseMember&) const = default;
};

/// Empty if the text is not JSON.
[[nodiscard]] std::optional<CaseValue> parse_case_value(std::string_view json_text);

}  // namespace tidegate
