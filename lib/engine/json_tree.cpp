#include "engine/json_tree.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/utf8.hpp"

namespace tidegate {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxShown = 128;  // bytes

std::string printable(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, kMaxShown)) line += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > kMaxShown ? line + "..." : line;
}

std::optional<std::string_view> repeated_name(const JsonTree::Object& members) {
  std::vector<std::string_view> names;
  names.reserve(members.size());
  for (const JsonMember& member : members) names.push_back(member.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  return twice == names.end() ? std::nullopt : std::optional(*twice);
}

/// Builds the tree from the parser's events; answering false stops the parser.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return add({}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(number_integer_t value) override { return add({std::int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override { return add({std::uint64_t{value}}); }
  bool number_float(number_float_t, const string_t& digits) override { return add({JsonTree::Real{digits}}); }
  bool string(string_t& value) override { return add({std::move(value)}); }
  bool binary(binary_t&) override { return fail("it holds a binary value"); }
  bool start_array(std::size_t) override { return open({JsonTree::Array{}}); }
  bool start_object(std::size_t) override { return open({JsonTree::Object{}}); }
  bool end_array() override { return close(); }
  bool end_object() override {
    if (const auto twice = repeated_name(*open_.back().tree.as<JsonTree::Object>())) {
      return fail("key '" + printable(*twice) + "' is given twice in one object");
    }
    return close();
  }

  bool key(string_t& name) override {
    open_.back().key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& reason) override {
    return fail(std::string("it is not valid JSON: ") + reason.what());
  }

  [[nodiscard]] JsonTree take_root() { return std::move(root_); }
  [[nodiscard]] std::string take_problem() { return std::move(problem_); }

 private:
  /// A list or object whose end has not come.
  struct Open {
    JsonTree tree;
    std::string key{};  // of an object: whose value comes next
  };

  bool open(JsonTree tree) {
    if (open_.size() == kMaxDepth) return fail("it nests deeper than 64 levels");
    open_.push_back({std::move(tree)});
    return true;
  }

  bool close() {
    JsonTree tree = std::move(open_.back().tree);
    open_.pop_back();
    return add(std::move(tree));
  }

  bool add(JsonTree tree) {
    if (open_.empty()) {
      root_ = std::move(tree);
    } else if (auto* const list = std::get_if<JsonTree::Array>(&open_.back().tree.content)) {
      list->push_back(std::move(tree));
    } else {
      auto& members = *std::get_if<JsonTree::Object>(&open_.back().tree.content);
      members.push_back({std::move(open_.back().key), std::move(tree)});
    }
    return true;
  }

  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  JsonTree root_{};
  std::vector<Open> open_{};
  std::string problem_{};
};

class Writer {
 public:
  void write(const JsonTree& tree, std::size_t indent) {
    if (const auto* const text = tree.as<std::string>()) return string(*text);
    if (const auto* const list = tree.as<JsonTree::Array>()) {
      return lines('[', *list, ']', indent, [&](const JsonTree& entry) { write(entry, indent + 2); });
    }
    if (const auto* const members = tree.as<JsonTree::Object>()) {
      return lines('{', *members, '}', indent, [&](const JsonMember& member) {
        string(member.name);
        text_ += ": ";
        write(member.value, indent + 2);
      });
    }
    text_ += tree.shown();
  }

  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  template <class List, class WriteEntry>
  void lines(char opening, const List& list, char closing, std::size_t indent, WriteEntry&& write_entry) {
    text_ += opening;
    const char* separator = "\n";
    for (const auto& entry : list) {
      text_ += separator;
      text_.append(indent + 2, ' ');
      write_entry(entry);
      separator = ",\n";
    }
    if (!list.empty()) text_.append(1, '\n').append(indent, ' ');
    text_ += closing;
  }

  void string(std::string_view value) {
    text_ += '"';
    while (!value.empty()) {
      const std::size_t valid = std::min(find_invalid_utf8(value), value.size());
      for (const char c : value.substr(0, valid)) character(c);
      value.remove_prefix(valid);
      if (value.empty()) break;
      text_ += "\xEF\xBF\xBD";
      value.remove_prefix(1);
    }
    text_ += '"';
  }

  void character(char c) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') text_ += '\\';
    if (byte >= 0x20) {
      text_ += c;
      return;
    }
    text_ += "\\u00";
    text_ += kDigits[byte >> 4];
    text_ += kDigits[byte & 15];
  }

  std::string text_{};
};

}  // namespace

std::string JsonTree::shown() const {
  if (const auto* const flag = as<bool>()) return *flag ? "true" : "false";
  if (const auto* const number = as<std::int64_t>()) return std::to_string(*number);
  if (const auto* const number = as<std::uint64_t>()) return std::to_string(*number);
  if (const auto* const number = as<Real>()) return printable(number->digits);
  if (const auto* const text = as<std::string>()) return '"' + printable(*text) + '"';
  if (as<Array>() != nullptr) return "an array";
  if (as<Object>() != nullptr) return "an object";
  return "null";
}

Result<JsonTree> parse_json_tree(std::string_view text) {
  TreeBuilder builder;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return Error(ErrorCode::invalid_argument, builder.take_problem());
  }
  return builder.take_root();
}

std::string write_json_tree(const JsonTree& tree) {
  Writer writer;
  writer.write(tree, 0);
  return std::move(writer).text();
}

}  // namespace tidegate
