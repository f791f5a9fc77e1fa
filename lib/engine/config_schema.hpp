// The table of configuration keys: parsing, dumping, the schema and the nearest-key
// errors all read it. To add a key, add a row in config_schema.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tidegate/config.hpp"

namespace tidegate::config {

using Value = std::variant<std::int64_t, std::string>;

enum class ValueType : std::uint8_t { integer, string };

/// One key of a scope `Target` (EngineConfig, ModelConfig or TenantOptions).
template <class Target>
struct Field {
  std::string_view key;
  ValueType type = ValueType::integer;
  std::string_view unit;      ///< "bytes", "us", "ms", "items", ...; empty = none
  std::int64_t minimum = 0;   ///< integers: smallest and largest value allowed
  std::int64_t maximum = 0;   ///< strings: largest length in bytes
  std::string_view values;    ///< strings: the allowed ones, separated by '|', a leading one allows ""; empty = any
  std::uint32_t kinds = ~0U;  ///< models: bit set of ModelKind the key applies to
  std::string_view since;     ///< ABI version
  std::string_view text;
  Value (*get)(const Target&) = nullptr;
  /// The value has passed type, range and `values`.
  void (*set)(Target&, const Value&) = nullptr;
};

[[nodiscard]] constexpr std::uint32_t bit(ModelKind kind) noexcept { return 1U << static_cast<unsigned>(kind); }

[[nodiscard]] std::span<const Field<EngineConfig>> engine_fields() noexcept;
[[nodiscard]] std::span<const Field<ModelConfig>> model_fields() noexcept;
[[nodiscard]] std::span<const Field<TenantOptions>> tenant_fields() noexcept;

/// The key of a scope whose value is a list of objects of another scope; empty = it has none.
template <class Target>
inline constexpr std::string_view kListKey{};
template <>
inline constexpr std::string_view kListKey<EngineConfig> = "models";
template <>
inline constexpr std::string_view kListKey<ModelConfig> = "admission.tenants";

[[nodiscard]] std::string_view to_string(ModelKind kind) noexcept;

/// The parts of Field::values.
[[nodiscard]] std::vector<std::string_view> split_values(std::string_view values);

/// The one of `values` (as Field::values) that takes the fewest edits from `value`; "" where
/// that would keep a third of it or less.
[[nodiscard]] std::string_view nearest_value(std::string_view values, std::string_view value);

/// Number of edits (insert, delete, replace, swap of neighbours) between two texts.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace tidegate::config
