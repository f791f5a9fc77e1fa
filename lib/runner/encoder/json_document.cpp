#include "runner/encoder/json_document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/try.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxValues = std::size_t{1} << 21;
constexpr std::size_t kMaxQuoted = 120;  // bytes

/// Builds the value bottom-up from parser events; answering false stops the parser.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(const std::string& file) : file_(file) {}

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(number_integer_t value) override { return add({std::int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override { return add({std::uint64_t{value}}); }
  bool number_float(number_float_t value, const string_t&) override { return add({value}); }
  bool string(string_t& value) override { return add({std::move(value)}); }
  bool binary(binary_t&) override { return fail("holds a binary value"); }
  bool key(string_t& name) override {
    open_.back().names.push_back(std::move(name));
    return true;
  }
  bool start_object(std::size_t) override { return open(Kind::object); }
  bool start_array(std::size_t) override { return open(Kind::array); }

  bool end_array() override {
    auto values = std::move(open_.back().values);
    open_.pop_back();
    return add({std::move(values)});
  }

  bool end_object() override {
    Open level = std::move(open_.back());
    open_.pop_back();
    JsonValue::Object members;
    members.reserve(level.values.size());
    for (std::size_t i = 0; i < level.values.size(); ++i) {
      members.push_back({std::move(level.names[i]), std::move(level.values[i])});
    }
    const auto by_name = [](const JsonMember& a, const JsonMember& b) { return a.name < b.name; };
    std::sort(members.begin(), members.end(), by_name);
    const auto same_name = [](const JsonMember& a, const JsonMember& b) { return a.name == b.name; };
    const auto twice = std::adjacent_find(members.begin(), members.end(), same_name);
    if (twice != members.end()) return fail(fmt::format("names {} twice in one object", quote_name(twice->name)));
    return add({std::move(members)});
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& reason) override {
    return fail(fmt::format("is not valid JSON at byte {}: {}", position, quote_name(reason.what())));
  }

  [[nodiscard]] JsonValue take_root() { return std::move(root_); }
  [[nodiscard]] std::string take_problem() { return std::move(problem_); }

 private:
  enum class Kind : std::uint8_t { array, object };
  struct Open {
    Kind kind;
    std::vector<std::string> names;  // of an object: one per value
    JsonValue::Array values;
  };

  bool open(Kind kind) {
    if (open_.size() >= kMaxDepth) return fail(fmt::format("nests deeper than {} levels", kMaxDepth));
    open_.push_back({kind, {}, {}});
    return true;
  }

  bool add(JsonValue value) {
    if (++count_ > kMaxValues) return fail(fmt::format("holds more than {} values", kMaxValues));
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().values.push_back(std::move(value));
    }
    return true;
  }

  bool fail(std::string_view problem) {
    problem_ = fmt::format("'{}' {}", file_, problem);
    return false;
  }

  const std::string& file_;
  std::vector<Open> open_;
  JsonValue root_;
  std::size_t count_ = 0;
  std::string problem_;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view name) const noexcept {
  const Object* members = as_object();
  if (members == nullptr) return nullptr;
  const auto before = [](const JsonMember& member, std::string_view wanted) { return member.name < wanted; };
  const auto found = std::lower_bound(members->begin(), members->end(), name, before);
  if (found == members->end() || found->name != name) return nullptr;
  return std::holds_alternative<std::monostate>(found->value.content) ? nullptr : &found->value;
}

std::optional<std::uint64_t> JsonValue::as_unsigned() const noexcept {
  if (const auto* value = std::get_if<std::uint64_t>(&content)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&content); value != nullptr && *value >= 0) {
    return static_cast<std::uint64_t>(*value);
  }
  return std::nullopt;
}

std::string JsonValue::describe() const {
  if (const auto* value = std::get_if<bool>(&content)) return *value ? "true" : "false";
  if (const auto* value = std::get_if<std::int64_t>(&content)) return fmt::format("{}", *value);
  if (const auto* value = std::get_if<std::uint64_t>(&content)) return fmt::format("{}", *value);
  if (const auto* value = std::get_if<double>(&content)) return fmt::format("{}", *value);
  if (const auto* value = as_string()) return quote_name(*value);
  if (as_array() != nullptr) return "a list";
  if (as_object() != nullptr) return "an object";
  return "null";
}

Result<JsonValue> parse_json(std::string_view text, const std::string& file) {
  TreeBuilder builder(file);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return Error(ErrorCode::corrupt_data, builder.take_problem());
  }
  return builder.take_root();
}

std::string quote_name(std::string_view text) {
  std::string line = "'";
  for (const char letter : text.substr(0, kMaxQuoted)) {
    // A cut or malformed multi-byte character would break the message's UTF-8.
    const bool printable = letter >= ' ' && letter <= '~';
    line += printable ? letter : '?';
  }
  line += text.size() > kMaxQuoted ? "...'" : "'";
  return line;
}

Result<JsonFields> JsonFields::of(const JsonValue& value, const std::string& file) {
  if (value.as_object() == nullptr) {
    return Error(ErrorCode::corrupt_data, fmt::format("'{}' holds {}, expected a JSON object", file, value.describe()));
  }
  return JsonFields(value, file);
}

Error JsonFields::wrong(std::string_view field, const std::string& expected, ErrorCode code) const {
  const JsonValue* value = find(field);
  const std::string found = value == nullptr ? "missing" : value->describe();
  return Error(code, fmt::format("'{}': field '{}' is {}, expected {}", file_, field, found, expected));
}

Result<std::optional<std::uint32_t>> JsonFields::count(std::string_view field, std::uint32_t low,
                                                       std::uint32_t high) const {
  const JsonValue* value = find(field);
  if (value == nullptr) return std::optional<std::uint32_t>{};
  const auto count = value->as_unsigned();
  if (!count || *count < low || *count > high) {
    return wrong(field, fmt::format("an integer from {} to {}", low, high));
  }
  return std::optional(static_cast<std::uint32_t>(*count));
}

Result<std::uint32_t> JsonFields::required_count(std::string_view field, std::uint32_t low, std::uint32_t high) const {
  TIDEGATE_TRY(const auto value, count(field, low, high));
  if (!value) return wrong(field, fmt::format("an integer from {} to {}", low, high));
  return *value;
}

Result<std::optional<double>> JsonFields::number(std::string_view field) const {
  const JsonValue* value = find(field);
  if (value == nullptr) return std::optional<double>{};
  if (const auto* real = std::get_if<double>(&value->content)) return std::optional(*real);
  if (const auto* integer = std::get_if<std::int64_t>(&value->content)) {
    return std::optional(static_cast<double>(*integer));
  }
  if (const auto* integer = std::get_if<std::uint64_t>(&value->content)) {
    return std::optional(static_cast<double>(*integer));
  }
  return wrong(field, "a number");
}

Result<std::optional<bool>> JsonFields::flag(std::string_view field) const {
  const JsonValue* value = find(field);
  if (value == nullptr) return std::optional<bool>{};
  if (const auto* set = std::get_if<bool>(&value->content)) return std::optional(*set);
  return wrong(field, "true or false");
}

Result<std::optional<std::string>> JsonFields::text(std::string_view field) const {
  const JsonValue* value = find(field);
  if (value == nullptr) return std::optional<std::string>{};
  if (const auto* found = value->as_string()) return std::optional(*found);
  return wrong(field, "a string");
}

}  // namespace tidegate
