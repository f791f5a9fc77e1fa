#include "simulator/case_value.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace tidegate {
namespace {

using nlohmann::json;

CaseValue from_json(const json& value) {
  if (value.is_boolean()) return CaseValue(value.get<bool>());
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return CaseValue(static_cast<double>(number));
    }
    return CaseValue(static_cast<std::int64_t>(number));
  }
  if (value.is_number_integer()) return CaseValue(value.get<std::int64_t>());
  if (value.is_number_float()) return CaseValue(value.get<double>());
  if (value.is_string()) return CaseValue(value.get_ref<const std::string&>());
  if (value.is_array()) {
    CaseValue::List list;
    for (const json& element : value) list.push_back(from_json(element));
    return CaseValue(std::move(list));
  }
  if (value.is_object()) {
    CaseValue::Object object;
    for (const auto& member : value.items()) object.push_back({member.key(), from_json(member.value())});
    return CaseValue(std::move(object));
  }
  return {};
}

json to_json(const CaseValue& value) {
  if (const bool* flag = value.flag()) return *flag;
  if (const std::int64_t* integer = value.integer()) return *integer;
  if (const auto number = value.number()) return *number;
  if (const std::string* text = value.text()) return *text;
  if (const CaseValue::List* list = value.list()) {
    json array = json::array();
    for (const CaseValue& element : *list) array.push_back(to_json(element));
    return array;
  }
  if (const CaseValue::Object* object = value.object()) {
    json members = json::object();
    for (const CaseMember& member : *object) members[member.name] = to_json(member.value);
    return members;
  }
  return nullptr;
}

}  // namespace

CaseValue::CaseValue(double value) : value_(value) {
  // Below 2^63, where every double without a fraction is an int64.
  if (std::abs(value) < 9.2e18 && value == std::floor(value)) value_ = static_cast<std::int64_t>(value);
}

CaseValue::CaseValue(Object value) : value_(std::move(value)) {}

std::optional<double> CaseValue::number() const noexcept {
  if (const std::int64_t* whole = integer()) return static_cast<double>(*whole);
  if (const double* value = std::get_if<double>(&value_)) return *value;
  return std::nullopt;
}

const CaseValue* CaseValue::find(std::string_view name) const noexcept {
  if (object() == nullptr) return nullptr;
  for (const CaseMember& member : *object()) {
    if (member.name == name) return &member.value;
  }
  return nullptr;
}

std::string CaseValue::dump() const { return to_json(*this).dump(-1, ' ', false, json::error_handler_t::replace); }

bool CaseValue::operator==(const CaseValue& other) const { return value_ == other.value_; }

std::optional<CaseValue> parse_case_value(std::string_view json_text) {
  // A nesting deeper than any case file's would exhaust the stack on conversion.
  constexpr int kDeepest = 64;
  bool too_deep = false;
  const auto watch = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest) too_deep = true;
    return !too_deep;
  };
  const json value = json::parse(json_text, watch, false);
  if (value.is_discarded() || too_deep) return std::nullopt;
  return from_json(value);
}

}  // namespace tidegate
