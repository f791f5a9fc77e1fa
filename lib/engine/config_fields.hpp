// What the rows of the table of configuration keys are made with: accessors through member pointers.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>

#include "engine/config_schema.hpp"
#include "engine/option_limits.hpp"

namespace tidegate::config {

inline constexpr std::int64_t kMaxText = 4096;
inline constexpr std::uint32_t kAnyKind = ~0U;

using limits::Range;

/// The member that is reached from a target through member pointers, one after the other.
template <auto First, auto... Rest>
constexpr auto& at(auto& target) {
  if constexpr (sizeof...(Rest) == 0) {
    return target.*First;
  } else {
    return at<Rest...>(target.*First);
  }
}

template <class Owner, class Member>
Owner owner_of(Member Owner::*);
/// The type a path starts at: EngineConfig or ModelConfig.
template <auto First, auto... Rest>
struct Start {
  using Target = decltype(owner_of(First));
};

/// A key without its accessors. Unused bounds and values are empty.
struct Row {
  std::string_view key;
  std::string_view unit;
  std::string_view text;
  std::uint32_t kinds = kAnyKind;
};

template <class Target>
constexpr Field<Target> field(const Row& row, ValueType type, Range range, std::string_view values,
                              Value (*get)(const Target&), void (*set)(Target&, const Value&)) {
  return {row.key, type, row.unit, range.minimum, range.maximum, values, row.kinds, "1.0", row.text, get, set};
}

template <auto... Path>
constexpr auto integer(const Row& row, Range range) {
  using Target = typename Start<Path...>::Target;
  return field<Target>(
      row, ValueType::integer, range, {},
      [](const Target& target) -> Value { return static_cast<std::int64_t>(at<Path...>(target)); },
      [](Target& target, const Value& value) {
        auto& member = at<Path...>(target);
        member = static_cast<std::remove_reference_t<decltype(member)>>(*std::get_if<std::int64_t>(&value));
      });
}

/// The key counts in the unit of its range.
template <auto... Path, class Ticks>
constexpr auto duration(Row row, limits::TimeRange<Ticks> range) {
  using Target = typename Start<Path...>::Target;
  row.unit = std::is_same_v<Ticks, limits::Micro> ? "us" : "ms";
  return field<Target>(
      row, ValueType::integer, {range.minimum.count(), range.maximum.count()}, {},
      [](const Target& target) -> Value { return std::chrono::duration_cast<Ticks>(at<Path...>(target)).count(); },
      [](Target& target, const Value& value) { at<Path...>(target) = Ticks(*std::get_if<std::int64_t>(&value)); });
}

/// `values`: the allowed ones, as Field::values.
template <auto... Path>
constexpr auto text(const Row& row, Range length, std::string_view values = {}) {
  using Target = typename Start<Path...>::Target;
  return field<Target>(
      row, ValueType::string, length, values, [](const Target& target) -> Value { return at<Path...>(target); },
      [](Target& target, const Value& value) { at<Path...>(target) = *std::get_if<std::string>(&value); });
}

/// As text, but never told: what is dumped may end in a log.
template <auto... Path>
constexpr auto secret(const Row& row) {
  auto made = text<Path...>(row, {0, kMaxText});
  made.get = [](const typename Start<Path...>::Target&) -> Value { return std::string(); };
  return made;
}

/// Names of an enumeration's values, in their order.
template <class Enum>
constexpr std::array<std::string_view, 0> kNamesOf{};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<Linger>{"anyone", "announced"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<Calibration>{"on", "off"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<ItemRows>{"one", "leading"};
template <>
constexpr std::array<std::string_view, 3> kNamesOf<Ordering>{"none", "per_key", "lane"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<Prediction>{"learned", "off"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<Grouping>{"by_length", "nearest"};
template <>
constexpr std::array<std::string_view, 5> kNamesOf<CachePolicy>{"s3_fifo", "lru", "lfu", "w_tiny_lfu", "ttl_only"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<CacheCurve>{"off", "on"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<CachePerModel>{"off", "on"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<CacheBypass>{"automatic", "never"};

template <>
constexpr std::array<std::string_view, 2> kNamesOf<RedisTls>{"off", "on"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<DiskAdmission>{"all", "seen_twice"};
template <>
constexpr std::array<std::string_view, 2> kNamesOf<DiskTrouble>{"refuse", "try_again"};

template <auto... Path>
constexpr auto choice(const Row& row, std::string_view values) {
  using Target = typename Start<Path...>::Target;
  using Enum = std::remove_cvref_t<decltype(at<Path...>(std::declval<Target&>()))>;
  return field<Target>(
      row, ValueType::string, {0, 16}, values,
      [](const Target& target) -> Value {
        return std::string(kNamesOf<Enum>[static_cast<std::size_t>(at<Path...>(target))]);
      },
      [](Target& target, const Value& value) {
        auto& member = at<Path...>(target);
        const auto* const found =
            std::find(kNamesOf<Enum>.begin(), kNamesOf<Enum>.end(), *std::get_if<std::string>(&value));
        member = static_cast<Enum>(found - kNamesOf<Enum>.begin());
      });
}

}  // namespace tidegate::config
