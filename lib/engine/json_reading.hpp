// Reading of small JSON files that the engine has written itself: what does not fit is not there.
#pragma once

#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include "engine/json_tree.hpp"

namespace tidegate {

[[nodiscard]] inline const JsonTree* member(const JsonTree& tree, std::string_view name) {
  const auto* object = tree.as<JsonTree::Object>();
  if (object == nullptr) return nullptr;
  for (const JsonMember& one : *object) {
    if (one.name == name) return &one.value;
  }
  return nullptr;
}

/// A finite number that is not negative.
[[nodiscard]] inline std::optional<double> number(const JsonTree* tree) {
  if (tree == nullptr) return std::nullopt;
  double value = -1;
  if (const auto* whole = tree->as<std::int64_t>()) {
    value = static_cast<double>(*whole);
  } else if (const auto* large = tree->as<std::uint64_t>()) {
    value = static_cast<double>(*large);
  } else if (const auto* real = tree->as<JsonTree::Real>()) {
    const char* const end = real->digits.data() + real->digits.size();
    const auto parsed = std::from_chars(real->digits.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  }
  if (!std::isfinite(value) || value < 0) return std::nullopt;
  return value;
}

[[nodiscard]] inline bool is_text(const JsonTree* tree, std::string_view text) {
  const auto* held = tree == nullptr ? nullptr : tree->as<std::string>();
  return held != nullptr && *held == text;
}

[[nodiscard]] inline bool is_number(const JsonTree* tree, double value) { return number(tree) == value; }

}  // namespace tidegate
