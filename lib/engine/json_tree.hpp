// JsonTree: JSON text to a tree and back, without a step that cannot fail cleanly: the
// tree's destructors allocate nothing, so running out of memory is an exception and no
// more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tidegate/result.hpp"

namespace tidegate {

struct JsonMember;

/// A JSON value. What is no integer of 64 bits keeps its digits.
struct JsonTree {
  struct Real {
    std::string digits;
  };
  using Array = std::vector<JsonTree>;
  using Object = std::vector<JsonMember>;  ///< in the order of the text; names are unique

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, Real, std::string, Array, Object> content{};

  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return std::get_if<T>(&content);
  }

  /// One line of ASCII for messages: a scalar as it is written, lists and objects by
  /// their kind.
  [[nodiscard]] std::string shown() const;
};

struct JsonMember {
  std::string name;
  JsonTree value;
};

/// Nesting up to 64. Errors: invalid_argument (no JSON; a name given twice in one
/// object), without a hint where the text came from.
[[nodiscard]] Result<JsonTree> parse_json_tree(std::string_view text);

/// Over several lines, indented by two; bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string write_json_tree(const JsonTree& tree);

}  // namespace tidegate
